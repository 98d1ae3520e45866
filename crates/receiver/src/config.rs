//! What a receiver can be told.

use std::num::NonZeroUsize;
use std::time::Duration;

use teleflow_concurrency::Budget;
use teleflow_otlp::{DEFAULT_MAX_REQUEST_BYTES, Signal};

use crate::auth::Auth;
use crate::cors::Cors;
use crate::tls::TlsConfig;

/// Where to listen and how much to take.
///
/// The default listens on both of OTLP's ports of this machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// OTLP/gRPC. Default: on. `None` opens no port for it.
    pub grpc: Option<GrpcConfig>,
    /// OTLP/HTTP. Default: on. `None` opens no port for it.
    pub http: Option<HttpConfig>,
    /// Which signals are taken, by [`Signal::index`]. Default: all. For the others the answer is
    /// that there is no such method or path, so that a client sends them elsewhere.
    pub signals: [bool; 3],
    /// What clients may take, over both protocols together.
    pub limits: Limits,
    /// How long clients may take, on each connection.
    pub timeouts: Timeouts,
    /// Where the bytes of requests are drawn from. Default: `None`, an account of
    /// [`Limits::max_in_flight_bytes`] of its own. With one that others draw from as well, a
    /// receiver refuses what the whole program has no room for; `max_in_flight_bytes` should then be
    /// what this account has.
    pub budget: Option<Budget>,
    /// Who may send over OTLP/gRPC. Default: all who can connect, without TLS.
    pub grpc_access: Access,
    /// Who may send over OTLP/HTTP. Default: all who can connect, without TLS.
    pub http_access: Access,
    /// Which pages of other sites browsers may let send over OTLP/HTTP. Default: none.
    pub cors: Option<Cors>,
    /// Serves OTLP/HTTP on the endpoint of OTLP/gRPC as well, and opens none of its own. Default:
    /// off. TLS is that of [`grpc_access`](Self::grpc_access); each protocol has its own
    /// authentication. Without one of the two protocols it changes nothing.
    pub one_port: bool,
}

/// Who may send.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// TLS, and clients' certificates. Default: none. Needs the feature `tls`.
    pub tls: Option<TlsConfig>,
    /// Credentials that are required of every request. Default: none.
    pub auth: Option<Auth>,
}

/// How OTLP/gRPC is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrpcConfig {
    /// `host:port`, or `unix:path`. Default: `127.0.0.1:4317`. Port 0 takes a free one. A name that
    /// has several addresses is bound to the first that works, IPv4 first. A socket that was left
    /// behind at the path is replaced, another file never.
    pub endpoint: String,
    /// The most bytes of one request, as sent and after decompression. Default: 64 MiB, as the
    /// specification advises. Never more than half of [`Limits::max_in_flight_bytes`], so that a
    /// request that is alone always fits. With 0, only empty requests pass.
    pub max_request_bytes: usize,
}

/// How OTLP/HTTP is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpConfig {
    /// `host:port`, or `unix:path`. Default: `127.0.0.1:4318`. Port 0 takes a free one. A name that
    /// has several addresses is bound to the first that works, IPv4 first. A socket that was left
    /// behind at the path is replaced, another file never.
    pub endpoint: String,
    /// The most bytes of one request, as sent and after decompression. Default: 64 MiB, as the
    /// specification advises. Never more than half of [`Limits::max_in_flight_bytes`], so that a
    /// request that is alone always fits. With 0, only empty requests pass.
    pub max_request_bytes: usize,
    /// Where each signal is posted to.
    pub paths: Paths,
}

/// URL paths of OTLP/HTTP, compared exactly. Each starts with `/`, and no two are the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Paths {
    /// Default: `/v1/traces`.
    pub traces: String,
    /// Default: `/v1/metrics`.
    pub metrics: String,
    /// Default: `/v1/logs`.
    pub logs: String,
}

