//! What teleflow's own tests and benchmarks share. Not published.
//!
//! Everything is seeded: the same seed gives the same telemetry on every machine.

#![deny(unsafe_code)]

pub mod alloc;
pub mod differential;
pub mod ids;
pub mod mangle;
pub mod numbered;
pub mod raw;
pub mod redis;
pub mod reference;
pub mod sink;
pub mod skips;
pub mod telemetry;
