//! Delivers OTLP payloads.
//!
//! An [`Exporter`] sends one payload, once, and says what became of it. Exporters are here for the
//! console and, by feature, for OTLP over gRPC and HTTP; a few lines make another. Nothing here looks
//! into a payload but [`Console`] and [`Balance`], keeps it on disk or batches it.
//!
//! Around an exporter go wrappers, each of which is an exporter itself:
//!
//! - [`Queue`] bounds what waits, exports several payloads at a time and accounts for each. It is the
//!   outermost.
//! - [`SplitTooLarge`] sends in pieces what is too large in one.
//! - [`Retry`] sends again what may be sent again; a [`RetryBudget`] bounds how much that is.
//! - [`FanOut`] sends to several, [`Failover`] to the next where one is away, [`Balance`] to the one
//!   that a trace belongs to.
//! - [`CircuitBreaker`] leaves a failing destination alone, [`AdaptiveConcurrency`] finds out how many
//!   requests at a time it takes, [`RateLimit`] keeps to a rate, [`Timeout`] to a time.
//!
//! What is made of a payload for the wire is made once for all attempts and destinations
//! ([`Outgoing`]). What arrived, in whole or in part, is never sent again; where only a part did, the
//! answer is [`ExportError::Undelivered`], which gives the rest back, and [`Tally`] counts it.
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
//! - `json`: `Encoding::Json` for `HttpExporter`.
//! - `gzip` (default): `Compression::Gzip`, and replies compressed so.
//! - `zstd`: `Compression::Zstd`, and replies compressed so. Compiles C.
//! - `tls`: `https` endpoints and `TlsConfig`, by rustls. Its cryptography is ring's, unless the program
//!   has installed another provider as the process's default. Without the feature an `https` endpoint
//!   is refused when the exporter is made.

#![forbid(unsafe_code)]

mod adaptive;
mod balance;
mod circuit_breaker;
#[cfg(any(feature = "grpc", feature = "http"))]
mod client;
#[cfg(any(feature = "grpc", feature = "http"))]
mod compress;
mod config;
#[cfg(any(feature = "grpc", feature = "http"))]
mod connection;
mod console;
#[cfg(any(feature = "grpc", feature = "http"))]
mod endpoint;
#[cfg(any(feature = "grpc", feature = "http"))]
mod env;
mod error;
mod escape;
mod exporter;
mod failover;
mod fan_out;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod http;
#[cfg(any(feature = "grpc", feature = "http"))]
mod negotiate;
mod outgoing;
mod queue;
mod rate_limit;
mod retry;
mod split;
mod timeout;
mod undelivered;
#[cfg(any(feature = "grpc", feature = "http"))]
mod wire;

pub use adaptive::{
    AdaptiveConcurrency, AdaptiveConcurrencyConfig, AdaptiveConcurrencyStats, Controller, Sample,
};
pub use balance::{Balance, BalanceConfig, EndpointStats};
pub use circuit_breaker::CircuitBreaker;
#[cfg(any(feature = "grpc", feature = "http"))]
pub use client::WireStats;
pub use config::{Compression, ConfigError, Encoding};
#[cfg(any(feature = "grpc", feature = "http"))]
pub use connection::{
    ConnectionConfig, ConnectionEvent, ConnectionObserver, ConnectionStats, KeepAlive, Proxy,
};
#[cfg(all(feature = "tls", any(feature = "grpc", feature = "http")))]
pub use connection::{Identity, Pem, TlsConfig, TlsVersion};
pub use console::Console;
#[cfg(any(feature = "grpc", feature = "http"))]
pub use env::{
    BatchEnv, ClientFiles, EnvError, EnvWarning, MAX_ENV_BYTES, OtlpConfig, OtlpEnv, OtlpProtocol,
};
pub use error::ExportError;
pub use escape::acts_on_terminal;
pub use exporter::{AnyExporter, Delivered, Exporter};
pub use failover::Failover;
pub use fan_out::FanOut;
#[cfg(feature = "grpc")]
pub use grpc::{GrpcConfig, GrpcExporter};
#[cfg(feature = "http")]
pub use http::{HttpConfig, HttpExporter};
pub use outgoing::Outgoing;
pub use queue::{
    Drained, ExportTimes, Observer, OnFull, Outcome, Permit, Queue, QueueConfig, QueueStats,
    Refused,
};
pub use rate_limit::{RateLimit, RateUnit};
pub use retry::{
    Backoff, MAX_SERVER_DELAY, Retry, RetryBudget, RetryBudgetConfig, RetryConfig, RetryStats,
};
pub use split::{SplitStats, SplitTooLarge};
pub use timeout::Timeout;
pub use undelivered::{Left, Tally, Undelivered};
