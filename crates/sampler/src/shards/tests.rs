use std::time::Duration;

use super::*;
use crate::rules::{Algorithm, DynamicSampler, Keys, Unit};
use crate::tail::{Trigger, Waits};

fn shards(config: &Config, shards: usize) -> Vec<Config> {
    config.divided(NonZeroUsize::new(shards).unwrap())
}

fn limit(spans_per_second: u64) -> Policy {
    Policy::RateLimit { spans_per_second, burst: 100 }
}

/// All limits of spans a second below a rule, with their bursts.
fn limits(policy: &Policy, out: &mut Vec<(u64, u64)>) {
    match policy {
        Policy::RateLimit { spans_per_second: rate, burst }
        | Policy::ByteLimit { bytes_per_second: rate, burst } => out.push((*rate, *burst)),
        Policy::And(rules) | Policy::Drop(rules) => {
            rules.iter().for_each(|rule| limits(&rule.policy, out));
        }
        Policy::Not(rule) => limits(&rule.policy, out),
        Policy::Composite(whole) => {
            out.push((whole.max_spans_per_second, 0));
            for part in &whole.parts {
                out.push((part.spans_per_second, 0));
                limits(&part.rule.policy, out);
            }
        }
        _ => {}
    }
}

#[test]
fn bounds_add_up_to_what_was_configured() {
    let whole = Config {
        max_bytes: 1_000_003,
        max_traces: 50_001,
        max_trace_spans: Some(7),
        max_trace_bytes: Some(8),
        remembered: Remembered { kept: 11, dropped: 0 },
        ..Config::default()
    };
    for of in [1, 2, 3, 7, 256] {
        let parts = shards(&whole, of);
        assert_eq!(parts.len(), of);
        let sum = |what: fn(&Config) -> usize| parts.iter().map(what).sum::<usize>();
        assert_eq!(sum(|part| part.max_bytes), whole.max_bytes);
        assert_eq!(sum(|part| part.max_traces), whole.max_traces);
        assert_eq!(sum(|part| part.remembered.kept), 11.max(of), "at least one each");
        assert_eq!(sum(|part| part.remembered.dropped), 0, "nothing stays nothing");
        for part in &parts {
            assert_eq!((part.max_trace_spans, part.max_trace_bytes), (Some(7), Some(8)));
            assert_eq!(part.payload_bytes, whole.payload_bytes);
        }
    }
    assert_eq!(shards(&whole, 1), [whole]);
}

#[test]
fn what_policies_allow_a_second_is_divided_at_any_depth_and_bursts_are_not() {
    let composite = Policy::Composite(Composite {
        max_spans_per_second: 90,
        parts: vec![Part { rule: Rule::new("part", limit(30)), spans_per_second: 60 }],
    });
    let policies = vec![
        Rule::new("plain", limit(31)),
        Rule::new("bytes", Policy::ByteLimit { bytes_per_second: 1000, burst: 5 }),
        Rule::new("and", Policy::And(vec![Rule::new("in", limit(12))])),
        Rule::new("not", Policy::Not(Box::new(Rule::new("in", limit(13))))),
        Rule::new("drop", Policy::Drop(vec![Rule::new("in", limit(14))])),
        Rule::new("composite", composite),
        Rule::new("small", limit(2)),
        Rule::new("none", limit(0)),
        Rule::new("half", Policy::percent(50.0, "")),
    ];
    let of = |config: &Config| {
        let Rules::Policies(policies) = &config.rules else { panic!("there are policies") };
        let mut out = Vec::new();
        policies.policies.iter().for_each(|rule| limits(&rule.policy, &mut out));
        assert_eq!(policies.policies[8].policy, Policy::percent(50.0, ""));
        out
    };
    let whole = Config { rules: policies.into(), ..Config::default() };
    let (before, parts) = (of(&whole), shards(&whole, 3));
    let mut sums = vec![0; before.len()];
    for part in &parts {
        for ((sum, before), (rate, burst)) in sums.iter_mut().zip(&before).zip(of(part)) {
            *sum += rate;
            assert_eq!(burst, before.1);
        }
    }
    let mut wanted: Vec<_> = before.iter().map(|(rate, _)| *rate).collect();
    assert_eq!(wanted[8..], [2, 0]);
    wanted[8] = 3;
    assert_eq!(sums, wanted, "only what is less than the shards is more than configured");
}

