//! The accept loops.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use teleflow_concurrency::Budget;
use teleflow_otlp::Signal;
use tokio::task::JoinSet;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use crate::auth::{Auth, Peer};
use crate::connection::{self, Builder};
use crate::cors::Cors;
use crate::door::Door;
#[cfg(feature = "tls")]
use crate::door::Entry;
use crate::overload::Overload;
use crate::peers::{Counted, Peers};
use crate::stats::Counters;
use crate::throttle::Throttle;
use crate::{Consumer, Limits, Paths, Receiver, Timeouts, Transport};

/// How long to wait for memory or file descriptors to come free.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// How a receiver ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Stopped {
    /// Connections that were still open when the grace was over, and were dropped with their
    /// requests unanswered.
    pub connections_cut: usize,
}

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) limits: Limits,
    /// By transport.
    pub(crate) max_request_bytes: [usize; 2],
    pub(crate) timeouts: Timeouts,
    pub(crate) paths: Paths,
    pub(crate) signals: [bool; 3],
    /// By transport.
    pub(crate) auth: [Option<Auth>; 2],
    pub(crate) cors: Option<Cors>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) budget: Budget,
    /// Requests that have begun and are not over.
    pub(crate) requests: AtomicUsize,
    /// What is drawn from the budget on clients' words alone, and how much that may be.
    pub(crate) promised: AtomicU64,
    pub(crate) max_promised: u64,
    pub(crate) overload: Overload,
    pub(crate) lines: Lines,
}

/// What peers can cause to be logged, each kind by itself.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    accept: Throttle,
    handshake: Throttle,
    abuse: Throttle,
    pub(crate) unverified: Throttle,
    #[cfg(feature = "tls")]
    reload: Throttle,
}

#[derive(Debug)]
pub(crate) struct Server<C> {
    pub(crate) core: Arc<Core>,
    pub(crate) consumer: C,
}

/// One of [`Limits::max_connections`].
#[derive(Debug)]
struct OpenConnection {
    core: Arc<Core>,
    _peer: Counted,
}

// === impl Receiver ===

impl Receiver {
    /// Serves until `stop` is cancelled and every connection is closed.
    ///
    /// From then on no connection is accepted, clients are told to open no further requests on
    /// those that are open (GOAWAY, `connection: close`), and what was begun is answered. What is
    /// not answered after `grace` is dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes every port and connection at once, without an answer.
    pub async fn serve<C: Consumer>(
        self,
        consumer: C,
        stop: CancellationToken,
        grace: Duration,
    ) -> Stopped {
        let Self { grpc, http, core } = self;
        let server = Arc::new(Server { core, consumer });
        let (grpc, http) =
            tokio::join!(accept(grpc, &server, &stop, grace), accept(http, &server, &stop, grace),);
        Stopped { connections_cut: grpc + http }
    }
}

// === impl Core ===

impl Core {
    pub(crate) const fn max_request_bytes(&self, transport: Transport) -> usize {
        self.max_request_bytes[transport as usize]
    }

    pub(crate) const fn auth(&self, transport: Transport) -> Option<&Auth> {
        self.auth[transport as usize].as_ref()
    }

    pub(crate) fn takes(&self, signal: Signal) -> bool {
        self.signals[signal.index()]
    }

    #[cold]
    pub(crate) fn count_unrouted(&self) {
        self.counters.unrouted.fetch_add(1, Relaxed);
    }

    /// Notes that a connection did not get through the handshake. The error is rustls' or the
    /// operating system's: it repeats nothing that a peer has sent.
    #[cold]
    pub(crate) fn handshake_failed(&self, peer: &Peer, error: &io::Error) {
        self.counters.handshakes_failed.fetch_add(1, Relaxed);
        if let Some(suppressed) = self.lines.handshake.pass(Instant::now()) {
            let peer = peer.address;
            tracing::info!(?peer, %error, suppressed, "a TLS handshake failed");
        }
    }

