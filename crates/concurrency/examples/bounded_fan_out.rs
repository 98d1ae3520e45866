//! A thousand downloads, eight at a time, in at most 64 KiB of memory: `cargo run -p
//! teleflow-concurrency --example bounded_fan_out`.
//!
//! How many run is bounded by the fan-out, how much they hold by the budget. A job that needs more
//! than is free waits for those before it.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::num::NonZeroUsize;
use std::time::Duration;

use teleflow_concurrency::{Budget, FanOut, Order};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let memory = Budget::new("downloads", 64 << 10);
    let shared = memory.clone();
    let jobs = (0..1000_u64).map(move |number| {
        let memory = shared.clone();
        async move {
            let size = 1024 * (1 + number % 16);
            let permit = memory.take(size).await?;
            tokio::time::sleep(Duration::from_micros(200)).await;
            Ok::<_, teleflow_concurrency::Denied>(permit.bytes())
        }
    });
    let eight = NonZeroUsize::new(8).ok_or("eight is not zero")?;
    let sizes = FanOut::new(eight, Order::Input).try_run(jobs).await?;
    let stats = memory.stats();
    println!("{} downloads, {} bytes", sizes.len(), sizes.iter().sum::<u64>());
    println!("waited: half of them less than {:?}", stats.wait.quantile(0.5));
    assert_eq!((stats.held, stats.available), (0, 64 << 10), "every byte is back");
    Ok(())
}
