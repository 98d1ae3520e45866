//! The official SDK for Rust.

use std::env;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{
    Event, Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, InstrumentationScope, KeyValue, StringValue};
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, Protocol as Wire, SpanExporter,
    WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;

use super::{ALL, Protocol, Sent, SentSpan, check};
use crate::program::Program;

const START: u64 = 1_750_000_000_000_000_000;

#[test]
fn the_rust_sdk_is_understood() {
    if machine_has_a_say() {
        return;
    }
    // Its gRPC exporters need a runtime of their caller's; its threads then do the waiting.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    check(&ALL, send);
}

/// Variables of the machine must not change what is sent, nor by what way: where there are any, a
/// process without them does the test, and this is true.
fn machine_has_a_say() -> bool {
    let names = env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy().to_ascii_uppercase();
        name.starts_with("OTEL_") || name.ends_with("_PROXY")
    });
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return false;
    }
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", "interop::rust::the_rust_sdk_is_understood"]);
    names.iter().for_each(|name| _ = again.env_remove(name));
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // By another name it would be no test at all.
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    true
}

fn send(program: &Program, protocol: Protocol, gzip: bool, service: &str) -> Sent {
    let (spans, metrics, logs) = exporters(program, protocol, gzip);
    let resource = Resource::builder_empty()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("deployment.environment.name", "test"))
        .build();
    let scope = InstrumentationScope::builder("interop.scope").with_version("1.2.3").build();

    let traces = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_batch_exporter(spans)
        .build();
    let sent = trace(&traces.tracer_with_scope(scope.clone()));
    let logging = SdkLoggerProvider::builder()
        .with_resource(resource.clone())
        .with_batch_exporter(logs)
        .build();
    log(&logging.logger_with_scope(scope.clone()), &sent);
    let metering = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(PeriodicReader::builder(metrics).build())
        .build();
    measure(&metering.meter_with_scope(scope));

    traces.shutdown().unwrap();
    logging.shutdown().unwrap();
    metering.shutdown().unwrap();
    sent
}

fn exporters(
    program: &Program,
    protocol: Protocol,
    gzip: bool,
) -> (SpanExporter, MetricExporter, LogExporter) {
    match protocol {
        Protocol::Grpc => {
            let endpoint = format!("http://{}", program.grpc());
            macro_rules! build {
                ($exporter:ident) => {{
                    let mut builder = $exporter::builder().with_tonic().with_endpoint(&endpoint);
                    if gzip {
                        builder = builder.with_compression(Compression::Gzip);
                    }
                    builder.build().unwrap()
                }};
            }
            (build!(SpanExporter), build!(MetricExporter), build!(LogExporter))
        }
        Protocol::HttpJson => unreachable!("it is not asked to"),
        Protocol::HttpProtobuf => {
            macro_rules! build {
                ($exporter:ident, $path:literal) => {{
                    let mut builder = $exporter::builder()
                        .with_http()
                        .with_protocol(Wire::HttpBinary)
                        .with_endpoint(format!("http://{}{}", program.http(), $path));
                    if gzip {
                        builder = builder.with_compression(Compression::Gzip);
                    }
                    builder.build().unwrap()
                }};
            }
            (
                build!(SpanExporter, "/v1/traces"),
                build!(MetricExporter, "/v1/metrics"),
                build!(LogExporter, "/v1/logs"),
            )
        }
    }
}

fn at(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(START + nanos)
}

fn trace(tracer: &opentelemetry_sdk::trace::SdkTracer) -> Sent {
    let list = vec![StringValue::from("a"), StringValue::from("b")];
    let parent = tracer
        .span_builder("parent")
        .with_kind(SpanKind::Server)
        .with_start_time(at(1))
        .with_attributes([
            KeyValue::new("text", "grüße"),
            KeyValue::new("int", 42),
            KeyValue::new("float", 1.5),
            KeyValue::new("bool", true),
            KeyValue::new("list", opentelemetry::Value::Array(Array::String(list))),
        ])
        .start(tracer);
    let context = Context::new().with_span(parent);
    let elsewhere = SpanContext::new(
        TraceId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        SpanId::from_bytes([0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let mut child = tracer
        .span_builder("child")
        .with_kind(SpanKind::Client)
        .with_start_time(at(2))
        .with_events(vec![Event::new("cache.miss", at(3), vec![KeyValue::new("key", "k1")], 0)])
        .with_links(vec![Link::new(elsewhere, vec![KeyValue::new("why", "retry")], 0)])
        .start_with_context(tracer, &context);
    child.set_status(Status::error("boom"));
    child.end_with_timestamp(at(4));
    let (parent_context, child_context) = (context.span(), child.span_context().clone());
    parent_context.end_with_timestamp(at(5));
    let times = |start: u64, end: u64| ((START + start) as i64, (START + end) as i64);
    let span = |id: SpanId, (start, end): (i64, i64)| SentSpan { id: id.to_string(), start, end };
    Sent {
        trace_id: child_context.trace_id().to_string(),
        parent: span(parent_context.span_context().span_id(), times(1, 5)),
        child: span(child_context.span_id(), times(2, 4)),
        event: (START + 3) as i64,
    }
}

fn log(logger: &opentelemetry_sdk::logs::SdkLogger, sent: &Sent) {
    let mut record = logger.create_log_record();
    record.set_timestamp(at(1));
    record.set_observed_timestamp(at(2));
    record.set_severity_number(Severity::Warn);
    record.set_severity_text("WARN");
    record.set_body(AnyValue::from("disk is full"));
    record.add_attribute("disk", "sda");
    record.set_trace_context(
        TraceId::from_hex(&sent.trace_id).unwrap(),
        SpanId::from_hex(&sent.child.id).unwrap(),
        Some(TraceFlags::SAMPLED),
    );
    logger.emit(record);
}

fn measure(meter: &opentelemetry::metrics::Meter) {
    let requests =
        meter.u64_counter("requests").with_unit("1").with_description("Requests served").build();
    requests.add(3, &[KeyValue::new("route", "/a")]);
    requests.add(4, &[KeyValue::new("route", "/a")]);
    meter.i64_up_down_counter("queue").build().add(-2, &[]);
    meter.f64_gauge("temperature").with_unit("Cel").build().record(21.5, &[]);
    let latency = meter.f64_histogram("latency").with_unit("ms").build();
    latency.record(5.0, &[]);
    latency.record(15.0, &[]);
}
