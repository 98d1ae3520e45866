//! What admits or refuses: semaphore, breaker, limiter, buffer.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use teleflow_benches::report::{Better, Report, Rival};
use teleflow_concurrency::Semaphore;

/// Calls of a thread in one sample.
const CALLS: u32 = 200_000;
/// Samples of each side; the best one counts, for the others only tell what else the machine did.
const SAMPLES: usize = 15;

pub(crate) fn run(report: &mut Report) {
    semaphore(report);
}

/// Try-acquire and release of one permit, of plenty: what admission costs when there is room.
fn semaphore(report: &mut Report) {
    let ours = Semaphore::new("bench", 1 << 20);
    let theirs = tokio::sync::Semaphore::new(1 << 20);
    for threads in [1, 2] {
        let (ours, theirs) = best_of(
            threads,
            || drop(black_box(ours.try_acquire(1)).expect("there are plenty")),
            || drop(black_box(theirs.try_acquire()).expect("there are plenty")),
        );
        let rival = Rival { name: "tokio 1.54, no statistics", value: theirs };
        let metric = format!("concurrency/semaphore/{threads}t");
        report.row(metric, "ns/op", Better::Lower, ours, Some(rival));
    }
}

/// Nanoseconds a call of `ours` and of `theirs` with so many threads calling: the best of all
/// samples. The two take turns, so that whatever else the machine does slows both.
fn best_of(threads: usize, ours: impl Fn() + Sync, theirs: impl Fn() + Sync) -> (f64, f64) {
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..SAMPLES {
        best.0 = best.0.min(sample(threads, &ours));
        best.1 = best.1.min(sample(threads, &theirs));
    }
    best
}

/// Nanoseconds from the moment when all threads are there until the last is done, for each call.
fn sample(threads: usize, call: &(impl Fn() + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    let nanos = thread::scope(|scope| {
        let spawned: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    (0..1000).for_each(|_| call());
                    barrier.wait();
                    let start = Instant::now();
                    (0..CALLS).for_each(|_| call());
                    start.elapsed().as_nanos()
                })
            })
            .collect();
        spawned.into_iter().map(|thread| thread.join().expect("no call panics")).max()
    });
    nanos.unwrap_or_default() as f64 / f64::from(CALLS)
}
