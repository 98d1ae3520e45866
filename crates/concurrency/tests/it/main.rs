//! Each part of the crate, from outside. Time is paused or passed in.
#![cfg(not(any(teleflow_loom, teleflow_shuttle)))]

mod adaptive_buffer;
mod breaker;
mod budget;
mod cancel;
mod rate_limiter;
mod semaphore;
