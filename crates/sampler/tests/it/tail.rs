//! The tail sampler, part by part.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use teleflow_otlp::span::StatusCode;
use teleflow_sampler::{Config, Output, Policy, Rule, TailSampler};

mod bias;
mod changes;
mod counts;
mod dry;
mod evicted;
mod hostile;
mod hurried;
mod ingest;
mod model;
mod notes;
mod odds;
#[cfg(feature = "mapped")]
mod on_disk;
mod pressed;
mod pressure;
mod relief;
mod roots;
mod sharing;
mod stored;
mod together;
mod triggers;

const SECOND: Duration = Duration::from_secs(1);

/// Keeps errors, and `percent` of the rest.
fn errors_and(percent: f64) -> Vec<Rule> {
    vec![Rule::new("errors", Policy::errors()), Rule::new("some", Policy::percent(percent, ""))]
}

fn config(rules: Vec<Rule>) -> Config {
    Config { rules: rules.into(), decision_wait: SECOND, ..Config::default() }
}

/// A trace id whose randomness is this.
fn id(randomness: u64) -> [u8; 16] {
    (0xabcd_u128 << 64 | u128::from(randomness)).to_be_bytes()
}

fn span(id: [u8; 16], name: &str) -> Span {
    crate::span(id, name, StatusCode::Unset)
}

fn failed(id: [u8; 16], name: &str) -> Span {
    crate::span(id, name, StatusCode::Error)
}

fn offer(sampler: &mut TailSampler, now: Instant, spans: Vec<Span>, out: &mut Output) {
    sampler.offer(now, crate::request(spans), out);
}

/// What was kept, as requests.
fn requests(out: &mut Output) -> Vec<ExportTraceServiceRequest> {
    let payloads = out.kept.drain(..);
    payloads.map(|payload| ExportTraceServiceRequest::decode(payload.to_bytes()).unwrap()).collect()
}

/// The trace state of every span that was kept, by the span's name.
fn states(out: &mut Output) -> BTreeMap<String, String> {
    let spans = requests(out)
        .into_iter()
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans);
    spans.map(|span| (span.name, span.trace_state)).collect()
}

/// The names of the spans that were kept.
fn names(out: &mut Output) -> Vec<String> {
    states(out).into_keys().collect()
}
