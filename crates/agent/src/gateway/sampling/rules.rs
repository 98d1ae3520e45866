//! Policies and rules, in the sampler's words.

use teleflow::otlp::span::StatusCode;
use teleflow::sampler::{
    self, Composite, Conditions, DynamicSampler, Keys, MatchScope, OnError, Part, Policies, Rules,
    Shape, Unit,
};

use crate::config::{
    self, AdaptiveTailSampling, Algorithm, ErrorMode, Keyed, MatchRule, Policy, Rule, RuleSampler,
    TailSampling,
};

pub(super) fn of_policies(tail: &TailSampling) -> Rules {
    Rules::Policies(Policies {
        policies: tail.policies.iter().map(rule).collect(),
        first_match: tail.sample_on_first_match,
        inverted_votes: tail.inverted_votes,
    })
}

pub(super) fn of_first_match(adaptive: &AdaptiveTailSampling) -> Rules {
    let part = |rule: &MatchRule| {
        let rule = match_rule(rule, adaptive.root_span_condition.as_deref());
        let sampler = rule.sampler.divided(adaptive.cluster_size);
        sampler::MatchRule { sampler, ..rule }
    };
    Rules::FirstMatch(adaptive.rules.iter().map(part).collect())
}

fn rule(policy: &Policy) -> sampler::Rule {
    sampler::Rule::new(&policy.name, kept(&policy.rule))
}

fn all(policies: &[Policy]) -> Vec<sampler::Rule> {
    policies.iter().map(rule).collect()
}

fn kept(rule: &Rule) -> sampler::Policy {
    use sampler::Policy as To;
    match rule.clone() {
        Rule::AlwaysSample => To::Always,
        Rule::And(parts) => To::And(all(&parts)),
        Rule::BooleanAttribute { key, value, is_inverted } => {
            To::BooleanAttribute { key, value, is_inverted }
        }
        Rule::BytesLimiting(rate) => {
            To::ByteLimit { bytes_per_second: rate.per_second, burst: rate.burst }
        }
        Rule::Composite(composite) => To::Composite(composed(&composite)),
        Rule::Drop(parts) => To::Drop(all(&parts)),
        Rule::Latency { threshold, upper } => To::Latency { over: threshold, up_to: upper },
        Rule::Not(part) => To::Not(Box::new(self::rule(&part))),
        Rule::NumericAttribute { key, min, max, is_inverted } => {
            To::NumericAttribute { key, min, max, is_inverted }
        }
        Rule::OttlCondition { error_mode, spans, events } => {
            let on_error = match error_mode {
                ErrorMode::Propagate => OnError::Propagate,
                ErrorMode::Ignore => OnError::Ignore,
                ErrorMode::Silent => OnError::Silent,
            };
            To::Conditions(Conditions { spans, events, on_error })
        }
        Rule::Probabilistic { percentage, hash_salt } => To::percent(percentage, hash_salt),
        Rule::RateLimiting(rate) => {
            To::RateLimit { spans_per_second: rate.per_second, burst: rate.burst }
        }
        Rule::SpanCount { min, max } => To::SpanCount { min, max },
        Rule::StatusCode(codes) => To::Status(codes.into_iter().map(status).collect()),
        Rule::StringAttribute { key, values, is_regex, is_inverted } => {
            To::StringAttribute { key, values, is_regex, is_inverted }
        }
        Rule::TraceFlags => To::TraceFlags,
        Rule::TraceState { key, values } => To::TraceState { key, values },
    }
}

fn composed(composite: &config::Composite) -> Composite {
    let parts = composite
        .parts
        .iter()
        .map(|part| Part { rule: rule(&part.policy), spans_per_second: part.spans_per_second });
    Composite { max_spans_per_second: composite.max_spans_per_second, parts: parts.collect() }
}

const fn status(code: config::StatusCode) -> StatusCode {
    match code {
        config::StatusCode::Unset => StatusCode::Unset,
        config::StatusCode::Ok => StatusCode::Ok,
        config::StatusCode::Error => StatusCode::Error,
    }
}

fn match_rule(rule: &MatchRule, root: Option<&str>) -> sampler::MatchRule {
    let (min_spans, max_spans) = rule.span_count;
    sampler::MatchRule {
        shape: Shape { has_root: rule.has_root_span, min_spans, max_spans },
        scope: if rule.is_same_span { MatchScope::SameSpan } else { MatchScope::AnySpan },
        conditions: rule.conditions.clone(),
        ..sampler::MatchRule::new(&rule.name, dynamic(&rule.sampler, root))
    }
}

fn dynamic(sampler: &RuleSampler, root: Option<&str>) -> DynamicSampler {
    let keys = |keyed| keys(keyed, root);
    match *sampler {
        RuleSampler::Always => DynamicSampler::Always,
        RuleSampler::Drop => DynamicSampler::Never,
        RuleSampler::Probabilistic { percentage } => DynamicSampler::Ratio(percentage / 100.0),
        RuleSampler::AdaptivePercentage { goal, unit, ref keyed, interval, weight } => {
            let (goal, unit, keys) = (goal / 100.0, self::unit(unit), keys(keyed));
            DynamicSampler::AdaptivePercentage { goal, unit, keys, interval, weight }
        }
        RuleSampler::AdaptiveThroughput { goal, unit, ref keyed, initial, algorithm } => {
            DynamicSampler::AdaptiveThroughput {
                goal: goal as f64,
                unit: self::unit(unit),
                keys: keys(keyed),
                initial: initial / 100.0,
                algorithm: match algorithm {
                    Algorithm::Ema { interval, weight } => {
                        sampler::Algorithm::Ema { interval, weight }
                    }
                    Algorithm::Windowed { update, lookback } => {
                        sampler::Algorithm::Windowed { update, lookback }
                    }
                },
            }
        }
        RuleSampler::PerKeyThroughput { goal, unit, ref keyed, interval } => {
            let (goal, unit, keys) = (goal as f64, self::unit(unit), keys(keyed));
            DynamicSampler::PerKeyThroughput { goal, unit, keys, interval }
        }
        RuleSampler::RateLimiting(rate) => {
            DynamicSampler::RateLimit { spans_per_second: rate.per_second, burst: rate.burst }
        }
    }
}

const fn unit(unit: config::Unit) -> Unit {
    match unit {
        config::Unit::Spans => Unit::Spans,
        config::Unit::Traces => Unit::Traces,
    }
}

fn keys(keyed: &Keyed, root: Option<&str>) -> Keys {
    Keys {
        root_condition: root.map(str::to_owned),
        trace_length: keyed.uses_trace_length,
        max_keys: keyed.max_keys,
        ..Keys::new(&keyed.attributes)
    }
}
