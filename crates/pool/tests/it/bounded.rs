//! P6: at most so many objects, and a line before them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use teleflow_pool::{AcquireError, Bounded};
use tokio::task::yield_now;
use tokio::time::sleep;

fn pool(max_size: usize) -> Bounded<String> {
    Bounded::new(NonZeroUsize::new(max_size).expect("it is not 0"), 100, String::new, String::clear)
}

#[tokio::test]
async fn p6_no_more_than_max_size_are_alive() {
    let pool = pool(2);
    let (one, two) = (pool.acquire().await.unwrap(), pool.try_acquire().unwrap());
    assert_eq!(pool.try_acquire().unwrap_err(), AcquireError::Empty);
    drop(one);
    let mut three = pool.try_acquire().unwrap();
    three.push('x');
    drop((two, three));
    let stats = pool.stats();
    assert_eq!((stats.created, stats.available, stats.gets, stats.hits), (2, 2, 3, 1));
    assert_eq!(*pool.acquire().await.unwrap(), "");
    assert_eq!(pool.clear(), 2);
    assert_eq!(pool.stats().dropped, 2);
    assert!(pool.try_acquire().is_ok());
}

#[tokio::test]
async fn p6_who_waits_longest_is_served_first() {
    let pool = pool(1);
    let held = pool.acquire().await.unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..5 {
        let (pool, order) = (pool.clone(), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let lease = pool.acquire().await.unwrap();
            order.lock().unwrap().push(number);
            drop(lease);
        }));
        yield_now().await;
    }
    assert_eq!(pool.waiting(), 5);
    // The third gives up.
    tasks[2].abort();
    yield_now().await;
    drop(held);
    // Those who wait go before one who comes now.
    assert_eq!(pool.try_acquire().unwrap_err(), AcquireError::Empty);
    for task in tasks {
        let _ = task.await;
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 3, 4]);
    assert_eq!(pool.stats().created, 1);
}

#[tokio::test(start_paused = true)]
async fn p6_a_deadline_ends_the_wait_and_frees_the_turn() {
    let pool = pool(1);
    let second = Duration::from_secs(1);
    let held = pool.acquire_before(sleep(second)).await.unwrap();
    let start = tokio::time::Instant::now();
    let late = pool.acquire_before(sleep(second)).await;
    assert_eq!(late.unwrap_err(), AcquireError::TimedOut);
    assert_eq!((start.elapsed(), pool.waiting()), (second, 0));
    drop(held);
    assert!(pool.acquire_before(std::future::ready(())).await.is_ok(), "it was there");
}

#[tokio::test]
async fn p6_the_line_is_bounded_and_ends_with_the_pool() {
    let pool = Bounded::new(NonZeroUsize::MIN, 1, String::new, String::clear);
    let held = pool.acquire().await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(drop) }
    });
    yield_now().await;
    assert_eq!(pool.acquire().await.unwrap_err(), AcquireError::Crowded);
    pool.close();
    assert_eq!(waiting.await.unwrap(), Err(AcquireError::Closed));
    assert_eq!(pool.try_acquire().unwrap_err(), AcquireError::Closed);
    drop(held);
    let stats = pool.stats();
    assert_eq!((stats.available, stats.dropped, stats.in_use()), (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p6_tasks_on_several_threads_all_get_their_turn() {
    let pool = pool(3);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (pool, now, most) = (pool.clone(), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                for _ in 0..20 {
                    let lease = pool.acquire().await.unwrap();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let stats = pool.stats();
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert!(stats.created <= 3);
    assert_eq!((stats.gets, stats.puts, stats.in_use()), (1000, 1000, 0));
}
