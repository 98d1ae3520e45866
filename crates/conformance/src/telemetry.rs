//! Requests to send: plain ones, one with every kind of field, and strange ones.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use crate::signal::Signal;

/// When everything happens: 2025, in nanoseconds, not to be too old for anyone.
pub(crate) const NOW: u64 = 1_750_000_000_000_000_000;

/// Begins the tag by which an item is found again: `cfm:7:`.
const TAG: &str = "cfm:";

/// The text that marks request number `id`.
pub(crate) fn tag(id: u32) -> String {
    format!("{TAG}{id}:")
}

/// The number in the first tag of a body, protobuf or JSON.
pub(crate) fn find_tag(body: &[u8]) -> Option<u32> {
    let at = body.windows(TAG.len()).position(|window| window == TAG.as_bytes())? + TAG.len();
    let digits: Vec<u8> =
        body[at..].iter().copied().take_while(u8::is_ascii_digit).take(9).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// A request with one item, as protobuf; `name` is its service.
pub(crate) fn request(signal: Signal, name: &str) -> Vec<u8> {
    let attributes = vec![pair("k", Some(Value::StringValue("v".to_owned())))];
    encode(signal, resource(name, Vec::new()), Fields { attributes, ..Fields::default() })
}

/// A request with an attribute of `bytes` bytes.
pub(crate) fn large(signal: Signal, name: &str, bytes: usize) -> Vec<u8> {
    let attributes = vec![pair("big", Some(Value::StringValue("a".repeat(bytes))))];
    encode(signal, resource(name, Vec::new()), Fields { attributes, ..Fields::default() })
}

/// A request with everything that has to go through unchanged.
pub(crate) fn rich(signal: Signal, name: &str) -> Vec<u8> {
    let entity = EntityRef {
        schema_url: "https://example.com/entity".to_owned(),
        r#type: "service".to_owned(),
        id_keys: vec!["service.name".to_owned()],
        description_keys: vec!["k".to_owned()],
    };
    let fields = Fields {
        attributes: every_value(),
        flags: 0x301,
        dropped: 7,
        state: "ot=th:8;rv:0123456789abcd,vendor=x".to_owned(),
        schema: "https://example.com/schema".to_owned(),
    };
    encode(signal, resource(name, vec![entity]), fields)
}

/// Attributes of every kind: empty, bytes, lists within lists.
pub(crate) fn every_value() -> Vec<KeyValue> {
    let text = |text: &str| Value::StringValue(text.to_owned());
    let any = |value| AnyValue { value: Some(value) };
    let mixed = ArrayValue {
        values: vec![
            any(text("a")),
            any(Value::IntValue(-1)),
            any(Value::ArrayValue(ArrayValue { values: vec![any(Value::BoolValue(false))] })),
            AnyValue { value: None },
        ],
    };
    let nested = KeyValueList { values: vec![pair("in", Some(Value::ArrayValue(mixed.clone())))] };
    vec![
        pair("empty", None),
        pair("text", Some(text("grüße"))),
        pair("no text", Some(text(""))),
        pair("bool", Some(Value::BoolValue(true))),
        pair("int", Some(Value::IntValue(i64::MIN))),
        pair("double", Some(Value::DoubleValue(-0.5))),
        pair("infinite", Some(Value::DoubleValue(f64::INFINITY))),
        pair("bytes", Some(Value::BytesValue(vec![0, 255, 128]))),
        pair("mixed", Some(Value::ArrayValue(mixed))),
        pair("nested", Some(Value::KvlistValue(nested))),
    ]
}

/// What a span, a point or a record has.
#[derive(Clone, Debug, Default)]
struct Fields {
    attributes: Vec<KeyValue>,
    flags: u32,
    dropped: u32,
    state: String,
    schema: String,
}

fn pair(key: &str, value: Option<Value>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value }), ..KeyValue::default() }
}

fn resource(name: &str, entity_refs: Vec<EntityRef>) -> Resource {
    Resource {
        attributes: vec![pair("service.name", Some(Value::StringValue(name.to_owned())))],
        dropped_attributes_count: 0,
        entity_refs,
    }
}

