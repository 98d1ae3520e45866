use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue as Reference, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use teleflow_otlp::log::{self, LogRecord};
use teleflow_otlp::metric::{Metric, MetricKind, Number};
use teleflow_otlp::span::{self, Span, TailFields};
use teleflow_otlp::tree;
use teleflow_otlp::value::{AnyValue, Attributes};

use teleflow_testkit::reference::{Request, each_generated};

#[track_caller]
fn same_value(ours: AnyValue<'_>, reference: Option<&Reference>) {
    use any_value::Value;
    match (ours, reference.and_then(|value| value.value.as_ref())) {
        (AnyValue::Empty, None) => {}
        (AnyValue::String(a), Some(Value::StringValue(b))) => assert_eq!(a, b),
        (AnyValue::Bool(a), Some(Value::BoolValue(b))) => assert_eq!(a, *b),
        (AnyValue::Int(a), Some(Value::IntValue(b))) => assert_eq!(a, *b),
        (AnyValue::Double(a), Some(Value::DoubleValue(b))) => assert_eq!(a.to_bits(), b.to_bits()),
        (AnyValue::Bytes(a), Some(Value::BytesValue(b))) => assert_eq!(a, b),
        (AnyValue::Array(a), Some(Value::ArrayValue(b))) => {
            let a: Vec<_> = a.collect();
            assert_eq!(a.len(), b.values.len());
            a.into_iter().zip(&b.values).for_each(|(a, b)| same_value(a, Some(b)));
        }
        (AnyValue::Map(a), Some(Value::KvlistValue(b))) => same_attributes(a, &b.values),
        (ours, reference) => panic!("{ours:?} against {reference:?}"),
    }
}

#[track_caller]
fn same_attributes(ours: Attributes<'_>, reference: &[KeyValue]) {
    let ours: Vec<_> = ours.collect();
    assert_eq!(ours.len(), reference.len());
    for ((key, value), reference) in ours.into_iter().zip(reference) {
        assert_eq!(key, reference.key);
        same_value(value, reference.value.as_ref());
    }
}