#[test]
fn goals_a_second_are_divided_and_shares_are_not() {
    let keys = || Keys::new(["span.http.route"]);
    let second = Duration::from_secs(1);
    let rule = |sampler| MatchRule::new("rule", sampler);
    let algorithm = Algorithm::Windowed { update: second, lookback: second };
    let whole = |goal: f64, spans_per_second| {
        let (keys, initial, unit) = (keys(), 0.1, Unit::Spans);
        vec![
            rule(DynamicSampler::AdaptivePercentage {
                goal: 0.5,
                unit,
                keys: keys.clone(),
                interval: second,
                weight: 0.5,
            }),
            rule(DynamicSampler::AdaptiveThroughput {
                goal,
                unit,
                keys: keys.clone(),
                initial,
                algorithm,
            }),
            rule(DynamicSampler::PerKeyThroughput { goal, unit, keys, interval: second }),
            rule(DynamicSampler::RateLimit { spans_per_second, burst: 100 }),
            rule(DynamicSampler::Ratio(0.3)),
        ]
    };
    let config = Config { rules: Rules::FirstMatch(whole(12.0, 40)), ..Config::default() };
    for part in shards(&config, 4) {
        assert_eq!(part.rules, Rules::FirstMatch(whole(3.0, 10)));
    }
}

#[test]
fn what_shards_did_adds_up() {
    let sampler =
        SamplerStats { keys: 31, beyond: 32, intervals: 33, last_seen: 34, last_kept: 35 };
    let memory = MemoryStats {
        kept: 21,
        dropped: 22,
        capacity: Remembered { kept: 23, dropped: 24 },
        false_positive_rate: 1e-9,
        forgotten_early: 25,
        bytes: 26,
    };
    let sharing = crate::tail::SharingStats {
        waiting: 41,
        asked: 42,
        kept_by_others: 43,
        dropped_by_others: 44,
        alone: 45,
        untold: 46,
    };
    let one = Stats {
        traces: 1,
        traces_kept: 2,
        traces_sampled_out: 3,
        traces_dropped: 4,
        decisions: [5; Trigger::ALL.len()],
        waited_millis: 6,
        waits: Waits { counts: [6; Waits::BOUNDS.len() + 1] },
        spans_kept: 7,
        spans_sampled_out: [8; Trigger::ALL.len()],
        spans_estimated: 9.5,
        spans_unknown: 10,
        late_kept: 11,
        late_sampled_out: 12,
        without_trace: 13,
        below_large_envelope: 14,
        without_room: 15,
        inconsistent: 16,
        copied_out: 17,
        copied_out_bytes: 18,
        unmatched: 20,
        root_errors: 19,
        storage: StorageStats { requests: 19, bytes: 20, full: 21, failed: 22 },
        memory,
        sharing,
        relief: ReliefStats {
            active: 1,
            level: 41,
            activations: 42,
            traces_kept: 43,
            traces_sampled_out: 44,
        },
        rules: vec![RuleStats {
            name: "rule".into(),
            traces_seen: 8,
            traces_sampled: 9,
            traces_dropped: 10,
            errors: 11,
            traces_kept: 12,
            spans_kept: 13,
            bytes_kept: 14,
            sampled: Volume { spans: 15, bytes: 16 },
            not_sampled: Volume { spans: 17, bytes: 18 },
            dropped: Volume { spans: 19, bytes: 20 },
            sampler,
        }],
    };
    let mut sum = one.clone();
    sum.add(&one);
    assert_eq!((sum.decisions, sum.below_large_envelope), ([10; Trigger::ALL.len()], 28));
    let relief = ReliefStats {
        active: 2,
        level: 41,
        activations: 84,
        traces_kept: 86,
        traces_sampled_out: 88,
    };
    assert_eq!(sum.relief, relief);
    assert_eq!((sum.waited_millis, sum.waits.counts[3]), (12, 12));
    assert_eq!((sum.rules[0].errors, sum.rules[0].spans_kept), (22, 26));
    assert_eq!((sum.sharing.waiting, sum.sharing.untold), (82, 92));
    assert_eq!(sum.rules[0].bytes_kept, 28);
    let RuleStats { sampled, not_sampled, dropped, .. } = sum.rules[0];
    assert_eq!(sampled, Volume { spans: 30, bytes: 32 });
    assert_eq!(not_sampled, Volume { spans: 34, bytes: 36 });
    assert_eq!(dropped, Volume { spans: 38, bytes: 40 });
    let stored = StorageStats { requests: 38, bytes: 40, full: 42, failed: 44 };
    assert_eq!(sum.storage, stored);
    let held = |by| Held {
        spans: by,
        traces: 2 * by,
        bytes: 3 * by,
        stored_bytes: 4 * by,
        storage_bytes: 5 * by,
    };
    let mut sum = held(1);
    sum.add(&held(10));
    assert_eq!(sum, held(11));
}
