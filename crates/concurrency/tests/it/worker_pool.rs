//! C3, C4, C5: worker pools.

use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::StreamExt as _;
use teleflow_concurrency::{
    Overflow, Rejected, Scale, ScaleLimits, ScaleSample, TaskError, WorkerPool, WorkerPoolConfig,
    WorkerPoolConfigError,
};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::alive::settle;

const SECOND: Duration = Duration::from_secs(1);

fn pool(workers: usize, queue: usize, overflow: Overflow) -> WorkerPool {
    let config = WorkerPoolConfig { workers, queue: Some(queue), overflow, ..Default::default() };
    WorkerPool::new(config).unwrap()
}

/// A task that ends when it gets a permit.
fn held(gate: &Arc<Semaphore>) -> impl Future<Output = ()> + Send + use<> {
    let gate = Arc::clone(gate);
    async move { gate.acquire().await.unwrap().forget() }
}

/// What was taken has ended one way, or is there.
fn balances(pool: &WorkerPool) {
    let stats = pool.stats();
    let ended = stats.completed + stats.panicked + stats.timed_out + stats.cancelled;
    let held = (stats.queued + stats.active + stats.beside) as u64;
    assert_eq!(stats.submitted, ended + held, "{stats:?}");
}

#[tokio::test]
async fn c3_every_task_gives_its_result_and_no_more_run_than_there_are_workers() {
    let pool = pool(3, 6, Overflow::Block);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut handles = Vec::new();
    for n in 0..200 {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let task = async move {
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            yield_now().await;
            running.fetch_sub(1, SeqCst);
            n
        };
        handles.push(pool.submit(task).await.unwrap());
        assert!(pool.stats().queued <= 6);
    }
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.await, Ok(n));
    }
    assert_eq!(most.load(SeqCst), 3);
    settle().await;
    balances(&pool);
    assert_eq!((pool.stats().completed, pool.stats().latency.count), (200, 200));
    pool.shut_down().await;
    assert_eq!(pool.stats().workers, 0);
    assert_eq!(pool.submit(async {}).await.unwrap_err(), Rejected::Closed);
}

#[tokio::test]
async fn c3_sizes_have_defaults_or_are_refused() {
    let config = WorkerPoolConfig { workers: 0, ..Default::default() };
    let pool = WorkerPool::new(config).unwrap();
    pool.start_ahead();
    assert_eq!(pool.stats().workers, 10, "started ahead, and ten for zero");
    let gate = Arc::new(Semaphore::new(0));
    for _ in 0..30 {
        drop(pool.submit(held(&gate)).await.unwrap());
        settle().await;
    }
    assert_eq!((pool.stats().active, pool.stats().queued), (10, 20), "the queue is twice as long");

    let of = |config| WorkerPool::new(config).unwrap_err();
    let small = WorkerPoolConfig { workers: 5, max_workers: Some(4), ..Default::default() };
    assert_eq!(of(small), WorkerPoolConfigError::MaxBelowMin { min: 5, max: 4 });
    let none = WorkerPoolConfig { queue: Some(0), ..Default::default() };
    assert_eq!(of(none), WorkerPoolConfigError::NoQueue);
    let short =
        WorkerPoolConfig { workers: 3, max_workers: Some(4), queue: Some(6), ..Default::default() };
    let never = WorkerPoolConfigError::QueueTooShort { places: 6, least: 6 };
    assert_eq!(of(short), never, "it would never grow");
}

#[tokio::test]
async fn c4_with_its_default_queue_a_pool_grows_to_the_most() {
    let config = WorkerPoolConfig { workers: 1, max_workers: Some(4), ..Default::default() };
    let pool = WorkerPool::new(config).unwrap();
    let gate = Arc::new(Semaphore::new(0));
    for _ in 0..12 {
        drop(pool.submit(held(&gate)).await.unwrap());
        settle().await;
    }
    assert_eq!((pool.stats().workers, pool.stats().grown, pool.stats().queued), (4, 3, 8));
    gate.add_permits(12);
    pool.shut_down().await;
    assert_eq!(pool.stats().completed, 12);
    balances(&pool);
}

