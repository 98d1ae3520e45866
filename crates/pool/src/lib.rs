//! Objects and buffers used again: pools whose guards return on drop.

mod pool;
mod recycle;
mod slot;
mod stats;
mod sync;
mod thread;

pub use pool::{Builder, Ceiling, Lease, OwnedLease, Pool};
pub use recycle::Recycle;
pub use stats::Stats;
