//! A caller leaves, or a call panics, at every point at which anything waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use fastrand::Rng;
use teleflow_batcher::{Overflow, RequestBatcher, RequestConfig, RequestError};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::request::check_books;
use crate::request::futures::poll_once;

const MS: Duration = Duration::from_millis(1);

/// How far the future of a caller has come when it is dropped: each `await` of the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Point {
    /// Never polled.
    Unpolled,
    /// Waits for room in the queue.
    WaitsForRoom,
    /// In the queue, and the driver has not run since.
    HandedIn,
    /// In the queue, behind a batch that is full.
    Queued,
    /// In the batch that is being filled; or that one waits for a slot.
    Pending,
    /// In flight, in the middle of it.
    InFlight,
    /// The answer was sent to it, and it was not polled since.
    Answered,
}

const POINTS: [Point; 7] = [
    Point::Unpolled,
    Point::WaitsForRoom,
    Point::HandedIn,
    Point::Queued,
    Point::Pending,
    Point::InFlight,
    Point::Answered,
];

/// Lets everything run that can, without time passing.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn b4_a_caller_that_leaves_at_any_point_touches_nobody_else() {
    for point in POINTS {
        let (gate, calls) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
        let (open, seen) = (Arc::clone(&gate), Arc::clone(&calls));
        let config = RequestConfig {
            min_requests: 2,
            max_requests: 2,
            in_flight: 1,
            max_waiting: 1,
            timeout: Duration::MAX,
            overflow: Overflow::Wait,
            ..Default::default()
        };
        let batcher: RequestBatcher<u64, u64, String> =
            RequestBatcher::new(config, move |n: Vec<u64>| {
                seen.lock().unwrap().push(n.clone());
                let open = Arc::clone(&open);
                async move {
                    open.notified().await;
                    Ok(n.into_iter().map(|n| n * 2).collect())
                }
            })
            .unwrap();
        let call = |n| {
            let batcher = batcher.clone();
            Box::pin(async move { batcher.call(n).await })
        };
        let spawn = |n| tokio::spawn(call(n));

        // Others take the places that make the victim wait where it should.
        let before = match point {
            Point::Unpolled | Point::HandedIn | Point::InFlight | Point::Answered => 1,
            // Two in flight, one pending.
            Point::Pending => 3,
            // And that batch is full.
            Point::Queued => 4,
            // And so is the queue.
            Point::WaitsForRoom => 5,
        };
        let mut others = Vec::new();
        for n in 0..before {
            others.push((n, spawn(n)));
            settle().await;
        }
        let mut victim = call(100);
        if point != Point::Unpolled {
            assert!(poll_once(&mut victim).is_none());
        }
        if point != Point::HandedIn {
            settle().await;
        }
        if point == Point::Answered {
            gate.notify_one();
            settle().await;
        }
        drop(victim);
        settle().await;

        // As many more as make every batch full, and the way is free.
        let sent = matches!(point, Point::InFlight | Point::Answered);
        let taken_out = matches!(point, Point::HandedIn | Point::Queued | Point::Pending);
        for n in before..before + 4 {
            others.push((n, spawn(n)));
        }
        let close = {
            let batcher = batcher.clone();
            tokio::spawn(async move { batcher.close().await })
        };
        while !close.is_finished() {
            gate.notify_one();
            settle().await;
        }
        let count = others.len() as u64;
        for (n, other) in others {
            match other.await.unwrap() {
                Ok(answer) => assert_eq!(answer, n * 2, "{point:?}"),
                Err(error) => panic!("{point:?}: {n} has {error}"),
            }
        }
        let calls = calls.lock().unwrap().concat();
        assert_eq!(calls.contains(&100), sent, "{point:?}: {calls:?}");
        let stats = batcher.stats();
        check_books(&stats, 0);
        let victims = (stats.taken_out, stats.discarded, stats.answered - count);
        let expected = match point {
            Point::Unpolled | Point::WaitsForRoom => (0, 0, 0),
            Point::Answered => (0, 0, 1),
            _ => (u64::from(taken_out), u64::from(sent), 0),
        };
        assert_eq!(victims, expected, "{point:?}");
        assert_eq!(stats.slots.available, 1, "{point:?}: the slot is free");
    }
}

/// Panics once it was polled so often, and then once more while it is dropped if it should.
struct Fuse {
    polls: u32,
    panics_at: u32,
    in_drop: bool,
    answers: Vec<u64>,
}

