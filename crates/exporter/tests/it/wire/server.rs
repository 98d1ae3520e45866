//! A server that answers as it is told.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{iter, repeat_with, unfold};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use teleflow_otlp::{ExportResponse, Status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Makes the same answer every time.
pub(crate) type Answers = fn() -> Answer;

/// What a connection runs over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(crate) type Stream = Box<dyn Io>;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// What came, whole.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    /// Named in the request's line itself, as proxies are told.
    pub(crate) authority: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    arrived: Arc<Semaphore>,
}

impl Server {
    /// Serves on a free port of loopback. `answer` is given the number of the request, from 0;
    /// where it has no answer, the client waits for good.
    pub(crate) async fn start(
        protocol: Protocol,
        answer: impl Fn(usize) -> Option<Answer> + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, protocol, move |number| ready(answer(number)))
    }

    /// Serves on `listener`; answers may take their time.
    pub(crate) fn on<F>(
        listener: TcpListener,
        protocol: Protocol,
        answer: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<Answer>> + Send,
    {
        let addr = listener.local_addr().unwrap();
        let (accepted, streams) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if accepted.send(Box::new(stream) as Stream).await.is_err() {
                    return;
                }
            }
        });
        Self::over(addr, streams, protocol, answer)
    }

    /// Serves on connections that come from elsewhere.
    pub(crate) fn over<F>(
        addr: SocketAddr,
        mut streams: mpsc::Receiver<Stream>,
        protocol: Protocol,
        answer: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<Answer>> + Send,
    {
        let server = Self { addr, received: Arc::default(), arrived: Arc::new(Semaphore::new(0)) };
        let serving = server.clone();
        tokio::spawn(async move {
            let mut connections = 0..;
            while let Some(stream) = streams.recv().await {
                let connection = connections.next().unwrap();
                let (serving, answer) = (serving.clone(), answer.clone());
                let service = service_fn(move |request| {
                    let (serving, answer) = (serving.clone(), answer.clone());
                    async move {
                        let number = serving.receive(request, connection).await;
                        match answer(number).await {
                            Some(answer) => Ok::<_, Infallible>(answer),
                            None => pending().await,
                        }
                    }
                });
                let io = TokioIo::new(stream);
                tokio::spawn(async move {
                    let _ = match protocol {
                        Protocol::Http1 => {
                            http1::Builder::new().serve_connection(io, service).await
                        }
                        Protocol::Http2 => {
                            let builder = http2::Builder::new(TokioExecutor::new());
                            builder.serve_connection(io, service).await
                        }
                    };
                });
            }
        });
        server
    }

    /// Takes a request in and gives it a number.
    async fn receive(&self, request: Request<Incoming>, connection: usize) -> usize {
        let (parts, body) = request.into_parts();
        let received = Received {
            authority: parts.uri.authority().map(ToString::to_string),
            path: parts.uri.path_and_query().unwrap().to_string(),
            headers: parts.headers,
            body: body.collect().await.map(|body| body.to_bytes()).unwrap_or_default(),
            connection,
        };
        let mut all = self.received.lock().unwrap();
        all.push(received);
        self.arrived.add_permits(1);
        all.len() - 1
    }

    /// Waits until so many more requests have arrived.
    pub(crate) async fn arrived(&self, count: u32) {
        self.arrived.acquire_many(count).await.unwrap().forget();
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

/// Accepts connections, reads a little of each and closes it.
pub(crate) async fn hangs_up() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 100]).await;
        }
    });
    addr
}

/// An address on which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// An answer of this status and body, over HTTP.
pub(crate) fn http(
    status: u16,
    headers: &[(&'static str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).map_err(never).boxed_unsync());
    *answer.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        answer.headers_mut().insert(*name, value.parse().unwrap());
    }
    answer
}

/// A success over HTTP.
pub(crate) fn http_reply(reply: &ExportResponse) -> Answer {
    http(200, &[("content-type", "application/x-protobuf")], reply.encode())
}

/// A message with its head, and the status behind it.
pub(crate) fn grpc(compressed: bool, message: &[u8], status: &Status) -> Answer {
    let mut framed = vec![u8::from(compressed)];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(message);
    let trailers = grpc_headers(status);
    let mut answer = with_trailers(framed, trailers);
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if compressed {
        answer.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    answer
}

/// A body and the trailers behind it.
pub(crate) fn with_trailers(body: impl Into<Bytes>, trailers: HeaderMap) -> Answer {
    let body = Full::new(body.into()).with_trailers(async move { Some(Ok(trailers)) });
    Response::new(body.map_err(never).boxed_unsync())
}

fn never(never: Infallible) -> io::Error {
    match never {}
}

/// A status and nothing else, in headers only, as most servers send an error.
pub(crate) fn grpc_error(status: &Status) -> Answer {
    let mut answer = http(200, &[("content-type", "application/grpc")], "");
    answer.headers_mut().extend(grpc_headers(status));
    answer
}

pub(crate) fn grpc_headers(status: &Status) -> HeaderMap {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", status.code.number().into());
    headers.insert("grpc-message", status.message.parse().unwrap());
    if let Some(delay) = status.retry_delay {
        // Either form of base64 is allowed.
        let details = status.encode();
        let details = if delay.subsec_nanos() == 0 {
            STANDARD.encode(details)
        } else {
            STANDARD_NO_PAD.encode(details)
        };
        headers.insert("grpc-status-details-bin", details.parse().unwrap());
    }
    headers
}

/// A body that never ends.
pub(crate) fn endless() -> Answer {
    let frames = repeat_with(|| Ok(Frame::data(Bytes::from_static(&[0; 65_536]))));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

/// An answer whose body comes in bytes, one each `period`, without end.
pub(crate) fn endless_from(answer: Answer, period: Duration) -> Answer {
    let (head, _) = answer.into_parts();
    let bytes = unfold((), move |()| async move {
        // bounded wait: the server is slow on purpose, and the test pauses the clock
        tokio::time::sleep(period).await;
        Some((Ok(Frame::data(Bytes::from_static(b"\0"))), ()))
    });
    Response::from_parts(head, StreamBody::new(bytes).boxed_unsync())
}

/// An answer that breaks off in the middle.
pub(crate) fn breaks_off() -> Answer {
    let frames = [Ok(Frame::data(Bytes::from_static(b"\0"))), Err(io::Error::other("as told"))];
    Response::new(StreamBody::new(iter(frames)).boxed_unsync())
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn gunzip(data: &[u8]) -> Vec<u8> {
    use std::io::Read as _;

    let mut out = Vec::new();
    flate2::read::GzDecoder::new(data).read_to_end(&mut out).unwrap();
    out
}

pub(crate) fn unzstd(data: &[u8]) -> Vec<u8> {
    zstd::stream::decode_all(data).unwrap()
}
