//! Anything as what a server answers an exporter, over HTTP and gRPC: it is judged in time, no more
//! is counted than was sent, and what is told of it is short and fit for a log.

#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use libfuzzer_sys::fuzz_target;
use teleflow_exporter::{
    AnyExporter, Encoding, Exporter, GrpcConfig, GrpcExporter, HttpConfig, HttpExporter,
    MAX_SERVER_DELAY,
};
use teleflow_fuzz::PATIENCE;
use teleflow_otlp::{Payload, Signal};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Exporters, and a server that answers what it is told to.
struct World {
    runtime: Runtime,
    answer: Answer,
    /// Over HTTP in protobuf and in JSON, over gRPC.
    exporters: [AnyExporter; 3],
    _folder: TempDir,
}

type Answer = Arc<Mutex<Bytes>>;

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

const NAMES: [&str; 8] = [
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "grpc-encoding",
    "grpc-accept-encoding",
    "content-type",
    "retry-after",
    "x-other",
];

const ITEMS: u64 = 3;

/// `ExportTraceServiceRequest { ResourceSpans { ScopeSpans { Span { name: "x" } } } }`, three times.
const PROTOBUF: &[u8] =
    b"\x0a\x07\x12\x05\x12\x03\x2a\x01x\x0a\x07\x12\x05\x12\x03\x2a\x01x\x0a\x07\x12\x05\x12\x03\x2a\x01x";

fuzz_target!(|input: &[u8]| {
    let Some((&how, answer)) = input.split_first() else { return };
    WORLD.with_borrow_mut(|world| {
        *world.answer.lock().expect("nobody panics while they hold this") =
            Bytes::copy_from_slice(answer);
        let exporter = &world.exporters[usize::from(how) % world.exporters.len()];
        let payload = Payload::parse(Signal::Traces, Bytes::from_static(PROTOBUF)).expect("valid");
        assert_eq!(payload.items(), ITEMS);
        // bounded wait: that it is not judged is a finding
        let judged = async { timeout(PATIENCE, exporter.export(payload)).await };
        let told = match world.runtime.block_on(judged).expect("no result") {
            Ok(delivered) => {
                assert!(delivered.rejected <= ITEMS);
                delivered.message.unwrap_or_default()
            }
            Err(error) => {
                assert!(error.retry_after().is_none_or(|delay| delay <= MAX_SERVER_DELAY));
                error.to_string()
            }
        };
        assert!(told.len() < 4096 && !told.chars().any(char::is_control), "{told:?}");
    });
});

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder for the sockets");
        let (http, grpc) = (folder.path().join("http"), folder.path().join("grpc"));
        let answer = Answer::default();
        runtime.block_on(async {
            serve(&http, &answer, raw);
            serve(&grpc, &answer, calls);
        });
        let endpoint = |path: &Path| format!("unix:{}", path.display());
        let protobuf = HttpConfig::new(endpoint(&http));
        let json = HttpConfig { encoding: Encoding::Json, ..protobuf.clone() };
        let exporters = [
            AnyExporter::new(HttpExporter::new(protobuf).expect("it can send")),
            AnyExporter::new(HttpExporter::new(json).expect("it can send")),
            AnyExporter::new(
                GrpcExporter::new(GrpcConfig::new(endpoint(&grpc))).expect("it can send"),
            ),
        ];
        Self { runtime, answer, exporters, _folder: folder }
    }
}

fn serve<F: Future<Output = ()> + 'static + Send>(
    path: &Path,
    answer: &Answer,
    connection: impl Fn(UnixStream, Answer) -> F + Send + 'static,
) {
    let listener = UnixListener::bind(path).expect("nobody else is there");
    let answer = Arc::clone(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, Arc::clone(&answer)));
        }
    });
}

/// Says what it is told to, whatever that is, and closes.
async fn raw(mut stream: UnixStream, answer: Answer) {
    let mut request = [0; 4096];
    if stream.read(&mut request).await.is_err() {
        return;
    }
    let answer = answer.lock().expect("nobody panics while they hold this").clone();
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {}
}

/// Answers calls: a byte of status, then lines. Those of headers and trailers begin with a byte for
/// the name; the rest after an empty line is the body.
async fn calls(stream: UnixStream, answer: Answer) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.lock().expect("nobody panics while they hold this").clone();
        async move {
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(call(answer))
        }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn call(mut answer: Bytes) -> Response<BoxBody<Bytes, Infallible>> {
    let status = if answer.is_empty() { 0 } else { answer.split_to(1)[0] };
    let (mut headers, mut trailers) = (HeaderMap::new(), HeaderMap::new());
    loop {
        let end = answer.iter().position(|&byte| byte == b'\n').unwrap_or(answer.len());
        let line = answer.split_to(end);
        if !answer.is_empty() {
            let _ = answer.split_to(1);
        }
        let Some((&kind, value)) = line.split_first() else { break };
        let name = HeaderName::from_static(NAMES[usize::from(kind >> 1) % NAMES.len()]);
        let map = if kind & 1 == 0 { &mut headers } else { &mut trailers };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            map.append(name, value);
        }
    }
    let codes = [200, 200, 200, 404, 429, 502, 503, 301];
    let body = Full::new(answer).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    *response.status_mut() =
        StatusCode::from_u16(codes[usize::from(status) % codes.len()]).expect("it is one");
    *response.headers_mut() = headers;
    response
}
