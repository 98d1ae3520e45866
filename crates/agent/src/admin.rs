//! The admin endpoint: `/health`, `/live` and `/metrics`.

use std::convert::Infallible;
use std::future::ready;
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
use hyper_util::rt::TokioIo;
use teleflow::{Phase, Pipeline};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::metrics::{Beside, Metrics};

/// How many connections are open at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection may take, from being accepted to the last byte of the answer. It is for
/// one question, so a client that does not ask, or does not read, holds a place only so long.
const MAX_LIFETIME: Duration = Duration::from_secs(5);

/// How long a destination may fail before `/health` says so: what is over sooner is what queues are
/// for. The Collector's `recovery_duration`.
const RECOVERY: Duration = Duration::from_secs(60);

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
        Self::bind_with(endpoint, MAX_LIFETIME).await
    }

    async fn bind_with(endpoint: &str, lifetime: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(endpoint)
            .await
            .with_context(|| format!("cannot listen on {endpoint} for /health and /metrics"))?;
        let admin = Self { address: listener.local_addr()?, metrics: Arc::default() };
        tokio::spawn(accept(listener, Arc::clone(&admin.metrics), lifetime));
        Ok(admin)
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for a pipeline from now on.
    pub(crate) fn serve(&self, pipeline: &Arc<Pipeline>, beside: &Beside) {
        // A second call would change nothing, and there is none.
        let _ = self.metrics.set(Metrics::new(Arc::clone(pipeline), beside.clone()));
    }
}

async fn accept(listener: TcpListener, metrics: Arc<OnceLock<Metrics>>, lifetime: Duration) {
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
            serve(stream, lifetime, |request| answer(request, metrics.get())).await;
            drop(place);
        });
    }
}

/// Answers one request, and ends the connection: also with a client that does not ask, or does not
/// read the answer, for as long as `lifetime`.
async fn serve(
    stream: TcpStream,
    lifetime: Duration,
    answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>>,
) {
    let service = service_fn(|request| ready(Ok::<_, Infallible>(answer(&request))));
    let mut server = http1::Builder::new();
    server.keep_alive(false);
    // A client that breaks off, or is cut off, is its own business.
    let _ = timeout(lifetime, server.serve_connection(TokioIo::new(stream), service)).await;
}

fn answer(request: &Request<Incoming>, metrics: Option<&Metrics>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/health" => {
            let (status, said) = health(metrics, RECOVERY);
            text(status, said)
        }
        "/live" => {
            let failed = metrics.map(Metrics::failed_lanes).unwrap_or_default();
            if failed.is_empty() {
                text(StatusCode::OK, "live\n".into())
            } else {
                text(StatusCode::SERVICE_UNAVAILABLE, by_a_bug(&failed))
            }
        }
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
        _ => text(StatusCode::NOT_FOUND, "there are /health, /live and /metrics\n".into()),
    }
}

/// Whether it does what it is for: whoever can send to another one does so while this is not 200.
fn health(metrics: Option<&Metrics>, recovery: Duration) -> (StatusCode, String) {
    let unavailable = |said: &str| (StatusCode::SERVICE_UNAVAILABLE, said.to_owned());
    let Some(metrics) = metrics else { return unavailable("starting\n") };
    match metrics.phase() {
        Phase::Draining => return unavailable("draining\n"),
        Phase::Stopped => return unavailable("stopped\n"),
        Phase::Serving => {}
    }
    let failed = metrics.failed_lanes();
    if !failed.is_empty() {
        return unavailable(&by_a_bug(&failed));
    }
    let failing = metrics.failing(recovery);
    if failing.is_empty() {
        return (StatusCode::OK, "serving\n".to_owned());
    }
    let failing = failing.iter().map(|(name, time)| format!("{name} for {} s", time.as_secs()));
    let failing: Vec<_> = failing.collect();
    unavailable(&format!("serving, but destinations take nothing: {}\n", failing.join(", ")))
}

