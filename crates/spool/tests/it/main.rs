//! What the spool promises, on simulated and on real disks.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod sim;

mod bounds;
mod crashes;
mod damage;
mod kills;
mod model;

#[cfg(feature = "async")]
mod shell;
