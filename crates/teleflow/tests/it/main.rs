//! A real receiver facing a real exporter, and every item accounted for.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod persistent;
mod pipeline;
mod results;
mod sampling;
mod sending;