fn encode(signal: Signal, resource: Resource, fields: Fields) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: "conformance".to_owned(),
        version: "1".to_owned(),
        dropped_attributes_count: fields.dropped,
        ..InstrumentationScope::default()
    };
    let (resource, scope, schema_url) = (Some(resource), Some(scope), fields.schema.clone());
    match signal {
        Signal::Traces => {
            let scope_spans = vec![ScopeSpans { scope, spans: vec![span(fields)], schema_url }];
            let schema_url = String::new();
            let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url }];
            ExportTraceServiceRequest { resource_spans }.encode_to_vec()
        }
        Signal::Metrics => {
            let scope_metrics = vec![ScopeMetrics { scope, metrics: metrics(fields), schema_url }];
            let schema_url = String::new();
            let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, schema_url }];
            ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
        }
        Signal::Logs => {
            let scope_logs = vec![ScopeLogs { scope, log_records: vec![log(fields)], schema_url }];
            let schema_url = String::new();
            let resource_logs = vec![ResourceLogs { resource, scope_logs, schema_url }];
            ExportLogsServiceRequest { resource_logs }.encode_to_vec()
        }
    }
}

fn trace_id() -> Vec<u8> {
    (1..=16).collect()
}

fn span_id() -> Vec<u8> {
    (1..=8).collect()
}

fn span(fields: Fields) -> Span {
    let link = Link {
        trace_id: trace_id(),
        span_id: span_id(),
        trace_state: fields.state.clone(),
        attributes: fields.attributes.clone(),
        dropped_attributes_count: fields.dropped,
        flags: fields.flags,
    };
    let event = Event {
        time_unix_nano: NOW,
        name: "event".to_owned(),
        attributes: fields.attributes.clone(),
        dropped_attributes_count: fields.dropped,
    };
    Span {
        trace_id: trace_id(),
        span_id: span_id(),
        trace_state: fields.state,
        flags: fields.flags,
        name: "span".to_owned(),
        kind: 2,
        start_time_unix_nano: NOW,
        end_time_unix_nano: NOW + 1,
        attributes: fields.attributes,
        dropped_attributes_count: fields.dropped,
        events: vec![event],
        dropped_events_count: fields.dropped,
        links: vec![link],
        dropped_links_count: fields.dropped,
        status: Some(Status { message: "status".to_owned(), code: 2 }),
        ..Span::default()
    }
}

fn metrics(fields: Fields) -> Vec<Metric> {
    let exemplar = Exemplar {
        filtered_attributes: fields.attributes.clone(),
        time_unix_nano: NOW,
        span_id: span_id(),
        trace_id: trace_id(),
        value: Some(exemplar::Value::AsInt(-3)),
    };
    let number = NumberDataPoint {
        attributes: fields.attributes.clone(),
        start_time_unix_nano: NOW,
        time_unix_nano: NOW + 1,
        exemplars: vec![exemplar],
        flags: fields.flags & 1,
        value: Some(number_data_point::Value::AsInt(i64::MAX)),
    };
    let histogram = HistogramDataPoint {
        attributes: fields.attributes,
        start_time_unix_nano: NOW,
        time_unix_nano: NOW + 1,
        count: 3,
        sum: Some(4.5),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![1.0],
        ..HistogramDataPoint::default()
    };
    let metric = |name: &str, data| Metric {
        name: name.to_owned(),
        unit: "1".to_owned(),
        data: Some(data),
        ..Metric::default()
    };
    vec![
        metric("gauge", metric::Data::Gauge(Gauge { data_points: vec![number] })),
        metric(
            "histogram",
            metric::Data::Histogram(Histogram {
                data_points: vec![histogram],
                aggregation_temporality: 2,
            }),
        ),
    ]
}

fn log(fields: Fields) -> LogRecord {
    LogRecord {
        time_unix_nano: NOW,
        observed_time_unix_nano: NOW + 1,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue("log".to_owned())) }),
        attributes: fields.attributes,
        dropped_attributes_count: fields.dropped,
        flags: fields.flags,
        trace_id: trace_id(),
        span_id: span_id(),
        event_name: "event".to_owned(),
    }
}

