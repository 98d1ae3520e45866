//! The admin endpoint: `/health` and `/metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use prost::Message;
use teleflow::Signal;
use teleflow_testkit::telemetry::Telemetry;

use crate::malformed::client::{Answer, Client, frame, post};
use crate::malformed::reference;
use crate::program::Program;
use crate::shutdown::forwarding;

#[tokio::test]
async fn health_is_ok_while_serving_and_unavailable_while_draining() {
    // Takes connections in and never says a word: what was accepted stays held.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = forwarding(silent.local_addr().unwrap(), "", "batch");
    let program = Program::start(&config, &["--drain-timeout", "30s"]);
    let health = get(&program, "/health").await;
    assert_eq!((health.status.as_u16(), &health.body[..]), (200, &b"serving\n"[..]));
    assert_eq!(health.header("connection"), "close", "a connection is for one question");

    send(&program, Signal::Logs, 1).await;
    program.signal();
    // bounded wait: the signal is handled by another process.
    let patience = Instant::now() + Duration::from_secs(20);
    let draining = loop {
        let health = get(&program, "/health").await;
        if health.status.as_u16() != 200 {
            break health;
        }
        assert!(Instant::now() < patience, "still serving long after the signal");
        tokio::task::yield_now().await;
    };
    assert_eq!((draining.status.as_u16(), &draining.body[..]), (503, &b"draining\n"[..]));
    // That is no reason to end it before its time.
    let live = get(&program, "/live").await;
    assert_eq!((live.status.as_u16(), &live.body[..]), (200, &b"live\n"[..]));
    // Whoever wants to know why it takes so long still can.
    let metrics = Metrics::of(&get(&program, "/metrics").await);
    assert!(metrics.sum("teleflow_items_held", &[("pipeline", "logs")]) > 0);

    program.signal();
    assert_eq!(program.ended().status.code(), Some(1));
}

#[tokio::test]
async fn metrics_are_openmetrics_and_say_what_the_books_say() {
    let program = Program::start(CONFIG, &[]);
    let mut sent = [0; 3];
    for seed in 1..20 {
        for signal in Signal::ALL {
            sent[signal.index()] += send(&program, signal, seed).await;
        }
    }
    // One that is not taken is counted as such, and in no account.
    let broken = Client::http1(program.http())
        .await
        .send(post("/v1/logs", &[("content-type", "application/x-protobuf")], &b"\x0a\x7f"[..]))
        .await
        .unwrap();
    assert_eq!(broken.status.as_u16(), 400);

    let answer = get(&program, "/metrics").await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(
        answer.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let metrics = Metrics::of(&answer);
    for signal in Signal::ALL {
        let items = sent[signal.index()];
        let of = |state| [("data_type", signal.name()), ("state", state)];
        assert_eq!(metrics.sum("teleflow_items_total", &of("accepted")), items);
        let received = format!("otelcol_receiver_accepted_{}_total", signal.items_name());
        assert_eq!(metrics.sum(&received, &[("transport", "grpc")]), items);
        assert_eq!(metrics.sum(&received, &[("transport", "http")]), 0);
        // The books balance at every moment, also seen from here.
        let moved = metrics.sum("teleflow_items_total", &[("data_type", signal.name())]) - items;
        let held = metrics.sum("teleflow_items_held", &[("data_type", signal.name())]);
        assert_eq!(moved + held, items);
    }
    let failed = [("data_type", "logs"), ("transport", "http"), ("outcome", "failure")];
    assert_eq!(metrics.sum("otelcol_receiver_requests_total", &failed), 1);
    assert_eq!(metrics.sum("teleflow_receiver_invalid_requests_total", &[]), 1);

    assert!(program.terminate().status.success());
}

#[tokio::test]
async fn what_there_is_not_is_not_found_and_what_is_there_can_only_be_read() {
    let program = Program::start(CONFIG, &[]);
    for path in ["/", "/healthz", "/metrics/", "/v1/traces"] {
        assert_eq!(get(&program, path).await.status.as_u16(), 404, "{path}");
    }
    for path in ["/health", "/metrics", "/nowhere"] {
        let answer = Client::http1(program.admin()).await.send(post(path, &[], "")).await.unwrap();
        assert_eq!(answer.status.as_u16(), 405, "{path}");
        assert_eq!(answer.header("allow"), "GET, HEAD", "{path}");
    }
    let mut head = post("/health", &[], "");
    *head.method_mut() = http::Method::HEAD;
    let answer = Client::http1(program.admin()).await.send(head).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b""[..]));
    assert!(program.terminate().status.success());
}

