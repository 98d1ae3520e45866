//! Objects and buffers used again: pools whose guards return on drop.
//!
//! - [`Pool`]: any object, made by a factory, reset on return, bounded in number and bytes;
//!   threads that share one do not slow each other.
//! - [`Bounded`]: a limit on the objects alive; callers wait their turn.
//! - [`buffers`]: byte buffers that do not stay oversized. [`SizedPool`]: byte buffers by size, which
//!   become `Bytes` and come back when the last of them is dropped.
//! - [`spans`], [`messages`], [`contexts`]: the pools of a telemetry pipeline, and [`List`] and
//!   [`Pairs`], which keep the memory of what they are cleared of.
//! - [`ring`]: a ring of bytes with slices to write and to read, for one thread or two.
//! - [`cow`] and [`Text`]: bytes that are copied only where they change, and text that is checked
//!   once.
//! - `mapped` (a feature): bytes in files that are mapped into memory, in place of memory.
//!
//! There is no thread, no clock and no runtime in here: [`Pool::maintain`] takes `now`, and waiting is
//! a plain future.
//!
//! ```
//! use teleflow_pool::Pool;
//!
//! let pool = Pool::builder(|| Vec::with_capacity(1024)).reset(Vec::clear).capacity(100).build();
//! for line in ["one", "two", "three"] {
//!     let mut buffer = pool.acquire();
//!     buffer.extend_from_slice(line.as_bytes());
//! }
//! let stats = pool.stats();
//! assert_eq!((stats.gets, stats.created, stats.available), (3, 1, 1));
//! ```
//!
//! # Features
//!
//! - `mapped`: the module of that name, which writes files.

mod bounded;
mod buffers;
pub mod cow;
#[cfg(feature = "mapped")]
pub mod mapped;
mod objects;
mod pairs;
mod pool;
mod recycle;
pub mod ring;
#[cfg(any(feature = "mapped", all(test, teleflow_loom)))]
mod room;
mod sized;
mod slot;
mod stats;
mod sync;
mod text;
mod thread;

pub use bounded::{AcquireError, Bounded, BoundedLease};
pub use buffers::{Buffers, Oversized, buffers};
pub use objects::{Message, SpanRoom, contexts, messages, spans};
pub use pairs::{List, Pairs};
pub use pool::{Builder, Ceiling, Lease, OwnedLease, Pool};
pub use recycle::Recycle;
pub use sized::{SizedBuf, SizedPool, SizedStats};
pub use stats::Stats;
pub use text::{NotText, Text};
