use std::time::Duration;

use prost::Message;
use teleflow_otlp::value::Attributes;
use teleflow_otlp::{Code, ExportResponse, Signal, Status, json, tree};

use teleflow_testkit::reference::{Request, each_generated};

const LIMIT: usize = 64 << 20;

#[test]
fn a_request_comes_back_from_json_as_it_went() {
    each_generated(|signal, _, request| {
        let bytes = request.encode();
        let text = json::from_protobuf(signal, &bytes).unwrap();
        let (again, items) = json::to_protobuf(signal, text.as_bytes(), LIMIT)
            .unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(items, request.count());
        let again = Request::decode(signal, &again).unwrap();
        // A NaN is not equal to itself, nor need its bits survive: compare as text.
        assert!(format!("{again:?}") == format!("{request:?}"), "{signal}: {text}");
    });
}

#[test]
fn attributes_are_json_whatever_they_hold() {
    each_generated(|_, _, request| {
        let bytes = request.encode();
        for resource in tree::resources(&bytes).flat_map(|group| group.resource()) {
            let mut out = String::new();
            json::write_attributes(&mut out, Attributes::of_resource(resource));
            let value: serde_json::Value =
                serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
            assert!(value.is_object());
        }
    });
}

/// From the specification's own example, with every liberty that it allows.
const TRACE: &str = r#"{
  "resourceSpans": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]},
    "unknownKey": {"deep": [1, 2, {"er": null}]},
    "scopeSpans": [{
      "scope": null,
      "spans": [{
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "eee19b7ec3c1b174",
        "parentSpanId": "",
        "name": "I'm a server span",
        "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": 1544712661000000000,
        "kind": 2,
        "attributes": [
          {"key": "int as text", "value": {"intValue": "-9007199254740993"}},
          {"key": "int", "value": {"intValue": 7}},
          {"key": "bytes", "value": {"bytesValue": "_-8"}},
          {"key": "nan", "value": {"doubleValue": "NaN"}},
          {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": true}, {}]}}}
        ],
        "flags": 257,
        "status": {"code": 2}
      }]
    }]
  }]
}"#;

