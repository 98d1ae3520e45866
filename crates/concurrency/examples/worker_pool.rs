//! Workers that take what they can and refuse the rest: `cargo run -p teleflow-concurrency --example
//! worker_pool`.
//!
//! A burst comes that is larger than the queue. What was refused is known to whoever sent it, at
//! once; a panic is told to the one who waits for that task, and ends no worker.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use teleflow_concurrency::{Overflow, Rejected, WorkerPool, WorkerPoolConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = WorkerPoolConfig {
        name: "thumbnails",
        workers: 2,
        max_workers: Some(8),
        queue: Some(32),
        deadline: Duration::from_millis(500),
        overflow: Overflow::Reject,
        ..WorkerPoolConfig::default()
    };
    let pool = WorkerPool::new(config)?;
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for number in 0..100_u64 {
        let task = async move {
            tokio::time::sleep(Duration::from_millis(number % 5)).await;
            number * number
        };
        match pool.submit(task).await {
            Ok(handle) => accepted.push(handle),
            Err(Rejected::Full) => refused += 1,
            Err(closed) => return Err(closed.into()),
        }
    }
    let (mut done, count) = (0, accepted.len());
    for handle in accepted {
        done += usize::from(handle.await.is_ok());
    }
    pool.shut_down().await;
    let stats = pool.stats();
    println!("{count} accepted, {refused} refused, {done} done");
    println!("90 % within {:?}; grown {} times", stats.latency.quantile(0.9), stats.grown);
    assert_eq!(stats.submitted, stats.completed + stats.timed_out + stats.cancelled);
    Ok(())
}
