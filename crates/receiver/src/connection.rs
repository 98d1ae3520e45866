//! One connection, from the handshake to the end.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use crate::auth::Peer;
use crate::door::{Entry, Speaks};
use crate::listen::{Raw, Stream};
use crate::reply::Reply;
use crate::serve::{Core, Server};
use crate::socket::Socket;
use crate::watch::{Activity, Verdict, Watch};
use crate::{Consumer, grpc, http as otlp_http};

/// What a client may send before it has to wait for us, on one stream and on one connection. Large
/// enough for a typical request to arrive without a pause.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// The largest piece that a client may send at once. Fewer pieces cost less: with 16 KiB, the
/// protocol's default, a request of 250 KiB takes a fifth more of our time.
const MAX_FRAME: u32 = 256 * 1024;

/// The most bytes of a request's head, once it is unpacked, names and 32 for each of its lines
/// included: there are no more than 512 of them.
const MAX_HEAD: u32 = 16 * 1024;

/// Streams that a client opened and reset before we got to see them: more closes the connection.
const MAX_PENDING_RESETS: usize = 20;

/// Streams that we reset because the client broke the protocol on them, or opened more than it may:
/// more closes the connection. Many are opened in good faith before our settings are there.
const MAX_BROKEN_STREAMS: usize = 1024;

/// What is kept for a client that does not read its answers, which are small.
const MAX_UNREAD: usize = 64 * 1024;

/// HTTP/1.1's read buffer, which also bounds the head of a request; hyper takes a hundred headers. A
/// larger one is no faster.
const HTTP1_BUFFER: usize = 64 * 1024;

/// How long a client whose connection has ended may take to notice, and what it may send meanwhile:
/// what its windows allow, and as much again.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER_BYTES: usize = 2 * CONNECTION_WINDOW as usize;

/// What a listener gives to each of its connections.
#[derive(Debug)]
pub(crate) struct Builder(auto::Builder<TokioExecutor>);

/// What the requests of one connection share.
struct Link<C> {
    server: Arc<Server<C>>,
    speaks: Speaks,
    peer: Peer,
    activity: Arc<Activity>,
}

// === impl Builder ===

impl Builder {
    pub(crate) fn new(speaks: Speaks, core: &Core) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(MAX_HEAD)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_BROKEN_STREAMS)
            .max_send_buf_size(MAX_UNREAD)
            .max_concurrent_streams(core.limits.max_concurrent_streams)
            .keep_alive_interval(core.timeouts.keep_alive)
            .auto_date_header(speaks != Speaks::Grpc);
        // `Watch` times the heads: hyper's timer would also end connections that are merely idle.
        builder.http1().header_read_timeout(None).max_buf_size(HTTP1_BUFFER);
        Self(match speaks {
            Speaks::Grpc => builder.http2_only(),
            Speaks::Http | Speaks::Both => builder,
        })
    }
}

// === impl Link ===

impl<C: Consumer> Link<C> {
    async fn answer(&self, request: Request<Incoming>) -> Response<Reply> {
        let is_grpc = match self.speaks {
            Speaks::Grpc => true,
            Speaks::Http => false,
            Speaks::Both => {
                request.version() == Version::HTTP_2 && grpc::is_grpc(request.headers())
            }
        };
        let Self { server, peer, activity, .. } = self;
        match is_grpc {
            true => grpc::answer(server, peer, activity, request).await,
            false => otlp_http::answer(server, peer, activity, request).await,
        }
    }
}

/// Serves one connection to its end, and then reads what the client still had under way.
pub(crate) async fn serve<C: Consumer>(
    stream: Raw,
    mut peer: Peer,
    entry: Entry,
    builder: Arc<Builder>,
    server: Arc<Server<C>>,
    stop: CancellationToken,
) {
    let shaken = tokio::select! {
        biased;
        // Nothing was asked yet.
        () = stop.cancelled() => return,
        shaken = time::timeout(server.core.timeouts.handshake, entry.shake_hands(stream, &mut peer)) => shaken,
    };
    let stream = match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => stream,
        Err(error) => return server.core.handshake_failed(&peer, &error),
    };
    let activity = Arc::<Activity>::default();
    let (socket, mut left) = Socket::new(stream, Arc::clone(&activity));
    let speaks = entry.speaks;
    let link = Link { server, speaks, peer, activity: Arc::clone(&activity) };
    converse(socket, link.into(), builder, stop).await;
    if activity.is_abuse() {
        return;
    }
    if let Ok(stream) = left.try_recv() {
        _ = time::timeout(LINGER, linger(stream)).await;
    }
}

/// Says that nothing more is sent, and reads until the client says the same.
///
/// A socket that is closed with bytes unread resets the connection, and a client that is reset may
/// lose the answers that it has not read yet: it would send again what was accepted.
async fn linger(mut stream: Stream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut waste = vec![0; 16 * 1024];
    let mut left = MAX_LINGER_BYTES;
    while let Ok(read @ 1..) = stream.read(&mut waste).await
        && read <= left
    {
        left -= read;
    }
}

/// Speaks HTTP until the connection has ended or has to.
async fn converse<C: Consumer>(
    socket: Socket,
    link: Arc<Link<C>>,
    builder: Arc<Builder>,
    stop: CancellationToken,
) {
    let core = &link.server.core;
    let activity = &link.activity;
    let (mut watch, first_look) = Watch::new(&core.timeouts, Instant::now(), fastrand::u32(..));
    let socket = TokioIo::new(socket);
    let service = service_fn(|request| {
        let active = activity.begin();
        let link = Arc::clone(&link);
        async move {
            let response = link.answer(request).await;
            active.answered();
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(builder.0.serve_connection(socket, service));
    let mut look = pin!(time::sleep_until(first_look));
    let mut closing = false;
    loop {
        tokio::select! {
            biased;
            // An error is the client's: it left, or does not speak HTTP.
            _ = connection.as_mut() => break,
            () = stop.cancelled(), if !closing => {
                connection.as_mut().graceful_shutdown();
                closing = true;
            }
            () = look.as_mut() => {
                let verdict = watch.tick(activity, Instant::now());
                let (Verdict::Stay(next) | Verdict::Idle(next) | Verdict::Old(next)) = verdict else {
                    break;
                };
                look.as_mut().reset(next);
                if matches!(verdict, Verdict::Stay(_)) || closing {
                    continue;
                }
                if matches!(verdict, Verdict::Old(_)) {
                    core.counters.connections_aged.fetch_add(1, Relaxed);
                }
                connection.as_mut().graceful_shutdown();
                closing = true;
            }
        }
    }
    if activity.is_abuse() {
        core.cut_off_abuse(&link.peer);
    }
}