#[test]
fn the_protocols_own_mapping_is_followed() {
    let (bytes, items) = json::to_protobuf(Signal::Traces, TRACE.as_bytes(), LIMIT).unwrap();
    assert_eq!(items, 1);
    let Request::Traces(request) = Request::decode(Signal::Traces, &bytes).unwrap() else {
        unreachable!()
    };
    let scope = &request.resource_spans[0].scope_spans[0];
    assert_eq!(scope.scope, None, "null is absent");
    let span = &scope.spans[0];
    assert_eq!(span.trace_id[..3], [0x5b, 0x8e, 0xff]);
    assert_eq!(span.span_id.len(), 8);
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.start_time_unix_nano, 1_544_712_660_000_000_000);
    assert_eq!(span.end_time_unix_nano, 1_544_712_661_000_000_000);
    assert_eq!((span.kind, span.flags), (2, 257));
    assert_eq!(span.status.as_ref().unwrap().code, 2);
    let text = format!("{:?}", span.attributes);
    for part in [
        "IntValue(-9007199254740993)",
        "IntValue(7)",
        "BytesValue([255, 239])",
        "NaN",
        "BoolValue(true)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn what_the_mapping_forbids_is_refused_with_the_place() {
    let span = |fields: &str| {
        format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{{fields}}}]}}]}}]}}")
    };
    for (fields, expected) in [
        (r#""traceId": "abc""#, "32 hexadecimal digits for `traceId`"),
        (r#""traceId": "5b8efff798038103d269b633813fc6""#, "32 hexadecimal digits"),
        (r#""spanId": "zzzzzzzzzzzzzzzz""#, "16 hexadecimal digits"),
        (r#""kind": "SPAN_KIND_SERVER""#, "never its name, for `kind`"),
        (r#""startTimeUnixNano": "soon""#, "a whole number for `startTimeUnixNano`"),
        (r#""startTimeUnixNano": -1"#, "out of range for `startTimeUnixNano`"),
        (r#""kind": 1.5"#, "for `kind`"),
        (r#""name": 7"#, "a string for `name`"),
        (r#""attributes": {}"#, "a list for `attributes`"),
        (
            r#""attributes": [{"key": "b", "value": {"bytesValue": "*"}}]"#,
            "base64 for `bytesValue`",
        ),
        (r#""droppedLinksCount": 4294967296"#, "out of range"),
    ] {
        let error = json::to_protobuf(Signal::Traces, span(fields).as_bytes(), LIMIT).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected), "{fields}: {error}");
        assert!(error.contains("line 1 column"), "{fields}: {error}");
    }
    for text in ["", "[]", "7", "{", "{\"resourceSpans\":[}", "{} trailing", "\u{0}"] {
        assert!(json::to_protobuf(Signal::Traces, text.as_bytes(), LIMIT).is_err(), "{text:?}");
    }
}

#[test]
fn snake_case_is_an_unknown_key() {
    let (bytes, items) =
        json::to_protobuf(Signal::Traces, br#"{"resource_spans": [{"scope_spans": []}]}"#, LIMIT)
            .unwrap();
    assert_eq!((bytes.len(), items), (0, 0));
}

#[test]
fn deep_json_is_refused_and_not_followed() {
    let deep = format!(
        "{}{}",
        "{\"resourceLogs\":".to_owned() + &"[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(json::to_protobuf(Signal::Logs, deep.as_bytes(), LIMIT).is_err());
    let mut value = "{\"stringValue\":\"x\"}".to_owned();
    for _ in 0..5_000 {
        value = format!("{{\"arrayValue\":{{\"values\":[{value}]}}}}");
    }
    let text = format!(
        "{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{{\"body\":{value}}}]}}]}}]}}"
    );
    assert!(json::to_protobuf(Signal::Logs, text.as_bytes(), LIMIT).is_err());
}

#[test]
fn any_text_is_read_without_a_panic() {
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..20_000 {
        let mut text = TRACE.as_bytes().to_vec();
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(..text.len());
            match rng.u8(..3) {
                0 => text[at] = rng.u8(..),
                1 if text.len() > 10 => drop(text.drain(at..(at + 3).min(text.len()))),
                _ => text.truncate(at.max(1)),
            }
        }
        if let Ok((bytes, items)) = json::to_protobuf(Signal::Traces, &text, LIMIT) {
            let request = Request::decode(Signal::Traces, &bytes).unwrap();
            assert_eq!(request.count(), items);
        }
    }
}

#[test]
fn replies_are_written_as_the_protocol_says() {
    assert_eq!(ExportResponse::default().to_json(Signal::Logs), "{}");
    let partial = ExportResponse { rejected: 2, message: "too \"old\"".into() };
    assert_eq!(
        partial.to_json(Signal::Traces),
        r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too \"old\""}}"#
    );
    let mut status = Status::new(Code::Unavailable, "busy");
    assert_eq!(status.to_json(), r#"{"code":14,"message":"busy"}"#);
    status.retry_delay = Some(Duration::from_millis(1500));
    assert_eq!(
        status.to_json(),
        r#"{"code":14,"message":"busy","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500000000s"}]}"#
    );
}

#[test]
fn a_reply_reads_as_prosts_type() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    let ours = ExportResponse { rejected: 5, message: "five".into() };
    let reply = ExportTraceServiceResponse::decode(&ours.encode()[..]).unwrap();
    let partial = reply.partial_success.unwrap();
    assert_eq!((partial.rejected_spans, &partial.error_message[..]), (5, "five"));
}

#[test]
fn what_grows_over_the_limit_is_not_finished() {
    let zeros = "0,".repeat(100_000);
    let text = format!(
        "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"histogram\":{{\"dataPoints\":[{{\"bucketCounts\":[{zeros}0]}}]}}}}]}}]}}]}}"
    );
    let error = json::to_protobuf(Signal::Metrics, text.as_bytes(), text.len()).unwrap_err();
    assert!(matches!(error, json::Error::TooLarge(limit) if limit == text.len()), "{error}");
    assert!(json::to_protobuf(Signal::Metrics, text.as_bytes(), 10 * text.len()).is_ok());
}

#[test]
fn an_error_does_not_repeat_what_a_peer_sent() {
    let text = format!("{{\"resourceSpans\":\"{}\"}}", "é".repeat(100_000));
    let error = json::to_protobuf(Signal::Traces, text.as_bytes(), LIMIT).unwrap_err().to_string();
    assert!(error.len() < 400, "{} bytes", error.len());
    assert!(error.contains("é…") && error.ends_with("at line 1 column 200019"), "{error}");
}
