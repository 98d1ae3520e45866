//! Stress relief: what begins under pressure is decided at once, by chance.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_otlp::span::StatusCode;
use teleflow_sampler::{
    Config, ConfigError, Output, Policy, Randomness, Relief, Remembered, Rule, TailSampler,
    Threshold, TraceState, Trigger,
};

use super::{SECOND, config, errors_and, failed, id, names, offer, requests, span, states};

/// The highest randomness there is: whatever keeps anything keeps it.
const HIGHEST: u64 = 0xff_ffff_ffff_ffff;

/// One of ten, from 8 of 10 traces on until there are fewer than 5.
fn relieving(rules: Vec<Rule>) -> Config {
    let relief = Relief {
        threshold: Threshold::from_probability(0.1).unwrap(),
        activation: 80,
        deactivation: 50,
        at_least: 3 * SECOND,
    };
    Config { max_traces: 10, relief: Some(relief), decision_wait: 10 * SECOND, ..config(rules) }
}

fn error_of(relief: Relief) -> Option<ConfigError> {
    TailSampler::new(Config { relief: Some(relief), ..Config::default() }).err()
}

#[test]
fn what_begins_under_pressure_is_decided_at_once_and_stays_together() {
    let mut sampler = TailSampler::new(relieving(errors_and(0.0))).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, (1..=7).map(|n| failed(id(n), &n.to_string())).collect(), &mut out);
    assert!(!sampler.is_relieving());
    assert_eq!(sampler.stats().relief.level, 70);
    offer(&mut sampler, now, vec![failed(id(8), "8")], &mut out);
    assert!(sampler.is_relieving() && out.kept.is_empty());
    // No error counts now, nor does a trace take room: chance alone decides.
    let new = vec![failed(id(100), "low"), span(id(HIGHEST), "high"), span(id(HIGHEST), "again")];
    offer(&mut sampler, now, new, &mut out);
    let kept = states(&mut out);
    let of = |name: &str| (name.to_owned(), "ot=th:e666".to_owned());
    assert_eq!(kept, [of("high"), of("again")].into());
    assert_eq!((out.sampled_out, sampler.held().traces), (1, 8));
    // What was held goes on as without, and so does what comes to it.
    offer(&mut sampler, now, vec![span(id(3), "joins")], &mut out);
    assert_eq!(sampler.held().spans, 9);
    sampler.poll(now + 10 * SECOND, &mut out);
    assert_eq!(names(&mut out), ["1", "2", "3", "4", "5", "6", "7", "8", "joins"]);
    // The rest of the others follows, when relief is long over.
    sampler.poll(now + 20 * SECOND, &mut out);
    assert!(!sampler.is_relieving());
    let late = vec![failed(id(100), "low"), span(id(HIGHEST), "late"), failed(id(101), "new")];
    offer(&mut sampler, now + 20 * SECOND, late, &mut out);
    assert_eq!(states(&mut out), [of("late")].into());
    assert_eq!((out.sampled_out, sampler.held().traces), (2, 1));
    let stats = sampler.stats();
    assert_eq!((stats.traces, stats.decisions[Trigger::Relief as usize]), (11, 2));
    assert_eq!((stats.relief.traces_kept, stats.relief.traces_sampled_out), (1, 1));
    assert_eq!((stats.relief.activations, stats.relief.active, stats.relief.level), (1, 0, 10));
    assert_eq!((stats.traces_kept, stats.traces_sampled_out), (9, 1));
    // What comes in a row with the span that begins a trace is not late.
    assert_eq!((stats.late_kept, stats.late_sampled_out), (1, 1));
    assert_eq!(stats.spans_sampled_out[Trigger::Relief as usize], 1);
    assert_eq!(stats.spans_kept + 2 + sampler.held().spans, 15, "{stats:?}");
}

#[test]
fn it_ends_by_itself_when_the_level_was_low_for_long_enough() {
    let mut sampler = TailSampler::new(relieving(errors_and(0.0))).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, (1..=9).map(|n| span(id(n), "")).collect(), &mut out);
    assert_eq!(sampler.next_deadline(), Some(now + 10 * SECOND));
    sampler.poll(now + 10 * SECOND, &mut out);
    assert!(sampler.is_relieving() && sampler.held().traces == 0);
    assert_eq!(sampler.next_deadline(), Some(now + 13 * SECOND));
    sampler.poll(now + 13 * SECOND, &mut out);
    assert!(!sampler.is_relieving());
    assert_eq!((sampler.next_deadline(), out.sampled_out), (None, 9));
}

