//! Traces that are decided as their spans come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use teleflow_sampler::{
    Config, ConfigError, Digest, DynamicSampler, MatchRule, Output, Part, Policies, Policy, Ratio,
    Remembered, Rule, Rules, Stats, Strategy, TailSampler, Trigger,
};

use super::{SECOND, config, failed, id, names, offer, requests, span, states};

fn on_ingest(rules: Vec<Rule>) -> Config {
    Config { strategy: Strategy::SpanIngest, ..config(rules) }
}

fn errors() -> Rule {
    Rule::new("errors", Policy::errors())
}

fn with(span: Span, key: &str) -> Span {
    let value = AnyValue { value: Some(Value::BoolValue(true)) };
    let attribute = KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() };
    Span { attributes: vec![attribute], ..span }
}

fn has(key: &str, is_inverted: bool) -> Rule {
    let policy = Policy::BooleanAttribute { key: key.into(), value: true, is_inverted };
    Rule::new(format!("{key} {is_inverted}"), policy)
}

fn count(stats: &Stats, trigger: Trigger) -> u64 {
    stats.decisions[trigger as usize]
}

/// A request with a resource for each group of spans.
fn below_resources(groups: Vec<Vec<Span>>) -> ExportTraceServiceRequest {
    let resources = groups.into_iter().map(|spans| ResourceSpans {
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    });
    ExportTraceServiceRequest { resource_spans: resources.collect() }
}

#[test]
fn a_trace_goes_as_soon_as_a_part_of_it_is_kept_and_the_rest_follows() {
    let mut sampler = TailSampler::new(on_ingest(vec![errors()])).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![span(id(1), "1a"), span(id(2), "2a")], &mut out);
    assert_eq!((out.kept.len(), sampler.held().traces), (0, 2));
    offer(&mut sampler, now, vec![failed(id(1), "1b"), span(id(2), "2b")], &mut out);
    assert_eq!(names(&mut out), ["1a", "1b"]);
    offer(&mut sampler, now, vec![span(id(1), "1c")], &mut out);
    assert_eq!(names(&mut out), ["1c"]);
    let asked = sampler.stats().rules[0].traces_seen;
    assert_eq!(asked, 4, "each part was asked about");

    sampler.poll(now + SECOND, &mut out);
    assert_eq!((names(&mut out).len(), out.sampled_out), (0, 2));
    offer(&mut sampler, now + SECOND, vec![failed(id(2), "2c")], &mut out);
    let stats = sampler.stats();
    assert_eq!((out.sampled_out, stats.late_kept, stats.late_sampled_out), (3, 1, 1));
    assert_eq!((count(&stats, Trigger::Ingest), count(&stats, Trigger::Wait)), (1, 1));
    assert_eq!(stats.rules[0].traces_seen, asked, "nobody is asked at the end of the wait");
    assert_eq!((stats.rules[0].traces_kept, stats.rules[0].spans_kept), (1, 2));
    assert_eq!((stats.traces, stats.traces_kept, stats.traces_sampled_out), (2, 1, 1));
    assert_eq!((stats.spans_kept, sampler.held().spans), (3, 0));
}

#[test]
fn what_is_below_one_resource_is_one_part_read_ahead_or_not() {
    let both = Rule::new("both", Policy::And(vec![has("a", false), has("b", false)]));
    let one = |n, name, key| with(span(id(n), name), key);
    // Of the first resource only trace 1 has both.
    let first = vec![one(1, "1a", "a"), one(2, "2a", "a"), one(1, "1b", "b")];
    let second = vec![one(3, "3a", "a"), one(2, "2b", "b"), one(3, "3b", "b")];
    let request = below_resources(vec![first, second]);
    for is_read in [false, true] {
        let mut sampler = TailSampler::new(on_ingest(vec![both.clone()])).unwrap();
        let (now, mut out) = (Instant::now(), Output::default());
        let mut digest = match is_read {
            true => Digest::of(crate::payload(&request)),
            false => Digest::unread(crate::payload(&request)),
        };
        assert_eq!(digest.is_read(), is_read);
        sampler.offer_digest(now, &mut digest, &mut out);
        assert_eq!(names(&mut out), ["1a", "1b", "3a", "3b"], "{is_read}");
    }
}

