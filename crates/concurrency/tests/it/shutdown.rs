//! C9: shutdown in phases.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use teleflow_concurrency::{Shutdown, ShutdownPhase};
use tokio::time::Instant;

const DRAIN: Duration = Duration::from_secs(20);
const FORCE: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn c9_the_phases_come_in_order_and_the_report_names_what_each_ended() {
    let (shutdown, start) = (Shutdown::new(), Instant::now());
    let spawn = |name, ends: &'static str| {
        let (stopping, forced) = (shutdown.stopping(), shutdown.forced());
        tokio::spawn(shutdown.run(name, async move {
            match ends {
                "stopping" => stopping.cancelled().await,
                "a while later" => {
                    stopping.cancelled().await;
                    tokio::time::sleep(DRAIN / 2).await;
                }
                "forced" => forced.cancelled().await,
                _ => pending().await,
            }
        }))
    };
    spawn("receiver", "stopping");
    spawn("lane", "a while later");
    spawn("lane", "stopping");
    spawn("exporter", "forced");
    let lost = spawn("stuck", "never");
    assert_eq!(shutdown.phase(), ShutdownPhase::Running);
    assert_eq!(shutdown.live().values().sum::<usize>(), 5);

    let report = shutdown.shut_down(DRAIN, FORCE).await;
    assert_eq!(start.elapsed(), DRAIN + FORCE);
    assert_eq!(report.drained, BTreeMap::from([("lane", 2), ("receiver", 1)]));
    assert_eq!(report.forced, BTreeMap::from([("exporter", 1)]));
    assert_eq!(report.abandoned, BTreeMap::from([("stuck", 1)]));
    assert!(report.stuck.is_empty() && !report.is_clean());
    assert_eq!(lost.await.unwrap(), None, "it was dropped");
    assert_eq!(shutdown.phase(), ShutdownPhase::Abandoned);
    assert!(shutdown.live().is_empty());
}

#[tokio::test(start_paused = true)]
async fn c9_who_is_ready_is_not_waited_for() {
    let (shutdown, start) = (Shutdown::new(), Instant::now());
    let stopping = shutdown.stopping();
    let task = tokio::spawn(shutdown.run("server", async move {
        stopping.cancelled().await;
        7
    }));
    let report = shutdown.shut_down(Duration::MAX, FORCE).await;
    assert!(report.is_clean() && report.drained["server"] == 1);
    assert_eq!((start.elapsed(), task.await.unwrap()), (Duration::ZERO, Some(7)));
    assert_eq!(shutdown.phase(), ShutdownPhase::Draining, "nothing had to be forced");
}

#[tokio::test(start_paused = true)]
async fn c9_a_shutdown_that_is_dropped_goes_on_where_it_was() {
    let shutdown = Shutdown::new();
    tokio::spawn(shutdown.run("stuck", pending::<()>()));
    let first = shutdown.shut_down(DRAIN, FORCE);
    assert!(tokio::time::timeout(DRAIN + FORCE / 2, first).await.is_err());
    assert_eq!(shutdown.phase(), ShutdownPhase::Forced);
    let report = shutdown.shut_down(Duration::ZERO, FORCE).await;
    assert_eq!(report.abandoned, BTreeMap::from([("stuck", 1)]));
}

#[tokio::test(start_paused = true)]
async fn c9_futures_that_are_dropped_or_panic_are_not_waited_for() {
    let shutdown = Shutdown::new();
    drop(shutdown.run("never begun", pending::<()>()));
    let panics = tokio::spawn(shutdown.run("panics", async { panic!("on purpose") }));
    assert!(panics.await.unwrap_err().is_panic());
    let aborted = tokio::spawn(shutdown.run("aborted", pending::<()>()));
    aborted.abort();
    assert!(aborted.await.unwrap_err().is_cancelled());
    assert!(shutdown.live().is_empty());
    let report = shutdown.shut_down(DRAIN, FORCE).await;
    assert!(report.is_clean() && report.drained.is_empty());
}

/// Two threads, as one is kept busy. No time passes that the test waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c9_a_task_that_never_waits_is_reported_as_stuck() {
    let shutdown = Shutdown::new();
    let (begun, is_begun) = tokio::sync::oneshot::channel();
    let (end, is_ended) = std::sync::mpsc::channel::<()>();
    let task = tokio::spawn(shutdown.run("busy", async move {
        begun.send(()).unwrap();
        is_ended.recv().unwrap();
    }));
    is_begun.await.unwrap();
    let report = shutdown.shut_down(Duration::ZERO, Duration::ZERO).await;
    assert_eq!(report.stuck, BTreeMap::from([("busy", 1)]));
    end.send(()).unwrap();
    task.await.unwrap();
    assert!(shutdown.live().is_empty());
}
