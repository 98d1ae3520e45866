//! Each part of the crate, from outside. Time is paused or passed in.
#![cfg(not(any(teleflow_loom, teleflow_shuttle)))]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod adaptive_buffer;
mod alive;
mod breaker;
mod budget;
mod cancel;
mod endings;
mod fan_out;
mod faults;
mod leaks;
mod rate_limiter;
#[cfg(feature = "runtime")]
mod runtime;
mod semaphore;
mod shutdown;
#[cfg(feature = "tracing")]
mod spans;
mod stages;
mod worker_pool;