#[test]
fn views_read_what_prost_reads() {
    each_generated(|_, _, request| {
        let bytes = request.encode();
        let groups: Vec<_> = tree::resources(&bytes).collect();
        match request {
            Request::Traces(request) => {
                for (group, reference) in groups.iter().zip(&request.resource_spans) {
                    if let (Some(ours), Some(reference)) =
                        (group.resource().next(), &reference.resource)
                    {
                        same_attributes(Attributes::of_resource(ours), &reference.attributes);
                    }
                    for (scope, reference) in group.scopes().zip(&reference.scope_spans) {
                        assert_eq!(scope.items().count(), reference.spans.len());
                        if let (Some(ours), Some(reference)) =
                            (scope.scope().next(), &reference.scope)
                        {
                            let ours = tree::Scope::read(ours);
                            assert_eq!(ours.name, reference.name);
                            assert_eq!(ours.version, reference.version);
                        }
                        for (item, reference) in scope.items().zip(&reference.spans) {
                            same_span(item.message, reference);
                        }
                    }
                }
            }
            Request::Logs(request) => {
                for (group, reference) in groups.iter().zip(&request.resource_logs) {
                    for (scope, reference) in group.scopes().zip(&reference.scope_logs) {
                        for (item, reference) in scope.items().zip(&reference.log_records) {
                            let ours = LogRecord::read(item.message);
                            assert_eq!(ours.time, reference.time_unix_nano);
                            assert_eq!(ours.observed_time, reference.observed_time_unix_nano);
                            assert_eq!(ours.severity_number, reference.severity_number);
                            assert_eq!(ours.severity_text, reference.severity_text);
                            assert_eq!(ours.trace_id, reference.trace_id);
                            assert_eq!(log::trace_id(item.message), ours.trace_id);
                            assert_eq!(ours.span_id, reference.span_id);
                            assert_eq!(ours.event_name, reference.event_name);
                            assert_eq!(ours.flags, reference.flags);
                            same_value(ours.body(), reference.body.as_ref());
                            same_attributes(ours.attributes(), &reference.attributes);
                        }
                    }
                }
            }
            Request::Metrics(request) => {
                for (group, reference) in groups.iter().zip(&request.resource_metrics) {
                    for (scope, reference) in group.scopes().zip(&reference.scope_metrics) {
                        for (item, reference) in scope.items().zip(&reference.metrics) {
                            same_metric(&Metric::read(item.message), reference);
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn the_last_trace_id_counts_however_it_is_written() {
    // Field 1 twice, the second time with a key of two bytes; then a group that holds a field 1.
    assert_eq!(span::trace_id(b"\x0a\x01a\x8a\x00\x01b\x1b\x0a\x01c\x1c"), b"b");
    assert_eq!(span::trace_id(b"\x12\x01a\x39\x0a\x01z\0\0\0\0\0"), b"");
    assert_eq!(log::trace_id(b"\x4a\x01a\x0a\x01b\x4a\x01c"), b"c");
    // What nobody validated ends early.
    assert_eq!(span::trace_id(b"\x0a\x01a\x0a\x09b"), b"a");
}

#[track_caller]
fn same_span(message: &[u8], reference: &opentelemetry_proto::tonic::trace::v1::Span) {
    let ours = Span::read(message);
    let status = reference.status.clone().unwrap_or_default();
    assert_eq!(ours.trace_id, reference.trace_id);
    assert_eq!(ours.span_id, reference.span_id);
    assert_eq!(ours.parent_span_id, reference.parent_span_id);
    assert_eq!(ours.trace_state, reference.trace_state);
    assert_eq!(ours.name, reference.name);
    assert_eq!(ours.kind, reference.kind);
    assert_eq!(ours.start, reference.start_time_unix_nano);
    assert_eq!(ours.end, reference.end_time_unix_nano);
    assert_eq!(ours.status.number(), status.code);
    assert_eq!(ours.status_message, status.message);
    assert_eq!(ours.flags, reference.flags);
    same_attributes(ours.attributes(), &reference.attributes);
    assert_eq!(ours.events().count(), reference.events.len());
    for (event, reference) in ours.events().zip(&reference.events) {
        assert_eq!((event.time, event.name), (reference.time_unix_nano, &reference.name[..]));
        same_attributes(event.attributes(), &reference.attributes);
    }
    assert_eq!(ours.links().count(), reference.links.len());
    for (link, reference) in ours.links().zip(&reference.links) {
        assert_eq!(link.trace_id, reference.trace_id);
        assert_eq!(link.span_id, reference.span_id);
        assert_eq!(link.trace_state, reference.trace_state);
        same_attributes(link.attributes(), &reference.attributes);
    }

    let tail = TailFields::read(message);
    assert_eq!(tail.trace_id, ours.trace_id);
    assert_eq!(span::trace_id(message), ours.trace_id);
    assert_eq!((tail.start, tail.end, tail.status), (ours.start, ours.end, ours.status));
    assert_eq!(tail.is_root, reference.parent_span_id.is_empty());
}

#[track_caller]
fn same_metric(ours: &Metric<'_>, reference: &opentelemetry_proto::tonic::metrics::v1::Metric) {
    assert_eq!(ours.name, reference.name);
    assert_eq!(ours.unit, reference.unit);
    assert_eq!(ours.description, reference.description);
    let points: Vec<_> = ours.points().collect();
    match &reference.data {
        None => assert_eq!((ours.kind, points.len()), (MetricKind::Unknown, 0)),
        Some(Data::Gauge(gauge)) => {
            assert_eq!(ours.kind, MetricKind::Gauge);
            assert_eq!(points.len(), gauge.data_points.len());
            for (ours, reference) in points.iter().zip(&gauge.data_points) {
                let value = reference.value.as_ref().map(|value| match value {
                    number_data_point::Value::AsDouble(value) => Number::Double(*value),
                    number_data_point::Value::AsInt(value) => Number::Int(*value),
                });
                assert_eq!(ours.value, value);
                assert_eq!(ours.time, reference.time_unix_nano);
                same_attributes(ours.attributes(), &reference.attributes);
            }
        }
        Some(Data::Sum(sum)) => {
            assert_eq!((ours.kind, ours.monotonic), (MetricKind::Sum, sum.is_monotonic));
            assert_eq!(ours.temporality, sum.aggregation_temporality);
            assert_eq!(points.len(), sum.data_points.len());
        }
        Some(Data::Histogram(histogram)) => {
            assert_eq!(ours.temporality, histogram.aggregation_temporality);
            assert_eq!(points.len(), histogram.data_points.len());
            for (ours, reference) in points.iter().zip(&histogram.data_points) {
                assert_eq!(ours.count, Some(reference.count));
                assert_eq!(
                    (ours.sum, ours.min, ours.max),
                    (reference.sum, reference.min, reference.max)
                );
                same_attributes(ours.attributes(), &reference.attributes);
            }
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            assert_eq!(points.len(), histogram.data_points.len());
            for (ours, reference) in points.iter().zip(&histogram.data_points) {
                assert_eq!(ours.count, Some(reference.count));
                assert_eq!(
                    (ours.sum, ours.min, ours.max),
                    (reference.sum, reference.min, reference.max)
                );
                same_attributes(ours.attributes(), &reference.attributes);
            }
        }
        Some(Data::Summary(summary)) => {
            assert_eq!(points.len(), summary.data_points.len());
            for (ours, reference) in points.iter().zip(&summary.data_points) {
                assert_eq!((ours.count, ours.sum), (Some(reference.count), Some(reference.sum)));
                same_attributes(ours.attributes(), &reference.attributes);
            }
        }
    }
}
