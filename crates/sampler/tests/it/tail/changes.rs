//! Rules that change while the sampler works.

use std::time::Instant;

use teleflow_sampler::{Config, Output, Policy, Remembered, Rule, TailSampler};

use super::{SECOND, config, errors_and, failed, id, names, offer, span, states};

const HIGH: u64 = 0xf0_0000_0000_0000;

#[test]
fn traces_that_are_held_stay_and_are_decided_by_the_new_rules() {
    let mut sampler = TailSampler::new(config(errors_and(0.0))).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![failed(id(1), "failed"), span(id(HIGH), "high")], &mut out);
    let held = sampler.held();
    let new = Config {
        decision_wait: 5 * SECOND,
        ..config(vec![Rule::new("some", Policy::percent(10.0, ""))])
    };
    sampler.reconfigure(new).unwrap();
    assert_eq!(sampler.held(), held);
    // How long they wait was settled when they came; those that come now wait by the new rule.
    offer(&mut sampler, now, vec![span(id(HIGH + 1), "new")], &mut out);
    sampler.poll(now + SECOND, &mut out);
    assert_eq!((names(&mut out), out.sampled_out), (vec!["high".to_owned()], 1));
    assert_eq!(sampler.next_deadline(), Some(now + 5 * SECOND));
    sampler.poll(now + 5 * SECOND, &mut out);
    assert_eq!(names(&mut out), ["new"]);
}

#[test]
fn decisions_hold_whatever_the_rules_are_later() {
    let recording = |rules| Config { records_policy: true, ..config(rules) };
    let mut sampler = TailSampler::new(recording(errors_and(10.0))).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let spans = vec![failed(id(1), "a"), span(id(2), "b"), span(id(HIGH), "c")];
    offer(&mut sampler, now, spans, &mut out);
    sampler.poll(now + SECOND, &mut out);
    states(&mut out);
    // Nothing is kept any more, and the policies have changed places.
    let rules = vec![
        Rule::new("first", Policy::Drop(vec![Rule::new("all", Policy::Always)])),
        Rule::new("some", Policy::percent(0.0, "")),
        Rule::new("errors", Policy::errors()),
    ];
    sampler.reconfigure(recording(rules)).unwrap();
    let late = vec![span(id(1), "a"), failed(id(2), "b"), span(id(HIGH), "c"), span(id(9), "d")];
    offer(&mut sampler, now + SECOND, late, &mut out);
    let requests = super::requests(&mut out);
    let text = format!("{requests:?}");
    assert!(text.contains("errors") && text.contains("some") && !text.contains("first"));
    let spans = requests.into_iter().flat_map(|request| request.resource_spans);
    let spans = spans.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
    let mut kept: Vec<_> = spans.map(|span| (span.name, span.trace_state)).collect();
    kept.sort();
    let pair = |name: &str, state: &str| (name.to_owned(), state.to_owned());
    assert_eq!(kept, [pair("a", "ot=th:0"), pair("c", "ot=th:e666")]);
    assert_eq!(sampler.held().spans, 1);
}

#[test]
fn a_configuration_that_cannot_work_changes_nothing() {
    let mut sampler = TailSampler::new(config(errors_and(0.0))).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![failed(id(1), "failed")], &mut out);
    let limit = Policy::StringAttribute {
        key: "k".into(),
        values: vec!["(".into()],
        is_regex: true,
        is_inverted: false,
    };
    let error = sampler.reconfigure(config(vec![Rule::new("bad", limit)])).unwrap_err();
    assert!(error.to_string().starts_with("bad: "), "{error}");
    sampler.reconfigure(Config { max_traces: 0, ..config(vec![]) }).unwrap_err();
    sampler.poll(now + SECOND, &mut out);
    assert_eq!(names(&mut out), ["failed"]);
}

#[test]
fn policies_that_are_the_same_keep_what_they_counted() {
    let limit = |name| Rule::new(name, Policy::RateLimit { spans_per_second: 1, burst: 3 });
    let mut sampler = TailSampler::new(config(vec![limit("a"), limit("b")])).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, (1..=5).map(|n| span(id(n), "x")).collect(), &mut out);
    sampler.poll(now + SECOND, &mut out);
    assert_eq!(out.sampled_out, 2);
    sampler.reconfigure(config(vec![limit("c"), limit("b")])).unwrap();
    let stats = sampler.stats();
    assert_eq!((stats.rules[0].traces_seen, stats.rules[1].traces_seen), (0, 5));
    // `b` is empty still, and `c` is new.
    offer(&mut sampler, now + SECOND, (11..=15).map(|n| span(id(n), "x")).collect(), &mut out);
    sampler.poll(now + 2 * SECOND, &mut out);
    let rules = sampler.stats().rules;
    assert_eq!((rules[0].traces_sampled, rules[1].traces_sampled), (3, 3 + 1));
}

#[test]
fn less_may_be_remembered_and_held_from_then_on() {
    let mut sampler = TailSampler::new(config(errors_and(0.0))).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, (1..=100).map(|n| span(id(n), "x")).collect(), &mut out);
    let remembered = Remembered { kept: 0, dropped: 0 };
    let fewer = Config { max_traces: 10, remembered, ..config(errors_and(0.0)) };
    sampler.reconfigure(fewer).unwrap();
    offer(&mut sampler, now, vec![span(id(500), "x")], &mut out);
    assert!(sampler.held().traces <= 10);
    assert_eq!(out.sampled_out + sampler.held().spans, 101);
    assert_eq!(sampler.stats().memory.dropped, 0);
}
