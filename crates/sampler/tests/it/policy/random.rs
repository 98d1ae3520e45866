//! Random policies, and random traces to ask them about.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use teleflow_otlp::span::StatusCode;
use teleflow_sampler::{Composite, Part, Policies, Policy, Ratio, Rule, StatusSet};
use teleflow_testkit::telemetry::START;

use super::model::Sent;
use super::{attribute, text};

const KEYS: [&str; 4] = ["a", "b", "http.route", "http.response.status_code"];
const TEXTS: [&str; 5] = ["", "v1", "v22", "/ping", "V1"];
const STATES: [&str; 7] =
    ["", "", "", "vendor=a,other=b", "vendor=b", "vendor=a,ot=th:8", "ot=rv:c0000000000000;th:4"];

/// An expression, and what it means.
type Pattern = (&'static str, fn(&str) -> bool);

const PATTERNS: [Pattern; 5] = [
    ("^v[0-9]+$", |text| {
        text.strip_prefix('v')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    }),
    ("ping", |text| text.contains("ping")),
    ("^$", str::is_empty),
    ("(?i)V1", |text| text.contains("v1") || text.contains("V1")),
    ("x+y", |text| text.contains("xy")),
];

/// Whether an expression matches a text.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    PATTERNS.iter().any(|(known, matches)| *known == pattern && matches(text))
}

fn pick<T: Copy>(rng: &mut fastrand::Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

pub(super) fn policies(rng: &mut fastrand::Rng) -> Policies {
    let count = rng.usize(1..6);
    let rules = (0..count).map(|n| {
        let policy = match rng.u8(..8) {
            0 => Policy::Drop(rules(rng, 3, 2)),
            _ => policy(rng, 3),
        };
        Rule::new(format!("policy {n}"), policy)
    });
    let policies = rules.collect();
    Policies { policies, first_match: rng.bool(), inverted_votes: rng.u8(..3) == 0 }
}

fn rules(rng: &mut fastrand::Rng, depth: usize, least: usize) -> Vec<Rule> {
    (0..rng.usize(least..4)).map(|n| Rule::new(n.to_string(), policy(rng, depth - 1))).collect()
}

fn policy(rng: &mut fastrand::Rng, depth: usize) -> Policy {
    if depth > 0 && rng.u8(..3) == 0 {
        return match rng.u8(..5) {
            0 | 1 => Policy::And(rules(rng, depth, 1)),
            2 | 3 => Policy::Not(Box::new(Rule::new("not", policy(rng, depth - 1)))),
            _ => {
                let parts = rules(rng, depth, 1).into_iter();
                let part = |rule| Part { rule, spans_per_second: rng.u64(1..30) };
                Policy::Composite(Composite {
                    parts: parts.map(part).collect(),
                    max_spans_per_second: 20,
                })
            }
        };
    }
    let key = pick(rng, &KEYS).to_owned();
    let is_inverted = rng.u8(..4) == 0;
    match rng.u8(..14) {
        0 => Policy::Always,
        1 => {
            let all = [StatusCode::Unset, StatusCode::Ok, StatusCode::Error];
            Policy::Status(all.into_iter().filter(|_| rng.bool()).collect::<StatusSet>())
        }
        2 => {
            let over = rng.u64(..400);
            let up_to = rng.bool().then(|| Duration::from_millis(over + rng.u64(..300)));
            Policy::Latency { over: Duration::from_millis(over), up_to }
        }
        3 | 4 => {
            let probability = pick(rng, &[0.0, 0.25, 0.5, 0.75, 1.0]);
            Policy::Ratio(Ratio { probability, salt: pick(rng, &["", "", "x", "y"]).into() })
        }
        5 | 6 => {
            let values = (0..rng.usize(..3)).map(|_| pick(rng, &TEXTS).into()).collect();
            Policy::StringAttribute { key, values, is_regex: false, is_inverted }
        }
        7 => {
            let values = (0..rng.usize(..3)).map(|_| pick(rng, &PATTERNS).0.into()).collect();
            Policy::StringAttribute { key, values, is_regex: true, is_inverted }
        }
        8 => {
            let min = rng.bool().then(|| rng.i64(-3..3));
            let max = if min.is_none() { Some(2) } else { rng.bool().then(|| rng.i64(0..4)) };
            Policy::NumericAttribute { key, min, max, is_inverted }
        }
        9 => Policy::BooleanAttribute { key, value: rng.bool(), is_inverted },
        10 => {
            let min = rng.u64(..4);
            Policy::SpanCount { min, max: rng.bool().then(|| min + rng.u64(..3)) }
        }
        11 if rng.bool() => Policy::TraceFlags,
        11 => Policy::TraceState { key: "vendor".into(), values: vec!["a".into()] },
        12 => Policy::RateLimit { spans_per_second: 1000 * rng.u64(..2), burst: rng.u64(1..40) },
        _ => Policy::ByteLimit { bytes_per_second: 1000, burst: rng.u64(50..2000) },
    }
}

pub(super) fn trace(rng: &mut fastrand::Rng) -> Sent {
    let id = rng.u128(1..).to_be_bytes();
    let resources: Vec<_> = (0..rng.usize(1..3)).map(|_| attributes(rng)).collect();
    let spans = (0..rng.usize(1..6)).map(|_| {
        let start_time_unix_nano = START + rng.u64(..300_000_000);
        let span = Span {
            trace_id: id.to_vec(),
            span_id: rng.u64(1..).to_be_bytes().to_vec(),
            name: "x".repeat(rng.usize(..40)),
            start_time_unix_nano,
            end_time_unix_nano: start_time_unix_nano + rng.u64(..300_000_000),
            status: (rng.u8(..4) == 0)
                .then(|| Status { code: rng.i32(..4).max(0), ..Status::default() }),
            flags: if rng.u8(..8) == 0 { 0x101 } else { 0x100 },
            trace_state: pick(rng, &STATES).into(),
            attributes: attributes(rng),
            ..Span::default()
        };
        (resources[rng.usize(..resources.len())].clone(), span)
    });
    let spans = spans.collect();
    Sent { id, spans }
}

fn attributes(rng: &mut fastrand::Rng) -> Vec<KeyValue> {
    let value = |rng: &mut fastrand::Rng| match rng.u8(..6) {
        0 => Value::BoolValue(rng.bool()),
        1 => Value::IntValue(rng.i64(-5..5)),
        2 => Value::DoubleValue(pick(rng, &[-2.5, 0.0, 1.0, 1.5, 3.0, f64::NAN])),
        _ => text(pick(rng, &TEXTS)),
    };
    (0..rng.usize(..4)).map(|_| attribute(pick(rng, &KEYS), value(rng))).collect()
}

/// A request of these resources with their spans; neighbours with one resource are one group.
pub(super) fn request(
    groups: impl Iterator<Item = (Vec<KeyValue>, Vec<Span>)>,
) -> ExportTraceServiceRequest {
    let mut resource_spans: Vec<ResourceSpans> = Vec::new();
    for (attributes, spans) in groups {
        let resource = Some(Resource { attributes, ..Resource::default() });
        match resource_spans.last_mut().filter(|last| last.resource == resource) {
            Some(last) => last.scope_spans[0].spans.extend(spans),
            None => resource_spans.push(ResourceSpans {
                resource,
                scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            }),
        }
    }
    ExportTraceServiceRequest { resource_spans }
}