/// Bounds of what clients can make a receiver hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most bytes of requests that are being read, inflated or waiting in
    /// [`Consumer::consume`](crate::Consumer::consume), over all connections. Default: 256 MiB.
    /// Over it, a request is refused before more of it is read. To be lowered where memory is
    /// short.
    pub max_in_flight_bytes: usize,
    /// The most open connections, over both protocols. Default: 10 000. One more is closed as soon
    /// as it is accepted. With 0, all are.
    pub max_connections: usize,
    /// The most of them from one address; of IPv6, from one network of 64 bits. Default: `None`, as
    /// many as there are in all: behind a proxy or a NAT all clients have the same. One more is
    /// closed as soon as it is accepted. Connections to a unix socket are not counted.
    pub max_connections_per_peer: Option<NonZeroUsize>,
    /// The most requests at a time on one HTTP/2 connection. Default: 200. More wait at the client.
    pub max_concurrent_streams: u32,
    /// The most requests at a time, over all connections. Default: 50 000. One more is refused
    /// before it is read. An open request takes some 5 kB of which the client sends next to nothing.
    pub max_requests: usize,
    /// The shortest wait that a client is told when there is no room. Default: 1 s. Zero leaves the
    /// wait to the client's own back-off.
    ///
    /// The wait itself follows the load: clients are called back at the pace at which room is made,
    /// each with a random part of up to a half, so that they do not come all at once.
    pub retry_after: Duration,
    /// The longest such wait, before the random part. Default: 30 s. Longer ones spread more clients;
    /// they also leave a receiver idle for longer that has room again. Never more than a day.
    pub max_retry_after: Duration,
}

/// Bounds of how long clients can make a receiver wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// For the head of a request, or the first bytes of a connection. Default: 30 s. The connection
    /// is closed after that, and at the latest after twice that.
    pub header: Duration,
    /// For the body of a request, from its head on. Default: 60 s.
    pub body: Duration,
    /// For the next request on an open connection. Default: 5 minutes. `None` waits for ever.
    pub idle: Option<Duration>,
    /// How often an HTTP/2 client that is silent is asked whether it is still there; one that does
    /// not answer for 20 s is dropped. Default: one minute. `None` never asks.
    pub keep_alive: Option<Duration>,
    /// For the TLS handshake. Default: 10 s.
    pub handshake: Duration,
    /// How long a connection may stay open, give or take a tenth at random. Default: `None`, for
    /// ever. Then the client is told to open another one (GOAWAY, `connection: close`), which lets
    /// a load balancer choose anew; a few minutes do.
    pub max_age: Option<Duration>,
    /// How long the requests of such a connection may still take. Default: 30 s. Then it is cut.
    pub age_grace: Duration,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            grpc: Some(GrpcConfig::default()),
            http: Some(HttpConfig::default()),
            signals: [true; 3],
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            budget: None,
            grpc_access: Access::default(),
            http_access: Access::default(),
            cors: None,
            one_port: false,
        }
    }
}

// === impl GrpcConfig ===

impl Default for GrpcConfig {
    fn default() -> Self {
        Self { endpoint: "127.0.0.1:4317".to_owned(), max_request_bytes: DEFAULT_MAX_REQUEST_BYTES }
    }
}

// === impl HttpConfig ===

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            endpoint: "127.0.0.1:4318".to_owned(),
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
            paths: Paths::default(),
        }
    }
}

// === impl Paths ===

impl Paths {
    /// The path of one signal.
    pub fn of(&self, signal: Signal) -> &str {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }

    /// The signal that is posted to `path`.
    pub(crate) fn signal(&self, path: &str) -> Option<Signal> {
        Signal::ALL.into_iter().find(|&signal| self.of(signal) == path)
    }
}

impl Default for Paths {
    fn default() -> Self {
        let path = |signal: Signal| signal.http_path().to_owned();
        Self {
            traces: path(Signal::Traces),
            metrics: path(Signal::Metrics),
            logs: path(Signal::Logs),
        }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_in_flight_bytes: 256 * 1024 * 1024,
            max_connections: 10_000,
            max_connections_per_peer: None,
            max_concurrent_streams: 200,
            max_requests: 50_000,
            retry_after: Duration::from_secs(1),
            max_retry_after: Duration::from_secs(30),
        }
    }
}

// === impl Timeouts ===

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(30),
            body: Duration::from_secs(60),
            idle: Some(Duration::from_secs(300)),
            keep_alive: Some(Duration::from_secs(60)),
            handshake: Duration::from_secs(10),
            max_age: None,
            age_grace: Duration::from_secs(30),
        }
    }
}
