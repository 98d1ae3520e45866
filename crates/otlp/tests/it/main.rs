//! The crate against the reference codec, on generated requests.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod ack;
mod depth;
mod json;
mod split;
mod validate;
mod views;
