//! Delivers OTLP payloads.
//!
//! An [`Exporter`] sends one payload, once, and says what became of it. Around it go [`Retry`],
//! which sends again what may be sent again, and [`Queue`], which bounds what waits, exports several
//! payloads at a time and accounts for each. Exporters are here for the console and, by feature,
//! for OTLP over gRPC and HTTP. Nothing here looks into a payload but [`Console`], keeps it on disk
//! or batches it.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use teleflow_exporter::{AnyExporter, Console, Observer, Queue, QueueConfig, Retry, RetryConfig};
//! use teleflow_otlp::{Payload, Signal};
//! use tokio::time::Instant;
//!
//! /// Keeps no books.
//! #[derive(Debug)]
//! struct Nobody;
//!
//! impl Observer for Nobody {}
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let exporter = Retry::new(Console::stdout(), RetryConfig::default())?;
//! let queue = Queue::spawn(AnyExporter::new(exporter), QueueConfig::default(), Arc::new(Nobody));
//!
//! // ExportTraceServiceRequest { ResourceSpans { ScopeSpans { Span { name: "GET /" } } } }
//! let request = b"\x0a\x0b\x12\x09\x12\x07\x2a\x05GET /";
//! queue.push(Payload::parse(Signal::Traces, request[..].into())?).await?;
//!
//! let drained = queue.drain(Instant::now() + Duration::from_secs(5)).await;
//! assert_eq!(drained.abandoned_items, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `grpc` (default): `GrpcExporter`, OTLP over gRPC.
//! - `http` (default): `HttpExporter`, OTLP over HTTP in protobuf.
//! - `gzip` (default): `Compression::Gzip`, and compressed replies.
//!
//! There is no TLS yet: an `https` endpoint is refused when the exporter is made.

#![forbid(unsafe_code)]

mod config;
mod console;
mod error;
mod escape;
mod exporter;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(all(feature = "gzip", any(feature = "grpc", feature = "http")))]
mod gzip;
#[cfg(feature = "http")]
mod http;
mod queue;
mod retry;
#[cfg(any(feature = "grpc", feature = "http"))]
mod wire;

pub use config::{Compression, ConfigError};
pub use console::Console;
pub use error::ExportError;
pub use exporter::{AnyExporter, Delivered, Exporter};
#[cfg(feature = "grpc")]
pub use grpc::{GrpcConfig, GrpcExporter};
#[cfg(feature = "http")]
pub use http::{HttpConfig, HttpExporter};
pub use queue::{
    Drained, Observer, OnFull, Outcome, Permit, Queue, QueueConfig, QueueStats, Refused,
};
pub use retry::{Backoff, MAX_SERVER_DELAY, Retry, RetryConfig, RetryStats};
