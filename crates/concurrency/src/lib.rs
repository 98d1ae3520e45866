//! Bounded work: semaphore, byte budget, rate limiter, worker pool, breaker, shutdown.

#![forbid(unsafe_code)]

mod latency;
mod sharded;
mod sync;

pub use self::latency::{Latency, LatencySnapshot};