#[test]
fn what_waits_for_the_sampler_counts_too_and_nobody_is_held_up() {
    let mut sampler =
        TailSampler::new(Config { blocks_when_full: true, ..relieving(errors_and(0.0)) }).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    sampler.note_waiting(80);
    offer(&mut sampler, now, (1..=20).map(|n| span(id(n), "")).collect(), &mut out);
    assert!(sampler.held().traces == 20 && sampler.is_relieving() && !sampler.is_full());
    sampler.note_waiting(0);
    sampler.poll(now + 30 * SECOND, &mut out);
    sampler.poll(now + 40 * SECOND, &mut out);
    assert!(!sampler.is_relieving() && sampler.held().traces == 0);
    sampler.note_waiting(79);
    offer(&mut sampler, now + 40 * SECOND, vec![span(id(HIGHEST), "")], &mut out);
    assert_eq!((sampler.is_relieving(), sampler.held().traces), (false, 1));
    assert_eq!(sampler.stats().relief.level, 79);
}

#[test]
fn bytes_count_as_traces_do() {
    let config = Config { max_bytes: 100_000, max_traces: 1000, ..relieving(errors_and(0.0)) };
    let mut sampler = TailSampler::new(config).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let mut held = 0;
    for n in 1..200 {
        offer(&mut sampler, now, vec![span(id(n), &"x".repeat(1000))], &mut out);
        if !sampler.is_relieving() {
            held = n;
        }
    }
    assert!((40..80).contains(&held), "{held}");
    assert_eq!((sampler.held().traces, out.sampled_out), (held + 1, 198 - held));
    assert_eq!(sampler.stats().decisions[Trigger::Bytes as usize], 0, "none goes early");
}

#[test]
fn always_is_from_the_first_trace_on_and_can_begin_and_end_with_a_reload() {
    let relief = Relief { activation: 0, deactivation: 0, ..Relief::default() };
    let on = Config { relief: Some(relief), ..relieving(errors_and(0.0)) };
    let off = Config { relief: None, ..on.clone() };
    let mut sampler = TailSampler::new(on.clone()).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![span(id(1), "")], &mut out);
    assert_eq!((out.sampled_out, sampler.next_deadline()), (1, None));
    sampler.poll(now + 1000 * SECOND, &mut out);
    sampler.reconfigure(off).unwrap();
    offer(&mut sampler, now, vec![span(id(1), ""), span(id(2), "")], &mut out);
    assert_eq!((out.sampled_out, sampler.held().traces), (2, 1), "the first is remembered");
    sampler.reconfigure(on).unwrap();
    offer(&mut sampler, now, vec![span(id(3), "")], &mut out);
    assert_eq!((out.sampled_out, sampler.held().traces), (3, 1));
    assert_eq!(sampler.stats().relief.activations, 2);
}

#[test]
fn the_randomness_and_the_threshold_that_a_span_brings_are_heeded() {
    let relief = Relief { activation: 0, deactivation: 0, ..Relief::default() };
    // What policies with a salt decide with is none of relief's business.
    let rules = vec![Rule::new("salted", Policy::percent(50.0, "salt"))];
    let mut sampler =
        TailSampler::new(Config { relief: Some(relief), ..relieving(rules) }).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let with = |id, name: &str, state: &str| Span { trace_state: state.into(), ..span(id, name) };
    let first = vec![
        with(id(1), "high", "ot=rv:ffffffffffffff"),
        with(id(HIGHEST), "low", "ot=rv:00000000000000"),
        with(id(HIGHEST - 1), "before", "ot=th:ffe,a=b"),
        with(id(HIGHEST - 2), "lower", "ot=th:8"),
        span(id(HIGHEST - 3), "none"),
    ];
    let late = first.iter().map(|span| Span { name: format!("{}2", span.name), ..span.clone() });
    let late: Vec<_> = late.collect();
    offer(&mut sampler, now, first, &mut out);
    offer(&mut sampler, now, late, &mut out);
    let kept = states(&mut out);
    let of = [("high", "ot=rv:ffffffffffffff;th:fd70a"), ("before", "ot=th:ffe,a=b")];
    let of = of.into_iter().chain([("lower", "ot=th:fd70a"), ("none", "ot=th:fd70a")]);
    let wanted = of.flat_map(|(name, state)| {
        [name.to_owned(), format!("{name}2")].map(|name| (name, state.to_owned()))
    });
    assert_eq!(kept, wanted.collect());
    assert_eq!((out.sampled_out, sampler.stats().inconsistent), (2, 0));
}

