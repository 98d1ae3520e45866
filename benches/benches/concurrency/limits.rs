//! What admits or refuses: semaphore, breaker, limiter, buffer.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use teleflow_benches::report::{Better, Report, Rival};
use teleflow_concurrency::Semaphore;

/// Calls of a thread in one sample.
const CALLS: u32 = 500_000;
/// Samples of each side.
const SAMPLES: usize = 15;

pub(crate) fn run(report: &mut Report) {
    semaphore(report);
}

/// Try-acquire and release of one permit, of plenty: what admission costs when there is room.
fn semaphore(report: &mut Report) {
    let ours = Semaphore::new("bench", 1 << 20);
    let theirs = tokio::sync::Semaphore::new(1 << 20);
    for threads in [1, 2] {
        let (ours, theirs) = side_by_side(
            threads,
            || drop(black_box(ours.try_acquire(1)).expect("there are plenty")),
            || drop(black_box(theirs.try_acquire()).expect("there are plenty")),
        );
        let rival = Rival { name: "tokio 1.54, no statistics", value: theirs };
        let metric = format!("concurrency/semaphore/{threads}t");
        report.row(metric, "ns/op", Better::Lower, ours, Some(rival));
    }
}

/// Nanoseconds a call of `ours` and of `theirs` with so many threads calling: the medians of all
/// samples. The two take turns, so that whatever else the machine does slows both.
fn side_by_side(threads: usize, ours: impl Fn() + Sync, theirs: impl Fn() + Sync) -> (f64, f64) {
    let mut samples = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        samples.0.push(sample(threads, &ours));
        samples.1.push(sample(threads, &theirs));
    }
    (median(samples.0), median(samples.1))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Nanoseconds of wall time a call, each thread on its own core, from the first start to the last
/// end. Threads that ran one after the other would each look as fast as one that is alone.
fn sample(threads: usize, call: &(impl Fn() + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    let times: Vec<_> = thread::scope(|scope| {
        let (barrier, call) = (&barrier, &call);
        let work = move |core: usize| {
            pin(core);
            (0..1000).for_each(|_| call());
            barrier.wait();
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            (start, Instant::now())
        };
        let spawned: Vec<_> = (0..threads).map(|core| scope.spawn(move || work(core))).collect();
        spawned.into_iter().map(|thread| thread.join().expect("no call panics")).collect()
    });
    let start = times.iter().map(|(start, _)| *start).min();
    let end = times.iter().map(|(_, end)| *end).max();
    let wall = start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start);
    wall.as_nanos() as f64 / f64::from(CALLS)
}

/// Moves this thread to the core of that number among those it may use, if there are so many.
fn pin(core: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let mut set = CpuSet::new();
    if let Some(core) = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).nth(core) {
        set.set(core);
        // Not pinned, it measures as well, only less steadily.
        let _ = sched_setaffinity(None, &set);
    }
}
