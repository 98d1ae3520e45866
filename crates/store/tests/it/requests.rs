//! Stored spans as requests again.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use teleflow_otlp::Signal;
use teleflow_store::SqliteReader;

use crate::{Fixture, attribute, text};

const START: u64 = 1_750_000_000_000_000_000;

fn request(service: &str, span: Span) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "lib \"x\"".to_owned(),
        version: "1.2".to_owned(),
        attributes: vec![text("level", "scope")],
        ..InstrumentationScope::default()
    };
    let scope = ScopeSpans { scope: Some(scope), spans: vec![span], ..ScopeSpans::default() };
    let attributes = vec![text("service.name", service)];
    let group = ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

fn span(id: u8) -> Span {
    let values = |values: Vec<Value>| {
        let values = values.into_iter().map(|value| AnyValue { value: Some(value) });
        Value::ArrayValue(ArrayValue { values: values.collect() })
    };
    Span {
        trace_id: vec![0xab; 16],
        span_id: vec![id; 8],
        trace_state: "ot=th:8".to_owned(),
        parent_span_id: vec![9; 8],
        flags: 0x101,
        name: "GET /it's\n".to_owned(),
        kind: 3,
        start_time_unix_nano: START,
        end_time_unix_nano: START + 25,
        attributes: vec![
            text("text", "quote \" and \u{7}"),
            text("empty", ""),
            attribute("no", Value::BoolValue(false)),
            attribute("int", Value::IntValue(i64::MIN)),
            attribute("double", Value::DoubleValue(0.1)),
            attribute("large", Value::DoubleValue(1e300)),
            attribute("array", values(vec![Value::BoolValue(true), values(vec![])])),
            attribute("map", Value::KvlistValue(KeyValueList { values: vec![text("inner", "x")] })),
        ],
        events: vec![
            Event {
                time_unix_nano: START + 5,
                name: "exception".to_owned(),
                attributes: vec![text("exception.type", "E")],
                ..Event::default()
            },
            Event { name: "retry".to_owned(), ..Event::default() },
        ],
        status: Some(Status { message: "no".to_owned(), code: 2 }),
        ..Span::default()
    }
}

#[tokio::test]
async fn the_spans_of_a_trace_come_back_as_they_were() {
    let fixture = Fixture::new();
    let sent = [request("shop", span(1)), request("cart", span(2))];
    let other = request("shop", Span { trace_id: vec![1; 16], ..span(3) });
    for request in sent.iter().chain([&other]) {
        assert!(fixture.export(Signal::Traces, request).await.is_ok());
    }
    let reader = SqliteReader::open(&fixture.path).unwrap();
    let found = reader.trace_requests(&"ab".repeat(16)).unwrap();
    let found: Vec<_> =
        found.iter().map(|bytes| ExportTraceServiceRequest::decode(&bytes[..]).unwrap()).collect();
    assert_eq!(found, sent);
    assert!(reader.trace_requests(&"cd".repeat(16)).unwrap().is_empty());
}

#[tokio::test]
async fn what_the_store_does_not_keep_does_not_come_back() {
    let fixture = Fixture::new();
    let bare = Span { trace_id: vec![0xab; 16], span_id: vec![1; 8], ..Span::default() };
    let sent = Span {
        links: vec![Link { trace_id: vec![1; 16], ..Link::default() }],
        attributes: vec![
            attribute("bytes", Value::BytesValue(vec![1, 2])),
            attribute("nan", Value::DoubleValue(f64::NAN)),
            attribute("whole", Value::DoubleValue(2.0)),
        ],
        dropped_events_count: 5,
        ..bare.clone()
    };
    assert!(fixture.export(Signal::Traces, &request("shop", sent)).await.is_ok());
    let reader = SqliteReader::open(&fixture.path).unwrap();
    let found = reader.trace_requests(&"ab".repeat(16)).unwrap();
    let expected = Span {
        attributes: vec![
            text("bytes", "AQI="),
            text("nan", "NaN"),
            attribute("whole", Value::IntValue(2)),
        ],
        status: Some(Status::default()),
        ..bare
    };
    let found = ExportTraceServiceRequest::decode(&found[0][..]).unwrap();
    assert_eq!(found, request("shop", expected));
}

#[tokio::test]
async fn a_row_that_no_store_has_written_is_an_error() {
    let fixture = Fixture::new();
    assert!(fixture.export(Signal::Traces, &request("shop", span(1))).await.is_ok());
    for (column, value) in [
        ("attributes", "'{\"a\":'"),
        ("events", "'[1]'"),
        ("trace_state", "x'00'"),
        ("kind", "'many'"),
        ("span_id", "'xyz'"),
    ] {
        let db = fixture.sql();
        let set = |value: &str| db.execute(&format!("UPDATE spans SET {column} = {value}"), ());
        let before: String = crate::one(&db, &format!("SELECT quote({column}) FROM spans"));
        set(value).unwrap();
        let reader = SqliteReader::open(&fixture.path).unwrap();
        assert!(reader.trace_requests(&"ab".repeat(16)).is_err(), "{column}");
        set(&before).unwrap();
        assert_eq!(reader.trace_requests(&"ab".repeat(16)).unwrap().len(), 1);
    }
}
