//! Traces that have to go early, where chance decides about them.

use std::time::Instant;

use teleflow_sampler::{
    Config, ConfigError, DynamicSampler, Eviction, MatchRule, Output, Policy, Randomness, Rule,
    Rules, TailSampler, Threshold, Trigger,
};

use super::{SECOND, config, failed, id, offer, requests, span, states};

/// Keeps errors only; of what has to go early a quarter.
fn sampler(max_traces: usize) -> TailSampler {
    let rules = vec![Rule::new("errors", Policy::errors())];
    let eviction = Eviction::Ratio(0.25);
    TailSampler::new(Config { max_traces, eviction, records_policy: true, ..config(rules) })
        .unwrap()
}

/// A trace id of this number, with the randomness of one of a thousand in their order.
fn nth(n: u64) -> [u8; 16] {
    id((1 << 56) / 1000 * n)
}

#[test]
fn no_rule_is_asked_and_the_share_is_kept_with_its_odds() {
    let mut sampler = sampler(1);
    let (now, mut out) = (Instant::now(), Output::default());
    for n in 0..1000 {
        let one = if n % 2 == 0 { failed } else { span };
        offer(&mut sampler, now, vec![one(nth(n), &format!("{n:03}"))], &mut out);
    }
    let quarter = Threshold::from_probability(0.25).unwrap();
    let is_in = |n: &u64| quarter.keeps(Randomness::from_trace_id(nth(*n)));
    // The last one is still there.
    let expected: Vec<_> = (0..999).filter(is_in).collect();
    assert_eq!(expected.len(), 248);
    let kept = states(&mut out);
    let names: Vec<u64> = kept.keys().map(|name| name.parse().unwrap()).collect();
    assert_eq!(names, expected);
    assert!(kept.values().all(|state| state == "ot=th:c"), "{kept:?}");
    let stats = sampler.stats();
    assert_eq!(stats.decisions[Trigger::Count as usize], 999);
    let [errors, evicted] = &stats.rules[..] else { panic!("{stats:?}") };
    assert_eq!((errors.traces_seen, &*evicted.name), (0, "_eviction"));
    assert_eq!((evicted.traces_seen, evicted.traces_kept, evicted.spans_kept), (999, 248, 248));
    assert_eq!((stats.traces_kept, stats.traces_sampled_out, stats.traces_dropped), (248, 751, 0));
    // Of the last one the rules decide: it has waited long enough.
    sampler.poll(now + SECOND, &mut out);
    assert_eq!(sampler.stats().rules[0].traces_seen, 1);
    assert_eq!(out.sampled_out, 752);
}

#[test]
fn what_was_sampled_before_keeps_the_stricter_threshold() {
    let mut sampler = sampler(1);
    let (now, mut out) = (Instant::now(), Output::default());
    for (n, state) in [(999, "ot=th:8"), (998, "ot=th:f"), (1, "ot=rv:ffffffffffffff"), (2, "")] {
        let one = span(nth(n), &n.to_string());
        let one = opentelemetry_proto::tonic::trace::v1::Span { trace_state: state.into(), ..one };
        offer(&mut sampler, now, vec![one], &mut out);
    }
    let kept: Vec<_> = states(&mut out).into_iter().collect();
    let expected = [("1", "ot=rv:ffffffffffffff;th:c"), ("998", "ot=th:f"), ("999", "ot=th:c")];
    assert_eq!(kept, expected.map(|(name, state)| (name.to_owned(), state.to_owned())));
}

#[test]
fn late_spans_follow_and_name_it() {
    let mut sampler = sampler(1);
    let (now, mut out) = (Instant::now(), Output::default());
    for n in [900, 100, 101] {
        offer(&mut sampler, now, vec![span(nth(n), "first")], &mut out);
    }
    out.kept.clear();
    // Rules of other names change nothing about what was decided by none.
    let rules = vec![Rule::new("others", Policy::errors())];
    let eviction = Eviction::Ratio(0.5);
    let config = Config { eviction, records_policy: true, ..config(rules) };
    sampler.reconfigure(config).unwrap();
    offer(&mut sampler, now, vec![span(nth(900), "late"), failed(nth(100), "no")], &mut out);
    let [request] = &requests(&mut out)[..] else { panic!() };
    let scope = &request.resource_spans[0].scope_spans[0];
    assert_eq!(scope.spans[0].trace_state, "ot=th:c");
    let told = &scope.scope.as_ref().unwrap().attributes[0];
    assert_eq!(told.key, "tailsampling.policy");
    assert!(format!("{:?}", told.value).contains("_eviction"), "{told:?}");
    let stats = sampler.stats();
    assert_eq!((stats.late_kept, stats.late_sampled_out), (1, 1));
    assert_eq!(stats.rules[1].traces_seen, 2, "what was counted stays");
}

#[test]
fn its_randomness_is_that_of_the_trace_whatever_policies_have() {
    let rules = vec![Rule::new("salted", Policy::percent(20.0, "salt"))];
    let config = Config { max_traces: 1, eviction: Eviction::Ratio(0.25), ..config(rules) };
    let mut sampler = TailSampler::new(config).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    for (n, name) in [(900, "first"), (1, "other"), (900, "late")] {
        offer(&mut sampler, now, vec![span(nth(n), name)], &mut out);
    }
    let both = ["first", "late"].map(|name| (name.to_owned(), "ot=th:c".to_owned()));
    assert_eq!(states(&mut out), both.into());
}

#[test]
fn a_trace_that_is_due_or_at_its_limit_is_for_the_rules() {
    let rules = vec![MatchRule::new("all", DynamicSampler::Always)];
    let (eviction, wait) = (Eviction::Ratio(1e-9), SECOND);
    let mut sampler = TailSampler::new(Config {
        rules: Rules::FirstMatch(rules),
        eviction,
        decision_wait: wait,
        max_trace_spans: Some(3),
        ..Config::default()
    })
    .unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![span(id(1), "a"); 3], &mut out);
    offer(&mut sampler, now, vec![span(id(2), "b")], &mut out);
    sampler.poll(now + wait, &mut out);
    offer(&mut sampler, now, vec![span(id(3), "c")], &mut out);
    assert!(sampler.drain(now, &mut out));
    assert_eq!(sampler.stats().spans_kept, 5);
}

#[test]
fn a_share_that_is_none_is_refused() {
    for share in [0.0, -0.5, 1.5, f64::NAN] {
        let config = Config { eviction: Eviction::Ratio(share), ..Config::default() };
        let error = TailSampler::new(config).unwrap_err();
        assert_eq!(error, ConfigError::Eviction(share.to_string()));
    }
}
