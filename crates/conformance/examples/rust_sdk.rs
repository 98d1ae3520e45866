//! Sends what the variables say with the official SDK: see `exporter::Program`.
//!
//! The exporters are made without arguments, so that the `OTEL_EXPORTER_OTLP_*` variables decide. Each
//! item is a request of its own; a failed export is the SDK's to report.

use std::env;

use opentelemetry::KeyValue;
use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Its gRPC exporters need a runtime; its own threads do the waiting.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build()?;
    let _inside = runtime.enter();

    let variable = |name: &str| env::var(name).unwrap_or_default();
    let grpc = variable("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc";
    let items: u32 = variable("CONFORMANCE_ITEMS").parse().unwrap_or(1);
    let bytes: usize = variable("CONFORMANCE_BYTES").parse().unwrap_or(0);
    let attributes = if bytes == 0 {
        vec![KeyValue::new("int", 42), KeyValue::new("double", 1.5)]
    } else {
        vec![KeyValue::new("big", "a".repeat(bytes))]
    };
    match variable("CONFORMANCE_SIGNAL").as_str() {
        "metrics" => metrics(grpc, items, &attributes)?,
        "logs" => logs(grpc, items)?,
        _ => traces(grpc, items, &attributes)?,
    }
    Ok(())
}

fn resource() -> Resource {
    Resource::builder_empty().with_service_name("conformance").build()
}

fn traces(grpc: bool, items: u32, attributes: &[KeyValue]) -> Result<(), ExporterBuildError> {
    let builder = SpanExporter::builder();
    let exporter = if grpc { builder.with_tonic().build() } else { builder.with_http().build() }?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_batch_exporter(exporter)
        .build();
    let tracer = provider.tracer("conformance");
    for item in 1..=items {
        let mut span = tracer.start(format!("cfm:{item}:"));
        span.set_attributes(attributes.iter().cloned());
        span.end();
        // Whether it was taken is seen at the server.
        _ = provider.force_flush();
    }
    _ = provider.shutdown();
    Ok(())
}

fn logs(grpc: bool, items: u32) -> Result<(), ExporterBuildError> {
    let builder = LogExporter::builder();
    let exporter = if grpc { builder.with_tonic().build() } else { builder.with_http().build() }?;
    let provider = SdkLoggerProvider::builder()
        .with_resource(resource())
        .with_batch_exporter(exporter)
        .build();
    let logger = provider.logger("conformance");
    for item in 1..=items {
        let mut record = logger.create_log_record();
        record.set_body(format!("cfm:{item}:").into());
        logger.emit(record);
        _ = provider.force_flush();
    }
    _ = provider.shutdown();
    Ok(())
}

fn metrics(grpc: bool, items: u32, attributes: &[KeyValue]) -> Result<(), ExporterBuildError> {
    let builder = MetricExporter::builder();
    let exporter = if grpc { builder.with_tonic().build() } else { builder.with_http().build() }?;
    let provider = SdkMeterProvider::builder()
        .with_resource(resource())
        .with_periodic_exporter(exporter)
        .build();
    let meter = provider.meter("conformance");
    for item in 1..=items {
        let counter = meter.u64_counter(format!("items{item}"));
        counter.with_description(format!("cfm:{item}:")).build().add(3, attributes);
    }
    _ = provider.shutdown();
    Ok(())
}
