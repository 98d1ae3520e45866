//! An OTLP server over gRPC and HTTP that hands on bytes.
//!
//! A request is read within limits, inflated, validated once and handed to a [`Consumer`] as a
//! [`Payload`](teleflow_otlp::Payload); its answer goes back to the client. Nothing is decoded.
//! This is not a pipeline: what is taken is the consumer's from then on.
//!
//! Every part is bounded by [`Limits`] and [`Timeouts`]. Not counted in
//! [`Limits::max_in_flight_bytes`] is what clients have sent and no request has read yet, at most
//! 4 MiB a connection; what one request is converted to from JSON before it is checked, at most one
//! request a thread; and some 35 KB for each connection that is open, most of it hyper's buffers.
//!
//! A client that finds no room is told when to come back: the wait follows the pace at which room is
//! made, so that what comes back is what can be taken. Who may send at all is decided before a body
//! is read, by [`auth`] and [`TlsConfig`].
//!
//! # Features
//!
//! - `zstd`: requests that are compressed by zstd. Needs a C compiler.
//! - `tls`: TLS and clients' certificates, by rustls with ring. Needs a C compiler.
//! - `htpasswd`: users and passwords from a file that Apache's `htpasswd` writes.
//!
//! ```
//! use std::time::Duration;
//!
//! use teleflow_otlp::{ExportResponse, Payload};
//! use teleflow_receiver::{Config, Consumer, GrpcConfig, HttpConfig, Receiver, Refused};
//! use tokio_util::sync::CancellationToken;
//!
//! struct Count;
//!
//! impl Consumer for Count {
//!     async fn consume(&self, payload: Payload) -> Result<ExportResponse, Refused> {
//!         println!("{} {}", payload.items(), payload.signal().items_name());
//!         Ok(ExportResponse::default())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), teleflow_receiver::BindError> {
//! let config = Config {
//!     grpc: Some(GrpcConfig { endpoint: "127.0.0.1:0".into(), ..GrpcConfig::default() }),
//!     http: Some(HttpConfig { endpoint: "127.0.0.1:0".into(), ..HttpConfig::default() }),
//!     ..Config::default()
//! };
//! let receiver = Receiver::bind(config).await?;
//! let stop = CancellationToken::new();
//! # stop.cancel();
//! let stopped = receiver.serve(Count, stop, Duration::from_secs(5)).await;
//! assert_eq!(stopped.connections_cut, 0);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod auth;
mod bind;
mod body;
mod config;
mod connection;
mod consumer;
mod cors;
mod door;
mod frames;
mod grpc;
mod http;
mod inflate;
mod listen;
mod overload;
mod peers;
mod rejection;
mod reply;
mod request;
mod serve;
mod socket;
mod stats;
mod throttle;
mod tls;
mod watch;

pub use bind::{BindError, Receiver};
pub use config::{Access, Config, GrpcConfig, HttpConfig, Limits, Paths, Timeouts};
pub use consumer::{Consumer, Refused, RefusedReason};
pub use cors::Cors;
pub use serve::Stopped;
pub use stats::{Requests, Snapshot, Stats, Transport};
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use tls::{TlsConfig, TlsError, TlsVersion};
