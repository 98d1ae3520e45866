//! Every column of every table.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
    metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;
use prost::Message as _;
use rusqlite::types::Value as Cell;
use teleflow_otlp::span::StatusCode;
use teleflow_otlp::{Payload, Signal};
use teleflow_store::{Rows, SqliteReader};
use teleflow_testkit::telemetry::Telemetry;

use crate::{Fixture, attribute, text};

const RESOURCE: &str = r#"{"service.name":"shop","host.cpus":8}"#;
const START: u64 = 1_750_000_000_000_000_000;

fn resource() -> Option<Resource> {
    let attributes = vec![text("service.name", "shop"), attribute("host.cpus", Value::IntValue(8))];
    Some(Resource { attributes, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "lib".to_owned(),
        version: "1.2".to_owned(),
        attributes: vec![text("level", "scope")],
        dropped_attributes_count: 0,
    })
}

fn traces(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }];
    let group = ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

fn logs(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..ScopeLogs::default() }];
    let group = ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![group] }
}

fn metrics(data: Vec<Data>) -> ExportMetricsServiceRequest {
    let metrics = data
        .into_iter()
        .map(|data| Metric {
            name: "m".to_owned(),
            description: "what it is".to_owned(),
            unit: "ms".to_owned(),
            data: Some(data),
            ..Metric::default()
        })
        .collect();
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    let group =
        ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![group] }
}

/// What the queries of `docs/store.md` ask for: a failed trace of two spans, what it logged, and
/// metrics.
pub(crate) fn shop() -> [Payload; 3] {
    const TRACE: [u8; 16] = 0x5b8e_fff7_9803_8103_d269_b633_813f_c60c_u128.to_be_bytes();
    let span = |id: u8, parent_span_id: &[u8], code| Span {
        trace_id: TRACE.to_vec(),
        span_id: vec![id; 8],
        parent_span_id: parent_span_id.to_vec(),
        name: "GET /cart".to_owned(),
        start_time_unix_nano: START + u64::from(id),
        end_time_unix_nano: START + 1_000_000,
        attributes: vec![attribute("http.response.status_code", Value::IntValue(500))],
        events: vec![Event { name: "exception".to_owned(), ..Event::default() }],
        status: Some(Status { code, ..Status::default() }),
        ..Span::default()
    };
    let record = LogRecord {
        time_unix_nano: START,
        severity_number: 17,
        severity_text: "ERROR".to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue("no cart".to_owned())) }),
        trace_id: TRACE.to_vec(),
        ..LogRecord::default()
    };
    let number = NumberDataPoint {
        time_unix_nano: START,
        value: Some(number_data_point::Value::AsInt(7)),
        ..NumberDataPoint::default()
    };
    let histogram =
        HistogramDataPoint { count: 2, sum: Some(3.0), ..HistogramDataPoint::default() };
    let metrics = metrics(vec![
        Data::Gauge(Gauge { data_points: vec![number] }),
        Data::Histogram(Histogram { data_points: vec![histogram], ..Histogram::default() }),
    ]);
    [
        crate::payload(Signal::Traces, &traces(vec![span(1, &[], 0), span(2, &[1; 8], 2)])),
        crate::payload(Signal::Logs, &logs(vec![record])),
        crate::payload(Signal::Metrics, &metrics),
    ]
}

/// Checks columns of the rows that `from` selects: name and value as SQL writes it.
#[track_caller]
fn check(fixture: &Fixture, from: &str, columns: &[(&str, &str)]) {
    let db = fixture.sql();
    for (name, expected) in columns {
        let sql = format!("SELECT quote({name}) FROM {from}");
        let found: String = crate::one(&db, &sql);
        assert_eq!(found, *expected, "{name} of {from}");
    }
}

