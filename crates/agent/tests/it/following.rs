//! Log records that share the fate of their traces.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use teleflow::Signal;

use crate::books::Books;
use crate::malformed::client::{Client, frame, post};
use crate::program::Program;
use crate::shutdown::forwarding;
use crate::shutdown::sink::Sink;

/// Traces with an error; nothing is decided before the end.
const SAMPLING: &str = "
  tail_sampling:
    decision_wait: 10m
    policies: [{ name: errors, type: status_code, status_code: { status_codes: [ERROR] } }]
";

const FAILED: u8 = 1;
const SOUND: u8 = 2;

fn traces() -> Vec<u8> {
    let spans = [FAILED, SOUND].map(|id| Span {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        status: (id == FAILED).then(|| Status { code: 2, ..Status::default() }),
        ..Span::default()
    });
    let scope = ScopeSpans { spans: spans.into(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

/// Two records of the trace that failed, three of the other, and four of none.
fn logs() -> Vec<u8> {
    let of = |trace_id: Vec<u8>, records| {
        std::iter::repeat_n(LogRecord { trace_id, ..LogRecord::default() }, records)
    };
    let records = of(vec![FAILED; 16], 2).chain(of(vec![SOUND; 16], 3)).chain(of(Vec::new(), 4));
    let scope = ScopeLogs { log_records: records.collect(), ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_kept_traces_are_kept_and_those_of_others_are_not() {
    let sink = Sink::open().await;
    let config = forwarding(sink.address, SAMPLING, "tail_sampling").replace(
        "logs: { receivers: [otlp], processors: [batch],",
        "logs: { receivers: [otlp], processors: [batch], follows: traces,",
    );
    assert!(config.contains("follows"));
    let program = Program::start(&config, &[]);
    for (signal, request) in [(Signal::Logs, logs()), (Signal::Traces, traces())] {
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let call = post(signal.grpc_path(), &headers, frame(0, &request));
        let answer = Client::http2(program.grpc()).await.send(call).await.unwrap();
        assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
    }
    let ended = program.terminate();
    assert!(ended.status.success(), "{ended:?}");
    let books = Books::parse(&ended.stdout);
    let (logs, traces) = (books.of("logs"), books.of("traces"));
    assert_eq!((logs.accepted, logs.delivered, logs.sampled_out), (9, 6, 3), "{logs:?}");
    assert_eq!((traces.accepted, traces.delivered, traces.sampled_out), (2, 1, 1), "{traces:?}");
    assert_eq!((sink.items(Signal::Logs), sink.items(Signal::Traces)), (6, 1));
}
