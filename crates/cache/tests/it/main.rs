//! The crate from outside.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod cache;
mod degraded;
mod every;
mod fake;
mod first;
mod flight;
mod leaks;
#[cfg(feature = "redis")]
mod redis;
mod removal;
#[cfg(feature = "redis")]
mod server;
#[cfg(feature = "redis")]
mod settle;
mod source;
mod tasks;
#[cfg(feature = "redis-tls")]
mod tls;
mod warm;
