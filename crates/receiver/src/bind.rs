//! A receiver that holds its ports and does not serve yet.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use teleflow_concurrency::Budget;
use teleflow_otlp::Signal;
use thiserror::Error;
use tokio::net::{self, TcpListener};
use tokio::time::Instant;

use crate::config::Paths;
use crate::overload::{Bounds, Overload};
use crate::serve::Core;
use crate::stats::{Counters, Stats};
use crate::{Config, HttpConfig};

/// An OTLP server that is bound to its ports. [`serve`](Self::serve) starts it.
#[derive(Debug)]
pub struct Receiver {
    pub(crate) grpc: Option<TcpListener>,
    pub(crate) http: Option<TcpListener>,
    pub(crate) core: Arc<Core>,
}

/// Why a receiver could not be made. All of it is for the operator to put right.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The endpoint is not `host:port`, or its name has no address.
    #[error("cannot resolve the {protocol} endpoint {endpoint:?}")]
    Resolve {
        /// `OTLP/gRPC` or `OTLP/HTTP`.
        protocol: &'static str,
        /// As configured.
        endpoint: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// The port is taken by another process, or not allowed to this one.
    #[error("cannot listen for {protocol} on {address}")]
    Listen {
        /// `OTLP/gRPC` or `OTLP/HTTP`.
        protocol: &'static str,
        /// The address that was tried last.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// A path does not start with `/`, or is that of another signal as well.
    #[error("the HTTP path {path:?} for {signal} must start with / and be of this signal only")]
    Path {
        /// Whose path it is.
        signal: Signal,
        /// As configured.
        path: String,
    },
}

// === impl Receiver ===

impl Receiver {
    /// Takes the ports. Connections are queued by the operating system until [`serve`](Self::serve)
    /// is called.
    ///
    /// # Errors
    ///
    /// [`BindError`] if a port cannot be had or the configuration contradicts itself.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back every port.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let Config { grpc, http, signals, limits, timeouts, budget } = config;
        // Compressed and inflated, a request may be held twice for a moment.
        let bound = |bytes: usize| bytes.min(limits.max_in_flight_bytes / 2);
        let max_request_bytes = [
            grpc.as_ref().map_or(0, |grpc| bound(grpc.max_request_bytes)),
            http.as_ref().map_or(0, |http| bound(http.max_request_bytes)),
        ];
        let grpc = match grpc {
            Some(grpc) => Some(listen("OTLP/gRPC", grpc.endpoint).await?),
            None => None,
        };
        let (http, paths) = match http {
            Some(HttpConfig { endpoint, paths, .. }) => {
                check(&paths)?;
                (Some(listen("OTLP/HTTP", endpoint).await?), paths)
            }
            None => (None, Paths::default()),
        };
        let bytes = (limits.max_in_flight_bytes as u64).min(Budget::MAX_BYTES);
        let bounds = Bounds { min: limits.retry_after, max: limits.max_retry_after };
        let core = Core {
            limits,
            max_request_bytes,
            timeouts,
            paths,
            signals,
            counters: Arc::new(Counters::default()),
            budget: budget.unwrap_or_else(|| Budget::new("receiver", bytes)),
            promised: AtomicU64::new(0),
            max_promised: bytes / 2,
            overload: Overload::new(bounds, Instant::now()),
        };
        Ok(Self { grpc, http, core: Arc::new(core) })
    }

    /// Where OTLP/gRPC is served, with the port that was taken.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Where OTLP/HTTP is served, with the port that was taken.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// A view of the counters that outlives the receiver.
    pub fn stats(&self) -> Stats {
        Stats::new(Arc::clone(&self.core.counters), self.core.budget.clone())
    }
}

fn check(paths: &Paths) -> Result<(), BindError> {
    for signal in Signal::ALL {
        let path = paths.of(signal);
        // The first signal of that path: another one, if two share it.
        if !path.starts_with('/') || paths.signal(path) != Some(signal) {
            return Err(BindError::Path { signal, path: path.to_owned() });
        }
    }
    Ok(())
}

async fn listen(protocol: &'static str, endpoint: String) -> Result<TcpListener, BindError> {
    let resolved = net::lookup_host(&endpoint).await.map(Vec::from_iter);
    let mut addresses = match resolved {
        Ok(addresses) => addresses,
        Err(source) => return Err(BindError::Resolve { protocol, endpoint, source }),
    };
    // `localhost` is both, and clients that were told 127.0.0.1 are the more common ones.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut failed = None;
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(source) => failed = Some(BindError::Listen { protocol, address, source }),
        }
    }
    Err(failed.unwrap_or_else(|| {
        let source = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        BindError::Resolve { protocol, endpoint, source }
    }))
}