#[test]
fn parts_are_looked_at_by_themselves_and_only_counts_go_on() {
    let both = Policy::And(vec![has("a", false), has("b", false)]);
    let three = Policy::SpanCount { min: 3, max: None };
    let rules = vec![Rule::new("both", both), Rule::new("three", three)];
    let mut sampler = TailSampler::new(on_ingest(rules)).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![with(span(id(1), "1"), "a")], &mut out);
    offer(&mut sampler, now, vec![with(span(id(1), "2"), "b")], &mut out);
    assert_eq!(sampler.held().traces, 1, "no part has both");
    offer(&mut sampler, now, vec![span(id(1), "3")], &mut out);
    assert_eq!(names(&mut out), ["1", "2", "3"]);

    // What is below one resource is a part, wherever its spans are in it.
    let spans =
        |n| [with(span(id(n), &format!("{n}a")), "a"), with(span(id(n), &format!("{n}b")), "b")];
    let ([a2, b2], [a3, b3]) = (spans(2), spans(3));
    let request = below_resources(vec![vec![a2, a3], vec![b2], vec![]]);
    sampler.offer(now, crate::payload(&request), &mut out);
    assert_eq!(sampler.held().traces, 2);
    let [a4, b4] = spans(4);
    let request = below_resources(vec![vec![a4, span(id(3), "3c"), b4, b3]]);
    sampler.offer(now, crate::payload(&request), &mut out);
    assert_eq!(names(&mut out), ["3a", "3b", "3c", "4a", "4b"], "3 has three spans");
}

#[test]
fn what_is_decided_while_a_request_is_read_is_not_taken_for_what_comes_after_it() {
    let forgets = Remembered { kept: 0, dropped: 0 };
    let (now, mut out) = (Instant::now(), Output::default());
    let spans = || {
        let large = "x".repeat(3000);
        vec![
            span(id(1), "1a"),
            failed(id(1), "1b"),
            span(id(1), &large),
            // Trace 1 was decided for what it has; its place is free for another.
            span(id(2), "2a"),
            span(id(1), "1d"),
        ]
    };
    let few = Config { max_trace_spans: Some(3), ..on_ingest(vec![errors()]) };
    let small = Config { max_trace_bytes: Some(3000), ..on_ingest(vec![errors()]) };
    // By the number of spans it is decided after its last part was looked at.
    for (config, kept, trigger) in [(few, 3, Trigger::Ingest), (small, 0, Trigger::TooLarge)] {
        let mut sampler = TailSampler::new(Config { remembered: forgets, ..config }).unwrap();
        out.sampled_out = 0;
        offer(&mut sampler, now, spans(), &mut out);
        assert_eq!(names(&mut out).len(), kept);
        let stats = sampler.stats();
        assert_eq!((count(&stats, trigger), stats.decisions.iter().sum::<u64>()), (1, 1));
        assert_eq!((out.sampled_out as usize, sampler.held().traces), (3 - kept, 2));
        offer(&mut sampler, now, vec![failed(id(2), "2b"), failed(id(1), "1e")], &mut out);
        assert_eq!(names(&mut out), ["1d", "1e", "2a", "2b"]);
    }
    let mut sampler =
        TailSampler::new(Config { max_trace_spans: Some(3), ..on_ingest(vec![errors()]) }).unwrap();
    offer(&mut sampler, now, (0..5).map(|n| span(id(1), &n.to_string())).collect(), &mut out);
    let stats = sampler.stats();
    assert_eq!((count(&stats, Trigger::Spans), stats.late_sampled_out), (1, 2));
}

#[test]
fn with_policies_that_drop_nothing_is_kept_before_the_end_of_the_wait() {
    let drop = Policy::Drop(vec![has("check", false)]);
    let rules = vec![errors(), Rule::new("checks", drop)];
    let mut sampler = TailSampler::new(on_ingest(rules)).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![failed(id(1), "1a"), failed(id(2), "2a")], &mut out);
    assert_eq!((out.kept.len(), sampler.held().traces), (0, 2));
    offer(&mut sampler, now, vec![with(span(id(1), "1b"), "check")], &mut out);
    offer(&mut sampler, now, vec![span(id(1), "1c"), span(id(2), "2b")], &mut out);
    assert_eq!((out.sampled_out, sampler.held().traces), (3, 1));
    sampler.poll(now + SECOND, &mut out);
    assert_eq!(
        states(&mut out).into_iter().collect::<Vec<_>>(),
        [("2a".to_owned(), "ot=th:0".to_owned()), ("2b".to_owned(), "ot=th:0".to_owned()),]
    );
    let stats = sampler.stats();
    assert_eq!((stats.traces_dropped, stats.traces_kept), (1, 1));
    assert_eq!((count(&stats, Trigger::Ingest), count(&stats, Trigger::Wait)), (1, 1));
}

