//! Where a program sends what it keeps: each policy's to a path of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::program::PATIENCE;
use crate::traffic::{SpanKey, spans_of};

/// What a policy kept.
pub(crate) type Kept = BTreeSet<SpanKey>;

/// Lives as long as the test's runtime.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Mutex<BTreeMap<String, Kept>>,
    more: Notify,
}

// === impl Sink ===

impl Sink {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// By the name of the policy.
    pub(crate) fn kept(&self) -> BTreeMap<String, Kept> {
        self.state.kept.lock().unwrap().clone()
    }

    /// Waits until a policy has kept this span.
    pub(crate) async fn has(&self, name: &str, span: SpanKey) {
        // bounded wait: a program decides when its clock says so.
        let waited = timeout(PATIENCE, async {
            loop {
                let more = self.state.more.notified();
                let has = |kept: &Kept| kept.contains(&span);
                if self.state.kept.lock().unwrap().get(name).is_some_and(has) {
                    return;
                }
                more.await;
            }
        });
        assert!(waited.await.is_ok(), "{name} has not kept what it is given");
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(request, Arc::clone(&state)));
        tokio::spawn(async move {
            // A program that ends closes its connections as it likes.
            _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let name = path.strip_prefix('/').and_then(|path| path.strip_suffix("/v1/traces"));
    let name = name.unwrap_or_else(|| panic!("{path} is no policy's")).to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    {
        let mut kept = state.kept.lock().unwrap();
        let kept = kept.entry(name.clone()).or_default();
        for span in spans_of(&request) {
            assert!(kept.insert(span), "{name} sends {span:?} a second time");
        }
    }
    state.more.notify_one();
    Ok(Response::builder()
        .header("content-type", "application/x-protobuf")
        .body(Empty::new())
        .unwrap())
}
