//! What several targets need: a receiver on a socket of its own, and a client that asks it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use teleflow_otlp::{ExportResponse, Payload};
use teleflow_receiver::{
    Config, Consumer, GrpcConfig, HttpConfig, Limits, Receiver, Refused, Stats,
};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// The most bytes of a request, before and after it is inflated.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// An answer that does not come in this time never comes: that is a finding.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A receiver that serves both protocols on one socket, and keeps what it takes.
#[derive(Debug)]
pub struct Served {
    pub runtime: Runtime,
    pub path: PathBuf,
    pub stats: Stats,
    taken: Arc<Mutex<Vec<Payload>>>,
    _folder: TempDir,
}

/// Asks over connections that are kept.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    http1: Option<http1::SendRequest<Pieces>>,
    http2: Option<http2::SendRequest<Pieces>>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// With the trailers.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A body in pieces. Over HTTP/1.1 one of several pieces goes out in chunks.
#[derive(Debug, Default)]
pub struct Pieces(VecDeque<Bytes>);

struct Keep(Arc<Mutex<Vec<Payload>>>);

// === impl Served ===

impl Served {
    /// Starts one, with what `shape` makes of its settings.
    pub fn start(shape: impl FnOnce(&mut Config)) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let path = folder.path().join("otlp");
        let endpoint = format!("unix:{}", path.display());
        let max_request_bytes = MAX_REQUEST_BYTES;
        let mut config = Config {
            grpc: Some(GrpcConfig { endpoint: endpoint.clone(), max_request_bytes }),
            http: Some(HttpConfig { endpoint, max_request_bytes, ..HttpConfig::default() }),
            limits: Limits { max_in_flight_bytes: 32 * MAX_REQUEST_BYTES, ..Limits::default() },
            one_port: true,
            ..Config::default()
        };
        shape(&mut config);
        let receiver = runtime.block_on(Receiver::bind(config)).expect("it can be bound");
        let (stats, taken) = (receiver.stats(), Arc::default());
        let keep = Keep(Arc::clone(&taken));
        runtime.spawn(receiver.serve(keep, CancellationToken::new(), Duration::ZERO));
        Self { runtime, path, stats, taken, _folder: folder }
    }

    /// What was taken since the last call.
    pub fn taken(&self) -> Vec<Payload> {
        std::mem::take(&mut *self.taken.lock().expect("nobody panics while they hold this"))
    }

    /// No request is under way: nothing may be held for one.
    #[track_caller]
    pub fn check_idle(&self) {
        assert_eq!(self.stats.snapshot().bytes_in_flight, 0);
    }

    /// A client of this one.
    pub fn client(&self) -> Client {
        Client { path: self.path.clone(), http1: None, http2: None }
    }
}

impl Consumer for Keep {
    async fn consume(&self, payload: Payload) -> Result<ExportResponse, Refused> {
        self.0.lock().expect("nobody panics while they hold this").push(payload);
        Ok(ExportResponse::default())
    }
}

// === impl Client ===

impl Client {
    /// The answer, or `None` where the connection was closed instead.
    ///
    /// # Panics
    ///
    /// Neither comes.
    pub async fn ask(&mut self, over_http2: bool, request: Request<Pieces>) -> Option<Answer> {
        let answer = self.try_ask(over_http2, request);
        // bounded wait: that no answer comes is a finding
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("no answer");
        if answer.is_err() {
            (self.http1, self.http2) = (None, None);
        }
        answer.ok()
    }

    async fn try_ask(
        &mut self,
        over_http2: bool,
        request: Request<Pieces>,
    ) -> Result<Answer, Box<dyn Error>> {
        let response = if over_http2 {
            self.http2().await?.send_request(request).await?
        } else {
            self.http1().await?.send_request(request).await?
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let mut headers = head.headers;
        headers.extend(body.trailers().cloned().unwrap_or_default());
        Ok(Answer { status: head.status, headers, body: body.to_bytes() })
    }

    async fn http1(&mut self) -> Result<&mut http1::SendRequest<Pieces>, Box<dyn Error>> {
        // One that the server has closed is not ready again.
        if let Some(known) = &mut self.http1
            && known.ready().await.is_err()
        {
            self.http1 = None;
        }
        if self.http1.is_none() {
            let (sender, connection) = http1::handshake(self.connect().await?).await?;
            tokio::spawn(connection);
            self.http1 = Some(sender);
        }
        Ok(self.http1.as_mut().expect("it was made above"))
    }

    async fn http2(&mut self) -> Result<&mut http2::SendRequest<Pieces>, Box<dyn Error>> {
        if let Some(known) = &mut self.http2
            && known.ready().await.is_err()
        {
            self.http2 = None;
        }
        if self.http2.is_none() {
            let stream = self.connect().await?;
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            self.http2 = Some(sender);
        }
        Ok(self.http2.as_mut().expect("it was made above"))
    }

    async fn connect(&self) -> io::Result<TokioIo<UnixStream>> {
        UnixStream::connect(&self.path).await.map(TokioIo::new)
    }
}

// === impl Pieces ===

impl Pieces {
    /// The bytes, cut at these places.
    pub fn cut(bytes: &[u8], at: &[u8]) -> Self {
        let mut rest = Bytes::copy_from_slice(bytes);
        let mut pieces: VecDeque<_> =
            at.iter().map(|&at| rest.split_to(usize::from(at).min(rest.len()))).collect();
        pieces.push_back(rest);
        pieces.retain(|piece| !piece.is_empty());
        Self(pieces)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.len() {
            0 => SizeHint::with_exact(0),
            1 => SizeHint::with_exact(self.0[0].len() as u64),
            _ => SizeHint::default(),
        }
    }
}
