//! What a gateway exports to: takes OTLP/gRPC, counts the spans, says that all is well.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::scan::Scanner;

/// Room for a batch of 8192 spans: the sink is never what a gateway waits for.
const WINDOW: u32 = 8 << 20;

/// An OTLP/gRPC server on a free port of the loopback; it closes when dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    spans: AtomicU64,
    requests: AtomicU64,
    first_error: Mutex<Option<String>>,
}

/// The answer to an export: an empty message and a status, in the order gRPC wants.
struct Answer {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

// === impl Sink ===

impl Sink {
    /// Listens and serves.
    ///
    /// # Errors
    ///
    /// There is no port to listen on.
    pub async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The spans received.
    pub fn spans(&self) -> u64 {
        self.state.spans.load(Ordering::Relaxed)
    }

    /// The requests received whole.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// What was wrong with the first request that was: compressed, not OTLP, cut off.
    pub fn first_error(&self) -> Option<String> {
        self.state.first_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // No connection can be accepted only where this process has run out of descriptors; the
    // counts then show it.
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|request| export(request, Arc::clone(&state)));
    // Without it answers are only slower.
    let _ = stream.set_nodelay(true);
    let served = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // A gateway that stops may close its connection as it likes.
    drop(served);
}

async fn export(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Answer>, Infallible> {
    let status = match receive(request.into_body()).await {
        Ok(spans) => {
            state.spans.fetch_add(spans, Ordering::Relaxed);
            state.requests.fetch_add(1, Ordering::Relaxed);
            HeaderValue::from_static("0")
        }
        Err(error) => {
            let mut first = state.first_error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
            HeaderValue::from_static("3")
        }
    };
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", status);
    let message = Some(Bytes::from_static(&[0; 5]));
    let mut response = Response::new(Answer { message, trailers: Some(trailers) });
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    Ok(response)
}

async fn receive(mut body: Incoming) -> Result<u64, String> {
    let mut scanner = Scanner::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
            scanner.feed(&data).map_err(|error| error.to_string())?;
        }
    }
    scanner.finish().map_err(|error| error.to_string())
}

// === impl Answer ===

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}