#[test]
fn inverted_votes_are_of_no_account_before_a_trace_is_whole() {
    let policies =
        Policies { policies: vec![has("a", true)], first_match: false, inverted_votes: true };
    for (policies, kept) in
        [(policies.clone(), 0), (Policies { inverted_votes: false, ..policies }, 1)]
    {
        let config = Config { rules: Rules::Policies(policies), ..on_ingest(Vec::new()) };
        let mut sampler = TailSampler::new(config).unwrap();
        let (now, mut out) = (Instant::now(), Output::default());
        offer(&mut sampler, now, vec![span(id(1), "x")], &mut out);
        sampler.poll(now + SECOND, &mut out);
        assert_eq!(names(&mut out).len(), kept);
    }
}

#[test]
fn policies_that_what_comes_later_may_change_are_refused_by_name() {
    let in_and = |policy| Policy::And(vec![Rule::new("part", policy)]);
    let within = Policy::Latency { over: SECOND, up_to: Some(2 * SECOND) };
    let limit = Policy::RateLimit { spans_per_second: 1, burst: 1 };
    let not = Policy::Not(Box::new(Rule::new("part", limit.clone())));
    for (policy, rule, why) in [
        (limit, "odd", "it counts what it lets pass"),
        (Policy::SpanCount { min: 1, max: Some(2) }, "odd", "more spans may still come"),
        (in_and(within), "odd/part", "a span that comes may make the trace longer"),
        (not, "odd/part", "it counts what it lets pass"),
    ] {
        let config = on_ingest(vec![errors(), Rule::new("odd", policy.clone())]);
        let problem = format!("it cannot be asked about a part of a trace: {why}");
        let error = ConfigError::Rule { rule: rule.into(), problem };
        assert_eq!(TailSampler::new(config.clone()).unwrap_err(), error);
        let mut sampler = TailSampler::new(on_ingest(vec![errors()])).unwrap();
        assert_eq!(sampler.reconfigure(config.clone()).unwrap_err(), error);
        TailSampler::new(Config { strategy: Strategy::TraceComplete, ..config }).unwrap();
    }
    // As in the Collector, a composite policy is what its parts are.
    let part = Part { rule: errors(), spans_per_second: 100 };
    let composite = teleflow_sampler::Composite { max_spans_per_second: 100, parts: vec![part] };
    let mut sampler =
        TailSampler::new(on_ingest(vec![Rule::new("whole", Policy::Composite(composite))]))
            .unwrap();
    let mut out = Output::default();
    offer(&mut sampler, Instant::now(), vec![failed(id(1), "x")], &mut out);
    assert_eq!(names(&mut out), ["x"]);

    let rule = MatchRule::new("all", DynamicSampler::Always);
    let rules = Rules::FirstMatch(vec![rule]);
    let error = TailSampler::new(Config { rules, ..on_ingest(Vec::new()) }).unwrap_err();
    assert_eq!(error, ConfigError::RulesOnIngest);
}

/// Traces of three spans in three requests, of which the second or third may have failed: what chance
/// keeps at the first stands for them all, whatever would have kept them later.
#[test]
fn the_sum_of_adjusted_counts_is_the_true_count() {
    for salt in ["", "salt"] {
        let some = Policy::Ratio(Ratio { probability: 0.25, salt: salt.into() });
        let both = Policy::And(vec![has("a", false), Rule::new("half", Policy::percent(50.0, ""))]);
        for rules in [
            vec![errors(), Rule::new("some", some.clone())],
            vec![Rule::new("some", some.clone()), errors(), Rule::new("both", both.clone())],
        ] {
            let mut sampler = TailSampler::new(on_ingest(rules)).unwrap();
            let mut rng = fastrand::Rng::with_seed(11);
            let (mut now, mut out) = (Instant::now(), Output::default());
            // By whether a span fails, and which.
            let (mut sent, mut estimate, mut variance) = ([0.0; 4], [0.0; 4], [0.0; 4]);
            for _ in 0..100 {
                let ids: Vec<_> = (0..100).map(|_| rng.u128(1..).to_be_bytes()).collect();
                let kinds: Vec<_> = ids.iter().map(|_| rng.usize(..4)).collect();
                for at in 0..3 {
                    let spans = std::iter::zip(&ids, &kinds).map(|(id, &kind)| {
                        sent[kind] += 1.0;
                        let name = format!("{kind}");
                        match kind == at {
                            true => with(failed(*id, &name), "a"),
                            false => span(*id, &name),
                        }
                    });
                    offer(&mut sampler, now, spans.collect(), &mut out);
                }
                now += SECOND;
                sampler.poll(now, &mut out);
                let spans = requests(&mut out)
                    .into_iter()
                    .flat_map(|request| request.resource_spans)
                    .flat_map(|resource| resource.scope_spans)
                    .flat_map(|scope| scope.spans);
                for span in spans {
                    let kind: usize = span.name.parse().unwrap();
                    let state = teleflow_sampler::TraceState::parse(&span.trace_state);
                    let count =
                        state.threshold().map_or(0.0, |threshold| threshold.adjusted_count());
                    estimate[kind] += count;
                    variance[kind] += 3.0 * count * (count - 1.0);
                }
            }
            for kind in 0..4 {
                let off = (estimate[kind] - sent[kind]).abs();
                assert!(
                    off <= 4.0 * f64::sqrt(variance[kind]),
                    "{kind}: {} of {}, {salt}",
                    estimate[kind],
                    sent[kind]
                );
            }
            let stats = sampler.stats();
            assert!(stats.spans_unknown > 0, "those that were kept later than chance had a say");
            assert_eq!(stats.inconsistent + stats.without_room, 0);
        }
    }
}