#[tokio::test(start_paused = true)]
async fn c3_a_deadline_is_the_callers_or_five_seconds_and_counts_the_waiting() {
    let pool = pool(1, 2, Overflow::Block);
    let start = Instant::now();
    let own = pool.submit_within(SECOND, pending::<()>()).await.unwrap();
    let waits = pool.submit_within(SECOND / 2, async { panic!("it never begins") }).await.unwrap();
    let default = pool.submit(pending::<()>()).await.unwrap();
    assert_eq!(own.await, Err(TaskError::TimedOut));
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(waits.await, Err::<(), _>(TaskError::TimedOut));
    assert_eq!(default.await, Err(TaskError::TimedOut));
    assert_eq!(start.elapsed(), 5 * SECOND);
    assert_eq!(pool.stats().timed_out, 3);
    assert_eq!(pool.submit_within(Duration::MAX, async { 1 }).await.unwrap().await, Ok(1));
    settle().await;
    balances(&pool);
}

#[tokio::test]
async fn c3_a_cancelled_parent_cancels_the_tasks() {
    let parent = CancellationToken::new();
    let config = WorkerPoolConfig { workers: 2, parent: parent.clone(), ..Default::default() };
    let pool = WorkerPool::new(config).unwrap();
    let mut handles = Vec::new();
    for _ in 0..5 {
        handles.push(pool.submit(pending::<()>()).await.unwrap());
    }
    parent.cancel();
    for handle in handles {
        assert_eq!(handle.await, Err(TaskError::Cancelled));
    }
    settle().await;
    balances(&pool);
    assert_eq!(pool.stats().cancelled, 5);
}

#[tokio::test]
async fn c3_cancelling_the_pool_drops_what_waits_and_what_runs() {
    let pool = pool(1, 4, Overflow::Block);
    let mut handles = Vec::new();
    for _ in 0..5 {
        handles.push(pool.submit(pending::<()>()).await.unwrap());
        settle().await;
    }
    pool.cancel();
    for handle in handles {
        assert_eq!(handle.await, Err(TaskError::Cancelled));
    }
    pool.shut_down().await;
    balances(&pool);
    assert_eq!((pool.stats().cancelled, pool.stats().workers), (5, 0));
}

#[tokio::test]
async fn c3_results_come_as_a_stream_and_no_more_is_begun_than_is_taken() {
    let pool = pool(2, 4, Overflow::Block);
    let begun = Arc::new(AtomicUsize::new(0));
    let tasks = {
        let begun = Arc::clone(&begun);
        (0..1000u64).map(move |n| {
            begun.fetch_add(1, SeqCst);
            async move { n }
        })
    };
    let mut results = pool.run_all(tasks);
    settle().await;
    assert!(begun.load(SeqCst) <= 5, "four results wait, and one task for a place");
    let mut all: Vec<_> = results.by_ref().map(Result::unwrap).collect().await;
    all.sort_unstable();
    assert_eq!(all, (0..1000).collect::<Vec<_>>());

    let rest = pool.run_all((0..1000).map(|_| pending::<()>()));
    settle().await;
    drop(rest);
    settle().await;
    assert!(pool.stats().submitted <= 1010, "nobody wants more");
    pool.cancel();
    pool.shut_down().await;
    balances(&pool);
}

#[test]
fn c4_it_grows_when_nine_of_ten_are_busy_and_the_queue_is_longer_than_twice_the_workers() {
    let limits = ScaleLimits { min: 2, max: 20, idle_after: SECOND };
    let now = Instant::now();
    let of = |workers, active, queued, idle_since| {
        limits.decide(now, &ScaleSample { workers, active, queued, idle_since })
    };
    assert_eq!(of(10, 10, 21, None), Scale::Grow);
    assert_eq!(of(10, 9, 21, None), Scale::Stay, "0.9 is not above 0.9");
    assert_eq!(of(10, 10, 20, None), Scale::Stay);
    assert_eq!(of(20, 20, 500, None), Scale::Stay, "that is the most");
    assert_eq!(of(1, 0, 1, None), Scale::Grow, "below the least");
    assert_eq!(of(3, 0, 0, Some(now)), Scale::Stay);
    assert_eq!(of(3, 0, 0, now.checked_sub(SECOND)), Scale::Shrink);
    assert_eq!(of(3, 0, 1, now.checked_sub(SECOND)), Scale::Stay, "there is something to do");
    assert_eq!(of(2, 0, 0, now.checked_sub(SECOND)), Scale::Stay, "that is the least");
}

