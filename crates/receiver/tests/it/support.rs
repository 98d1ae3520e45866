//! A receiver with a consumer that does as it is told, and clients.

#![allow(clippy::unwrap_used, reason = "only tests call these, and have failed where one panics")]

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use teleflow_otlp::{ExportResponse, Payload, Signal};
use teleflow_receiver::auth::Identity;
use teleflow_receiver::{
    Config, Consumer, GrpcConfig, HttpConfig, Receiver, Refused, Stats, Stopped,
};
use teleflow_testkit::telemetry::Telemetry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{self, JoinHandle};
use tokio_util::sync::CancellationToken;

/// Keeps what it is given.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) seen: Mutex<Vec<Payload>>,
    /// Whose each of them was.
    pub(crate) senders: Mutex<Vec<Option<String>>>,
    /// Has a permit for each payload that has come in.
    pub(crate) entered: Semaphore,
    /// Each payload waits for a permit.
    pub(crate) gate: Semaphore,
    pub(crate) refuses: Mutex<Option<Refused>>,
    /// What is said of a payload that is taken.
    pub(crate) answers: Mutex<ExportResponse>,
    pub(crate) panics: AtomicBool,
    /// Has a permit for each payload that was dropped while it waited.
    pub(crate) dropped: Semaphore,
}

pub(crate) struct Server {
    pub(crate) fake: Arc<Fake>,
    pub(crate) stats: Stats,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<Stopped>,
    #[cfg(feature = "tls")]
    pub(crate) tls: teleflow_receiver::Tls,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

/// A client of one connection.
pub(crate) enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// `google.rpc.Status`, read by prost.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct ProtoDuration {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

// === impl Fake ===

impl Consumer for Fake {
    async fn consume(&self, payload: Payload) -> Result<ExportResponse, Refused> {
        assert!(!self.panics.load(SeqCst), "told to panic");
        let waits = Waits(&self.dropped);
        self.entered.add_permits(1);
        self.gate.acquire().await.expect("never closed").forget();
        std::mem::forget(waits);
        if let Some(refused) = self.refuses.lock().unwrap().clone() {
            return Err(refused);
        }
        let name = Identity::current().map(|identity| identity.name().to_owned());
        self.senders.lock().unwrap().push(name);
        self.seen.lock().unwrap().push(payload);
        Ok(self.answers.lock().unwrap().clone())
    }
}

struct Waits<'a>(&'a Semaphore);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl Fake {
    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Waits until `count` more payloads have come in.
    pub(crate) async fn has_entered(&self, count: u32) {
        self.entered.acquire_many(count).await.unwrap().forget();
    }
}

// === impl Server ===

impl Server {
    /// Starts with a gate that is open.
    pub(crate) async fn start(config: Config) -> Self {
        let server = Self::start_gated(config).await;
        server.fake.gate.add_permits(1_000_000);
        server
    }

    /// Starts with a gate that is shut.
    pub(crate) async fn start_gated(config: Config) -> Self {
        let fake = Arc::new(Fake {
            seen: Mutex::default(),
            senders: Mutex::default(),
            entered: Semaphore::new(0),
            gate: Semaphore::new(0),
            refuses: Mutex::default(),
            answers: Mutex::default(),
            panics: AtomicBool::new(false),
            dropped: Semaphore::new(0),
        });
        let receiver = Receiver::bind(config).await.unwrap();
        // On a unix socket there is none.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let grpc = receiver.grpc_addr().unwrap_or(nowhere);
        let http = receiver.http_addr().unwrap_or(nowhere);
        #[cfg(feature = "tls")]
        let tls = receiver.tls();
        let (stats, stop) = (receiver.stats(), CancellationToken::new());
        let serve = receiver.serve(Arc::clone(&fake), stop.clone(), Duration::from_secs(5));
        let served = tokio::spawn(serve);
        Self {
            fake,
            stats,
            grpc,
            http,
            stop,
            served,
            #[cfg(feature = "tls")]
            tls,
        }
    }

    pub(crate) async fn stop(self) -> Stopped {
        self.stop.cancel();
        self.served.await.unwrap()
    }

    /// Waits until the counters say so.
    #[track_caller]
    pub(crate) fn until(&self, is: impl Fn(&Self) -> bool) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            for _ in 0..10_000_000_u64 {
                if is(self) {
                    return;
                }
                task::yield_now().await;
            }
            panic!("never so, {place}: {:?}", self.stats.snapshot());
        }
    }
}

