//! What a gateway exports to: takes OTLP/gRPC, counts the spans, says that all is well.
//!
//! A slow one says so only when the spans' time has come, as a backend does that has its limit.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

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
use tokio::time;

use crate::encoding::Encoding;
use crate::payload::PREFIX;
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
    compressed: AtomicU64,
    slow: Option<Slow>,
    first_error: Mutex<Option<String>>,
}

/// At most so many spans a second.
#[derive(Debug)]
struct Slow {
    rate: f64,
    /// When all that has been received is worked off.
    free: Mutex<Instant>,
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
        Self::with(State::default()).await
    }

    /// The same, but it takes no more than so many spans a second.
    ///
    /// # Errors
    ///
    /// There is no port to listen on.
    pub async fn bind_slow(rate: f64) -> io::Result<Self> {
        let slow = Some(Slow { rate, free: Mutex::new(Instant::now()) });
        Self::with(State { slow, ..State::default() }).await
    }

    async fn with(state: State) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(state);
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

    /// Those of them that came compressed.
    pub fn compressed(&self) -> u64 {
        self.state.compressed.load(Ordering::Relaxed)
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
    let encoding = request.headers().get("grpc-encoding").cloned();
    let status = match receive(encoding.as_ref(), request.into_body()).await {
        Ok((spans, compressed)) => {
            state.compressed.fetch_add(compressed.into(), Ordering::Relaxed);
            if let Some(slow) = &state.slow {
                time::sleep_until(slow.until(spans, Instant::now()).into()).await;
            }
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

/// The spans of a request, and whether it is compressed.
async fn receive(
    encoding: Option<&HeaderValue>,
    mut body: Incoming,
) -> Result<(u64, bool), String> {
    let encoding = match encoding.map(HeaderValue::to_str) {
        None | Some(Ok("identity")) => Some(Encoding::None),
        Some(Ok(name)) => Encoding::named(name),
        Some(Err(_)) => None,
    };
    let encoding = encoding.ok_or("an encoding that nobody was told to use")?;
    let mut scanner = Scanner::new();
    let mut compressed = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
            match encoding {
                Encoding::None => scanner.feed(&data).map_err(|error| error.to_string())?,
                Encoding::Gzip | Encoding::Zstd => compressed.extend_from_slice(&data),
            }
        }
    }
    let is_compressed = compressed.first() == Some(&1);
    if encoding != Encoding::None {
        let plain = inflate(encoding, compressed)?;
        scanner.feed(&plain).map_err(|error| error.to_string())?;
    }
    let spans = scanner.finish().map_err(|error| error.to_string())?;
    Ok((spans, is_compressed))
}

/// A message with its prefix as it is without compression.
fn inflate(encoding: Encoding, mut framed: Vec<u8>) -> Result<Vec<u8>, String> {
    if framed.len() < PREFIX {
        return Err("a message without its prefix".to_owned());
    }
    let message = framed.split_off(PREFIX);
    // A message may be sent as it is where compressing it does not pay.
    let encoding = if framed[0] == 0 { Encoding::None } else { encoding };
    let mut plain = encoding.inflate(message).map_err(|error| error.to_string())?;
    let length = u32::try_from(plain.len()).map_err(|error| error.to_string())?;
    let mut prefix = [0; PREFIX];
    prefix[1..].copy_from_slice(&length.to_be_bytes());
    plain.splice(..0, prefix);
    Ok(plain)
}

// === impl Slow ===

impl Slow {
    /// When `spans` that come now are worked off, after all that came before.
    fn until(&self, spans: u64, now: Instant) -> Instant {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = (*free).max(now) + Duration::from_secs_f64(spans as f64 / self.rate);
        *free
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoder;
    use crate::payload::Payload;

    #[test]
    fn a_compressed_message_is_scanned_like_a_plain_one() {
        let mut framed = Vec::new();
        Payload::new(100).sequence(1).write(&mut framed);
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let sent = Encoder::new(encoding).unwrap().encode(&framed).unwrap();
            assert!(inflate(encoding, sent).unwrap() == framed);
            assert!(inflate(encoding, framed.clone()).unwrap() == framed, "sent as it is");
            assert!(inflate(encoding, vec![1, 0]).is_err());
        }
    }

    #[test]
    fn a_slow_sink_takes_one_after_the_other() {
        let now = Instant::now();
        let slow = Slow { rate: 100.0, free: Mutex::new(now) };
        let after = |millis| now + Duration::from_millis(millis);
        assert_eq!(slow.until(10, now), after(100));
        assert_eq!(slow.until(5, after(20)), after(150));
        assert_eq!(slow.until(10, after(500)), after(600), "idle time is lost");
    }
}
