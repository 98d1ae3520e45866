//! Makes connections: over TCP or a unix socket, perhaps over a proxy, perhaps with TLS.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

#[cfg(feature = "http")]
use http::HeaderValue;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::proxy::Route;
use super::stream::{Io, Kind, Stream};
use super::{ConnectionConfig, ConnectionEvent, Events};
use crate::wire;
use crate::{ConfigError, ConnectionStats};

/// What may come around an answer, beside as much again as it may have: heads, and over HTTP/2 what
/// its windows let through.
const MOST_AROUND: u64 = 2 * 1024 * 1024;

/// Makes connections, and tells of them.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Parts>);

struct Parts {
    tcp: HttpConnector,
    /// In place of any host.
    unix: Option<PathBuf>,
    route: Route,
    #[cfg(feature = "tls")]
    tls: Option<super::tls::Client>,
    /// Whether only HTTP/2 is spoken, which no proxy can be handed a request of.
    http2: bool,
    connect_timeout: Duration,
    #[cfg(feature = "tls")]
    handshake_timeout: Duration,
    silence: Option<Duration>,
    /// The most bytes that may come in a row.
    most_read: u64,
    events: Arc<Events>,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

// === impl Connector ===

impl Connector {
    /// Prepares what connections have in common. Files are read here, once.
    pub(crate) fn new(
        config: &ConnectionConfig,
        https: bool,
        unix: Option<PathBuf>,
        http2: bool,
        max_response_bytes: usize,
    ) -> Result<Self, ConfigError> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        if let Some(keep_alive) = config.keep_alive {
            tcp.set_keepalive(Some(keep_alive.interval));
            tcp.set_keepalive_interval(Some(keep_alive.interval));
            tcp.set_keepalive_retries(Some(3));
        }
        #[cfg(not(feature = "tls"))]
        if https {
            return Err(ConfigError::Endpoint("asks for TLS, which is not built in"));
        }
        #[cfg(feature = "tls")]
        let tls = https.then(|| config.tls.client(http2)).transpose()?;
        Ok(Self(Arc::new(Parts {
            tcp,
            unix,
            route: config.proxy.route()?,
            #[cfg(feature = "tls")]
            tls,
            http2,
            connect_timeout: config.connect_timeout,
            #[cfg(feature = "tls")]
            handshake_timeout: config.handshake_timeout,
            silence: config.keep_alive.map(|probe| probe.interval.saturating_add(probe.timeout)),
            most_read: (max_response_bytes as u64).saturating_mul(2).saturating_add(MOST_AROUND),
            events: Arc::new(Events::new(config.observer.clone())),
        })))
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        self.0.events.stats()
    }

    /// What requests to `server` have to tell a proxy.
    #[cfg(feature = "http")]
    pub(crate) fn proxy_authorization(&self, server: &Uri) -> Option<HeaderValue> {
        if self.0.is_handed_over(server) { self.0.route.authorization(server) } else { None }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Connecting {
        let parts = Arc::clone(&self.0);
        Box::pin(async move { parts.connect(&server).await.map(TokioIo::new) })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

// === impl Parts ===

impl Parts {
    /// Whether a proxy gets the requests themselves.
    fn is_handed_over(&self, server: &Uri) -> bool {
        !self.http2 && self.unix.is_none() && server.scheme_str() == Some("http")
    }

    async fn connect(&self, server: &Uri) -> io::Result<Stream> {
        let peer: Arc<str> = server.authority().map_or("", |authority| authority.as_str()).into();
        match self.opened(server).await {
            Ok((io, kind)) => {
                let kind = Kind { http2: kind.http2 || self.http2, ..kind };
                let events = Arc::clone(&self.events);
                Ok(Stream::new(io, kind, peer, events, self.silence, self.most_read))
            }
            Err(error) => {
                let cause = wire::said(&wire::root_cause(&error).to_string());
                self.events.tell(&peer, &ConnectionEvent::Failed { cause });
                Err(error)
            }
        }
    }

    async fn opened(&self, server: &Uri) -> io::Result<(Box<dyn Io>, Kind)> {
        let open = self.open(server);
        let (io, kind) = within(self.connect_timeout, open, "no connection").await?;
        if server.scheme_str() != Some("https") {
            return Ok((io, kind));
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let handshake = tls.handshake(server, io, kind);
            return within(self.handshake_timeout, handshake, "no agreement on TLS").await;
        }
        Err(io::Error::other("TLS is not set up"))
    }

    /// Opens the way to the server.
    async fn open(&self, server: &Uri) -> io::Result<(Box<dyn Io>, Kind)> {
        if let Some(path) = &self.unix {
            return unix(path).await;
        }
        let mut tcp = self.tcp.clone();
        let Some(proxy) = self.route.proxy(server)? else {
            let io = tcp.call(server.clone()).await.map_err(io::Error::other)?;
            return Ok((Box::new(io.into_inner()), Kind::default()));
        };
        if self.is_handed_over(server) {
            let io = tcp.call(proxy.uri().clone()).await.map_err(io::Error::other)?;
            return Ok((Box::new(io.into_inner()), Kind { proxied: true, ..Kind::default() }));
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let io = tunnel.call(with_port(server)).await.map_err(io::Error::other)?;
        Ok((Box::new(io.into_inner()), Kind::default()))
    }
}

#[cfg(unix)]
async fn unix(path: &PathBuf) -> io::Result<(Box<dyn Io>, Kind)> {
    let io = tokio::net::UnixStream::connect(path).await?;
    Ok((Box::new(io), Kind::default()))
}

#[cfg(not(unix))]
async fn unix(_: &PathBuf) -> io::Result<(Box<dyn Io>, Kind)> {
    Err(io::Error::other("this platform has no unix sockets"))
}

/// The server with its port spelled out: a tunnel without one leads to 443, whatever the scheme.
fn with_port(server: &Uri) -> Uri {
    let Some(host) = server.host().filter(|_| server.port().is_none()) else {
        return server.clone();
    };
    let port = if server.scheme_str() == Some("https") { 443 } else { 80 };
    let named = Uri::builder().scheme("http").authority(format!("{host}:{port}"));
    named.path_and_query("/").build().unwrap_or_else(|_| server.clone())
}

/// Gives `work` so much time; without end, where that is zero.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
    missing: &str,
) -> io::Result<T> {
    if limit.is_zero() {
        return work.await;
    }
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let message = format!("{missing} within {limit:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    })
}
