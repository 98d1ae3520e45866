//! The requests of the Go side's own benchmark: ten spans, two attributes on the resource and three
//! on each span.
//!
//! They are encoded once. What is offered is a copy with ids of its own, made before the clock runs.

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use teleflow_otlp::{Payload, Signal};

pub(crate) type TraceId = [u8; 16];

/// The spans of a batch.
pub(crate) const SPANS: usize = 10;

/// What a trace has that a policy looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Ordinary,
    /// A span of it failed.
    Failed,
    /// It took two seconds.
    Slow,
}

/// The batches, encoded, and where their ids are.
#[derive(Debug)]
pub(crate) struct Batches {
    templates: [Template; 3],
}

#[derive(Debug)]
struct Template {
    request: Vec<u8>,
    /// Where the trace id of each span stands.
    ids: Vec<usize>,
}

/// New traces, by number.
#[derive(Debug)]
pub(crate) struct Ids(Rng);

// === impl Fate ===

impl Fate {
    /// Every twentieth trace has an error, and every twentieth takes too long.
    pub(crate) const fn of(number: usize) -> Self {
        match number % 20 {
            7 => Self::Failed,
            13 => Self::Slow,
            _ => Self::Ordinary,
        }
    }
}

// === impl Batches ===

impl Batches {
    pub(crate) fn new() -> Self {
        Self { templates: [Fate::Ordinary, Fate::Failed, Fate::Slow].map(Template::encode) }
    }

    /// The bytes of an encoded batch.
    pub(crate) const fn wire_bytes(&self) -> usize {
        self.templates[0].request.len()
    }

    /// A batch whose spans are of one trace.
    pub(crate) fn of_one(&self, fate: Fate, id: TraceId) -> Bytes {
        self.of_many(fate, |_| id)
    }

    /// A batch whose spans are of these traces.
    pub(crate) fn of_many(&self, fate: Fate, id: impl Fn(usize) -> TraceId) -> Bytes {
        let template = &self.templates[fate as usize];
        let mut request = template.request.clone();
        for (index, at) in template.ids.iter().enumerate() {
            request[*at..*at + 16].copy_from_slice(&id(index));
        }
        request.into()
    }
}

/// A batch that was validated when it came.
pub(crate) fn validated(batch: Bytes) -> Payload {
    Payload::trusted(Signal::Traces, batch, SPANS as u64)
}

// === impl Ids ===

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    pub(crate) fn take(&mut self) -> TraceId {
        self.0.u128(1..).to_le_bytes()
    }
}

// === impl Template ===

/// Stands for a trace id.
const MARK: TraceId = [0xee; 16];

impl Template {
    fn encode(fate: Fate) -> Self {
        const STARTED: u64 = 1_700_000_000_000_000_000;
        let span = |index: usize| {
            let lasts = if fate == Fate::Slow && index == 0 { 2_000_000_000 } else { 5_000_000 };
            let failed = fate == Fate::Failed && index == 3;
            Span {
                trace_id: MARK.into(),
                span_id: vec![1; 8],
                parent_span_id: if index > 0 { vec![2; 8] } else { Vec::new() },
                name: "GET /api/v1/orders".to_owned(),
                kind: SpanKind::Server.into(),
                start_time_unix_nano: STARTED,
                end_time_unix_nano: STARTED + lasts,
                attributes: vec![
                    text("http.request.method", "GET"),
                    text("http.route", "/api/v1/orders"),
                    attribute("http.response.status_code", Value::IntValue(200)),
                ],
                status: Some(Status {
                    code: if failed { StatusCode::Error } else { StatusCode::Unset }.into(),
                    ..Status::default()
                }),
                ..Span::default()
            }
        };
        let scope = InstrumentationScope { name: "http.server".to_owned(), ..Default::default() };
        let scope_spans = ScopeSpans {
            scope: Some(scope),
            spans: (0..SPANS).map(span).collect(),
            ..Default::default()
        };
        let resource = Resource {
            attributes: vec![
                text("service.name", "checkout"),
                text("host.name", "node-12.example.com"),
            ],
            ..Default::default()
        };
        let resource_spans = ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![scope_spans],
            ..Default::default()
        };
        let request =
            ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec();
        let ids: Vec<usize> =
            (0..request.len() - 15).filter(|at| request[*at..*at + 16] == MARK).collect();
        assert_eq!(ids.len(), SPANS, "nothing else looks like the mark");
        Self { request, ids }
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
