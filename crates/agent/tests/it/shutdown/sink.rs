//! Where the gateway forwards to: an OTLP/gRPC server that counts what it answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use teleflow::Signal;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::load::is_marked;
use crate::malformed::client::frame;
use crate::malformed::reference;
use crate::sampling::Arrived;

/// Lives as long as the test's runtime.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// A request takes a place while it is answered.
    places: Semaphore,
    /// Items of requests that were answered, by signal.
    items: [AtomicU64; 3],
    marked: AtomicU64,
    /// Is told of the spans, if anybody wants to know.
    arrived: Option<Arc<Arrived>>,
}

// === impl Sink ===

impl Sink {
    /// Answers whatever comes.
    pub(crate) async fn open() -> Self {
        let sink = Self::shut().await;
        sink.counts.places.add_permits(1000);
        sink
    }

    /// Answers whatever comes, and tells of the spans in it.
    pub(crate) async fn open_to(arrived: &Arc<Arrived>) -> Self {
        let sink = Self::bind(Some(Arc::clone(arrived))).await;
        sink.counts.places.add_permits(1000);
        sink
    }

    /// Takes requests in and answers none, until it is told to.
    pub(crate) async fn shut() -> Self {
        Self::bind(None).await
    }

    async fn bind(arrived: Option<Arc<Arrived>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts {
            places: Semaphore::new(0),
            items: Default::default(),
            marked: AtomicU64::new(0),
            arrived,
        });
        tokio::spawn(accept(listener, Arc::clone(&counts)));
        Self { address, counts }
    }

    /// Answers from now on, but never two at a time.
    pub(crate) fn answer_one_by_one(&self) {
        self.counts.places.add_permits(1);
    }

    /// Items of requests that were answered.
    pub(crate) fn items(&self, signal: Signal) -> u64 {
        self.counts.items[signal.index()].load(SeqCst)
    }

    /// Spans among them that a sampler must not leave out.
    pub(crate) fn marked(&self) -> u64 {
        self.counts.marked.load(SeqCst)
    }
}

async fn accept(listener: TcpListener, counts: Arc<Counts>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let counts = Arc::clone(&counts);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&counts)));
            let builder = http2::Builder::new(TokioExecutor::new());
            // The gateway ends its connections as it likes.
            _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    counts: Arc<Counts>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let path = request.uri().path();
    let signal = Signal::ALL.into_iter().find(|signal| signal.grpc_path() == path).unwrap();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let _place = counts.places.acquire().await.unwrap();

    let message = &body[5..];
    assert_eq!(body[..], frame(0, message)[..], "one message, not compressed");
    let items = reference::items(signal, message).unwrap();
    counts.items[signal.index()].fetch_add(items, SeqCst);
    if signal == Signal::Traces {
        let request = ExportTraceServiceRequest::decode(message).unwrap();
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let marked = scopes.flat_map(|scope| &scope.spans).filter(|span| is_marked(span));
        counts.marked.fetch_add(marked.count() as u64, SeqCst);
        if let Some(arrived) = &counts.arrived {
            arrived.take(&request);
        }
    }

    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::from(frame(0, b"")).with_trailers(async { Some(Ok(trailers)) });
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}
