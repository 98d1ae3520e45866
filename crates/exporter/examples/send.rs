//! Sends what the variables say, for `otlp-conformance program`: `OTEL_EXPORTER_OTLP_*`, and
//! `CONFORMANCE_ITEMS`, `CONFORMANCE_BYTES` and `CONFORMANCE_SIGNAL`.
//!
//! One item a request, each tried again as an SDK would, for no longer than `OTEL_BSP_EXPORT_TIMEOUT`.

#![allow(clippy::print_stderr, reason = "a person reads the warnings")]

use std::env;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use teleflow_exporter::{
    AnyExporter, BatchEnv, Observer, OtlpEnv, Queue, QueueConfig, Retry, RetryConfig,
};
use teleflow_otlp::{Payload, Signal};
use teleflow_testkit::reference::Request;
use teleflow_testkit::telemetry::Telemetry;
use tokio::time::Instant;

/// What becomes of an item is seen at the server.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name: &str| env::var(name).ok();
    let name = variable("CONFORMANCE_SIGNAL").unwrap_or_default();
    let signal = Signal::ALL.into_iter().find(|signal| signal.name() == name);
    let signal = signal.unwrap_or(Signal::Traces);
    let number = |name: &str, default: usize| {
        variable(name).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (items, bytes) = (number("CONFORMANCE_ITEMS", 1), number("CONFORMANCE_BYTES", 0));

    let settings = OtlpEnv::read(signal, variable)?;
    let batch = BatchEnv::spans(variable);
    for warning in settings.warnings.iter().chain(&batch.warnings) {
        eprintln!("warning: {warning}");
    }
    let retry = RetryConfig {
        initial_interval: Duration::from_secs(1),
        max_interval: Duration::from_secs(5),
        multiplier: 2.0,
        max_elapsed_time: batch.export_timeout,
        ..RetryConfig::default()
    };
    let exporter = AnyExporter::new(Retry::new(settings.config().exporter()?, retry)?);
    let queue = QueueConfig { num_consumers: NonZeroUsize::MIN, ..batch.queue() };
    let queue = Queue::spawn(exporter.clone(), queue, Arc::new(Nobody));
    for item in 1..=items {
        queue.push(payload(signal, &format!("cfm:{item}:{}", "a".repeat(bytes)))?).await?;
    }
    queue.drain(Instant::now() + batch.export_timeout).await;
    teleflow_exporter::Exporter::shutdown(&exporter).await?;
    Ok(())
}

/// A generated request of one item, which has this text in it.
fn payload(signal: Signal, text: &str) -> Result<Payload, teleflow_otlp::Invalid> {
    let mut request = (0..)
        .map(|seed| Request::generate(signal, &mut Telemetry::new(seed)))
        .find(|request| request.count() == 1)
        .expect("some seed makes a single item");
    match &mut request {
        Request::Traces(request) => {
            let scopes = request.resource_spans.iter_mut().flat_map(|all| &mut all.scope_spans);
            scopes.flat_map(|all| &mut all.spans).for_each(|span| span.name = text.to_owned());
        }
        Request::Metrics(request) => {
            let scopes = request.resource_metrics.iter_mut().flat_map(|all| &mut all.scope_metrics);
            let metrics = scopes.flat_map(|all| &mut all.metrics);
            metrics.for_each(|metric| metric.description = text.to_owned());
        }
        Request::Logs(request) => {
            let scopes = request.resource_logs.iter_mut().flat_map(|all| &mut all.scope_logs);
            let records = scopes.flat_map(|all| &mut all.log_records);
            records.for_each(|record| record.severity_text = text.to_owned());
        }
    }
    Payload::parse(signal, request.encode().into())
}