    #[cold]
    pub(crate) fn cut_off_abuse(&self, peer: &Peer) {
        self.counters.connections_abusive.fetch_add(1, Relaxed);
        if let Some(suppressed) = self.lines.abuse.pass(Instant::now()) {
            let peer = peer.address;
            tracing::warn!(?peer, suppressed, "cut off a client that sends no requests but much");
        }
    }

    #[cold]
    fn accept_failed(&self, error: &io::Error) {
        if let Some(suppressed) = self.lines.accept.pass(Instant::now()) {
            tracing::warn!(%error, suppressed, "cannot accept connections");
        }
    }

    fn open(self: &Arc<Self>, peer: &Peer) -> Option<OpenConnection> {
        let counters = &self.counters;
        let full = counters.connections_open.fetch_add(1, Relaxed) >= self.limits.max_connections;
        let address = peer.address.map(|address| address.ip());
        let counted = if full { None } else { self.peers.open(address) };
        let Some(counted) = counted else {
            counters.connections_open.fetch_sub(1, Relaxed);
            counters.connections_refused.fetch_add(1, Relaxed);
            return None;
        };
        counters.connections.fetch_add(1, Relaxed);
        Some(OpenConnection { core: Arc::clone(self), _peer: counted })
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.core.counters.connections_open.fetch_sub(1, Relaxed);
    }
}

/// Serves one port. Returns how many connections were cut.
async fn accept<C: Consumer>(
    door: Option<Door>,
    server: &Arc<Server<C>>,
    stop: &CancellationToken,
    grace: Duration,
) -> usize {
    let Some(door) = door else { return 0 };
    let Door { listener, entry } = door;
    let builder = Arc::new(Builder::new(entry.speaks, &server.core));
    let mut connections = JoinSet::new();
    #[cfg(feature = "tls")]
    let renewal = renew(&entry, &server.core);
    #[cfg(not(feature = "tls"))]
    let renewal = std::future::pending();
    let mut renewal = std::pin::pin!(renewal);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // Also what ended in a panic of the consumer: the client has lost its connection, and
            // the panic hook has told of it.
            Some(_) = connections.join_next() => continue,
            () = renewal.as_mut() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                server.core.counters.accept_errors.fetch_add(1, Relaxed);
                if !is_of_one_connection(&error) {
                    server.core.accept_failed(&error);
                    // The connection stays in the queue: trying again at once would only spin.
                    time::sleep(ACCEPT_BACK_OFF).await;
                }
                continue;
            }
        };
        let peer = Peer { address, certificate: None };
        if let Some(open) = server.core.open(&peer) {
            let connection = connection::serve(
                stream,
                peer,
                entry.clone(),
                Arc::clone(&builder),
                Arc::clone(server),
                stop.child_token(),
            );
            connections.spawn(async move {
                connection.await;
                drop(open);
            });
        }
    }
    drop(listener);
    let closed = async { while connections.join_next().await.is_some() {} };
    _ = time::timeout(grace, closed).await;
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

/// Whether the failure says nothing about the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Looks for new certificates from time to time, for ever.
#[cfg(feature = "tls")]
async fn renew(entry: &Entry, core: &Core) {
    let Some(certificates) = &entry.certificates else { return std::future::pending().await };
    let Some(interval) = certificates.interval() else { return std::future::pending().await };
    loop {
        time::sleep(interval).await;
        let files = Arc::clone(certificates);
        // Files may be slow, and must not hold up the connections of this thread.
        let reloaded = tokio::task::spawn_blocking(move || files.reload(false)).await;
        match reloaded {
            Ok(Ok(true)) => tracing::info!("certificates were renewed"),
            Ok(Err(error)) => {
                if let Some(suppressed) = core.lines.reload.pass(Instant::now()) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, suppressed, "the old certificates stay");
                }
            }
            // A panic has its own message.
            Ok(Ok(false)) | Err(_) => {}
        }
    }
}