#[tokio::test]
async fn a_span_is_found_with_every_value() {
    let fixture = Fixture::new();
    let span = Span {
        trace_id: (0xf0..=0xff).collect(),
        span_id: vec![0, 1, 2, 3, 4, 5, 6, 7],
        trace_state: "a=b".to_owned(),
        parent_span_id: vec![9; 8],
        flags: 0x101,
        name: "GET /it's".to_owned(),
        kind: 3,
        start_time_unix_nano: START,
        end_time_unix_nano: START + 25,
        attributes: vec![
            text("text", "quote \" and \n"),
            attribute("bool", Value::BoolValue(true)),
            attribute("int", Value::IntValue(i64::MIN)),
            attribute("double", Value::DoubleValue(0.5)),
            attribute("nan", Value::DoubleValue(f64::NAN)),
            attribute("bytes", Value::BytesValue(vec![1, 2])),
            attribute(
                "array",
                Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: None }] }),
            ),
            attribute("map", Value::KvlistValue(KeyValueList { values: vec![text("inner", "x")] })),
        ],
        events: vec![Event {
            time_unix_nano: START + 5,
            name: "exception".to_owned(),
            attributes: vec![text("exception.type", "E")],
            dropped_attributes_count: 0,
        }],
        links: vec![Link {
            trace_id: vec![0xab; 16],
            span_id: vec![0xcd; 8],
            trace_state: "c=d".to_owned(),
            attributes: vec![text("why", "retry")],
            ..Link::default()
        }],
        status: Some(Status { message: "no".to_owned(), code: 2 }),
        ..Span::default()
    };
    assert!(fixture.export(Signal::Traces, &traces(vec![span])).await.is_ok());

    let attributes = r#"{"text":"quote \" and \n","bool":true,"int":-9223372036854775808,"double":0.5,"nan":"NaN","bytes":"AQI=","array":[null],"map":{"inner":"x"}}"#;
    let events = r#"[{"time_unix_nano":1750000000000000005,"name":"exception","attributes":{"exception.type":"E"}}]"#;
    let links = r#"[{"trace_id":"abababababababababababababababab","span_id":"cdcdcdcdcdcdcdcd","trace_state":"c=d","attributes":{"why":"retry"}}]"#;
    check(
        &fixture,
        "spans",
        &[
            ("id", "1"),
            ("trace_id", "'f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'"),
            ("span_id", "'0001020304050607'"),
            ("parent_span_id", "'0909090909090909'"),
            ("start_time_unix_nano", "1750000000000000000"),
            ("end_time_unix_nano", "1750000000000000025"),
            ("duration_nano", "25"),
            ("kind", "3"),
            ("status_code", "2"),
            ("status_message", "'no'"),
            ("flags", "257"),
            ("service_name", "'shop'"),
            ("name", "'GET /it''s'"),
            ("trace_state", "'a=b'"),
            ("scope_name", "'lib'"),
            ("scope_version", "'1.2'"),
            ("scope_attributes", r#"'{"level":"scope"}'"#),
            ("attributes", &format!("'{attributes}'")),
            ("resource", &format!("'{RESOURCE}'")),
            ("events", &format!("'{events}'")),
            ("links", &format!("'{links}'")),
        ],
    );
    assert_eq!(fixture.one::<i64>("SELECT attributes ->> '$.int' FROM spans"), i64::MIN);
}

