//! Stop, drain, force, give up: `cargo run -p teleflow-concurrency --example graceful_shutdown`.
//!
//! The server stops when it is asked to, the writer drains what it has, one client listens only when
//! it is forced, and one to nothing at all. The report names each.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use teleflow_concurrency::Shutdown;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let shutdown = Shutdown::new();
    let (stopping, forced) = (shutdown.stopping(), shutdown.forced());

    let (sender, mut queue) = tokio::sync::mpsc::channel(100);
    tokio::spawn(shutdown.run("server", async move {
        let mut number = 0_u64;
        while !stopping.is_cancelled() {
            // Ends also in the middle of a wait for room.
            tokio::select! {
                () = stopping.cancelled() => {}
                sent = sender.send(number) => number += u64::from(sent.is_ok()),
            }
        }
    }));
    tokio::spawn(shutdown.run("writer", async move {
        let mut written = 0_u64;
        while queue.recv().await.is_some() {
            written += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!("written: {written}");
    }));
    tokio::spawn(shutdown.run("slow client", async move { forced.cancelled().await }));
    tokio::spawn(shutdown.run("stuck client", std::future::pending::<()>()));

    tokio::time::sleep(Duration::from_millis(20)).await;
    println!("live: {:?}", shutdown.live());
    let report = shutdown.shut_down(Duration::from_secs(1), Duration::from_millis(100)).await;
    println!("{report:#?}");
    assert_eq!((report.drained.len(), report.forced.len(), report.abandoned.len()), (2, 1, 1));
    assert!(!report.is_clean());
}
