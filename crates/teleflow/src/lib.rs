//! Carries OpenTelemetry data: pooled, bounded, batched, sampled, delivered, with nothing lost
//! unseen.
//!
//! This crate gathers the others under one roof and adds [`Pipeline`]: the one place that wires
//! receivers, a tail sampler, a batcher and exporters together, starts them, drains them and stops
//! them, and that keeps the [books](Books).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use teleflow::exporter::{Console, QueueConfig};
//! use teleflow::receiver::Config;
//! use teleflow::sampler::{self, Policy, Rule};
//! use teleflow::{LaneConfig, Pipeline, Signal};
//! use tokio::time::Instant;
//!
//! # async fn run() -> Result<(), teleflow::StartError> {
//! let sampling = sampler::Config {
//!     rules: vec![Rule::new("errors", Policy::errors()), Rule::new("some", Policy::percent(10.0, ""))].into(),
//!     ..sampler::Config::default()
//! };
//! let pipeline = Pipeline::builder()
//!     .receiver("otlp", Config::default())
//!     .exporter("console", Console::stdout(), QueueConfig::default())
//!     .lane(LaneConfig::new("traces", Signal::Traces).from("otlp").sample(sampling).to("console"))
//!     .start()
//!     .await?;
//! // ...
//! let books = pipeline.shutdown(Instant::now() + Duration::from_secs(10)).await;
//! assert!(books.balance());
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `grpc`, `http` (default): the two ways out of OTLP.
//! - `gzip` (default): compression of what goes out.
//! - `zstd`: zstd, for what goes out and what comes in. Compiles C.
//! - `json`: OTLP/JSON out; it comes in without this.
//! - `tls`: TLS in and out, with certificates of both sides.
//! - `mapped`: held spans of the tail sampler on disk: [`sampler::Config::storage`] may be a
//!   `pool::mapped::Arena`.
//! - `redis`: decisions about traces that several gateways make together, in Redis; `redis-tls`: over
//!   TLS.
//! - `store`: the SQLite store.

#![forbid(unsafe_code)]

mod books;
mod exchange;
mod inlet;
mod intake;
mod lane;
mod outlet;
mod pipeline;

pub use books::{Account, Books};
pub use exchange::{ExchangeStats, SharedDecisions};
pub use inlet::Inlet;
pub use outlet::{Storage, StorageError};
pub use pipeline::{
    Builder, ChangeError, LaneConfig, LaneStats, Phase, Pipeline, Sending, StartError, Stats,
};
pub use teleflow_batcher as batcher;
pub use teleflow_cache as cache;
pub use teleflow_exporter as exporter;
pub use teleflow_otlp as otlp;
pub use teleflow_otlp::{Payload, Signal};
#[cfg(feature = "mapped")]
pub use teleflow_pool as pool;
pub use teleflow_receiver as receiver;
pub use teleflow_sampler as sampler;
pub use teleflow_spool as spool;
#[cfg(feature = "store")]
pub use teleflow_store as store;
