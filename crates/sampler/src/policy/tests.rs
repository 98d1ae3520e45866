//! Policies, asked about traces that are written plainly.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use crate::engine::Verdict;
use crate::policy::conditions::BROKEN;
use crate::policy::set::PolicySet;
use crate::rules::Policies;
use crate::{Composite, Conditions, Gathered, OnError, Part, Policy, Ratio, Rule};

mod bias;
mod chance;
mod custom;
mod exact;
mod leaves;
mod precedence;
mod stateful;
mod thresholds;

const ID: [u8; 16] = *b"0123456789abcdef";

fn text(text: &str) -> Value {
    Value::StringValue(text.into())
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// A span of the trace [`ID`] with these attributes.
fn span(attributes: Vec<KeyValue>) -> Span {
    Span { trace_id: ID.to_vec(), attributes, ..Span::default() }
}

/// A trace of one resource.
fn trace_of(resource: Vec<KeyValue>, spans: Vec<Span>) -> Gathered {
    gather(vec![(resource, spans)])
}

/// A trace whose resources each come in a request of their own.
fn gather(groups: Vec<(Vec<KeyValue>, Vec<Span>)>) -> Gathered {
    let id = groups
        .iter()
        .flat_map(|(_, spans)| spans)
        .next()
        .map_or(ID, |span| span.trace_id.as_slice().try_into().unwrap());
    let requests = groups.into_iter().map(|(attributes, spans)| {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            }],
        };
        Bytes::from(request.encode_to_vec())
    });
    Gathered::new(id, requests)
}

/// A trace of so many spans that have nothing but their ids.
fn plain(id: [u8; 16], spans: usize) -> Gathered {
    let span = Span { trace_id: id.to_vec(), ..Span::default() };
    trace_of(vec![], vec![span; spans])
}

/// An id whose last seven bytes are a share of all there are.
fn id_at(share: f64) -> [u8; 16] {
    let bits = ((share * (1u64 << 56) as f64) as u64).min((1 << 56) - 1);
    (0xabcd_u128 << 64 | u128::from(bits)).to_be_bytes()
}

/// Policies named by their place.
fn set(policies: Vec<Policy>) -> PolicySet {
    PolicySet::new(&config(policies)).unwrap()
}

fn config(policies: Vec<Policy>) -> Policies {
    Policies { policies: named(policies), ..Policies::default() }
}

fn named(policies: Vec<Policy>) -> Vec<Rule> {
    policies.into_iter().enumerate().map(|(n, policy)| Rule::new(n.to_string(), policy)).collect()
}

fn and(policies: Vec<Policy>) -> Policy {
    Policy::And(named(policies))
}

fn not(policy: Policy) -> Policy {
    Policy::Not(Box::new(Rule::new("not", policy)))
}

fn drop_if(policies: Vec<Policy>) -> Policy {
    Policy::Drop(named(policies))
}

fn composite(max: u64, parts: Vec<(Policy, u64)>) -> Policy {
    let parts = parts.into_iter().enumerate().map(|(n, (policy, spans_per_second))| Part {
        rule: Rule::new(n.to_string(), policy),
        spans_per_second,
    });
    Policy::Composite(Composite { max_spans_per_second: max, parts: parts.collect() })
}

fn never() -> Policy {
    not(Policy::Always)
}

fn ratio(probability: f64) -> Policy {
    Policy::Ratio(Ratio { probability, salt: String::new() })
}

fn salted(probability: f64, salt: &str) -> Policy {
    Policy::Ratio(Ratio { probability, salt: salt.into() })
}

fn has(key: &str) -> Policy {
    Policy::BooleanAttribute { key: key.into(), value: true, is_inverted: false }
}

fn has_not(key: &str) -> Policy {
    Policy::BooleanAttribute { key: key.into(), value: true, is_inverted: true }
}

/// A condition that cannot be evaluated.
fn broken(on_error: OnError) -> Policy {
    Policy::Conditions(Conditions { spans: vec![BROKEN.into()], events: vec![], on_error })
}

fn spans_a_second(spans_per_second: u64, burst: u64) -> Policy {
    Policy::RateLimit { spans_per_second, burst }
}

fn decide(set: &mut PolicySet, trace: &Gathered) -> Verdict {
    set.decide(Instant::now(), &trace.trace())
}

#[track_caller]
fn keeps(policy: &Policy, trace: &Gathered) -> bool {
    let mut set = set(vec![policy.clone()]);
    let verdict = decide(&mut set, trace);
    let stats = &set.stats()[0];
    assert_eq!((stats.traces_seen, stats.traces_kept), (1, u64::from(verdict.is_kept)));
    verdict.is_kept
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
