//! The accept loops, and the end of every connection.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use teleflow_concurrency::Budget;
use teleflow_otlp::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use crate::connection::{Activity, Socket, Verdict, Watch};
use crate::overload::Overload;
use crate::stats::Counters;
use crate::{Consumer, Limits, Paths, Receiver, Timeouts, Transport, grpc, http};

/// What a client may send before it has to wait for us, on one stream and on one connection. Large
/// enough for a typical request to arrive without a pause.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// The largest piece that a client may send at once. Fewer pieces cost less: with 16 KiB, the
/// protocol's default, a request of 250 KiB takes a fifth more of our time.
const MAX_FRAME: u32 = 256 * 1024;

/// The most bytes of a request's head.
const MAX_HEAD: u32 = 16 * 1024;

/// Streams that a client opened and reset before we got to see them: more closes the connection.
const MAX_PENDING_RESETS: usize = 20;

/// HTTP/1.1's read buffer, which also bounds the head of a request. A larger one is no faster.
const HTTP1_BUFFER: usize = 64 * 1024;

/// How long to wait for memory or file descriptors to come free.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// How long a client whose connection has ended may take to notice.
const LINGER: Duration = Duration::from_secs(1);

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
    pub(crate) counters: Arc<Counters>,
    pub(crate) budget: Budget,
    /// What is drawn from the budget on clients' words alone, and how much that may be.
    pub(crate) promised: AtomicU64,
    pub(crate) max_promised: u64,
    pub(crate) overload: Overload,
}

#[derive(Debug)]
pub(crate) struct Server<C> {
    pub(crate) core: Arc<Core>,
    pub(crate) consumer: C,
}

/// One of [`Limits::max_connections`].
#[derive(Debug)]
struct OpenConnection(Arc<Core>);

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
        let (grpc, http) = tokio::join!(
            accept(grpc, Transport::Grpc, &server, &stop, grace),
            accept(http, Transport::Http, &server, &stop, grace),
        );
        Stopped { connections_cut: grpc + http }
    }
}

// === impl Core ===

impl Core {
    pub(crate) const fn max_request_bytes(&self, transport: Transport) -> usize {
        self.max_request_bytes[transport as usize]
    }

    pub(crate) fn takes(&self, signal: Signal) -> bool {
        self.signals[signal.index()]
    }

    #[cold]
    pub(crate) fn count_unrouted(&self) {
        self.counters.unrouted.fetch_add(1, Relaxed);
    }

    fn open(self: &Arc<Self>) -> Option<OpenConnection> {
        let counters = &self.counters;
        if counters.connections_open.fetch_add(1, Relaxed) >= self.limits.max_connections {
            counters.connections_open.fetch_sub(1, Relaxed);
            counters.connections_refused.fetch_add(1, Relaxed);
            return None;
        }
        counters.connections.fetch_add(1, Relaxed);
        Some(OpenConnection(Arc::clone(self)))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.counters.connections_open.fetch_sub(1, Relaxed);
    }
}

/// Serves one port. Returns how many connections were cut.
async fn accept<C: Consumer>(
    listener: Option<TcpListener>,
    transport: Transport,
    server: &Arc<Server<C>>,
    stop: &CancellationToken,
    grace: Duration,
) -> usize {
    let Some(listener) = listener else { return 0 };
    let builder = Arc::new(builder(transport, &server.core));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            // Also what ended in a panic of the consumer: the client has lost its connection, and
            // the panic hook has told of it.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                server.core.counters.accept_errors.fetch_add(1, Relaxed);
                if !is_of_one_connection(&error) {
                    tracing::warn!(%error, "cannot accept connections");
                    // The connection stays in the queue: trying again at once would only spin.
                    time::sleep(ACCEPT_BACK_OFF).await;
                }
                continue;
            }
        };
        if let Some(open) = server.core.open() {
            // Answers are small and must not wait to be merged. A socket that cannot do it is gone.
            _ = stream.set_nodelay(true);
            let connection = serve(
                stream,
                Arc::clone(&builder),
                transport,
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

fn builder(transport: Transport, core: &Core) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEAD)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_concurrent_streams(core.limits.max_concurrent_streams)
        .keep_alive_interval(core.timeouts.keep_alive)
        .auto_date_header(transport == Transport::Http);
    // `Watch` times the heads: hyper's timer would also end connections that are merely idle.
    builder.http1().header_read_timeout(None).max_buf_size(HTTP1_BUFFER);
    match transport {
        Transport::Grpc => builder.http2_only(),
        Transport::Http => builder,
    }
}

/// Serves one connection to its end, and then reads what the client still had under way.
async fn serve<C: Consumer>(
    stream: TcpStream,
    builder: Arc<auto::Builder<TokioExecutor>>,
    transport: Transport,
    server: Arc<Server<C>>,
    stop: CancellationToken,
) {
    let activity = Arc::new(Activity::default());
    let (socket, mut left) = Socket::new(stream, Arc::clone(&activity));
    converse(socket, activity, builder, transport, server, stop).await;
    if let Ok(stream) = left.try_recv() {
        _ = time::timeout(LINGER, linger(stream)).await;
    }
}

/// Says that nothing more is sent, and reads until the client says the same.
///
/// A socket that is closed with bytes unread resets the connection, and a client that is reset may
/// lose the answers that it has not read yet: it would send again what was accepted.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut waste = vec![0; 16 * 1024];
    while stream.read(&mut waste).await.is_ok_and(|read| read > 0) {}
}

/// Speaks HTTP until the connection has ended or has to.
async fn converse<C: Consumer>(
    socket: Socket,
    activity: Arc<Activity>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    transport: Transport,
    server: Arc<Server<C>>,
    stop: CancellationToken,
) {
    let (mut watch, first_look) = Watch::new(&server.core.timeouts, Instant::now());
    let socket = TokioIo::new(socket);
    let service = service_fn(|request| {
        let active = activity.begin();
        let server = Arc::clone(&server);
        async move {
            let response = match transport {
                Transport::Grpc => grpc::answer(&server, request).await,
                Transport::Http => http::answer(&server, request).await,
            };
            drop(active);
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(builder.serve_connection(socket, service));
    let mut look = pin!(time::sleep_until(first_look));
    let mut closing = false;
    loop {
        tokio::select! {
            biased;
            // An error is the client's: it left, or does not speak HTTP.
            _ = connection.as_mut() => return,
            () = stop.cancelled(), if !closing => {
                connection.as_mut().graceful_shutdown();
                closing = true;
            }
            () = look.as_mut() => match watch.tick(&activity, Instant::now()) {
                Verdict::Stay(until) => look.as_mut().reset(until),
                Verdict::Idle if !closing => {
                    connection.as_mut().graceful_shutdown();
                    closing = true;
                    look.as_mut().reset(Instant::now() + server.core.timeouts.header);
                }
                Verdict::Idle | Verdict::Stalled => return,
            },
        }
    }
}