#[tokio::test(start_paused = true)]
async fn c4_workers_come_and_go_and_no_task_is_lost() {
    let config = WorkerPoolConfig {
        workers: 1,
        max_workers: Some(4),
        queue: Some(20),
        idle_after: SECOND,
        deadline: Duration::MAX,
        ..Default::default()
    };
    let pool = WorkerPool::new(config).unwrap();
    let gate = Arc::new(Semaphore::new(0));
    for round in 1..=5u64 {
        let mut handles = Vec::new();
        for _ in 0..20 {
            handles.push(pool.submit(held(&gate)).await.unwrap());
            settle().await;
        }
        assert_eq!((pool.stats().workers, pool.stats().active), (4, 4));
        gate.add_permits(20);
        for handle in handles {
            assert_eq!(handle.await, Ok(()));
        }
        // Idle workers go, and one stays; meanwhile tasks come.
        for _ in 0..8 {
            assert_eq!(pool.submit(async { 7 }).await.unwrap().await, Ok(7));
            tokio::time::advance(SECOND / 4).await;
            settle().await;
        }
        tokio::time::advance(2 * SECOND).await;
        settle().await;
        let stats = pool.stats();
        assert_eq!((stats.workers, stats.grown, stats.shrunk), (1, 3 * round, 3 * round));
        assert_eq!(stats.completed, 28 * round);
        balances(&pool);
    }
}

#[tokio::test]
async fn c5_a_full_queue_rejects_blocks_runs_in_the_caller_or_beside() {
    let gate = Arc::new(Semaphore::new(0));
    let fill = async |pool: &WorkerPool| {
        for _ in 0..2 {
            drop(pool.submit(held(&gate)).await.unwrap());
            settle().await;
        }
        assert_eq!((pool.stats().active, pool.stats().queued), (1, 1));
    };

    let rejects = pool(1, 1, Overflow::Reject);
    fill(&rejects).await;
    assert_eq!(rejects.submit(async {}).await.unwrap_err(), Rejected::Full);
    assert_eq!(rejects.stats().rejected, 1);

    let runs = pool(1, 1, Overflow::RunInCaller);
    fill(&runs).await;
    // The test itself is no task of tokio's, the workers are.
    let ran = runs.submit(async { tokio::task::try_id() }).await.unwrap().await.unwrap();
    assert_eq!((ran, runs.stats().ran_in_caller), (None, 1));

    let beside = pool(1, 1, Overflow::SpawnBeside(NonZeroUsize::new(2).unwrap()));
    fill(&beside).await;
    let two =
        [beside.submit(held(&gate)).await.unwrap(), beside.submit(held(&gate)).await.unwrap()];
    assert_eq!(beside.submit(async {}).await.unwrap_err(), Rejected::Full);
    assert_eq!((beside.stats().beside, beside.stats().rejected), (2, 1));

    let blocks = pool(1, 1, Overflow::Block);
    fill(&blocks).await;
    let blocked = tokio::spawn({
        let blocks = blocks.clone();
        async move { blocks.submit(async { 3 }).await.unwrap().await }
    });
    // Who gives up loses the turn to the next.
    let gives_up = tokio::spawn({
        let blocks = blocks.clone();
        async move { blocks.submit(async {}).await.map(drop) }
    });
    settle().await;
    assert_eq!(blocks.stats().waiting, 2);
    gives_up.abort();
    settle().await;
    assert_eq!((blocks.stats().waiting, blocked.is_finished()), (1, false));

    gate.add_permits(20);
    assert_eq!(blocked.await.unwrap(), Ok(3));
    for handle in two {
        assert_eq!(handle.await, Ok(()));
    }
    for pool in [rejects, runs, beside, blocks] {
        pool.shut_down().await;
        balances(&pool);
        assert_eq!(pool.stats().beside, 0);
    }
}

