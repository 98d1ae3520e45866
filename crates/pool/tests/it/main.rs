//! What the crate promises, row by row: P1 to P9 of `docs/systems.md`.

#![cfg(not(any(teleflow_loom, teleflow_shuttle)))]

mod bounded;
mod bytes;
mod endings;
mod leaks;
#[cfg(feature = "mapped")]
mod mapped;
mod model;
mod pool;
