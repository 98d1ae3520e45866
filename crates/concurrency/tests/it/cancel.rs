//! Done-when 6 for what this file's neighbours test: a future is dropped at every point at which it
//! can wait, and a closure panics wherever one is called; afterwards everything is back.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant as StdInstant};

use teleflow_concurrency::{
    AdaptiveBuffer, AdaptiveBufferConfig, Breaker, BreakerConfig, BreakerState, Budget, Rate,
    RateLimiter, Semaphore, Unfinished,
};
use tokio::time::Instant;

fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Where in its life the wait is dropped.
#[derive(Clone, Copy, Debug)]
enum Dropped {
    Unpolled,
    Waiting,
    Served,
}

const POINTS: [Dropped; 3] = [Dropped::Unpolled, Dropped::Waiting, Dropped::Served];

fn wait_and_drop<F: Future>(at: Dropped, wait: F, free: impl FnOnce()) {
    let mut wait = Box::pin(wait);
    if !matches!(at, Dropped::Unpolled) {
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let mut free = Some(free);
    if matches!(at, Dropped::Served) {
        free.take().expect("it is there")();
    }
    drop(wait);
    if let Some(free) = free {
        free();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_acquire_leaves_all_permits_and_nobody_in_line() {
    let deadline = Instant::now() + Duration::from_secs(1);
    for at in POINTS {
        for form in 0..5 {
            let semaphore = std::sync::Arc::new(Semaphore::new("s", 2));
            let held = semaphore.try_acquire(2).unwrap();
            let free = || drop(held);
            match form {
                0 => wait_and_drop(at, semaphore.acquire(1), free),
                1 => wait_and_drop(at, semaphore.acquire_owned(2), free),
                2 => wait_and_drop(at, semaphore.acquire_until(1, deadline), free),
                3 => wait_and_drop(at, semaphore.acquire_owned_until(1, deadline), free),
                _ => wait_and_drop(at, semaphore.with_permits(2, async {}), free),
            }
            let stats = semaphore.stats();
            assert_eq!((stats.available, stats.waiting), (2, 0), "{at:?} {form}");
            assert!(semaphore.try_acquire(2).is_ok(), "{at:?} {form}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_served_acquire_that_is_dropped_passes_its_permits_on() {
    let semaphore = Semaphore::new("s", 1);
    let held = semaphore.try_acquire(1).unwrap();
    let mut first = Box::pin(semaphore.acquire(1));
    let mut second = Box::pin(semaphore.acquire(1));
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(held);
    drop(first);
    assert!(second.as_mut().poll(&mut context).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_take_leaves_all_bytes_and_nobody_in_line() {
    let deadline = Instant::now() + Duration::from_secs(1);
    for at in POINTS {
        for form in 0..4 {
            let root = Budget::new("root", 10);
            let child = root.child("child", 4).unwrap();
            let held = (root.try_take(6).unwrap(), child.try_take(4).unwrap());
            let free = || drop(held);
            match form {
                0 => wait_and_drop(at, root.take(6), free),
                1 => wait_and_drop(at, child.take(10), free),
                2 => wait_and_drop(at, root.take_until(1, deadline), free),
                _ => wait_and_drop(at, child.take_until(3, deadline), free),
            }
            let stats = child.stats();
            assert_eq!((stats.available, stats.held, stats.waiting), (10, 0, 0), "{at:?} {form}");
            assert!(child.try_take(10).is_ok(), "{at:?} {form}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_of_a_limiter_leaves_its_turn_to_the_next() {
    let one = std::num::NonZeroU32::MIN;
    let rate = Rate { count: one, per: Duration::from_secs(1), burst: one };
    let limiter = RateLimiter::new("l", rate).unwrap();
    limiter.check().unwrap();
    drop(limiter.wait());
    assert!(poll_once(limiter.wait()).is_none());
    assert!(poll_once(limiter.wait_until(Instant::now() + Duration::from_secs(9))).is_none());
    let start = Instant::now();
    limiter.wait().await;
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_send_or_receive_neither_loses_an_item_nor_a_place() {
    let config = AdaptiveBufferConfig { min: 1, max: 1, ..Default::default() };
    for at in POINTS {
        let buffer = AdaptiveBuffer::new(config.clone()).unwrap();
        buffer.try_send(0).unwrap();
        wait_and_drop(at, buffer.send(1), || assert_eq!(buffer.try_recv(), Some(0)));
        buffer.try_send(2).unwrap();
        assert_eq!(buffer.try_recv(), Some(2), "{at:?}");

        wait_and_drop(at, buffer.recv(), || buffer.try_send(3).unwrap());
        assert_eq!(buffer.try_recv(), Some(3), "{at:?}");
        let stats = buffer.stats();
        assert_eq!((stats.senders_waiting, stats.receivers_waiting), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_or_a_cancel_in_a_future_gives_permits_and_probes_back() {
    let semaphore = Semaphore::new("s", 2);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        poll_once(semaphore.with_permits(2, async { panic!("on purpose") }))
    }));
    assert!(panicked.is_err());
    assert!(poll_once(semaphore.with_permits(2, std::future::pending::<()>())).is_none());
    assert_eq!(semaphore.available(), 2);

    let unfinished = Unfinished::Ignore;
    let config = BreakerConfig { failures: Some(1), unfinished, ..Default::default() };
    let breaker = Breaker::new(config).unwrap();
    let now = StdInstant::now();
    breaker.check(now).unwrap().failure(now);
    tokio::time::advance(Duration::from_secs(31)).await;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        poll_once(
            breaker.call(async { if true { panic!("on purpose") } else { Ok::<(), ()>(()) } }),
        )
    }));
    assert!(panicked.is_err());
    assert!(poll_once(breaker.call(std::future::pending::<Result<(), ()>>())).is_none());
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert_eq!(breaker.call(async { Ok::<_, ()>(()) }).await, Ok(()));
    assert_eq!(breaker.state(), BreakerState::Closed);
}
