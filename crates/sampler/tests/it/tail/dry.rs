//! A dry run: all goes on, and tells what would have become of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_otlp::span::StatusCode;
use teleflow_sampler::{
    Config, Counts, Output, Policy, Relief, Rule, Stats, TailSampler, Threshold, Trigger,
};

use super::counts::{attributes, pairs, scopes};
use super::{SECOND, config, errors_and, failed, id, offer, span};

/// What came out by name: whether it says that it would have been kept, and its threshold.
type Came = BTreeMap<String, (Option<String>, Option<String>, String)>;

/// Reads what comes out.
fn take(out: &mut Output, came: &mut Came) {
    let kept = std::mem::take(&mut out.kept);
    let mut of = |read: &dyn Fn(&mut Output)| {
        out.kept.clone_from(&kept);
        read(out);
    };
    let find = |told: &[(String, String)], wanted: &str| {
        told.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.clone())
    };
    let all = std::cell::RefCell::new(Came::new());
    of(&|out| {
        for (name, told) in scopes(out) {
            let is_kept = find(&told, "tailsampling.dry_run.kept");
            all.borrow_mut().entry(name).or_default().0 = is_kept;
        }
    });
    of(&|out| {
        for (name, told) in attributes(out) {
            let threshold = find(&told, "tailsampling.dry_run.threshold");
            all.borrow_mut().entry(name).or_default().1 = threshold;
        }
    });
    of(&|out| {
        for (name, state) in super::states(out) {
            all.borrow_mut().entry(name).or_default().2 = state;
        }
    });
    for (name, one) in all.into_inner() {
        assert!(came.insert(name.clone(), one).is_none(), "{name} came twice");
    }
}

/// What comes out of some traffic, what was left out, how many came, and the figures.
fn run(seed: u64, dry_run: bool) -> (Came, u64, u64, Stats) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let relief = Relief {
        threshold: Threshold::from_probability(0.6).unwrap(),
        at_least: SECOND,
        ..Relief::default()
    };
    let mut rules = errors_and(60.0);
    rules.push(Rule::new(
        "long",
        Policy::Drop(vec![Rule::new("two", Policy::SpanCount { min: 5, max: None })]),
    ));
    let mut sampler = TailSampler::new(Config {
        dry_run,
        relief: Some(relief),
        max_traces: 30,
        max_trace_spans: Some(6),
        max_trace_bytes: Some(700),
        records_policy: rng.bool(),
        drops_at_end: rng.bool(),
        payload_bytes: rng.usize(100..5000),
        ..config(rules)
    })
    .unwrap();
    let (mut now, mut out) = (Instant::now(), Output::default());
    let (mut came, mut offered) = (Came::new(), 0);
    let ids: Vec<_> = (0..400).map(|_| rng.u128(1..).to_be_bytes()).collect();
    for round in 0..150 {
        let spans = (0..rng.usize(..20)).map(|n| {
            let at = (round * 2 + rng.usize(..30)).min(ids.len() - 1);
            let status = if rng.u8(..20) == 0 { StatusCode::Error } else { StatusCode::Ok };
            let name = format!("{round}-{n}-{}", "x".repeat(rng.usize(..120)));
            let mut one = crate::span(ids[at], &name, status);
            one.parent_span_id = if rng.bool() { Vec::new() } else { vec![1; 8] };
            one.trace_state = if rng.u8(..4) == 0 { "a=b".into() } else { String::new() };
            if rng.u8(..20) == 0 {
                one.trace_id = Vec::new();
            }
            one
        });
        let spans: Vec<_> = spans.collect();
        offered += spans.len() as u64;
        offer(&mut sampler, now, spans, &mut out);
        take(&mut out, &mut came);
        now += Duration::from_millis(rng.u64(..200));
        // More is written, and so it takes more polls.
        while sampler.next_deadline().is_some_and(|due| due <= now) {
            sampler.poll(now, &mut out);
        }
        take(&mut out, &mut came);
    }
    while !sampler.drain(now, &mut out) {
        take(&mut out, &mut came);
    }
    take(&mut out, &mut came);
    assert_eq!(came.len() as u64 + out.sampled_out, offered, "the books balance");
    (came, out.sampled_out, offered, sampler.stats())
}