#[tokio::test]
async fn an_empty_span_has_no_parent_and_no_text() {
    let fixture = Fixture::new();
    let group = ResourceSpans {
        scope_spans: vec![ScopeSpans {
            spans: vec![Span { parent_span_id: vec![0; 8], ..Span::default() }],
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest { resource_spans: vec![group] };
    assert!(fixture.export(Signal::Traces, &request).await.is_ok());
    check(
        &fixture,
        "spans",
        &[
            ("trace_id", "''"),
            ("span_id", "''"),
            ("parent_span_id", "NULL"),
            ("start_time_unix_nano", "0"),
            ("status_code", "0"),
            ("service_name", "''"),
            ("scope_attributes", "'{}'"),
            ("attributes", "'{}'"),
            ("resource", "'{}'"),
            ("events", "'[]'"),
            ("links", "'[]'"),
        ],
    );
}

#[tokio::test]
async fn times_and_counts_beyond_sqlites_integers_are_the_largest() {
    let fixture = Fixture::new();
    let span = Span { end_time_unix_nano: u64::MAX, ..Span::default() };
    assert!(fixture.export(Signal::Traces, &traces(vec![span])).await.is_ok());
    assert_eq!(fixture.one::<i64>("SELECT end_time_unix_nano FROM spans"), i64::MAX);
}

#[tokio::test]
async fn a_log_record_is_found_with_every_value() {
    let fixture = Fixture::new();
    let record = LogRecord {
        time_unix_nano: START,
        observed_time_unix_nano: START + 1,
        severity_number: 17,
        severity_text: "ERROR".to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue("{\"not\": json".to_owned())) }),
        attributes: vec![text("k", "v")],
        flags: 1,
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        event_name: "event".to_owned(),
        ..LogRecord::default()
    };
    assert!(fixture.export(Signal::Logs, &logs(vec![record])).await.is_ok());
    check(
        &fixture,
        "logs",
        &[
            ("time_unix_nano", "1750000000000000000"),
            ("observed_time_unix_nano", "1750000000000000001"),
            ("trace_id", "'abababababababababababababababab'"),
            ("span_id", "'cdcdcdcdcdcdcdcd'"),
            ("flags", "1"),
            ("severity_number", "17"),
            ("severity_text", "'ERROR'"),
            ("service_name", "'shop'"),
            ("event_name", "'event'"),
            ("body", r#"'{"not": json'"#),
            ("body_is_json", "0"),
            ("scope_name", "'lib'"),
            ("scope_version", "'1.2'"),
            ("scope_attributes", r#"'{"level":"scope"}'"#),
            ("attributes", r#"'{"k":"v"}'"#),
            ("resource", &format!("'{RESOURCE}'")),
        ],
    );
}

#[tokio::test]
async fn a_log_body_that_is_no_text_is_json_and_an_absent_one_is_null() {
    let fixture = Fixture::new();
    let map = Value::KvlistValue(KeyValueList { values: vec![text("code", "x")] });
    let record = |value| LogRecord { body: Some(AnyValue { value }), ..LogRecord::default() };
    let records = vec![LogRecord::default(), record(Some(map)), record(None)];
    assert!(fixture.export(Signal::Logs, &logs(records)).await.is_ok());
    let structured = [("body", r#"'{"code":"x"}'"#), ("body_is_json", "1")];
    check(&fixture, "logs WHERE id = 2", &structured);
    for absent in ["logs WHERE id = 1", "logs WHERE id = 3"] {
        let columns = [("body", "NULL"), ("body_is_json", "0"), ("trace_id", "NULL")];
        check(&fixture, absent, &columns);
    }
}

#[tokio::test]
async fn points_of_every_kind_are_found_with_every_value() {
    let fixture = Fixture::new();
    let (start_time_unix_nano, time_unix_nano) = (START, START + 10);
    let attributes = vec![text("k", "v")];
    let number = |value| NumberDataPoint {
        attributes: attributes.clone(),
        start_time_unix_nano,
        time_unix_nano,
        value: Some(value),
        ..NumberDataPoint::default()
    };
    let int = number(number_data_point::Value::AsInt(-7));
    let double = number(number_data_point::Value::AsDouble(0.25));
    let histogram = HistogramDataPoint {
        attributes: attributes.clone(),
        start_time_unix_nano,
        time_unix_nano,
        count: 3,
        sum: Some(6.5),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![2.0],
        min: Some(0.5),
        max: Some(4.0),
        ..HistogramDataPoint::default()
    };
    let exponential = ExponentialHistogramDataPoint {
        attributes: attributes.clone(),
        start_time_unix_nano,
        time_unix_nano,
        count: u64::MAX,
        scale: 2,
        ..ExponentialHistogramDataPoint::default()
    };
    let summary = SummaryDataPoint {
        attributes: attributes.clone(),
        start_time_unix_nano,
        time_unix_nano,
        count: 5,
        sum: 1.5,
        ..SummaryDataPoint::default()
    };
    let request = metrics(vec![
        Data::Gauge(Gauge { data_points: vec![double.clone()] }),
        Data::Sum(Sum {
            data_points: vec![int.clone()],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        Data::Histogram(Histogram {
            data_points: vec![histogram.clone()],
            aggregation_temporality: 1,
        }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential.clone()],
            aggregation_temporality: 1,
        }),
        Data::Summary(Summary { data_points: vec![summary.clone()] }),
    ]);
    assert!(fixture.export(Signal::Metrics, &request).await.is_ok());

    // kind, temporality, monotonic, value_int, value_double, value, count, sum, min, max
    let rows = [
        ["'gauge'", "0", "0", "NULL", "0.25", "0.25", "NULL", "NULL", "NULL", "NULL"],
        ["'sum'", "2", "1", "-7", "NULL", "-7", "NULL", "NULL", "NULL", "NULL"],
        ["'histogram'", "1", "0", "NULL", "NULL", "NULL", "3", "6.5", "0.5", "4.0"],
        [
            "'exponential_histogram'",
            "1",
            "0",
            "NULL",
            "NULL",
            "NULL",
            "9223372036854775807",
            "NULL",
            "NULL",
            "NULL",
        ],
        ["'summary'", "0", "0", "NULL", "NULL", "NULL", "5", "1.5", "NULL", "NULL"],
    ];
    let names = [
        "kind",
        "temporality",
        "monotonic",
        "value_int",
        "value_double",
        "value",
        "count",
        "sum",
        "min",
        "max",
    ];
    for (i, row) in rows.iter().enumerate() {
        let from = format!("metric_points WHERE id = {}", i + 1);
        let columns: Vec<_> = names.into_iter().zip(row.iter().copied()).collect();
        check(&fixture, &from, &columns);
        check(
            &fixture,
            &from,
            &[
                ("service_name", "'shop'"),
                ("name", "'m'"),
                ("unit", "'ms'"),
                ("description", "'what it is'"),
                ("start_time_unix_nano", "1750000000000000000"),
                ("time_unix_nano", "1750000000000000010"),
                ("scope_name", "'lib'"),
                ("scope_version", "'1.2'"),
                ("scope_attributes", r#"'{"level":"scope"}'"#),
                ("attributes", r#"'{"k":"v"}'"#),
                ("resource", &format!("'{RESOURCE}'")),
            ],
        );
    }
    let point =
        |id| fixture.one::<Vec<u8>>(&format!("SELECT point FROM metric_points WHERE id = {id}"));
    assert_eq!(NumberDataPoint::decode(&*point(1)).unwrap(), double);
    assert_eq!(NumberDataPoint::decode(&*point(2)).unwrap(), int);
    assert_eq!(HistogramDataPoint::decode(&*point(3)).unwrap(), histogram);
    assert_eq!(ExponentialHistogramDataPoint::decode(&*point(4)).unwrap(), exponential);
    assert_eq!(SummaryDataPoint::decode(&*point(5)).unwrap(), summary);
}

#[tokio::test]
async fn numbers_that_sql_does_not_have_are_null() {
    let fixture = Fixture::new();
    let value = Some(number_data_point::Value::AsDouble(f64::NAN));
    let points = vec![NumberDataPoint { value, ..NumberDataPoint::default() }];
    let request = metrics(vec![Data::Gauge(Gauge { data_points: points })]);
    assert!(fixture.export(Signal::Metrics, &request).await.is_ok());
    check(&fixture, "metric_points", &[("value_double", "NULL"), ("value", "NULL")]);
}

#[tokio::test]
async fn the_reader_finds_the_slowest_trace_and_its_spans_in_order() {
    let fixture = Fixture::new();
    let span = |trace: u8, span: u8, parent: u8, start: u64, end: u64| Span {
        trace_id: vec![trace; 16],
        span_id: vec![span; 8],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        name: format!("span {span}"),
        start_time_unix_nano: START + start,
        end_time_unix_nano: START + end,
        ..Span::default()
    };
    let mut failed = span(1, 2, 1, 40, 60);
    failed.status = Some(Status { message: "no".to_owned(), code: 2 });
    let orphan = span(2, 4, 3, 0, 500);
    let request = traces(vec![failed, span(1, 1, 0, 10, 100), orphan, span(3, 5, 0, 0, 50)]);
    assert!(fixture.export(Signal::Traces, &request).await.is_ok());

    let reader = SqliteReader::open(&fixture.path).unwrap();
    assert_eq!(reader.slowest_trace(true).unwrap(), Some("01".repeat(16)));
    assert_eq!(reader.slowest_trace(false).unwrap(), Some("02".repeat(16)));
    let spans = reader.trace(&"01".repeat(16)).unwrap();
    assert_eq!(spans.len(), 2);
    let (root, child) = (&spans[0], &spans[1]);
    assert_eq!((&*root.name, &root.parent_span_id), ("span 1", &None));
    assert_eq!((root.start, root.end, root.status), (START + 10, START + 100, StatusCode::Unset));
    assert_eq!(child.parent_span_id, Some(root.span_id.clone()));
    assert_eq!((child.status, &*child.status_message), (StatusCode::Error, "no"));
    assert_eq!((&*child.service_name, &*child.span_id), ("shop", "0202020202020202"));
    assert!(reader.trace("none").unwrap().is_empty());
    assert_eq!(reader.span_count().unwrap(), 4);
    assert_eq!(reader.log_count().unwrap() + reader.metric_point_count().unwrap(), 0);
}

#[tokio::test]
async fn values_nested_as_deep_as_validation_allows_are_valid_json() {
    let fixture = Fixture::new();
    let nested = |depth: usize| {
        let mut value = AnyValue { value: Some(Value::BoolValue(true)) };
        for _ in 0..depth {
            let values = vec![value];
            value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) };
        }
        let body = Some(value);
        logs(vec![LogRecord { body, ..LogRecord::default() }])
    };
    let valid = |request: &ExportLogsServiceRequest| {
        teleflow_otlp::validate(Signal::Logs, &request.encode_to_vec()).is_ok()
    };
    let deepest = (0..100).rfind(|depth| valid(&nested(*depth))).unwrap();
    assert!(deepest > 40);
    assert!(fixture.export(Signal::Logs, &nested(deepest)).await.is_ok());
    let body: String = fixture.one("SELECT body FROM logs WHERE json_valid(body)");
    assert_eq!(body, format!("{}true{}", "[".repeat(deepest), "]".repeat(deepest)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_is_sent_becomes_one_row_an_item_and_valid_json(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut telemetry = Telemetry::new(seed);
            let fixture = Fixture::new();
            let mut sent = Rows::default();
            for _ in 0..8 {
                let traces = crate::payload(Signal::Traces, &telemetry.traces(4));
                let metrics = crate::payload(Signal::Metrics, &telemetry.metrics(4));
                let logs = crate::payload(Signal::Logs, &telemetry.logs(4));
                sent.spans += traces.items();
                sent.metric_points += metrics.items();
                sent.logs += logs.items();
                for payload in [traces, metrics, logs] {
                    use teleflow_exporter::Exporter as _;
                    assert!(fixture.store.export(payload).await.is_ok());
                }
            }
            assert_eq!(fixture.store.stats().stored, sent);
            let reader = SqliteReader::open(&fixture.path).unwrap();
            let stored = Rows {
                spans: reader.span_count().unwrap(),
                metric_points: reader.metric_point_count().unwrap(),
                logs: reader.log_count().unwrap(),
            };
            assert_eq!(stored, sent);
            let db = fixture.sql();
            for (table, columns) in [
                ("spans", "scope_attributes attributes resource events links"),
                ("metric_points", "scope_attributes attributes resource"),
                ("logs", "scope_attributes attributes resource"),
            ] {
                for column in columns.split(' ') {
                    let sql = format!("SELECT {column} FROM {table} WHERE NOT json_valid({column})");
                    let broken = db.query_row(&sql, (), |row| row.get::<_, Cell>(0));
                    assert_eq!(broken, Err(rusqlite::Error::QueryReturnedNoRows), "{table}");
                }
            }
            let sql = "SELECT count(*) FROM logs WHERE body_is_json AND NOT json_valid(body)";
            assert_eq!(crate::one::<i64>(&db, sql), 0);
        });
    }
}