/// Lets requests take so many bytes, over both protocols.
pub(crate) fn limit_requests(config: &mut Config, bytes: usize) {
    if let Some(grpc) = &mut config.grpc {
        grpc.max_request_bytes = bytes;
    }
    if let Some(http) = &mut config.http {
        http.max_request_bytes = bytes;
    }
}

/// Free ports, and all else by default.
pub(crate) fn config() -> Config {
    Config {
        grpc: Some(GrpcConfig { endpoint: "127.0.0.1:0".into(), ..GrpcConfig::default() }),
        http: Some(HttpConfig { endpoint: "localhost:0".into(), ..HttpConfig::default() }),
        ..Config::default()
    }
}

// === impl Client ===

impl Client {
    pub(crate) async fn http1(address: SocketAddr) -> Self {
        Self::http1_over(connect(address).await).await
    }

    pub(crate) async fn http2(address: SocketAddr) -> Self {
        Self::http2_over(connect(address).await).await
    }

    pub(crate) async fn http1_over(stream: impl Stream) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    pub(crate) async fn http2_over(stream: impl Stream) -> Self {
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn try_send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, hyper::Error> {
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers })
    }
}

/// What HTTP can be spoken over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Opens a connection that does not wait for more to send.
async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

// === impl Answer ===

impl Answer {
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The status of a gRPC call, wherever it stands.
    #[track_caller]
    pub(crate) fn grpc_status(&self) -> i32 {
        assert_eq!(self.status, StatusCode::OK);
        assert_eq!(self.header("content-type"), "application/grpc");
        let status = self.trailers.get("grpc-status").or_else(|| self.headers.get("grpc-status"));
        status.expect("every call has one").to_str().unwrap().parse().unwrap()
    }

    /// The status in an error's body, whose encoding must be the one that it says.
    #[track_caller]
    pub(crate) fn rpc_status(&self, json: bool) -> RpcStatus {
        if !json {
            assert_eq!(self.header("content-type"), "application/x-protobuf");
            return RpcStatus::decode(&self.body[..]).unwrap();
        }
        assert_eq!(self.header("content-type"), "application/json");
        let value: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        RpcStatus {
            code: value["code"].as_i64().unwrap() as i32,
            message: value["message"].as_str().unwrap().to_owned(),
            details: Vec::new(),
        }
    }
}

/// A call with one message.
pub(crate) fn call(signal: Signal, message: &[u8]) -> Request<Full<Bytes>> {
    raw_call(signal.grpc_path(), &[], &frame(0, message))
}

/// A call with one message that is compressed by gzip.
pub(crate) fn gzip_call(signal: Signal, compressed: &[u8]) -> Request<Full<Bytes>> {
    raw_call(signal.grpc_path(), &[("grpc-encoding", "gzip")], &frame(1, compressed))
}

pub(crate) fn raw_call(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<Full<Bytes>> {
    let headers = [&[("content-type", "application/grpc"), ("te", "trailers")], headers].concat();
    request("POST", &format!("http://localhost{path}"), &headers, body)
}

pub(crate) fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

/// A request of OTLP/HTTP.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<Full<Bytes>> {
    request("POST", &format!("http://localhost{path}"), headers, body)
}

pub(crate) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const GZIP: (&str, &str) = ("content-encoding", "gzip");

pub(crate) fn request(
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(uri);
    if uri.starts_with("http://localhost") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::from(body.to_vec())).unwrap()
}

/// A valid request of some items.
pub(crate) fn telemetry(signal: Signal, seed: u64) -> Vec<u8> {
    let mut telemetry = Telemetry::new(seed);
    match signal {
        Signal::Traces => telemetry.traces(4).encode_to_vec(),
        Signal::Metrics => telemetry.metrics(4).encode_to_vec(),
        Signal::Logs => telemetry.logs(4).encode_to_vec(),
    }
}

/// A valid trace request of exactly `len` bytes: one unknown field.
pub(crate) fn padding(len: usize) -> Vec<u8> {
    let mut request = vec![0xfa, 0x7f];
    // The length of the length settles the rest.
    for digits in 1..5 {
        let Some(rest) = len.checked_sub(2 + digits) else { continue };
        let mut prefix = Vec::new();
        prost::encoding::encode_varint(rest as u64, &mut prefix);
        if prefix.len() == digits {
            request.extend_from_slice(&prefix);
            request.resize(len, b'x');
            return request;
        }
    }
    panic!("no request has {len} bytes");
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A valid request of more than `len` bytes that compresses to next to nothing.
pub(crate) fn bomb(len: usize) -> Vec<u8> {
    gzip(&padding(len + 1))
}