impl Future for Fuse {
    type Output = Result<Vec<u64>, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.polls != self.panics_at, "poll {}", self.polls);
        if self.polls == 3 {
            return Poll::Ready(Ok(std::mem::take(&mut self.answers)));
        }
        self.polls += 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        assert!(!self.in_drop || std::thread::panicking(), "in drop");
    }
}

#[tokio::test(start_paused = true)]
async fn b4_a_panic_at_any_point_of_a_call_is_told_to_its_callers() {
    let config = RequestConfig { min_requests: 2, max_requests: 2, ..Default::default() };
    // The first request says where: at making the future, at each poll, in its drop, or nowhere.
    let batcher: RequestBatcher<u64, u64, String> = RequestBatcher::new(config, |n: Vec<u64>| {
        assert!(n[0] != 0, "making");
        let panics_at = u32::try_from(n[0] - 1).unwrap();
        Fuse { polls: 0, panics_at, in_drop: n[0] == 50, answers: n }
    })
    .unwrap();
    for first in [0, 1, 2, 3, 4, 50, 99] {
        let (a, b) = tokio::join!(batcher.call(first), batcher.call(7));
        match first {
            0 => assert_eq!(a.unwrap_err().to_string(), "the call panicked: making"),
            1..=4 => {
                let text = format!("the call panicked: poll {}", first - 1);
                assert_eq!(a.unwrap_err().to_string(), text);
                assert!(matches!(b, Err(RequestError::Panicked(_))));
            }
            // Its answers are lost with it: the batch's task ended, or the panic was told.
            50 => assert!(matches!(a, Err(RequestError::Lost | RequestError::Panicked(_)))),
            _ => assert_eq!((a.unwrap(), b.unwrap()), (99, 7)),
        }
    }
    batcher.close().await;
    assert_eq!(batcher.stats().slots.available, 4);
}

#[tokio::test(start_paused = true)]
async fn b4_a_call_that_hangs_holds_its_own_callers_and_its_slot_only() {
    let config =
        RequestConfig { min_requests: 1, max_requests: 1, in_flight: 2, ..Default::default() };
    let batcher: RequestBatcher<u64, u64, String> =
        RequestBatcher::new(config, |n: Vec<u64>| async move {
            if n[0] == 0 {
                std::future::pending::<()>().await;
            }
            Ok(n)
        })
        .unwrap();
    let hangs = {
        let batcher = batcher.clone();
        tokio::spawn(async move { batcher.call(0).await })
    };
    settle().await;
    for n in 1..100 {
        assert_eq!(batcher.call(n).await.unwrap(), n);
    }
    let late = batcher.call_by(0, Instant::now() + 50 * MS).await.unwrap_err();
    assert!(matches!(late, RequestError::DeadlinePassed), "a deadline ends the wait");
    let stats = batcher.stats();
    assert_eq!((stats.held, stats.slots.available), (2, 0));
    assert!(!hangs.is_finished());
}

/// Where `close` and `flush` wait: for room in the queue, and for the end.
#[tokio::test(start_paused = true)]
async fn b4_close_and_flush_may_be_dropped_anywhere_and_called_again() {
    for room in [false, true] {
        let config = RequestConfig {
            min_requests: 1,
            max_requests: 1,
            in_flight: 1,
            max_waiting: 1,
            ..Default::default()
        };
        let batcher: RequestBatcher<u64, u64, String> =
            RequestBatcher::new(config, |n: Vec<u64>| async move {
                sleep(10 * MS).await;
                Ok(n)
            })
            .unwrap();
        // One is in flight, one pending, and one fills the queue, where there is no room.
        let mut calls = Vec::new();
        for n in 0..if room { 1 } else { 3 } {
            let batcher = batcher.clone();
            calls.push(tokio::spawn(async move { batcher.call(n).await }));
            settle().await;
        }
        let mut flush = Box::pin(batcher.flush());
        assert_eq!(poll_once(&mut flush).is_some(), room);
        drop(flush);
        settle().await;
        let mut close = Box::pin(batcher.close());
        assert!(poll_once(&mut close).is_none(), "it waits for room, or for the end");
        drop(close);
        settle().await;
        let closed =
            matches!(poll_once(&mut Box::pin(batcher.call(9))), Some(Err(RequestError::Closed)));
        assert_eq!(closed, room, "where it was handed in it goes on by itself");
        batcher.close().await;
        for (n, call) in (0..).zip(calls) {
            assert_eq!(call.await.unwrap().unwrap(), n);
        }
        check_books(&batcher.stats(), 0);
    }
}

