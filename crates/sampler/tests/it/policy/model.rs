//! Policies written plainly, over decoded spans; and the tail sampler against them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use teleflow_otlp::span::StatusCode;
use teleflow_otlp::{Payload, Signal};
use teleflow_sampler::{
    Config, Output, Policies, Policy, Ratio, Rule, RuleStats, Rules, TailSampler, Vote,
};

use super::random;

/// A trace as it was sent: each span with the attributes of its resource.
pub(super) struct Sent {
    pub(super) id: [u8; 16],
    pub(super) spans: Vec<(Vec<KeyValue>, Span)>,
}

/// What limits counted, by the path of the policy.
#[derive(Default)]
struct Memory {
    /// When the bucket was last looked at, in milliseconds, and what was in it then.
    buckets: HashMap<String, (u64, u64)>,
    /// The running second of each composite policy, and what each part had in it.
    seconds: HashMap<String, (u64, HashMap<usize, u64>)>,
    /// When each composite policy was asked first, in milliseconds.
    starts: HashMap<String, u64>,
}

struct Model {
    policies: Policies,
    memory: Memory,
    stats: Vec<RuleStats>,
}

// === impl Sent ===

impl Sent {
    /// What its spans take as fields of a request.
    fn bytes(&self) -> u64 {
        let lens =
            self.spans.iter().map(|(_, span)| prost::encoding::message::encoded_len(2, span));
        lens.sum::<usize>() as u64
    }
}

// === impl Model ===

impl Model {
    fn new(policies: Policies) -> Self {
        let names = policies.policies.iter().map(|rule| rule.name.clone());
        let stats = names.map(|name| RuleStats { name, ..RuleStats::default() }).collect();
        Self { policies, memory: Memory::default(), stats }
    }

    /// Whether a trace is kept, `millis` after the start.
    fn keeps(&mut self, millis: u64, trace: &Sent) -> bool {
        let rules = &self.policies.policies;
        let is_drop = |at: &usize| matches!(rules[*at].policy, Policy::Drop(_));
        let mut order: Vec<usize> = (0..rules.len()).filter(is_drop).collect();
        order.extend((0..rules.len()).filter(|at| !is_drop(at)));

        let mut votes: Vec<(usize, Vote)> = Vec::new();
        for at in order {
            let mut asked = Asked {
                memory: &mut self.memory,
                millis,
                trace,
                inverted_votes: self.policies.inverted_votes,
            };
            let vote = asked.vote(&rules[at], &rules[at].name);
            votes.push((at, vote));
            let stats = &mut self.stats[at];
            stats.traces_seen += 1;
            let volume = match vote {
                Vote::Sampled | Vote::InvertSampled => {
                    stats.traces_sampled += 1;
                    Some(&mut stats.sampled)
                }
                Vote::NotSampled | Vote::InvertNotSampled => Some(&mut stats.not_sampled),
                Vote::Dropped => {
                    stats.traces_dropped += 1;
                    Some(&mut stats.dropped)
                }
                Vote::Error => None,
            };
            if let Some(volume) = volume {
                volume.spans += trace.spans.len() as u64;
                volume.bytes += trace.bytes();
            }
            if vote == Vote::Dropped {
                return false;
            }
            if vote == Vote::Sampled && self.policies.first_match {
                break;
            }
        }
        let first = |wanted| votes.iter().find(|(_, vote)| *vote == wanted).map(|(at, _)| *at);
        let against = votes.iter().any(|(at, vote)| *vote == Vote::NotSampled && !is_drop(at));
        let by = match (first(Vote::InvertNotSampled), first(Vote::Sampled)) {
            (Some(_), _) => None,
            (None, Some(at)) => Some(at),
            (None, None) if against => None,
            (None, None) => first(Vote::InvertSampled),
        };
        if let Some(at) = by {
            self.stats[at].traces_kept += 1;
            self.stats[at].spans_kept += trace.spans.len() as u64;
            self.stats[at].bytes_kept += trace.bytes();
        }
        by.is_some()
    }
}

struct Asked<'a> {
    memory: &'a mut Memory,
    millis: u64,
    trace: &'a Sent,
    inverted_votes: bool,
}

// === impl Asked ===

