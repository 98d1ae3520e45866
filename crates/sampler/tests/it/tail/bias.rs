//! The sum of adjusted counts is the true count, whatever happens to traces on their way.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_sampler::{
    Algorithm, Config, DynamicSampler, Eviction, Keys, MatchRule, Output, Policy, Remembered, Rule,
    Rules, TailSampler, Threshold, TraceState, Trigger, Unit,
};

use super::{SECOND, failed, offer, requests, span};

/// `TELEFLOW_BIAS_TRACES=1000000` for the full length.
fn traces() -> u64 {
    std::env::var("TELEFLOW_BIAS_TRACES").ok().and_then(|n| n.parse().ok()).unwrap_or(15_000)
}

/// Sends traces of 1 to 4 spans with small bounds, so that many are decided early and late spans
/// come after all; every second one was sampled before, by a half. Returns how many spans there were
/// before anything was sampled, what those stand for that were kept, and the variance of that.
fn run(rules: Rules, eviction: Eviction, seed: u64) -> (f64, f64, f64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut sampler = TailSampler::new(Config {
        rules,
        eviction,
        decision_wait: SECOND,
        decision_wait_after_root: Some(SECOND / 4),
        max_bytes: 300_000,
        max_traces: 2000,
        max_trace_spans: Some(4),
        remembered: Remembered { kept: 50_000, dropped: 50_000 },
        payload_bytes: 20_000,
        hash_seed: seed,
        ..Config::default()
    })
    .unwrap();
    let (mut now, mut out) = (Instant::now(), Output::default());
    let (mut offered, mut came, mut sampled_out) = (0.0, 0, 0);
    let (mut estimate, mut variance, mut kept) = (0.0, 0.0, 0);
    let mut waiting: Vec<Span> = Vec::new();
    let half: Threshold = "8".parse().unwrap();
    let mut take = |out: &mut Output| {
        for request in requests(out) {
            for span in request
                .resource_spans
                .into_iter()
                .flat_map(|resource| resource.scope_spans)
                .flat_map(|scope| scope.spans)
            {
                let state = TraceState::parse(&span.trace_state);
                let count = state.threshold().unwrap().adjusted_count();
                estimate += count;
                // As if the four spans that a trace has at most were kept or left out as one.
                variance += 4.0 * count * (count - 1.0);
                kept += 1;
            }
        }
        sampled_out += std::mem::take(&mut out.sampled_out);
    };
    for n in 0..traces() {
        let id = rng.u128(1..).to_be_bytes();
        let spans = rng.usize(1..5);
        offered += spans as f64;
        let was_sampled = n % 2 == 0;
        if was_sampled && !half.keeps(teleflow_sampler::Randomness::from_trace_id(id)) {
            continue;
        }
        for at in 0..spans {
            let name = "x".repeat(rng.usize(..200));
            let mut one = if rng.u8(..100) == 0 { failed(id, &name) } else { span(id, &name) };
            one.trace_state = if was_sampled { "ot=th:8".into() } else { String::new() };
            one.parent_span_id = if at == 0 { Vec::new() } else { vec![1; 8] };
            waiting.push(one);
        }
        if waiting.len() > 1000 {
            rng.shuffle(&mut waiting);
            let later = waiting.split_off(rng.usize(500..1000));
            came += waiting.len() as u64;
            offer(&mut sampler, now, std::mem::replace(&mut waiting, later), &mut out);
            take(&mut out);
            now += Duration::from_millis(rng.u64(..300));
            sampler.poll(now, &mut out);
            take(&mut out);
        }
    }
    came += waiting.len() as u64;
    offer(&mut sampler, now, waiting, &mut out);
    while !sampler.drain(now, &mut out) {
        take(&mut out);
    }
    take(&mut out);
    let stats = sampler.stats();
    assert_eq!(came, kept + sampled_out, "the books balance");
    for trigger in [Trigger::Bytes, Trigger::Spans, Trigger::AfterRoot] {
        assert!(stats.decisions[trigger as usize] > 0, "{trigger:?}");
    }
    assert!(stats.late_kept > 0 && stats.late_sampled_out > 0);
    assert_eq!(stats.inconsistent + stats.without_room, 0);
    (offered, estimate, variance)
}

#[track_caller]
fn is_free_of_bias(rules: impl Into<Rules>) {
    is_free_of_bias_with(rules, Eviction::Rules);
}

#[track_caller]
fn is_free_of_bias_with(rules: impl Into<Rules>, eviction: Eviction) {
    let rules = rules.into();
    for seed in 1..=2 {
        let (offered, estimate, variance) = run(rules.clone(), eviction, seed);
        let sigma = variance.sqrt();
        assert!(
            (estimate - offered).abs() < 4.0 * sigma,
            "{offered} spans were estimated as {estimate}, sigma {sigma}"
        );
        assert!(sigma < offered / 10.0, "a test that says nothing: sigma {sigma} of {offered}");
    }
}

fn dynamic(sampler: DynamicSampler) -> Rules {
    Rules::FirstMatch(vec![MatchRule::new("rest", sampler)])
}

#[test]
fn of_what_has_to_go_early_by_chance() {
    is_free_of_bias_with(dynamic(DynamicSampler::Ratio(0.1)), Eviction::Ratio(0.3));
    is_free_of_bias_with(super::errors_and(10.0), Eviction::Ratio(0.3));
}

#[test]
fn of_policies_that_vote() {
    is_free_of_bias(super::errors_and(10.0));
    is_free_of_bias(vec![
        Rule::new("few", Policy::percent(5.0, "")),
        Rule::new("slow", Policy::slower_than(SECOND)),
        Rule::new("limit", Policy::RateLimit { spans_per_second: 0, burst: 0 }),
        Rule::new("more", Policy::percent(20.0, "")),
    ]);
}

#[test]
fn of_rules_of_which_the_first_decides() {
    is_free_of_bias(dynamic(DynamicSampler::Ratio(0.1)));
    let keys = || Keys::new(["span.missing"]);
    for unit in [Unit::Traces, Unit::Spans] {
        is_free_of_bias(dynamic(DynamicSampler::AdaptivePercentage {
            goal: 0.2,
            unit,
            keys: keys(),
            interval: SECOND,
            weight: 0.5,
        }));
        is_free_of_bias(dynamic(DynamicSampler::AdaptiveThroughput {
            goal: 1000.0,
            unit,
            keys: keys(),
            initial: 0.3,
            algorithm: Algorithm::Ema { interval: SECOND, weight: 0.5 },
        }));
    }
}
