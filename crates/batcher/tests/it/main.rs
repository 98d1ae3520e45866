//! The batcher's promises. Names begin with the row of the systems that a test proves.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod batcher;
mod deadline;
mod guard;
mod model;
mod partitioned;
#[cfg(feature = "async")]
mod request;
#[cfg(feature = "async")]
mod request_cancel;
mod simple;
mod spans;
mod wait;