/// Callers wait in the batch that is being filled, and in one that is in flight.
#[test]
fn b4_a_runtime_that_ends_tells_who_still_waits() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (min_requests, in_flight) in [(2, 0), (1, 1)] {
        let (one, other) = (runtime(), runtime());
        let config =
            RequestConfig { timeout: Duration::MAX, min_requests, ..RequestConfig::default() };
        let batcher = one.block_on(async {
            RequestBatcher::<u8, u8, String>::new(config, |_| std::future::pending()).unwrap()
        });
        let mut call = Box::pin(batcher.call(1));
        assert!(poll_once(&mut call).is_none());
        one.block_on(settle());
        assert_eq!(batcher.stats().batches, in_flight);
        drop(one);
        let lost = other.block_on(call).unwrap_err();
        assert!(matches!(lost, RequestError::Lost), "{lost}");
        let closed = other.block_on(batcher.call(1)).unwrap_err();
        assert!(matches!(closed, RequestError::Closed), "{closed}");
        // The driver is gone: there is nothing to wait for.
        other.block_on(batcher.close());
    }
}

/// Counts itself while it lives, and panics in its drop where it should.
struct Bomb(Arc<AtomicU64>, bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        assert!(!self.1, "bomb");
    }
}

#[tokio::test(start_paused = true)]
async fn b4_what_panics_while_it_is_dropped_stops_nobody() {
    let config = RequestConfig { min_requests: 3, max_requests: 3, ..Default::default() };
    let alive = Arc::new(AtomicU64::new(0));
    let batcher: RequestBatcher<Bomb, u64, String> =
        RequestBatcher::new(config, |n: Vec<Bomb>| async move { Ok(vec![1; n.len()]) }).unwrap();
    let bomb = |armed| {
        alive.fetch_add(1, Ordering::Relaxed);
        Bomb(Arc::clone(&alive), armed)
    };
    // It leaves, so that the driver is the one to drop its request.
    let mut gone = Box::pin(batcher.call(bomb(true)));
    assert!(poll_once(&mut gone).is_none());
    drop(gone);
    let (a, b) = tokio::join!(batcher.call(bomb(false)), batcher.call(bomb(false)));
    assert_eq!((a.unwrap(), b.unwrap()), (1, 1));
    batcher.close().await;
    assert_eq!((alive.load(Ordering::Relaxed), batcher.stats().taken_out), (0, 1));
}

/// Callers that come and leave at random, calls that fail, panic or take their time.
#[tokio::test(start_paused = true)]
async fn b4_ten_thousand_calls_that_come_and_go_end_with_balanced_books() {
    for seed in 0..10 {
        let mut rng = Rng::with_seed(seed);
        let config = RequestConfig {
            min_requests: rng.usize(1..20),
            max_requests: rng.usize(20..40),
            in_flight: rng.usize(1..5),
            max_waiting: rng.usize(1..50),
            overflow: if rng.bool() { Overflow::Wait } else { Overflow::Refuse },
            ..Default::default()
        };
        let batcher: RequestBatcher<u64, u64, String> =
            RequestBatcher::new(config, |n: Vec<u64>| async move {
                sleep(MS * (n[0] % 30) as u32).await;
                match n[0] % 7 {
                    0 => Err("seven".to_owned()),
                    1 => panic!("eight"),
                    _ => Ok(n.iter().map(|n| n + 1).collect()),
                }
            })
            .unwrap();
        let mut tasks = Vec::new();
        for n in 0..1000 {
            let (batcher, after) = (batcher.clone(), MS * rng.u32(..500));
            let patience = rng.bool().then(|| MS * rng.u32(..40));
            tasks.push(tokio::spawn(async move {
                sleep(after).await;
                let deadline = Instant::now() + patience.unwrap_or(Duration::from_secs(60));
                let answer = if n % 2 == 0 {
                    batcher.call_by(n, deadline).await
                } else {
                    // Dropped at the time, as a caller of its own.
                    match tokio::time::timeout_at(deadline, batcher.call(n)).await {
                        Ok(answer) => answer,
                        Err(_) => return,
                    }
                };
                if let Ok(answer) = answer {
                    assert_eq!(answer, n + 1, "it is its own");
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        batcher.close().await;
        let stats = batcher.stats();
        check_books(&stats, 0);
        assert!(stats.answered > 0 && stats.failed > 0, "{stats:?}");
        assert!(stats.taken_out + stats.discarded > 0, "{stats:?}");
        assert_eq!(stats.slots.available, stats.slots.permits);
    }
}
