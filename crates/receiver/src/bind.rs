//! A receiver that holds its ports and does not serve yet.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use teleflow_concurrency::Budget;
use teleflow_otlp::Signal;
use thiserror::Error;
use tokio::time::Instant;

use crate::cors::Cors;
use crate::door::{Door, Speaks};
use crate::overload::{Bounds, Overload};
use crate::peers::Peers;
use crate::serve::{Core, Lines};
use crate::stats::{Counters, Stats};
use crate::tls::TlsError;
use crate::{Config, Paths};

/// An OTLP server that is bound to its ports. [`serve`](Self::serve) starts it.
#[derive(Debug)]
pub struct Receiver {
    pub(crate) grpc: Option<Door>,
    pub(crate) http: Option<Door>,
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
    /// The socket's file cannot be made, or another process listens on it.
    #[error("cannot listen for {protocol} on {}", path.display())]
    Socket {
        /// `OTLP/gRPC` or `OTLP/HTTP`.
        protocol: &'static str,
        /// The path that was configured.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error("cannot serve {protocol} over TLS")]
    Tls {
        /// `OTLP/gRPC` or `OTLP/HTTP`.
        protocol: &'static str,
        /// What is wrong with them.
        source: TlsError,
    },
    /// An allowed origin is empty or has more than one `*`.
    #[error("the allowed origin {origin:?} must have some text and at most one *")]
    Origin {
        /// As configured.
        origin: String,
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
        let Config { grpc, http, signals, limits, timeouts, .. } = config;
        let Config { budget, grpc_access, http_access, cors, one_port, .. } = config;
        // Compressed and inflated, a request may be held twice for a moment.
        let bound = |bytes: usize| bytes.min(limits.max_in_flight_bytes / 2);
        let max_request_bytes = [
            grpc.as_ref().map_or(0, |grpc| bound(grpc.max_request_bytes)),
            http.as_ref().map_or(0, |http| bound(http.max_request_bytes)),
        ];
        let paths = http.as_ref().map_or_else(Paths::default, |http| http.paths.clone());
        check(&paths)?;
        if let Some(origin) = cors.as_ref().and_then(Cors::mistake) {
            return Err(BindError::Origin { origin: origin.to_owned() });
        }
        let both = one_port && grpc.is_some() && http.is_some();
        let speaks = if both { Speaks::Both } else { Speaks::Grpc };
        let grpc = match grpc {
            Some(grpc) => Some(Door::open(&grpc.endpoint, speaks, &grpc_access).await?),
            None => None,
        };
        let http = match http {
            Some(http) if !both => {
                Some(Door::open(&http.endpoint, Speaks::Http, &http_access).await?)
            }
            _ => None,
        };
        let bytes = (limits.max_in_flight_bytes as u64).min(Budget::MAX_BYTES);
        let bounds = Bounds { min: limits.retry_after, max: limits.max_retry_after };
        let core = Core {
            limits,
            max_request_bytes,
            timeouts,
            paths,
            signals,
            auth: [grpc_access.auth, http_access.auth],
            cors,
            counters: Arc::new(Counters::default()),
            peers: Peers::new(limits.max_connections_per_peer),
            budget: budget.unwrap_or_else(|| Budget::new("receiver", bytes)),
            requests: AtomicUsize::new(0),
            promised: AtomicU64::new(0),
            max_promised: bytes / 2,
            overload: Overload::new(bounds, Instant::now()),
            lines: Lines::default(),
        };
        Ok(Self { grpc, http, core: Arc::new(core) })
    }

    /// Where OTLP/gRPC is served, with the port that was taken. `None` if it is not, or on a unix
    /// socket.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().and_then(Door::local_addr)
    }

    /// Where OTLP/HTTP is served, with the port that was taken. `None` if it is not, or on a unix
    /// socket.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http_door().and_then(Door::local_addr)
    }

    /// The unix socket on which OTLP/gRPC is served, if it is.
    pub fn grpc_path(&self) -> Option<&Path> {
        self.grpc.as_ref().and_then(Door::path)
    }

    /// The unix socket on which OTLP/HTTP is served, if it is.
    pub fn http_path(&self) -> Option<&Path> {
        self.http_door().and_then(Door::path)
    }

    /// Renews the certificates, also while the receiver serves.
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> crate::tls::Tls {
        let doors = [&self.grpc, &self.http].into_iter().flatten();
        let listeners = doors.filter_map(|door| door.entry.certificates.clone()).collect();
        crate::tls::Tls { listeners }
    }

    fn http_door(&self) -> Option<&Door> {
        let shared = self.grpc.as_ref().filter(|door| door.entry.speaks == Speaks::Both);
        self.http.as_ref().or(shared)
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
