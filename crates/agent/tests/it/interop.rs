//! Official SDKs as clients: each sends the same scene, and every item is found in the store with
//! its values.
//!
//! The scene is a trace of two spans, a log record within it and four metrics; `tests/interop`
//! holds it in Python and in JavaScript, `rust.rs` in Rust. What cannot be known beforehand, ids and some times, the
//! client tells.

mod javascript;
mod python;
mod rust;
mod stored;

use std::path::Path;

use serde_json::Value;

use crate::books::Books;
use crate::program::Program;

/// A way to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

/// A span as its client saw it.
#[derive(Clone, Debug)]
struct Sent {
    trace_id: String,
    parent: SentSpan,
    child: SentSpan,
    /// When the child's event happened.
    event: i64,
}

#[derive(Clone, Debug)]
struct SentSpan {
    id: String,
    start: i64,
    end: i64,
}

/// What a script said it sent. JavaScript's numbers are too small for times: there they are text.
fn said(output: &[u8]) -> Sent {
    let said: Value = serde_json::from_slice(output).unwrap();
    let time = |value: &Value| match value {
        Value::String(text) => text.parse().unwrap(),
        value => value.as_i64().unwrap(),
    };
    let span = |name: &str| {
        let span = &said["spans"][name];
        SentSpan {
            id: span["span_id"].as_str().unwrap().to_owned(),
            start: time(&span["start"]),
            end: time(&span["end"]),
        }
    };
    let trace_id = said["trace_id"].as_str().unwrap().to_owned();
    let event = time(&said["event"]);
    Sent { trace_id, parent: span("parent"), child: span("child"), event }
}

/// A gateway that keeps everything, in a file of the test's own.
fn config(store: &Path) -> String {
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: '127.0.0.1:0' }}
      http: {{ endpoint: '127.0.0.1:0' }}
processors:
  batch:
exporters:
  sqlite: {{ path: '{}' }}
extensions:
  admin: {{ endpoint: '127.0.0.1:0' }}
service:
  extensions: [admin]
  pipelines:
    traces: {{ receivers: [otlp], processors: [batch], exporters: [sqlite] }}
    metrics: {{ receivers: [otlp], processors: [batch], exporters: [sqlite] }}
    logs: {{ receivers: [otlp], processors: [batch], exporters: [sqlite] }}
",
        store.display()
    )
}

/// Lets a client send the scene to the real program, once for each way, and checks what is stored.
fn check(ways: &[(Protocol, bool)], send: impl Fn(&Program, Protocol, bool, &str) -> Sent) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.db");
    let program = Program::start(&config(&store), &[]);
    let mut scenes = Vec::new();
    for &(protocol, gzip) in ways {
        let service = format!("{protocol:?}-{}", if gzip { "gzip" } else { "none" });
        let sent = send(&program, protocol, gzip, &service);
        scenes.push((service, sent));
    }
    let ended = program.terminate();
    assert!(ended.status.success(), "{}", ended.stderr);

    let store = stored::Store::open(&store);
    for (service, sent) in &scenes {
        store.check_spans(service, sent);
        store.check_log(service, sent);
        store.check_metrics(service);
    }
    // Two spans, a log record and four data points from each, and nothing else.
    let scenes = scenes.len() as u64;
    for (table, lane, each) in
        [("spans", "traces", 2), ("logs", "logs", 1), ("metric_points", "metrics", 4)]
    {
        assert_eq!(store.count(table), each * scenes, "{table}");
        let books = Books::parse(&ended.stdout);
        let account = books.of(lane);
        assert_eq!(account.accepted, each * scenes, "{}", ended.stdout);
        assert_eq!(account.delivered, each * scenes, "{}", ended.stdout);
        assert_eq!(account.held, 0, "{}", ended.stdout);
    }
}

/// Every protocol that all SDKs have, plain and compressed.
const ALL: [(Protocol, bool); 4] = [
    (Protocol::Grpc, false),
    (Protocol::Grpc, true),
    (Protocol::HttpProtobuf, false),
    (Protocol::HttpProtobuf, true),
];
