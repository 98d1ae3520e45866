//! C6: fan-out and fan-in.

use std::future::pending;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures_util::FutureExt as _;
use teleflow_concurrency::{Errors, FanOut, Order};
use tokio::sync::Barrier;

use crate::alive::Alive;

fn fan_out(at_once: usize, order: Order) -> FanOut {
    FanOut::new(NonZeroUsize::new(at_once).unwrap(), order)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c6_results_are_in_the_order_of_the_jobs_or_all_there() {
    for at_once in [1, 2, 7, 1000] {
        let jobs = || {
            (0..500usize).map(|n| async move {
                if n % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                n
            })
        };
        let expected: Vec<_> = (0..500).collect();
        assert_eq!(fan_out(at_once, Order::Input).run(jobs()).await, expected);
        let mut any = fan_out(at_once, Order::Any).run(jobs()).await;
        any.sort_unstable();
        assert_eq!(any, expected);
    }
    let none: [std::future::Ready<u8>; 0] = [];
    assert_eq!(fan_out(3, Order::Input).run(none).await, [0u8; 0]);
}

#[tokio::test]
async fn c6_exactly_as_many_run_at_a_time_as_may() {
    let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // Four have to meet: with fewer at a time none would ever go on.
    let barrier = Arc::new(Barrier::new(4));
    let jobs: Vec<_> = (0..40)
        .map(|_| {
            let (alive, most, barrier) =
                (Arc::clone(&alive), Arc::clone(&most), Arc::clone(&barrier));
            async move {
                let _alive = Alive::new(&alive);
                most.fetch_max(alive.load(SeqCst), SeqCst);
                barrier.wait().await;
            }
        })
        .collect();
    assert_eq!(fan_out(4, Order::Any).run(jobs).await.len(), 40);
    assert_eq!((most.load(SeqCst), alive.load(SeqCst)), (4, 0));
}

#[tokio::test]
async fn c6_the_first_error_drops_the_rest_and_begins_nothing_more() {
    let (alive, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs = {
        let (alive, begun) = (Arc::clone(&alive), Arc::clone(&begun));
        (0..1_000_000usize).map(move |n| {
            let alive = Alive::new(&alive);
            begun.fetch_add(1, SeqCst);
            async move {
                let _alive = alive;
                match n {
                    0 => pending().await,
                    10 => Err("ten"),
                    _ => Ok(n),
                }
            }
        })
    };
    assert_eq!(fan_out(3, Order::Input).try_run(jobs).await, Err("ten"));
    assert_eq!(alive.load(SeqCst), 0, "the one that never ends was dropped");
    assert!(begun.load(SeqCst) <= 13, "{} were begun", begun.load(SeqCst));

    let fine = fan_out(3, Order::Input).try_run((0..9).map(|n| async move { Ok::<_, ()>(n) }));
    assert_eq!(fine.await.unwrap(), (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn c6_all_errors_are_collected_and_joined() {
    let jobs =
        (0..6).map(|n| async move { if n % 2 == 0 { Ok(n) } else { Err(format!("no {n}")) } });
    let errors = fan_out(2, Order::Input).run_all(jobs).await.unwrap_err();
    assert_eq!(errors, Errors(vec!["no 1".into(), "no 3".into(), "no 5".into()]));
    assert_eq!(errors.to_string(), "no 1\nno 3\nno 5");
}

#[tokio::test]
async fn c6_the_results_vector_is_used_again() {
    let mut results = Vec::with_capacity(100);
    let place = results.as_ptr();
    for round in 0..3usize {
        results.clear();
        fan_out(4, Order::Input).run_into((0..100).map(|n| async move { n }), &mut results).await;
        assert_eq!((results.len(), results.as_ptr()), (100, place), "round {round}");
    }
}

#[tokio::test]
async fn c6_a_panic_goes_on_in_the_caller_and_leaves_nothing_behind() {
    let alive = Arc::new(AtomicUsize::new(0));
    for panics_in_iterator in [false, true] {
        let jobs = {
            let alive = Arc::clone(&alive);
            (0..100).map(move |n| {
                assert!(!(panics_in_iterator && n == 5), "no fifth");
                let alive = Alive::new(&alive);
                async move {
                    let _alive = alive;
                    assert!(n != 7, "not seven");
                    if n == 0 {
                        pending::<()>().await;
                    }
                }
            })
        };
        let run = AssertUnwindSafe(fan_out(3, Order::Any).run(jobs)).catch_unwind().await;
        let panic = run.unwrap_err();
        let said = if panics_in_iterator { "no fifth" } else { "not seven" };
        assert_eq!(panic.downcast_ref::<&str>(), Some(&said));
        // What was dropped with the run is dropped by its tasks' worker, which is this thread.
        while alive.load(SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn c6_a_run_that_is_dropped_drops_its_jobs() {
    let alive = Arc::new(AtomicUsize::new(0));
    let jobs = {
        let alive = Arc::clone(&alive);
        (0..100).map(move |_| {
            let alive = Alive::new(&alive);
            async move {
                let _alive = alive;
                pending::<()>().await;
            }
        })
    };
    let run = tokio::spawn(fan_out(5, Order::Any).run(jobs));
    while alive.load(SeqCst) < 5 {
        tokio::task::yield_now().await;
    }
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    while alive.load(SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}
