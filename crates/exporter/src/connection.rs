//! Connections: how they are made, kept, watched and secured.

mod connector;
mod gather;
mod proxy;
mod stream;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use self::connector::Connector;
pub use self::proxy::Proxy;
pub(crate) use self::stream::Endless;
#[cfg(feature = "tls")]
pub use self::tls::{Identity, Pem, TlsConfig, TlsVersion};

/// How connections are made and kept. The defaults are the Collector's, where it has any.
#[derive(Clone)]
pub struct ConnectionConfig {
    /// How long a connection may take, from the look-up of its name to the end of what a proxy has
    /// to say; TLS has a limit of its own: 10 s. Zero means no limit but the request's.
    pub connect_timeout: Duration,
    /// How long TLS may take to agree: 10 s. Zero means no limit but the request's.
    pub handshake_timeout: Duration,
    /// TLS, for endpoints that begin with `https`: the system's roots and no client certificate.
    #[cfg(feature = "tls")]
    pub tls: TlsConfig,
    /// The way to the server: as the environment says (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`,
    /// `NO_PROXY`).
    pub proxy: Proxy,
    /// Probes that find out whether the server is still there: none.
    ///
    /// Where a firewall forgets silent connections, or a server may vanish without a word, they find
    /// out before a request has to.
    pub keep_alive: Option<KeepAlive>,
    /// How long a connection is kept without a request: 90 s. Zero means for ever.
    pub idle_timeout: Duration,
    /// The most connections kept without a request, to each host: 10. As an exporter has three
    /// hosts at most, one a signal, there are never more than 30.
    pub max_idle_per_host: usize,
    /// Is told of connections that come and go: nobody.
    pub observer: Option<Arc<dyn ConnectionObserver>>,
}

/// When a connection is taken for dead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeepAlive {
    /// So long without a byte from the server, and it is asked for a sign: by PING over HTTP/2, by
    /// TCP's own probes over HTTP/1.1.
    pub interval: Duration,
    /// So long without an answer to that, and the connection is over. For HTTP/2 only: TCP's probes
    /// are sent three times, `interval` apart.
    pub timeout: Duration,
}

/// Something that happened to a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// It is there, TLS included. After a loss, that is the reconnection.
    Connected,
    /// There is none: nobody listens, the name is not known, TLS does not agree.
    Failed {
        /// Why.
        cause: String,
    },
    /// It is gone, and not by our doing: the server or something on the way closed or broke it, or
    /// gave no answer to a probe.
    Lost {
        /// Why.
        cause: String,
    },
    /// It was closed here: unused for too long, or for a shutdown.
    Closed,
}

/// Is told of connections that come and go. The next request makes a new one by itself.
pub trait ConnectionObserver: fmt::Debug + Send + Sync + 'static {
    /// Something happened to a connection to `peer`, a host and perhaps a port. Called on the
    /// connection's own task, which a call holds up.
    fn connection(&self, peer: &str, event: &ConnectionEvent);
}

/// What became of connections so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ConnectionStats {
    /// Made.
    pub connected: u64,
    /// Tried in vain.
    pub failed: u64,
    /// Gone, and not by our doing.
    pub lost: u64,
    /// Closed here.
    pub closed: u64,
}

/// Counts what happens to connections, and tells of it.
#[derive(Debug, Default)]
pub(crate) struct Events {
    observer: Option<Arc<dyn ConnectionObserver>>,
    connected: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    closed: AtomicU64,
}

// === impl ConnectionConfig ===

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            #[cfg(feature = "tls")]
            tls: TlsConfig::default(),
            proxy: Proxy::Environment,
            keep_alive: None,
            idle_timeout: Duration::from_secs(90),
            max_idle_per_host: 10,
            observer: None,
        }
    }
}

impl fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the proxy, which may hold a password, nor what TLS holds.
        f.debug_struct("ConnectionConfig")
            .field("connect_timeout", &self.connect_timeout)
            .field("handshake_timeout", &self.handshake_timeout)
            .field("keep_alive", &self.keep_alive)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_idle_per_host", &self.max_idle_per_host)
            .finish_non_exhaustive()
    }
}

// === impl ConnectionStats ===

impl ConnectionStats {
    /// How many are there now.
    pub fn open(&self) -> u64 {
        self.connected.saturating_sub(self.lost + self.closed)
    }
}

// === impl Events ===

impl Events {
    pub(crate) fn new(observer: Option<Arc<dyn ConnectionObserver>>) -> Self {
        Self { observer, ..Self::default() }
    }

    pub(crate) fn tell(&self, peer: &str, event: &ConnectionEvent) {
        let counter = match event {
            ConnectionEvent::Connected => &self.connected,
            ConnectionEvent::Failed { .. } => &self.failed,
            ConnectionEvent::Lost { .. } => &self.lost,
            ConnectionEvent::Closed => &self.closed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(observer) = &self.observer {
            observer.connection(peer, event);
        }
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        ConnectionStats {
            connected: self.connected.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            closed: self.closed.load(Ordering::Relaxed),
        }
    }
}