pub(crate) const CONFIG: &str = "
receivers:
  otlp: { protocols: { grpc: { endpoint: 127.0.0.1:0 }, http: { endpoint: 127.0.0.1:0 } } }
exporters:
  sqlite: { path: admin.db }
extensions:
  admin: { endpoint: 127.0.0.1:0 }
service:
  extensions: [admin]
  pipelines:
    traces: { receivers: [otlp], exporters: [sqlite] }
    metrics: { receivers: [otlp], exporters: [sqlite] }
    logs: { receivers: [otlp], exporters: [sqlite] }
";

/// OpenMetrics text, read back.
#[derive(Debug)]
pub(crate) struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

// === impl Metrics ===

impl Metrics {
    /// Reads everything; what is not to be read fails the test.
    pub(crate) fn of(answer: &Answer) -> Self {
        let text = std::str::from_utf8(&answer.body).unwrap();
        let rest = text.strip_suffix("# EOF\n").expect("the text says where it ends");
        let samples = rest.lines().filter_map(|line| {
            if let Some(comment) = line.strip_prefix("# ") {
                let kind = comment.split(' ').next();
                assert!(matches!(kind, Some("HELP" | "TYPE" | "UNIT")), "{line}");
                return None;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap();
            // No name of these tests holds a comma.
            let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
                let (key, value) = label.split_once('=').unwrap();
                (key.to_owned(), value.trim_matches('"').to_owned())
            });
            let (name, labels) = (name.to_owned(), labels.collect());
            Some(Sample { name, labels, value: value.parse().unwrap() })
        });
        Self { samples: samples.collect() }
    }

    /// The names and labels of all samples.
    pub(crate) fn series(&self) -> BTreeSet<String> {
        let series = |sample: &Sample| format!("{} {:?}", sample.name, sample.labels);
        self.samples.iter().map(series).collect()
    }

    /// The sum of all samples of a name that have these labels. There has to be one.
    #[track_caller]
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let is_meant = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).is_some_and(|other| other == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        let found: Vec<_> = self.samples.iter().filter(is_meant).collect();
        assert!(!found.is_empty(), "no {name} with {labels:?} in {:#?}", self.samples);
        found.iter().map(|sample| sample.value).sum::<f64>() as u64
    }
}

pub(crate) async fn get(program: &Program, path: &str) -> Answer {
    get_from(program.admin(), path).await
}

/// [`get`] from any address that speaks HTTP.
pub(crate) async fn get_from(admin: SocketAddr, path: &str) -> Answer {
    let mut request = post(path, &[], "");
    *request.method_mut() = http::Method::GET;
    Client::http1(admin).await.send(request).await.unwrap()
}

/// Sends one request that is taken; returns how many items it has.
pub(crate) async fn send(program: &Program, signal: Signal, seed: u64) -> u64 {
    send_to(program.grpc(), signal, seed).await
}

/// [`send`] to any address that takes OTLP/gRPC.
pub(crate) async fn send_to(grpc: SocketAddr, signal: Signal, seed: u64) -> u64 {
    let mut telemetry = Telemetry::new(seed);
    let request = match signal {
        Signal::Traces => telemetry.traces(10).encode_to_vec(),
        Signal::Metrics => telemetry.metrics(10).encode_to_vec(),
        Signal::Logs => telemetry.logs(10).encode_to_vec(),
    };
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let call = post(signal.grpc_path(), &headers, frame(0, &request));
    let answer = Client::http2(grpc).await.send(call).await.unwrap();
    assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
    reference::items(signal, &request).unwrap()
}