/// Only a restart helps.
fn by_a_bug(failed: &[&str]) -> String {
    format!("ended by a bug, and refusing: {}\n", failed.join(", "))
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use std::io;

    use teleflow::exporter::{Delivered, ExportError, Exporter};
    use teleflow::{Payload, Signal};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::Config;
    use crate::gateway;
    use crate::watched::Watched;

    /// Longer than any test.
    const HOUR: Duration = Duration::from_secs(3600);

    /// Long enough for most answers; the tests ask again for the others.
    const SHORT: Duration = Duration::from_millis(200);

    /// How long a test waits before it fails.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn ask(address: SocketAddr) -> io::Result<(TcpStream, String)> {
        let mut client = TcpStream::connect(address).await?;
        client.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        let mut answer = String::new();
        // Ends because the server ends the connection.
        client.read_to_string(&mut answer).await?;
        Ok((client, answer))
    }

    #[tokio::test]
    async fn a_connection_is_for_one_question() {
        let admin = Admin::bind_with("127.0.0.1:0", HOUR).await.unwrap();
        // Clients that stay after they have their answer do not keep the others out.
        let mut clients = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            // bounded wait: a connection that is kept open does not end.
            let answered = timeout(PATIENCE, ask(admin.address())).await;
            let (client, answer) = answered.expect("the connection ends").unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.ends_with("starting\n"), "{answer}");
            clients.push(client);
        }
    }

    #[tokio::test]
    async fn clients_that_do_not_ask_are_cut_off_and_others_are_answered() {
        let admin = Admin::bind_with("127.0.0.1:0", SHORT).await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            idle.push(TcpStream::connect(admin.address()).await.unwrap());
        }
        // bounded wait: a machine that is slow may cut off the first questions as well.
        let answered = timeout(PATIENCE, async {
            loop {
                match ask(admin.address()).await {
                    Ok((_, answer)) if answer.ends_with("starting\n") => break,
                    _ => {}
                }
            }
        });
        answered.await.expect("a question is answered although all places were taken");
        // And all of them were cut off.
        for mut client in idle {
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // More than the system keeps for a reader that does not come.
        const SIZE: usize = 64 << 20;
        let answer = |_: &_| Response::new(Full::new(vec![0; SIZE].into()));
        // bounded wait: who waits for the client to read waits for ever.
        timeout(PATIENCE, serve(stream, SHORT, answer)).await.expect("it is cut off");
        let mut read = Vec::new();
        // Ends with an error where the system throws away what was not read.
        let _ = client.read_to_end(&mut read).await;
        assert!(read.len() < SIZE, "all {} bytes were sent", read.len());
    }

    /// Takes nothing.
    #[derive(Debug)]
    struct Away;

    impl Exporter for Away {
        async fn export(&self, _payload: Payload) -> Result<Delivered, ExportError> {
            Err(ExportError::Closed)
        }
    }

    #[tokio::test]
    async fn a_destination_that_fails_for_long_is_no_health_and_no_reason_to_restart() {
        let config = "
receivers: { otlp: { protocols: { grpc: { endpoint: 127.0.0.1:0 } } } }
exporters: { debug: }
service: { pipelines: { logs: { receivers: [otlp], exporters: [debug] } } }
";
        let config = Config::parse("test.yaml", config, &|_| None).unwrap().0;
        let parts = gateway::parts(&config, &gateway::open).unwrap();
        let pipeline = Arc::new(parts.builder.start().await.unwrap());
        let (mut one, mut two) = (Watched::default(), Watched::default());
        let away = one.pulse(Away);
        // Of two destinations, one has not failed.
        let first = two.pulse(Away);
        let _second = two.pulse(Away);
        let watched = vec![("one".to_owned(), one), ("two".to_owned(), two)];
        let metrics = Metrics::new(pipeline, Beside { watched, ..Beside::default() });
        let said = |recovery| {
            let (status, said) = health(Some(&metrics), recovery);
            (status.as_u16(), said)
        };
        assert_eq!(said(Duration::ZERO), (200, "serving\n".to_owned()));
        away.export(Payload::empty(Signal::Logs)).await.unwrap_err();
        first.export(Payload::empty(Signal::Logs)).await.unwrap_err();
        assert_eq!(said(HOUR), (200, "serving\n".to_owned()), "it may come back");
        let (status, said) = said(Duration::ZERO);
        assert_eq!(status, 503);
        assert!(said.starts_with("serving, but destinations take nothing: one for "), "{said}");
        assert!(!said.contains("two"), "{said}");
        assert!(metrics.failed_lanes().is_empty());
        assert!(metrics.render().contains("teleflow_exporter_failing_seconds{exporter=\"two\"} 0"));
    }
}
