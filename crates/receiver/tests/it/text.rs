//! What is not UTF-8, in each string that the protocol has.

#![allow(clippy::unwrap_used, reason = "only tests call these, and have failed where one panics")]

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use prost::DecodeError;
use teleflow_otlp::{Problem, Signal, json, validate};
use teleflow_testkit::reference::Request;
use teleflow_testkit::telemetry::Telemetry;

use crate::support::{Client, JSON, PROTOBUF, Server, call, config, post};

/// Every string of OTLP 1.11 that these signals can carry, by prost's name of it. A value's own text is
/// that of `AnyValue`.
const STRINGS: [&str; 24] = [
    "AnyValue.value",
    "EntityRef.description_keys",
    "EntityRef.id_keys",
    "EntityRef.r#type",
    "EntityRef.schema_url",
    "Event.name",
    "InstrumentationScope.name",
    "InstrumentationScope.version",
    "KeyValue.key",
    "Link.trace_state",
    "LogRecord.event_name",
    "LogRecord.severity_text",
    "Metric.description",
    "Metric.name",
    "Metric.unit",
    "ResourceLogs.schema_url",
    "ResourceMetrics.schema_url",
    "ResourceSpans.schema_url",
    "ScopeLogs.schema_url",
    "ScopeMetrics.schema_url",
    "ScopeSpans.schema_url",
    "Span.name",
    "Span.trace_state",
    "Status.message",
];

/// The string that prost could not read, if that is what was wrong.
fn string_at_fault(error: &DecodeError) -> Option<String> {
    let text = error.to_string();
    let rest = text.strip_prefix("failed to decode Protobuf message: ")?;
    rest.contains("not UTF-8").then(|| rest.split(": ").next().unwrap().to_owned())
}

/// A damaged request for each string of each signal.
fn damaged() -> BTreeMap<(usize, String), Vec<u8>> {
    let mut found = BTreeMap::new();
    for signal in Signal::ALL {
        for seed in 0..8 {
            let request = Telemetry::new(seed).request(signal, 2);
            for at in 0..request.len() {
                // A byte of no character, in place of each byte that may be one's.
                let mut bytes = request.clone();
                if !bytes[at].is_ascii_graphic() {
                    continue;
                }
                bytes[at] = 0xff;
                let Err(error) = Request::decode(signal, &bytes) else { continue };
                let Some(name) = string_at_fault(&error) else { continue };
                let ours = validate(signal, &bytes).unwrap_err();
                // It may have been the length of a string, which is wrong in another way as well.
                if !matches!(ours.problem, Problem::Utf8(_)) {
                    continue;
                }
                found.entry((signal.index(), name)).or_insert(bytes);
            }
        }
    }
    found
}

#[tokio::test]
async fn a_string_that_is_none_is_refused_wherever_it_stands() {
    let damaged = damaged();
    let names: BTreeSet<&str> = damaged.keys().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, STRINGS.into_iter().collect());
    let server = Server::start(config()).await;
    let mut grpc = Client::http2(server.grpc).await;
    let mut http = Client::http1(server.http).await;
    for ((signal, name), bytes) in damaged {
        let signal = Signal::ALL[signal];
        let answer = grpc.send(call(signal, &bytes)).await;
        assert_eq!(answer.grpc_status(), 3, "{name}: {answer:?}");
        let answer = http.send(post(signal.http_path(), &[PROTOBUF], &bytes)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}: {answer:?}");
        // What is said of it can be read, and repeats nothing.
        assert!(!answer.rpc_status(false).message.contains('\u{fffd}'), "{name}: {answer:?}");
    }
    // In JSON: each string in turn, keys included.
    for signal in Signal::ALL {
        let request = Telemetry::new(1).request(signal, 2);
        let text = json::from_protobuf(signal, &request).unwrap().into_bytes();
        let mut inside = false;
        let mut refused = 0;
        for at in 0..text.len() {
            let is_quote = text[at] == b'"' && text[at - 1] != b'\\';
            inside ^= is_quote;
            if !(inside && is_quote) || text[at + 1] == b'"' {
                continue;
            }
            let mut bytes = text.clone();
            bytes[at + 1] = 0xff;
            let answer = http.send(post(signal.http_path(), &[JSON], &bytes)).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{signal}, byte {at}: {answer:?}");
            refused += 1;
        }
        assert!(refused > 20, "{signal}: {refused}");
    }
    assert_eq!(server.fake.requests(), 0);
}
