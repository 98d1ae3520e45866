//! The crate from outside.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod first;
mod flight;
mod tasks;
