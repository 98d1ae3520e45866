//! What runs jobs: worker pool, fan-out.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use teleflow_benches::alloc;
use teleflow_benches::report::{Better, Report, Rival};
use teleflow_concurrency::{FanOut, Order, RuntimePreset, WorkerPool, WorkerPoolConfig};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const JOBS: u64 = 1_000_000;
/// Jobs of one fan-out: a batch, as a service has it.
const BATCH: u64 = 1000;
const BATCHES: u64 = 300;
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(10).expect("ten is not zero");
/// Turns of each side; the best of each counts, as anything else the machine does only slows.
const TURNS: usize = 5;

const RIVAL: &str = "tokio::spawn + JoinSet + Semaphore";

pub(crate) fn run(report: &mut Report) {
    let runtime = RuntimePreset::production().build().expect("a runtime starts");
    worker_pool(report, &runtime);
    fan_out(report, &runtime);
}

/// A million small jobs, from the first to the last result.
fn worker_pool(report: &mut Report, runtime: &Runtime) {
    let (ours, theirs) = best(
        || {
            runtime.block_on(async {
                let config = WorkerPoolConfig {
                    workers: AT_ONCE.get(),
                    queue: Some(1024),
                    deadline: Duration::from_secs(60),
                    ..WorkerPoolConfig::default()
                };
                let pool = WorkerPool::new(config).expect("the numbers make sense");
                for n in 0..JOBS {
                    drop(pool.submit(job(n)).await.expect("it waits"));
                }
                pool.shut_down().await;
                assert_eq!(pool.stats().completed, JOBS);
            });
        },
        || drop(black_box(runtime.block_on(spawned(JOBS, 1024)))),
    );
    let per_job = |time: Duration| time.as_nanos() as f64 / JOBS as f64;
    let rival = Rival { name: RIVAL, value: per_job(theirs) };
    let metric = "concurrency/worker_pool/1m";
    report.row(metric, "ns/job", Better::Lower, per_job(ours), Some(rival));
}

/// A thousand small jobs, ten at a time, results in the order of the jobs.
fn fan_out(report: &mut Report, runtime: &Runtime) {
    let fan_out = FanOut::new(AT_ONCE, Order::Input);
    let ours = || {
        runtime.block_on(async {
            let mut results = Vec::new();
            for _ in 0..BATCHES {
                results.clear();
                fan_out.run_into((0..BATCH).map(job), &mut results).await;
                black_box(&results);
            }
        });
    };
    let theirs = || {
        runtime.block_on(async {
            for _ in 0..BATCHES {
                black_box(spawned(BATCH, AT_ONCE.get()).await);
            }
        });
    };
    let jobs = (BATCH * BATCHES) as f64;
    let counted = |work: &dyn Fn()| alloc::count(work).1.allocations as f64 / jobs;
    let (our_allocations, their_allocations) = (counted(&ours), counted(&theirs));
    let (ours, theirs) = best(ours, theirs);
    let per_job = |time: Duration| time.as_nanos() as f64 / jobs;
    let rival = Rival { name: RIVAL, value: per_job(theirs) };
    report.row("concurrency/fan_out", "ns/job", Better::Lower, per_job(ours), Some(rival));
    let rival = Rival { name: RIVAL, value: their_allocations };
    let metric = "concurrency/fan_out/allocations";
    report.row(metric, "allocations/job", Better::Lower, our_allocations, Some(rival));
}

/// A little work, and one await that is ready.
async fn job(n: u64) -> u64 {
    std::future::ready(()).await;
    black_box(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What one writes without this crate: a task for each job, a permit each, results sorted.
async fn spawned(jobs: u64, at_once: usize) -> Vec<u64> {
    let permits = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    let mut results = vec![0; jobs as usize];
    let place = |results: &mut Vec<u64>, (n, result): (u64, u64)| results[n as usize] = result;
    for n in 0..jobs {
        let permit = Arc::clone(&permits).acquire_owned().await.expect("it is never closed");
        running.spawn(async move {
            let result = job(n).await;
            drop(permit);
            (n, result)
        });
        while let Some(done) = running.try_join_next() {
            place(&mut results, done.expect("no job panics"));
        }
    }
    while let Some(done) = running.join_next().await {
        place(&mut results, done.expect("no job panics"));
    }
    results
}

fn best(ours: impl Fn(), theirs: impl Fn()) -> (Duration, Duration) {
    let time = |work: &dyn Fn()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..TURNS {
        best.0 = best.0.min(time(&ours));
        best.1 = best.1.min(time(&theirs));
    }
    best
}