impl Asked<'_> {
    fn vote(&mut self, rule: &Rule, path: &str) -> Vote {
        let spans = || self.trace.spans.iter().map(|(_, span)| span);
        let count = self.trace.spans.len() as u64;
        let keeps = match &rule.policy {
            Policy::Always => true,
            Policy::Status(statuses) => spans().any(|span| {
                let code = span.status.as_ref().map_or(0, |status| status.code);
                statuses.contains(StatusCode::from_number(code))
            }),
            Policy::Latency { over, up_to } => {
                let start = spans().map(|span| span.start_time_unix_nano).min().unwrap();
                let end = spans().map(|span| span.end_time_unix_nano).max().unwrap();
                let took = u128::from(end.saturating_sub(start) / 1_000_000);
                took > over.as_millis() && up_to.is_none_or(|up_to| took <= up_to.as_millis())
            }
            Policy::SpanCount { min, max } => count >= *min && max.is_none_or(|max| count <= max),
            Policy::TraceFlags => spans().any(|span| span.flags & 1 == 1),
            Policy::TraceState { key, values } => spans().any(|span| {
                let entries = span.trace_state.split(',').filter_map(|entry| entry.split_once('='));
                let mut found = entries.filter(|(name, _)| name == key);
                found.next().is_some_and(|(_, value)| values.iter().any(|wanted| wanted == value))
            }),
            Policy::Ratio(ratio) => keeps(ratio, self.trace),
            Policy::StringAttribute { key, values, is_regex, is_inverted } => {
                let is = |value: &Value, is_span: bool| match value {
                    Value::StringValue(text) if *is_regex => {
                        !(is_span && text.is_empty())
                            && values.iter().any(|pattern| random::matches(pattern, text))
                    }
                    Value::StringValue(text) => !text.is_empty() && values.contains(text),
                    _ => false,
                };
                return self.inverted(self.any_attribute(key, is), *is_inverted);
            }
            Policy::NumericAttribute { key, min, max, is_inverted } => {
                let is = |value: &Value, _| match value {
                    Value::IntValue(number) => {
                        min.is_none_or(|min| *number >= min) && max.is_none_or(|max| *number <= max)
                    }
                    Value::DoubleValue(number) => {
                        min.is_none_or(|min| *number >= min as f64)
                            && max.is_none_or(|max| *number <= max as f64)
                    }
                    _ => false,
                };
                return self.inverted(self.any_attribute(key, is), *is_inverted);
            }
            Policy::BooleanAttribute { key, value: wanted, is_inverted } => {
                let is = |value: &Value, _| *value == Value::BoolValue(*wanted);
                return self.inverted(self.any_attribute(key, is), *is_inverted);
            }
            Policy::RateLimit { spans_per_second, burst } => {
                self.take(path, *spans_per_second, *burst, count)
            }
            Policy::ByteLimit { bytes_per_second, burst } => {
                self.take(path, *bytes_per_second, *burst, self.trace.bytes())
            }
            Policy::And(rules) => self.all(rules, path),
            Policy::Drop(rules) => match self.all(rules, path) {
                true => return Vote::Dropped,
                false => false,
            },
            Policy::Not(inner) => {
                return match self.vote(inner, &format!("{path}/{}", inner.name)) {
                    Vote::Sampled => Vote::NotSampled,
                    Vote::NotSampled => Vote::Sampled,
                    other => other,
                };
            }
            Policy::Composite(composite) => {
                let start = *self.memory.starts.entry(path.into()).or_insert(self.millis);
                let second = (self.millis - start) / 1000;
                let counted = self.memory.seconds.entry(path.into()).or_default();
                if counted.0 != second {
                    *counted = (second, HashMap::new());
                }
                let mut keeps = false;
                for (at, part) in composite.parts.iter().enumerate() {
                    let vote = self.vote(&part.rule, &format!("{path}/{}", part.rule.name));
                    if matches!(vote, Vote::Sampled | Vote::InvertSampled) {
                        let counted = self.memory.seconds.get_mut(path).unwrap();
                        let had = counted.1.entry(at).or_default();
                        keeps = *had + count <= part.spans_per_second
                            && *had + count <= composite.max_spans_per_second;
                        if keeps {
                            *had += count;
                        }
                        break;
                    }
                }
                keeps
            }
            other => unreachable!("the generator knows no {other:?}"),
        };
        if keeps { Vote::Sampled } else { Vote::NotSampled }
    }

    fn all(&mut self, rules: &[Rule], path: &str) -> bool {
        for rule in rules {
            let vote = self.vote(rule, &format!("{path}/{}", rule.name));
            if matches!(vote, Vote::NotSampled | Vote::InvertNotSampled) {
                return false;
            }
        }
        true
    }

    /// All rates are whole thousands a second, and times whole milliseconds.
    fn take(&mut self, path: &str, per_second: u64, most: u64, cost: u64) -> bool {
        let bucket = self.memory.buckets.entry(path.into()).or_insert((self.millis, most));
        let level = most.min(bucket.1 + (self.millis - bucket.0) * (per_second / 1000));
        *bucket = (self.millis, if cost <= level { level - cost } else { level });
        cost <= level
    }

    fn any_attribute(&self, key: &str, is: impl Fn(&Value, bool) -> bool) -> bool {
        let first = |attributes: &[KeyValue], is_span: bool| {
            let found = attributes.iter().find(|attribute| attribute.key == key);
            let value = found.and_then(|found| found.value.as_ref()?.value.as_ref());
            value.is_some_and(|value| is(value, is_span))
        };
        let mut spans = self.trace.spans.iter();
        spans.any(|(resource, span)| first(resource, false) || first(&span.attributes, true))
    }

    fn inverted(&self, is: bool, is_inverted: bool) -> Vote {
        match (is != is_inverted, is_inverted && self.inverted_votes) {
            (true, false) => Vote::Sampled,
            (false, false) => Vote::NotSampled,
            (true, true) => Vote::InvertSampled,
            (false, true) => Vote::InvertNotSampled,
        }
    }
}

