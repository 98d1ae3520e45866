//! Rules at work, on traces made by hand and on simulated traffic.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use super::set::RuleSet;
use super::{Algorithm, DynamicSampler, Keys, MatchRule, MatchScope, SamplerStats, Shape, Unit};
use crate::engine::Verdict;
use crate::tail::ConfigError;
use crate::{SpanView, Trace, TraceSummary};

mod bias;
mod first_match;
mod goals;
mod keys;
mod shapes;
mod spans;

/// A span and what it is below.
#[derive(Clone, Default)]
struct Made {
    resource: Vec<u8>,
    scope: Vec<u8>,
    span: Vec<u8>,
}

fn pairs(pairs: &[(&str, Value)]) -> Vec<KeyValue> {
    let pair = |(key, value): &(&str, Value)| KeyValue {
        key: (*key).into(),
        value: Some(AnyValue { value: Some(value.clone()) }),
        ..KeyValue::default()
    };
    pairs.iter().map(pair).collect()
}

fn text(text: &str) -> Value {
    Value::StringValue(text.into())
}

impl Made {
    fn new(name: &str, attributes: &[(&str, Value)]) -> Self {
        let span = Span {
            name: name.into(),
            parent_span_id: vec![1; 8],
            attributes: pairs(attributes),
            ..Span::default()
        };
        Self { span: span.encode_to_vec(), ..Self::default() }
    }

    fn root(name: &str, attributes: &[(&str, Value)]) -> Self {
        let attributes = pairs(attributes);
        let span = Span { name: name.into(), attributes, ..Span::default() };
        Self { span: span.encode_to_vec(), ..Self::default() }
    }

    fn below(self, resource: &[(&str, Value)], scope: &[(&str, Value)]) -> Self {
        let resource = Resource { attributes: pairs(resource), ..Resource::default() };
        let resource = ResourceSpans { resource: Some(resource), ..ResourceSpans::default() };
        let scope =
            InstrumentationScope { attributes: pairs(scope), ..InstrumentationScope::default() };
        let scope = ScopeSpans { scope: Some(scope), ..ScopeSpans::default() };
        Self { resource: resource.encode_to_vec(), scope: scope.encode_to_vec(), ..self }
    }

    fn view(&self) -> SpanView<'_> {
        SpanView { resource: &self.resource, scope: &self.scope, message: &self.span }
    }
}

/// Shows a trace of these spans.
fn with<R>(id: [u8; 16], spans: &[Made], then: impl FnOnce(&Trace<'_>) -> R) -> R {
    let views: Vec<_> = spans.iter().map(Made::view).collect();
    let summary = TraceSummary { spans: spans.len() as u64, ..TraceSummary::default() };
    then(&Trace { id, summary, spans: &&views[..] })
}

fn rule(name: &str, conditions: &[&str], sampler: DynamicSampler) -> MatchRule {
    let conditions = conditions.iter().map(|text| (*text).into()).collect();
    MatchRule { conditions, ..MatchRule::new(name, sampler) }
}

/// One rule for all traces.
fn only(sampler: DynamicSampler) -> RuleSet {
    RuleSet::new(&[rule("only", &[], sampler)]).unwrap()
}

const INTERVAL: Duration = Duration::from_secs(5);

/// The key is the attribute `k` of a span.
fn keys(max_keys: usize) -> Keys {
    Keys { max_keys, ..Keys::new(["span.k"]) }
}

fn percentage(goal: f64, max_keys: usize) -> DynamicSampler {
    let keys = keys(max_keys);
    DynamicSampler::AdaptivePercentage {
        goal,
        unit: Unit::Traces,
        keys,
        interval: INTERVAL,
        weight: 0.5,
    }
}

fn ema(goal: f64, max_keys: usize) -> DynamicSampler {
    throughput(goal, max_keys, Algorithm::Ema { interval: INTERVAL, weight: 0.5 })
}

fn windowed(goal: f64, max_keys: usize) -> DynamicSampler {
    let algorithm =
        Algorithm::Windowed { update: Duration::from_secs(1), lookback: Duration::from_secs(10) };
    throughput(goal, max_keys, algorithm)
}

fn throughput(goal: f64, max_keys: usize, algorithm: Algorithm) -> DynamicSampler {
    DynamicSampler::AdaptiveThroughput {
        goal,
        unit: Unit::Traces,
        keys: keys(max_keys),
        initial: 0.1,
        algorithm,
    }
}

fn per_key(goal: f64, max_keys: usize) -> DynamicSampler {
    DynamicSampler::PerKeyThroughput {
        goal,
        unit: Unit::Traces,
        keys: keys(max_keys),
        interval: INTERVAL,
    }
}

/// The same, with a goal that counts spans.
fn in_spans(mut sampler: DynamicSampler) -> DynamicSampler {
    match &mut sampler {
        DynamicSampler::AdaptivePercentage { unit, .. }
        | DynamicSampler::AdaptiveThroughput { unit, .. }
        | DynamicSampler::PerKeyThroughput { unit, .. } => *unit = Unit::Spans,
        other => panic!("{other:?} has no goal"),
    }
    sampler
}

/// A span of a key.
fn of_key(key: u64) -> Made {
    Made::new("x", &[("k", text(&key.to_string()))])
}

/// A new trace of one span.
fn ask(rules: &mut RuleSet, rng: &mut fastrand::Rng, now: Instant, span: &Made) -> Verdict {
    let id = rng.u128(1..).to_be_bytes();
    with(id, std::slice::from_ref(span), |trace| rules.decide(now, trace))
}