#[tokio::test]
async fn c5_a_panic_is_told_and_no_worker_ends_of_it() {
    let told = Arc::new(AtomicUsize::new(0));
    let config = WorkerPoolConfig { workers: 1, ..Default::default() };
    let pool = WorkerPool::with_panic_handler(config, {
        let told = Arc::clone(&told);
        move |panic| {
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
            told.fetch_add(1, SeqCst);
            panic!("the handler, too");
        }
    })
    .unwrap();
    for n in 0..5 {
        let bad = pool.submit(async { panic!("on purpose") }).await.unwrap();
        assert_eq!(bad.await, Err::<(), _>(TaskError::Panicked("on purpose".into())));
        assert_eq!(pool.submit(async move { n }).await.unwrap().await, Ok(n));
    }
    settle().await;
    balances(&pool);
    let stats = pool.stats();
    assert_eq!((told.load(SeqCst), stats.panicked, stats.completed, stats.workers), (5, 5, 5, 1));
}

#[tokio::test]
async fn c3_handles_and_pools_that_are_dropped_lose_no_task() {
    let ran = Arc::new(AtomicUsize::new(0));
    let pool = pool(2, 4, Overflow::Block);
    for _ in 0..50 {
        let ran = Arc::clone(&ran);
        drop(pool.submit(async move { ran.fetch_add(1, SeqCst) }).await.unwrap());
    }
    drop(pool.submit(async {}));
    let other = pool.clone();
    drop(pool);
    other.shut_down().await;
    assert_eq!(ran.load(SeqCst), 50);
    balances(&other);
    assert_eq!(other.stats().submitted, 50, "a future that was not polled submits nothing");
}

#[test]
fn c3_the_end_of_a_runtime_is_the_end_of_its_tasks() {
    let pool = pool(1, 4, Overflow::Block);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let handle = runtime.block_on(pool.submit(pending::<()>())).unwrap();
    runtime.block_on(settle());
    let waits = runtime.block_on(pool.submit(async { 1 })).unwrap();
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(handle), Err(TaskError::Cancelled));
    assert_eq!((pool.stats().workers, pool.stats().cancelled), (0, 1));
    balances(&pool);
    // What waits could still be done by a worker of another runtime, as long as there is the pool.
    drop(pool);
    assert_eq!(runtime.block_on(waits), Err(TaskError::Cancelled));
}

#[tokio::test]
async fn c3_a_pool_that_is_dropped_does_what_it_took_and_its_workers_end() {
    let pool = pool(2, 10, Overflow::Block);
    let mut handles = Vec::new();
    for n in 0..10 {
        handles.push(pool.submit(async move { n }).await.unwrap());
    }
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(before, 2, "the workers");
    drop(pool);
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.await, Ok(n));
    }
    settle().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in being dropped");
    }
}

#[tokio::test]
async fn c5_what_panics_while_it_is_dropped_ends_no_worker_and_leaves_the_books_right() {
    let pool = pool(1, 4, Overflow::Block);
    // The future, with a result of its own.
    let bomb = Bomb;
    let armed = pool.submit(async move {
        let _bomb = bomb;
        std::future::ready(1).await
    });
    let handle = armed.await.unwrap();
    let panicked = || TaskError::Panicked("in being dropped".into());
    assert_eq!(handle.await, Err(panicked()));
    // A future that keeps it until it is dropped.
    let mut bomb = Some(Bomb);
    let kept = std::future::poll_fn(move |_| {
        assert!(bomb.is_some());
        std::task::Poll::Ready(bomb.as_mut().map(|_| 2))
    });
    assert_eq!(pool.submit(kept).await.unwrap().await, Err(panicked()));
    // A result that nobody wants.
    drop(pool.submit(async { Bomb }).await.unwrap());
    settle().await;
    assert_eq!((pool.stats().panicked, pool.stats().completed, pool.stats().workers), (2, 1, 1));

    // What waits and is let go of.
    let gate = Arc::new(Semaphore::new(0));
    drop(pool.submit(held(&gate)).await.unwrap());
    settle().await;
    for bomb in [Bomb, Bomb, Bomb] {
        drop(pool.submit(async move { drop(bomb) }).await.unwrap());
    }
    pool.cancel();
    pool.shut_down().await;
    balances(&pool);
    assert_eq!((pool.stats().cancelled, pool.stats().failed(), pool.stats().workers), (4, 6, 0));
}
