//! C7: typed stages.

use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use teleflow_concurrency::{StageConfig, StageOrder, StagePanicked, Stages};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

use crate::alive::{Alive, settle};

fn stage(name: &'static str, at_once: usize) -> StageConfig {
    StageConfig::new(name, NonZeroUsize::new(at_once).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_items_go_through_all_stages_in_order_or_as_they_are_ready() {
    for order in [StageOrder::Kept, StageOrder::Free] {
        let config = |name, at_once| StageConfig { order, ..stage(name, at_once) };
        let mut line = Stages::<u64, u64>::new()
            .stage(config("odd", 4), async |n: u64| {
                if n.is_multiple_of(3) {
                    yield_now().await;
                }
                (n % 2 == 1).then_some(n)
            })
            .stage(config("text", 3), async |n: u64| Some(n.to_string()))
            .start(CancellationToken::new());
        let input = line.input.clone();
        drop(line.input);
        let sending = tokio::spawn(async move {
            for n in 0..1000 {
                input.send(n).await.unwrap();
            }
        });
        let mut all = Vec::new();
        while let Some(text) = line.output.recv().await {
            all.push(text.parse::<u64>().unwrap());
        }
        sending.await.unwrap();
        let stats = line.running.stats();
        assert_eq!((stats[0].taken, stats[0].left_out, stats[0].handed_on), (1000, 500, 500));
        assert_eq!((stats[1].name, stats[1].handed_on), ("text", 500));
        line.running.join().await.unwrap();
        if order == StageOrder::Free {
            all.sort_unstable();
        }
        assert_eq!(all, (0..1000).filter(|n| n % 2 == 1).collect::<Vec<_>>(), "{order:?}");
    }
}

#[tokio::test]
async fn c7_a_stage_that_is_behind_holds_up_whoever_sends() {
    let gate = Arc::new(Semaphore::new(0));
    let most = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let slow = {
        let (gate, most) = (Arc::clone(&gate), Arc::clone(&most));
        move |n: u64| {
            let (gate, most) = (Arc::clone(&gate), Arc::clone(&most));
            async move {
                most.1.fetch_max(most.0.fetch_add(1, SeqCst) + 1, SeqCst);
                gate.acquire().await.unwrap().forget();
                most.0.fetch_sub(1, SeqCst);
                Some(n)
            }
        }
    };
    let mut line = Stages::<u64, u64>::new()
        .stage(stage("fast", 2), async |n: u64| Some(n))
        .stage(stage("slow", 3), slow)
        .start(CancellationToken::new());
    let mut sent = 0;
    loop {
        settle().await;
        if line.input.try_send(sent).is_err() {
            break;
        }
        sent += 1;
    }
    // Queue and work of both, and one in the hand of the first.
    assert!((3 + 6..=4 + 2 + 1 + 6 + 3).contains(&sent), "{sent}");
    assert_eq!(most.1.load(SeqCst), 3, "as many at once as the slow stage may");
    gate.add_permits(100);
    drop(line.input);
    for n in 0..sent {
        assert_eq!(line.output.recv().await, Some(n));
    }
    assert_eq!(line.output.recv().await, None);
    line.running.join().await.unwrap();
}

#[tokio::test]
async fn c7_cancelled_dropped_early_or_at_once_nothing_is_left() {
    for way in ["cancelled", "output dropped", "running dropped", "join dropped"] {
        let (alive, cancel) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let counted = |waits: bool| {
            let alive = Arc::clone(&alive);
            move |n: u64| {
                let alive = Alive::new(&alive);
                async move {
                    let _alive = alive;
                    if waits && n == 5 {
                        pending::<()>().await;
                    }
                    Some(n)
                }
            }
        };
        let line = Stages::<u64, u64>::new()
            .stage(stage("first", 2), counted(false))
            .stage(stage("second", 2), counted(way != "output dropped"))
            .start(cancel.clone());
        let (input, output, running) = (line.input, line.output, line.running);
        let sending = tokio::spawn(async move {
            for n in 0.. {
                if input.send(n).await.is_err() {
                    return;
                }
            }
        });
        settle().await;
        match way {
            "cancelled" => {
                cancel.cancel();
                running.join().await.unwrap();
            }
            "output dropped" => {
                drop(output);
                running.join().await.unwrap();
            }
            "running dropped" => drop(running),
            _ => {
                let join = tokio::spawn(running.join());
                settle().await;
                join.abort();
            }
        }
        sending.await.unwrap();
        settle().await;
        assert_eq!(alive.load(SeqCst), 0, "{way}");
    }
}

#[tokio::test]
async fn c7_a_panic_ends_all_stages_and_is_told() {
    let mut line = Stages::<u64, u64>::new()
        .stage(stage("waits", 2), async |n: u64| {
            if n > 0 {
                pending::<()>().await;
            }
            Some(n)
        })
        .stage(stage("panics", 1), async |n: u64| {
            assert!(n > 0, "on purpose");
            Some(n)
        })
        .start(CancellationToken::new());
    for n in 0..3 {
        line.input.send(n).await.unwrap();
    }
    assert_eq!(line.output.recv().await, None);
    let panicked = line.running.join().await.unwrap_err();
    assert_eq!(panicked, StagePanicked { stage: "panics", said: "on purpose".into() });
    assert_eq!(panicked.to_string(), "stage `panics` panicked: on purpose");
    assert!(line.input.is_closed());
}
