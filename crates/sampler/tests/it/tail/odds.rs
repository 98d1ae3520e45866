//! What is written to what is kept.

use std::time::Instant;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_sampler::{Composite, Config, Output, Part, Policy, Remembered, Rule, TailSampler};

use super::{SECOND, config, errors_and, failed, id, offer, requests, span, states};

/// Kept by a tenth.
const HIGH: u64 = 0xf0_0000_0000_0000;
/// Not kept by a tenth, but by three quarters.
const MIDDLE: u64 = 0x80_0000_0000_0000;

fn with_state(state: &str, span: Span) -> Span {
    Span { trace_state: state.into(), ..span }
}

/// Offers spans, waits, and returns the trace states of those kept.
fn through(config: Config, spans: Vec<Span>) -> Vec<(String, String)> {
    let mut sampler = TailSampler::new(config).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let offered = spans.len() as u64;
    offer(&mut sampler, now, spans, &mut out);
    sampler.poll(now + SECOND, &mut out);
    let states: Vec<_> = states(&mut out).into_iter().collect();
    assert_eq!(offered, states.len() as u64 + out.sampled_out);
    states
}

fn pairs(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

#[test]
fn what_is_kept_says_how_likely_that_was() {
    let spans = vec![
        failed(id(MIDDLE), "failed"),
        span(id(HIGH), "chance"),
        failed(id(HIGH + 1), "both"),
        span(id(MIDDLE + 1), "neither"),
    ];
    assert_eq!(
        through(config(errors_and(10.0)), spans),
        // Failed traces are kept whatever chance says.
        pairs(&[("both", "ot=th:0"), ("chance", "ot=th:e666"), ("failed", "ot=th:0")])
    );
}

#[test]
fn what_came_before_counts_and_others_entries_stay() {
    let spans = vec![
        with_state("congo=1,ot=th:8;rv:f0000000000000", span(id(1), "half")),
        with_state("ot=th:f", span(id(HIGH), "sixteenth")),
        with_state("congo=2", span(id(HIGH + 1), "other")),
        // By its own account it would have been left out.
        with_state("ot=th:f8", span(id(HIGH + 2), "contradicted")),
    ];
    assert_eq!(
        through(config(errors_and(10.0)), spans),
        pairs(&[
            ("contradicted", ""),
            ("half", "ot=rv:f0000000000000;th:e666,congo=1"),
            ("other", "ot=th:e666,congo=2"),
            ("sixteenth", "ot=th:f"),
        ])
    );
}

#[test]
fn spans_of_one_trace_may_come_with_thresholds_of_their_own() {
    let spans = vec![
        with_state("ot=th:c", span(id(HIGH), "a")),
        span(id(HIGH), "b"),
        with_state("ot=th:f", span(id(HIGH), "c")),
    ];
    let kept = through(config(vec![Rule::new("half", Policy::percent(50.0, ""))]), spans);
    assert_eq!(kept, pairs(&[("a", "ot=th:c"), ("b", "ot=th:8"), ("c", "ot=th:f")]));
}

#[test]
fn who_keeps_by_a_limit_does_not_know_how_likely_that_was() {
    let limit = Policy::RateLimit { spans_per_second: 10, burst: 10 };
    let spans = vec![span(id(MIDDLE), "plain"), with_state("ot=th:8", span(id(MIDDLE + 1), "had"))];
    let kept = through(config(vec![Rule::new("limit", limit)]), spans);
    assert_eq!(kept, pairs(&[("had", ""), ("plain", "")]));
}

#[test]
fn with_a_salt_the_randomness_is_told_too() {
    let rules = vec![Rule::new("salted", Policy::percent(50.0, "salt"))];
    let mut sampler = TailSampler::new(config(rules)).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let all: Vec<_> = (0..100).map(|n| span(id(n), &format!("{n:03}"))).collect();
    offer(&mut sampler, now, all, &mut out);
    sampler.poll(now + SECOND, &mut out);
    let kept = states(&mut out);
    assert!((20..80).contains(&kept.len()), "{}", kept.len());
    for state in kept.values() {
        let (randomness, threshold) =
            state.strip_prefix("ot=rv:").and_then(|rest| rest.split_once(';')).unwrap();
        assert_eq!(threshold, "th:8");
        assert!(randomness >= "80000000000000", "{state}");
    }
    // A late span says the same.
    let (name, state) = kept.iter().next().unwrap();
    let late = span(id(name.parse().unwrap()), "late");
    offer(&mut sampler, now + 2 * SECOND, vec![late], &mut out);
    assert_eq!(states(&mut out)["late"], *state);
}

#[test]
fn late_spans_say_the_same_as_the_rest_of_their_trace() {
    let mut sampler = TailSampler::new(config(errors_and(10.0))).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let early = vec![failed(id(MIDDLE), "failed"), span(id(HIGH), "chance"), span(id(1), "not")];
    offer(&mut sampler, now, early, &mut out);
    sampler.poll(now + SECOND, &mut out);
    states(&mut out);
    let late = vec![
        span(id(MIDDLE), "a"),
        span(id(HIGH), "b"),
        with_state("ot=th:f", failed(id(HIGH), "c")),
        failed(id(1), "d"),
    ];
    offer(&mut sampler, now + 2 * SECOND, late, &mut out);
    let kept: Vec<_> = states(&mut out).into_iter().collect();
    assert_eq!(kept, pairs(&[("a", "ot=th:0"), ("b", "ot=th:e666"), ("c", "ot=th:f")]));
    let stats = sampler.stats();
    assert_eq!((stats.late_kept, stats.late_sampled_out), (3, 1));
    assert_eq!((stats.spans_kept, out.sampled_out), (5, 2));
    // 1 and 9.9994 for each of the two and three.
    assert!((stats.spans_estimated - (2.0 + 3.0 * 9.9994)).abs() < 0.001);
}

#[test]
fn nothing_is_written_where_nothing_is_to_be() {
    let config = Config { writes_threshold: false, ..config(errors_and(10.0)) };
    let spans = vec![failed(id(1), "a"), with_state("ot=th:8", span(id(HIGH), "b"))];
    assert_eq!(through(config, spans), pairs(&[("a", ""), ("b", "ot=th:8")]));
}

#[test]
fn scopes_tell_which_policy_kept_their_spans() {
    let part = Part { rule: Rule::new("inner", Policy::percent(50.0, "")), spans_per_second: 100 };
    let composite = Composite { max_spans_per_second: 100, parts: vec![part] };
    let rules = vec![
        Rule::new("errors", Policy::errors()),
        Rule::new("shared", Policy::Composite(composite)),
    ];
    let config = Config {
        records_policy: true,
        remembered: Remembered { kept: 10, dropped: 10 },
        ..config(rules)
    };
    let mut sampler = TailSampler::new(config).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![failed(id(1), "failed"), span(id(HIGH), "chance")], &mut out);
    sampler.poll(now + SECOND, &mut out);
    offer(&mut sampler, now + SECOND, vec![span(id(1), "late"), span(id(2), "new")], &mut out);
    let mut told = Vec::new();
    for scope in requests(&mut out)
        .into_iter()
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans)
    {
        let attributes = scope.scope.unwrap().attributes.into_iter().map(|pair| {
            match pair.value.unwrap().value.unwrap() {
                Value::StringValue(text) => (pair.key, text),
                Value::BoolValue(value) => (pair.key, value.to_string()),
                other => panic!("{other:?}"),
            }
        });
        let attributes: Vec<_> = attributes.collect();
        told.extend(scope.spans.into_iter().map(|span| (span.name, attributes.clone())));
    }
    told.sort();
    let of = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let composite = [("tailsampling.policy", "shared"), ("tailsampling.composite_policy", "inner")];
    assert_eq!(
        told,
        [
            ("chance".to_owned(), of(&composite)),
            ("failed".to_owned(), of(&[("tailsampling.policy", "errors")])),
            (
                "late".to_owned(),
                of(&[("tailsampling.policy", "errors"), ("tailsampling.cached_decision", "true")])
            ),
        ]
    );
}
