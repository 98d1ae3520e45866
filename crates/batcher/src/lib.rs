//! Turns many small payloads into few large ones.
//!
//! [`Batcher`] appends the payloads it is given and hands a batch on when it is large enough, or
//! old enough, or about to pass a limit. It never decodes: merging is appending segments, and only
//! a payload that does not fit as a whole is cut. It reads no clock and spawns nothing.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use teleflow_batcher::{Batcher, Config};
//! use teleflow_otlp::{Payload, Signal};
//!
//! let mut batcher = Batcher::new(Signal::Traces, Config::default())?;
//! let now = Instant::now();
//! // ResourceSpans { ScopeSpans { Span {} } }
//! let one = Payload::parse(Signal::Traces, b"\x0a\x04\x12\x02\x12\x00".as_slice().into())?;
//!
//! let mut full = Vec::new();
//! batcher.offer(now, one.clone(), &mut full);
//! batcher.offer(now, one, &mut full);
//! assert!(full.is_empty(), "two spans are no batch yet");
//!
//! let batch = batcher.poll(now + Duration::from_millis(200)).expect("the batch is old enough");
//! assert_eq!(batch.items(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Partitioned`] does the same apart for each key. [`AdaptiveWait`] lets the wait follow the time
//! that exports take. `RequestBatcher` coalesces requests of any kind into one call.
//!
//! # Features
//!
//! - `async`: `RequestBatcher`, on tokio. The rest needs no runtime.

#![forbid(unsafe_code)]

mod batcher;
mod config;
mod guard;
mod partitioned;
mod pending;
#[cfg(feature = "async")]
mod request;
mod stats;
mod wait;

pub use batcher::Batcher;
pub use config::{Config, ConfigError};
pub use partitioned::{Batch, OnFull, PartitionConfig, PartitionStats, Partitioned};
#[cfg(feature = "async")]
pub use request::{Overflow, RequestBatcher, RequestConfig, RequestError, RequestStats};
pub use stats::{Stats, Trigger};
pub use wait::{AdaptiveWait, ExportTime, WaitRange};
