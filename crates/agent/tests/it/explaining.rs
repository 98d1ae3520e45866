//! `teleflow explain`.

use std::fs;
use std::path::Path;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use teleflow::exporter::Exporter;
use teleflow::store::{Config, SqliteStore};
use teleflow::{Payload, Signal};

use crate::commands::{teleflow, text};

const CONFIG: &str = "
receivers: { otlp: { protocols: { grpc: } } }
processors:
  tail_sampling:
    policies:
      - { name: errors, type: status_code, status_code: { status_codes: [ERROR] } }
      - { name: slow, type: latency, latency: { threshold_ms: 1000 } }
      - name: thrown
        type: ottl_condition
        ottl_condition: { spanevent: ['spanevent.name == \"exception\"'] }
      - name: paid
        type: and
        and:
          and_sub_policy:
            - { name: users, type: string_attribute, string_attribute: { key: user, values: [ann] } }
            - { name: quick, type: latency, latency: { upper_threshold_ms: 10 } }
  adaptive_tail_sampling:
    rules:
      - { name: errors, conditions: [span.status.code == STATUS_CODE_ERROR], sampler: { type: always_sample } }
      - { name: rest, sampler: { type: drop } }
exporters: { sqlite: { path: store.db } }
service:
  pipelines:
    traces: { receivers: [otlp], processors: [tail_sampling], exporters: [sqlite] }
    traces/rules: { receivers: [otlp], processors: [adaptive_tail_sampling], exporters: [sqlite] }
";

const FAILED: &str = "ab";
const SOUND: &str = "cd";

/// A trace of two spans, the second of which may have failed.
fn request(id: u8, is_error: bool) -> ExportTraceServiceRequest {
    let spans = (1..=2).map(|n| Span {
        trace_id: vec![id; 16],
        span_id: vec![n; 8],
        parent_span_id: if n == 1 { Vec::new() } else { vec![1; 8] },
        name: "pay".to_owned(),
        start_time_unix_nano: 1_750_000_000_000_000_000,
        end_time_unix_nano: 1_750_000_000_005_000_000,
        attributes: vec![KeyValue {
            key: "user".to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue("ann".to_owned())) }),
            ..KeyValue::default()
        }],
        events: vec![Event { name: "exception".to_owned(), ..Event::default() }],
        status: (is_error && n == 2).then(|| Status { code: 2, ..Status::default() }),
        ..Span::default()
    });
    let scope = ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

async fn store(path: &Path) {
    let store = SqliteStore::open(Config { path: path.to_owned(), ..Config::default() }).unwrap();
    for request in [request(0xab, true), request(0xcd, false)] {
        let payload = Payload::parse(Signal::Traces, request.encode_to_vec().into()).unwrap();
        store.export(payload).await.unwrap();
    }
    store.shutdown().await.unwrap();
}

/// Explains what has to be explained.
#[track_caller]
fn explain(folder: &Path, id: &str, args: &[&str]) -> String {
    let trace = id.repeat(16);
    let args = [&["explain", "-c", "teleflow.yaml", "--trace", &trace], args].concat();
    let output = teleflow(folder, &args);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

#[tokio::test]
async fn a_stored_trace_is_explained_policy_by_policy() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("teleflow.yaml"), CONFIG).unwrap();
    store(&folder.path().join("store.db")).await;

    let said = explain(folder.path(), FAILED, &["--pipeline", "traces"]);
    let lines: Vec<_> = said.lines().collect();
    let trace = FAILED.repeat(16);
    assert_eq!(lines[0], format!("trace {trace} in store.db: 2 spans"));
    assert_eq!(lines[1], "processors.tail_sampling of pipeline traces:");
    let word = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap(), words.count() > 0)
    };
    let votes: Vec<_> = lines[2..lines.len() - 1].iter().map(|line| word(line)).collect();
    let vote = |rule: &str, vote: &str| (rule.to_owned(), vote.to_owned(), true);
    let expected = [
        vote("errors", "keep"),
        vote("slow", "-"),
        vote("thrown", "keep"),
        vote("paid", "keep"),
        vote("paid/users", "keep"),
        vote("paid/quick", "keep"),
    ];
    assert_eq!(votes, expected, "{said}");
    assert_eq!(lines.last(), Some(&"kept by errors; it stands for itself (th:0)"));

    let said = explain(folder.path(), SOUND, &["--pipeline", "traces/rules"]);
    assert!(said.contains("processors.adaptive_tail_sampling of pipeline traces/rules:"), "{said}");
    assert!(said.ends_with("left out by rest\n"), "{said}");
}

#[test]
fn a_trace_in_files_is_explained_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("teleflow.yaml", CONFIG.as_bytes());
    write(
        "both.pb",
        &[request(0xab, true), request(0xcd, false)].map(|r| r.encode_to_vec()).concat(),
    );
    let request = request(0xab, true).encode_to_vec();
    let json = teleflow::otlp::json::from_protobuf(Signal::Traces, &request).unwrap();
    write("lines.json", format!("{json}\n{json}\n").as_bytes());
    let of = |id, files: &[&str]| {
        explain(folder.path(), id, &[&["--pipeline", "traces/rules", "--file"], files].concat())
    };
    let said = of(FAILED, &["both.pb"]);
    assert!(said.contains(" in both.pb: 2 spans\n"), "{said}");
    assert!(said.contains("kept by errors"), "{said}");
    assert!(of(SOUND, &["both.pb"]).contains("left out by rest"));
    let said = of(FAILED, &["both.pb", "lines.json"]);
    assert!(said.contains(" in both.pb, lines.json: 6 spans\n"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_explained_is_refused_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("teleflow.yaml"), CONFIG).unwrap();
    fs::write(folder.path().join("odd.pb"), "no request").unwrap();
    let forwarding =
        CONFIG.replace("sqlite: { path: store.db }", "debug: ").replace("[sqlite]", "[debug]");
    fs::write(folder.path().join("none.yaml"), &forwarding).unwrap();
    let nothing = "ef".repeat(16);
    let in_traces = ["--trace", &nothing, "--pipeline", "traces"];
    let check = |config: &str, args: &[&str], said: &str| {
        let output = teleflow(folder.path(), &[&["explain", "-c", config], args].concat());
        assert!(!output.status.success(), "{output:?}");
        assert!(text(&output.stderr).contains(said), "{said} in {output:?}");
    };
    check("teleflow.yaml", &["--trace", "5"], "a trace id has 32 hexadecimal digits");
    check("teleflow.yaml", &in_traces, "store.db");
    store(&folder.path().join("store.db")).await;
    let said = format!("there is no trace {nothing} in store.db");
    check("teleflow.yaml", &in_traces, &said);
    check(
        "teleflow.yaml",
        &["--trace", &nothing],
        "name one with --pipeline: traces, traces/rules",
    );
    check("none.yaml", &in_traces, "none.yaml has no sqlite exporter to find the trace in");
    let odd = [&in_traces[..], &["--file", "odd.pb"]].concat();
    check("teleflow.yaml", &odd, "odd.pb is no OTLP request: ");
    let missing = [&in_traces[..], &["--file", "missing.pb"]].concat();
    check("teleflow.yaml", &missing, "cannot read missing.pb: ");
}
