//! C1.

use std::sync::Arc;
use std::time::Duration;

use teleflow_concurrency::{Denied, Semaphore};
use tokio::task::yield_now;
use tokio::time::{Instant, advance};

#[tokio::test(start_paused = true)]
async fn c1_those_who_wait_are_served_in_order_and_a_large_request_is_not_starved() {
    let semaphore = Arc::new(Semaphore::new("exports", 3));
    let first = semaphore.acquire_owned(2).await.unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in [3, 1, 2] {
        let (semaphore, order) = (Arc::clone(&semaphore), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let permit = semaphore.acquire(n).await.unwrap();
            order.lock().unwrap().push(n);
            yield_now().await;
            drop(permit);
        }));
        yield_now().await;
    }
    // One permit is free, but three are waited for.
    assert_eq!(semaphore.available(), 1);
    assert_eq!(semaphore.try_acquire(1).unwrap_err(), Denied::Full);
    assert_eq!(semaphore.stats().waiting, 3);
    drop(first);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [3, 1, 2]);
    let stats = semaphore.stats();
    assert_eq!((stats.available, stats.acquired, stats.released), (3, 8, 8));
    assert_eq!((stats.refused, stats.waiting, stats.wait.count), (1, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn c1_a_deadline_ends_the_wait_and_the_wait_is_measured() {
    let semaphore = Semaphore::new("exports", 1);
    let held = semaphore.try_acquire(1).unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    assert_eq!(semaphore.acquire_until(1, deadline).await.unwrap_err(), Denied::TimedOut);
    assert_eq!(Instant::now(), deadline);
    assert_eq!((semaphore.stats().timed_out, semaphore.stats().waiting), (1, 0));

    let (permit, ()) = tokio::join!(semaphore.acquire(1), async {
        advance(Duration::from_millis(300)).await;
        drop(held);
    });
    // Too late, but there is one.
    drop(permit);
    drop(semaphore.acquire_until(1, deadline).await.unwrap());
    let wait = semaphore.stats().wait;
    assert_eq!((wait.count, wait.sum), (1, Duration::from_millis(300)));
}

#[tokio::test]
async fn c1_more_than_there_is_and_a_closed_semaphore_are_named() {
    let semaphore = Semaphore::new("exports", 2);
    let too_large = Denied::TooLarge { asked: 3, whole: 2 };
    assert_eq!(semaphore.try_acquire(3).unwrap_err(), too_large);
    assert_eq!(semaphore.acquire(3).await.unwrap_err(), too_large);

    let held = semaphore.acquire(2).await.unwrap();
    let (waiter, ()) = tokio::join!(semaphore.acquire(1), async { semaphore.close() });
    assert_eq!(waiter.unwrap_err(), Denied::Closed);
    drop(held);
    assert_eq!(semaphore.try_acquire(1).unwrap_err(), Denied::Closed);
    assert_eq!(semaphore.acquire(1).await.unwrap_err(), Denied::Closed);
    assert_eq!(semaphore.available(), 2);
}

#[test]
fn c1_permits_split_and_merge_and_all_come_back() {
    let (semaphore, other) = (Semaphore::new("a", 5), Semaphore::new("b", 5));
    let mut permit = semaphore.try_acquire(5).unwrap();
    assert!(permit.split(6).is_none());
    let part = permit.split(2).unwrap();
    assert_eq!((permit.permits(), part.permits()), (3, 2));
    let foreign = other.try_acquire(1).unwrap();
    let foreign = permit.merge(foreign).unwrap_err();
    permit.merge(part).unwrap();
    drop(permit.split(1));
    assert_eq!(semaphore.available(), 1);
    drop((permit, foreign));
    assert_eq!((semaphore.available(), other.available()), (5, 5));
}
