//! What the spool promises, on simulated and on real disks.

mod sim;

mod bounds;
mod crashes;
mod damage;
mod kills;
mod model;

#[cfg(feature = "async")]
mod shell;