fn keeps(ratio: &Ratio, trace: &Sent) -> bool {
    let states = || trace.spans.iter().map(|(_, span)| &*span.trace_state);
    let given = states().find_map(|state| {
        let (_, rest) = state.split_once("rv:")?;
        u64::from_str_radix(&rest[..14], 16).ok()
    });
    let says_odds = states().any(|state| state.contains("rv:") || state.contains("th:"));
    let id = u128::from_be_bytes(trace.id);
    let bits = if ratio.salt.is_empty() || says_odds {
        given.unwrap_or(id as u64 & 0x00ff_ffff_ffff_ffff)
    } else {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in ratio.salt.bytes().chain(trace.id) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        (hash ^ (hash >> 32)) & 0x00ff_ffff_ffff_ffff
    };
    bits as f64 / 2f64.powi(56) >= 1.0 - ratio.probability
}

/// Sends a trace in requests of its spans, and tells whether it came out.
fn send(sampler: &mut TailSampler, now: Instant, trace: &Sent, rng: &mut fastrand::Rng) -> bool {
    let mut out = Output::default();
    let mut spans = &trace.spans[..];
    while !spans.is_empty() {
        let (some, rest) = spans.split_at(rng.usize(1..=spans.len()));
        spans = rest;
        let groups = some.iter().map(|(resource, span)| (resource.clone(), vec![span.clone()]));
        let request = Bytes::from(random::request(groups).encode_to_vec());
        sampler.offer(now, Payload::parse(Signal::Traces, request).unwrap(), &mut out);
    }
    assert!(out.kept.is_empty());
    sampler.poll(now + Duration::from_millis(1), &mut out);
    let mut kept = 0;
    for payload in out.kept {
        let request = ExportTraceServiceRequest::decode(payload.to_bytes()).unwrap();
        let scopes = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
        for span in scopes.flat_map(|scope| &scope.spans) {
            assert_eq!(span.trace_id, trace.id);
            kept += 1;
        }
    }
    assert!(kept == 0 || kept == trace.spans.len(), "a trace stays together");
    assert_eq!(kept as u64 + out.sampled_out, trace.spans.len() as u64);
    kept > 0
}

/// `TELEFLOW_SEEDS=5000` for a long run.
fn seeds() -> u64 {
    std::env::var("TELEFLOW_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(150)
}

#[test]
fn random_policies_decide_about_random_traces_as_the_model_does() {
    let (mut kept, mut decided) = (0, 0);
    for seed in 0..seeds() {
        let mut rng = fastrand::Rng::with_seed(seed);
        let policies = random::policies(&mut rng);
        let mut model = Model::new(policies.clone());
        let mut sampler = TailSampler::new(Config {
            rules: Rules::Policies(policies.clone()),
            decision_wait: Duration::from_millis(1),
            ..Config::default()
        })
        .unwrap();
        let (start, mut millis) = (Instant::now(), 0);
        for _ in 0..60 {
            millis += rng.u64(1..200);
            let trace = random::trace(&mut rng);
            let now = start + Duration::from_millis(millis);
            let is_kept = send(&mut sampler, now, &trace, &mut rng);
            let spans: Vec<_> = trace.spans.iter().map(|(_, span)| span).collect();
            let expected = model.keeps(millis + 1, &trace);
            assert_eq!(is_kept, expected, "seed {seed}: {policies:#?} about {spans:#?}");
            kept += u64::from(is_kept);
            decided += 1;
        }
        assert_eq!(sampler.stats().rules, model.stats, "seed {seed}: {policies:#?}");
    }
    // Neither all nor nothing: else the comparison would say little.
    assert!((decided / 5..decided * 4 / 5).contains(&kept), "{kept} of {decided}");
}