/// Random requests of some traces, below random resources, with bounds that are reached or not: a
/// trace that has both in one part is kept, and is whole; nothing is lost.
#[test]
fn random_traffic_is_kept_by_its_parts_and_accounted_for() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let is_bounded = rng.bool();
        let both = Policy::And(vec![errors(), has("a", false)]);
        let mut sampler = TailSampler::new(Config {
            max_traces: if is_bounded { rng.usize(1..12) } else { 1000 },
            max_trace_spans: (is_bounded && rng.bool()).then(|| rng.u64(1..20)),
            payload_bytes: rng.usize(1..5000),
            hash_seed: seed,
            ..on_ingest(vec![Rule::new("both", both)])
        })
        .unwrap();
        let (now, mut out) = (Instant::now(), Output::default());
        let (mut offered, mut kept) = (0, BTreeSet::new());
        // What was sent of each trace, and which have both in a part.
        let (mut sent, mut both) = (BTreeMap::<u64, Vec<String>>::new(), BTreeSet::new());
        for _ in 0..60 {
            let groups = (0..rng.usize(1..4)).map(|_| {
                let mut of_part = BTreeMap::<u64, (bool, bool)>::new();
                let spans: Vec<_> = (0..rng.usize(..12))
                    .map(|_| {
                        let trace = rng.u64(1..20);
                        let (fails, has_a) = (rng.u8(..6) == 0, rng.u8(..6) == 0);
                        let part = of_part.entry(trace).or_default();
                        *part = (part.0 || fails, part.1 || has_a);
                        offered += 1;
                        let name = format!("{offered}");
                        sent.entry(trace).or_default().push(name.clone());
                        let one =
                            if fails { failed(id(trace), &name) } else { span(id(trace), &name) };
                        if has_a { with(one, "a") } else { one }
                    })
                    .collect();
                let parts = of_part.into_iter().filter(|(_, part)| *part == (true, true));
                both.extend(parts.map(|(trace, _)| trace));
                spans
            });
            let groups = groups.collect();
            sampler.offer(now, crate::payload(&below_resources(groups)), &mut out);
            kept.extend(names(&mut out));
            let all = kept.len() as u64 + out.sampled_out + sampler.held().spans;
            assert_eq!(all, offered, "seed {seed}");
        }
        while !sampler.drain(now, &mut out) {
            kept.extend(names(&mut out));
        }
        kept.extend(names(&mut out));
        assert_eq!(kept.len() as u64 + out.sampled_out, offered, "seed {seed}");
        for (trace, spans) in sent {
            let of_kept = spans.iter().filter(|span| kept.contains(*span)).count();
            let whole = if both.contains(&trace) { spans.len() } else { 0 };
            // At a bound a trace goes before that which would have kept it comes; never the other way.
            let is_right = of_kept == whole || (is_bounded && of_kept == 0);
            assert!(is_right, "seed {seed}: {of_kept} of {} of trace {trace}", spans.len());
        }
        let decided: u64 = sampler.stats().decisions.iter().sum();
        assert_eq!(decided, sampler.stats().traces, "seed {seed}");
    }
}
