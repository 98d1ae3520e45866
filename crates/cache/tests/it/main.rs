//! The crate from outside.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod cache;
mod fake;
mod first;
mod flight;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod server;
mod tasks;