/// A request for traces with a resource attribute of `depth` arrays within each other.
pub(crate) fn deep(depth: usize) -> Vec<u8> {
    // From the inside out, and backwards.
    let mut bytes = Vec::new();
    let wrap = |bytes: &mut Vec<u8>, tag: u8| {
        let mut length = Vec::new();
        prost::encoding::encode_varint(bytes.len() as u64, &mut length);
        bytes.extend(length.iter().rev());
        bytes.push(tag);
    };
    for _ in 0..depth {
        wrap(&mut bytes, 0x0a); // ArrayValue.values
        wrap(&mut bytes, 0x2a); // AnyValue.array_value
    }
    wrap(&mut bytes, 0x12); // KeyValue.value
    wrap(&mut bytes, 0x0a); // Resource.attributes
    wrap(&mut bytes, 0x0a); // ResourceSpans.resource
    wrap(&mut bytes, 0x0a); // ExportTraceServiceRequest.resource_spans
    bytes.reverse();
    bytes
}

/// The same in JSON.
pub(crate) fn deep_json(depth: usize) -> String {
    let open = r#"{"arrayValue":{"values":["#.repeat(depth);
    let close = "]}}".repeat(depth);
    let value = format!(r#"{open}{{"intValue":"1"}}{close}"#);
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"k","value":{value}}}]}}}}]}}"#
    )
}

/// A request for traces of one span, in JSON, with `fields` in the span.
pub(crate) fn json_span(fields: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"resource":{{}},"scopeSpans":[{{"scope":{{}},"spans":[{{{fields}}}]}}]}}]}}"#
    )
}

/// What a span in JSON has to have.
pub(crate) const JSON_SPAN: &str = r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"n","kind":2,"startTimeUnixNano":"1750000000000000000","endTimeUnixNano":"1750000000000000001""#;

/// A plain request in JSON.
pub(crate) fn json(signal: Signal) -> String {
    match signal {
        Signal::Traces => json_span(JSON_SPAN),
        Signal::Metrics => json_point(r#""asInt":"3","timeUnixNano":"1750000000000000000""#),
        Signal::Logs => concat!(
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"#,
            r#""1750000000000000000","severityNumber":9,"body":{"stringValue":"log"}}]}]}]}"#
        )
        .to_owned(),
    }
}

/// A request for metrics of one gauge, in JSON, with `fields` in its point.
pub(crate) fn json_point(fields: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{{{fields}}}]}}}}]}}]}}]}}"#
    )
}

/// A request for metrics of one histogram, in JSON, with `fields` in its point.
pub(crate) fn json_histogram(fields: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","histogram":{{"aggregationTemporality":2,"dataPoints":[{{{fields}}}]}}}}]}}]}}]}}"#
    )
}

/// An attribute in JSON within a span.
pub(crate) fn json_attribute(value: &str) -> String {
    json_span(&format!(r#"{JSON_SPAN},"attributes":[{{"key":"k","value":{value}}}]"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found() {
        for signal in Signal::ALL {
            assert_eq!(find_tag(&request(signal, &tag(42))), Some(42));
            assert_eq!(find_tag(&rich(signal, "x")), None);
        }
    }

    #[test]
    fn deep_is_as_deep_as_it_says() {
        let request = ExportTraceServiceRequest::decode(deep(3).as_slice()).unwrap();
        let resource = request.resource_spans[0].resource.clone().unwrap();
        let mut value = resource.attributes[0].value.clone();
        for _ in 0..3 {
            let Some(Value::ArrayValue(array)) = value.and_then(|any| any.value) else { panic!() };
            value = array.values.into_iter().next();
        }
        assert_eq!(value, Some(AnyValue { value: None }));
        let json: serde_json::Value = serde_json::from_str(&deep_json(3)).unwrap();
        assert!(json.is_object());
    }
}