#[test]
fn it_says_what_would_have_been_and_leaves_nothing_out() {
    let mut decisions = [0; Trigger::ALL.len()];
    for seed in 0..12 {
        let (kept, left_out, _, wet) = run(seed, false);
        let (all, none, offered, dry) = run(seed, true);
        assert!(left_out > 100 && kept.len() > 100, "{left_out} of {offered}");
        assert_eq!((none, all.len() as u64), (0, offered));
        for (name, (is_kept, threshold, state)) in &all {
            assert_eq!(
                is_kept.as_deref(),
                Some(if kept.contains_key(name) { "true" } else { "false" })
            );
            assert!(state.is_empty() || state == "a=b", "{state} has changed");
            let written = kept.get(name).map(|(_, _, state)| state.split(',').next().unwrap());
            let written = written.map(|entry| entry.strip_prefix("ot=th:").unwrap().to_owned());
            assert_eq!(*threshold, written, "{name}");
        }
        assert!(kept.values().all(|(told, threshold, _)| told.is_none() && threshold.is_none()));
        assert_eq!(dry, wet, "figures are those of the decisions");
        assert!(dry.late_kept > 0 && dry.late_sampled_out > 0 && dry.without_trace > 0, "{dry:?}");
        std::iter::zip(&mut decisions, dry.decisions).for_each(|(sum, more)| *sum += more);
    }
    for trigger in
        [Trigger::Wait, Trigger::Spans, Trigger::TooLarge, Trigger::Drain, Trigger::Relief]
    {
        assert!(decisions[trigger as usize] > 20, "{trigger:?} in {decisions:?}");
    }
}

#[test]
fn counts_hosts_and_policies_are_told_as_well() {
    let mut sampler = TailSampler::new(Config {
        dry_run: true,
        counts: Counts::Spans,
        host: Some("h".to_owned()),
        records_policy: true,
        writes_threshold: false,
        ..config(errors_and(0.0))
    })
    .unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let spans = vec![failed(id(1), "kept"), span(id(2), "out")];
    offer(&mut sampler, now, spans, &mut out);
    sampler.poll(now + SECOND, &mut out);
    let kept = out.kept.clone();
    let told = scopes(&mut out);
    let (host, verdict) = (("tailsampling.host", "h"), "tailsampling.dry_run.kept");
    let policy = ("tailsampling.policy", "errors");
    assert_eq!(told["kept"], pairs(&[policy, host, (verdict, "true")]));
    assert_eq!(told["out"], pairs(&[host, (verdict, "false")]));
    out.kept = kept;
    let count = pairs(&[("meta.span_count", "1")]);
    let expected = [("kept", count.clone()), ("out", count)];
    let expected = expected.map(|(name, told)| (name.to_owned(), told));
    assert_eq!(attributes(&mut out), expected.into());
    // Late ones say so, and what they follow.
    let late = |id: [u8; 16]| -> Span { span(id, "late") };
    for (id, told) in [
        (
            id(1),
            pairs(&[policy, host, ("tailsampling.cached_decision", "true"), (verdict, "true")]),
        ),
        (id(2), pairs(&[host, ("tailsampling.cached_decision", "true"), (verdict, "false")])),
    ] {
        offer(&mut sampler, now + SECOND, vec![late(id)], &mut out);
        assert_eq!(scopes(&mut out)["late"], told);
    }
    // When it ends, decisions stay.
    let wet = Config { records_policy: true, ..config(errors_and(0.0)) };
    sampler.reconfigure(wet).unwrap();
    offer(&mut sampler, now + SECOND, vec![late(id(1)), late(id(2))], &mut out);
    assert_eq!((super::names(&mut out), out.sampled_out), (vec!["late".to_owned()], 1));
}
