//! A worker pool against a simple loop, and the runtime presets side by side.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use teleflow_benches::alloc;
use teleflow_benches::report::{Better, Report, Rival};
use teleflow_concurrency::{RuntimePreset, WorkerPool, WorkerPoolConfig};
use tokio::runtime::{Builder, Runtime};

/// Turns of each side; the best of each counts, as anything else the machine does only slows.
const TURNS: usize = 7;

pub(crate) fn run(report: &mut Report) {
    let runtime = RuntimePreset::production().build().expect("a runtime starts");
    pool_against_loop(report, &runtime);
    pool_allocations(report, &runtime);
    presets(report);
}

/// What a job of a scene does.
#[derive(Clone, Copy)]
enum Job {
    /// Waits a millisecond, as for an answer.
    Waits,
    /// Computes for 20 microseconds.
    Computes,
    /// Next to nothing.
    Tiny,
}

impl Job {
    async fn run(self) -> u64 {
        match self {
            Self::Waits => tokio::time::sleep(Duration::from_millis(1)).await,
            Self::Computes => spin(Duration::from_micros(20)),
            Self::Tiny => std::future::ready(()).await,
        }
        black_box(1)
    }
}

/// One job after the other, against ten workers: a pool pays where jobs wait, and as far as there
/// are cores where they compute; what is tiny belongs into a loop.
fn pool_against_loop(report: &mut Report, runtime: &Runtime) {
    for (name, job, jobs) in
        [("waits", Job::Waits, 200), ("computes", Job::Computes, 5000), ("tiny", Job::Tiny, 50_000)]
    {
        let pool = || {
            runtime.block_on(async {
                assert_eq!(pooled(job, jobs).await, jobs);
            });
        };
        let simple = || {
            // On a worker, as the pool's jobs are.
            let all = runtime.spawn(async move {
                let mut sum = 0;
                for _ in 0..jobs {
                    sum += job.run().await;
                }
                sum
            });
            assert_eq!(runtime.block_on(all).expect("no job panics"), jobs);
        };
        let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..TURNS {
            ours = ours.min(time(pool, jobs));
            theirs = theirs.min(time(simple, jobs));
        }
        let rival = Rival { name: "simple loop", value: theirs };
        let metric = format!("concurrency/worker_pool/{name}");
        report.row(metric, "ns/job", Better::Lower, ours, Some(rival));
    }
}

async fn pooled(job: Job, jobs: u64) -> u64 {
    let pool = WorkerPool::new(config()).expect("the numbers make sense");
    for _ in 0..jobs {
        drop(pool.submit(job.run()).await.expect("it waits"));
    }
    pool.shut_down().await;
    pool.stats().completed
}

fn config() -> WorkerPoolConfig {
    let deadline = Duration::from_secs(60);
    WorkerPoolConfig { workers: 10, queue: Some(1024), deadline, ..WorkerPoolConfig::default() }
}

/// Of a job, the pool's own start and end included.
fn pool_allocations(report: &mut Report, runtime: &Runtime) {
    const JOBS: u64 = 100_000;
    let (_, counted) = alloc::count(|| runtime.block_on(pooled(Job::Tiny, JOBS)));
    let each = counted.allocations as f64 / JOBS as f64;
    let metric = "concurrency/worker_pool/allocations";
    report.row(metric, "allocations/job", Better::Lower, each, None);
}

/// The same small tasks on each preset, against the runtime that tokio makes by itself; `tasks`
/// only pass messages, of `holding` every tenth holds its thread for a millisecond.
fn presets(report: &mut Report) {
    let mut default = Builder::new_multi_thread();
    let default = default.enable_all().build().expect("a runtime starts");
    let presets = [
        ("production", RuntimePreset::production()),
        ("development", RuntimePreset::development()),
        ("high_performance", RuntimePreset::high_performance()),
    ];
    let presets = presets.map(|(name, preset)| (name, preset.build().expect("a runtime starts")));
    for (scene, holds, tasks) in [("tasks", false, 20_000), ("holding", true, 400)] {
        let (mut theirs, mut ours) = (f64::INFINITY, [f64::INFINITY; 3]);
        for _ in 0..TURNS {
            theirs = theirs.min(time(|| small_tasks(&default, tasks, holds), tasks));
            for (ours, (_, runtime)) in ours.iter_mut().zip(&presets) {
                *ours = ours.min(time(|| small_tasks(runtime, tasks, holds), tasks));
            }
        }
        for (ours, (name, _)) in ours.into_iter().zip(&presets) {
            let rival = Rival { name: "tokio's default runtime", value: theirs };
            let metric = format!("concurrency/runtime/{name}/{scene}");
            report.row(metric, "ns/task", Better::Lower, ours, Some(rival));
        }
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    report.note(format!("runtime: {cores} cores, so that production has {cores} workers"));
}

#[allow(clippy::disallowed_methods, reason = "it stands for a call that blocks")]
fn small_tasks(runtime: &Runtime, tasks: u64, holds: bool) {
    let sum = runtime.block_on(async {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(64);
        for number in 0..tasks {
            let sender = sender.clone();
            tokio::spawn(async move {
                if holds && number % 10 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
                tokio::task::yield_now().await;
                sender.send(1).await.expect("it is received");
            });
        }
        drop(sender);
        let mut sum = 0;
        while let Some(one) = receiver.recv().await {
            sum += one;
        }
        sum
    });
    assert_eq!(sum, tasks);
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Nanoseconds a thing.
fn time(work: impl Fn(), things: u64) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / things as f64
}
