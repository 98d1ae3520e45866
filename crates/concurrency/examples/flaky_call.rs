//! A breaker and a rate limit in front of a server that is down for a while: `cargo run -p
//! teleflow-concurrency --example flaky_call`.
//!
//! While it is open nobody waits for the server: the caller goes on with something else, and knows
//! when to ask again.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::num::NonZeroU32;
use std::time::Duration;

use teleflow_concurrency::{Breaker, BreakerConfig, CallError, Rate, RateLimiter};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = BreakerConfig {
        failures: Some(3),
        open_for: Duration::from_millis(40),
        ..BreakerConfig::default()
    };
    let breaker = Breaker::new(config)?;
    let five = NonZeroU32::new(5).ok_or("five is not zero")?;
    let rate = Rate { count: five, per: Duration::from_millis(10), burst: five };
    let limiter = RateLimiter::new("server", rate)?;

    let (mut answers, mut failures, mut cached) = (0, 0, 0);
    for number in 0..100 {
        limiter.wait().await;
        match breaker.call(server(number)).await {
            Ok(_) => answers += 1,
            Err(CallError::Failed(_)) => failures += 1,
            // A value from the last time will do.
            Err(CallError::Refused(_)) => cached += 1,
        }
    }
    println!("{answers} answers, {failures} failures, {cached} from the last time");
    println!("{:#?}", breaker.stats());
    assert_eq!(answers + failures + cached, 100);
    assert!(failures < 20, "20 calls would have failed");
    Ok(())
}

/// Down from the 20th to the 39th call.
async fn server(number: u32) -> Result<u32, &'static str> {
    tokio::task::yield_now().await;
    if (20..40).contains(&number) { Err("connection refused") } else { Ok(number) }
}
