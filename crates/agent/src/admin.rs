//! The admin endpoint: `/health` and `/metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use teleflow::store::SqliteStore;
use teleflow::{Phase, Pipeline};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// How many connections are open at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take to ask.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What a health check asks for, and what a scrape does.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    metrics: Arc<OnceLock<Metrics>>,
}

// === impl Admin ===

impl Admin {
    /// Takes the port and answers on it: 503 until [`serve`](Self::serve) is called.
    pub(crate) async fn bind(endpoint: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(endpoint)
            .await
            .with_context(|| format!("cannot listen on {endpoint} for /health and /metrics"))?;
        let admin = Self { address: listener.local_addr()?, metrics: Arc::default() };
        tokio::spawn(accept(listener, Arc::clone(&admin.metrics)));
        Ok(admin)
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for a pipeline from now on.
    pub(crate) fn serve(&self, pipeline: &Arc<Pipeline>, stores: &[(String, Arc<SqliteStore>)]) {
        // A second call would change nothing, and there is none.
        let _ = self.metrics.set(Metrics::new(Arc::clone(pipeline), stores.to_vec()));
    }
}

async fn accept(listener: TcpListener, metrics: Arc<OnceLock<Metrics>>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&connections).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin endpoint could not accept a connection");
                // Out of file descriptors: the next attempt would fail as fast.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let metrics = Arc::clone(&metrics);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, metrics.get());
                async { Ok::<_, Infallible>(response) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            // A client that breaks off is its own business.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: Option<&Metrics>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/health" => match metrics.map(Metrics::phase) {
            Some(Phase::Serving) => text(StatusCode::OK, "serving\n".into()),
            Some(Phase::Draining) => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".into()),
            Some(Phase::Stopped) => text(StatusCode::SERVICE_UNAVAILABLE, "stopped\n".into()),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".into()),
        },
        "/metrics" => match metrics {
            Some(metrics) => {
                let mut response = text(StatusCode::OK, metrics.render());
                response.headers_mut().insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static(
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    ),
                );
                response
            }
            None => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".into()),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /health and /metrics\n".into()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