#[test]
fn who_kept_it_is_told() {
    let relief = Relief { activation: 0, deactivation: 0, ..Relief::default() };
    let config =
        Config { relief: Some(relief), records_policy: true, ..relieving(errors_and(0.0)) };
    let mut sampler = TailSampler::new(config.clone()).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![span(id(HIGHEST), "")], &mut out);
    let told = |out: &mut Output| format!("{:?}", requests(out));
    let first = told(&mut out);
    assert!(first.contains("\"stress_relief\"") && !first.contains("cached_decision"), "{first}");
    // Whatever the rules are by then.
    sampler.reconfigure(Config { rules: errors_and(1.0).into(), ..config }).unwrap();
    offer(&mut sampler, now, vec![span(id(HIGHEST), "")], &mut out);
    let late = told(&mut out);
    assert!(late.contains("\"stress_relief\"") && late.contains("cached_decision"), "{late}");
}

#[test]
fn levels_that_make_no_sense_are_refused() {
    let default = Relief::default();
    assert_eq!(error_of(default), None);
    assert_eq!(error_of(Relief { activation: 75, ..default }), None);
    let error = error_of(Relief { activation: 74, ..default }).unwrap();
    assert!(error.to_string().contains("74") && error.to_string().contains("75"), "{error}");
    assert!(error_of(Relief { activation: 101, ..default }).is_some());
}

#[test]
fn a_storm_leaves_the_counts_as_true_as_a_calm() {
    for seed in 1..=2 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let relief = Relief {
            threshold: Threshold::from_probability(0.05).unwrap(),
            at_least: SECOND / 2,
            ..Relief::default()
        };
        let mut sampler = TailSampler::new(Config {
            decision_wait: SECOND,
            max_bytes: 200_000,
            relief: Some(relief),
            remembered: Remembered { kept: 50_000, dropped: 50_000 },
            hash_seed: seed,
            ..config(errors_and(20.0))
        })
        .unwrap();
        let (mut now, mut out) = (Instant::now(), Output::default());
        let (mut offered, mut came, mut kept, mut estimate, mut variance) = (0.0, 0, 0, 0.0, 0.0);
        let mut take = |out: &mut Output| {
            for state in requests(out)
                .into_iter()
                .flat_map(|request| request.resource_spans)
                .flat_map(|resource| resource.scope_spans)
                .flat_map(|scope| scope.spans)
                .map(|span| span.trace_state)
            {
                let count = TraceState::parse(&state).threshold().unwrap().adjusted_count();
                (kept, estimate) = (kept + 1, estimate + count);
                // As if the four spans that a trace has at most were kept or left out as one.
                variance += 4.0 * count * (count - 1.0);
            }
        };
        let half: Threshold = "8".parse().unwrap();
        for round in 0..300 {
            // Ten calm rounds, then ten stormy ones.
            let traces = if round / 10 % 2 == 0 { 8 } else { 120 };
            let mut spans = Vec::new();
            for n in 0..traces {
                let id = rng.u128(1..).to_be_bytes();
                let count = rng.usize(1..5);
                offered += count as f64;
                let was_sampled = n % 3 == 0;
                if was_sampled && !half.keeps(Randomness::from_trace_id(id)) {
                    continue;
                }
                spans.extend((0..count).map(|at| {
                    let status = if rng.u8(..50) == 0 { StatusCode::Error } else { StatusCode::Ok };
                    let name = "x".repeat(rng.usize(..200));
                    Span {
                        trace_state: if was_sampled { "ot=th:8".into() } else { String::new() },
                        parent_span_id: if at == 0 { Vec::new() } else { vec![1; 8] },
                        ..crate::span(id, &name, status)
                    }
                }));
            }
            rng.shuffle(&mut spans);
            came += spans.len() as u64;
            let second = spans.split_off(spans.len() / 2);
            for part in [spans, second] {
                offer(&mut sampler, now, part, &mut out);
                now += Duration::from_millis(rng.u64(40..120));
                sampler.poll(now, &mut out);
                take(&mut out);
            }
        }
        while !sampler.drain(now, &mut out) {
            take(&mut out);
        }
        take(&mut out);
        let (stats, sigma) = (sampler.stats(), f64::sqrt(variance));
        assert_eq!(came, kept + out.sampled_out, "the books balance");
        assert_eq!(stats.inconsistent + stats.without_room, 0);
        let relieved = stats.decisions[Trigger::Relief as usize];
        assert!(relieved > 3000 && stats.relief.activations > 5, "{stats:?}");
        assert_eq!(relieved, stats.relief.traces_kept + stats.relief.traces_sampled_out);
        assert!(stats.decisions[Trigger::Wait as usize] > 2000, "{stats:?}");
        assert!(
            (estimate - offered).abs() < 4.0 * sigma && sigma < offered / 10.0,
            "{offered} spans were estimated as {estimate}, sigma {sigma}"
        );
    }
}
