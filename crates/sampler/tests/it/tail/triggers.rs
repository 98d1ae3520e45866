//! When a trace is decided.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_sampler::{Config, Output, Policy, Rule, Stats, TailSampler, Trigger, Waits};

use super::{SECOND, config, errors_and, failed, id, names, offer, span};

fn child(span: Span) -> Span {
    Span { parent_span_id: vec![1; 8], ..span }
}

fn all() -> Vec<Rule> {
    vec![Rule::new("all", Policy::Always)]
}

fn count(stats: &Stats, trigger: Trigger) -> u64 {
    stats.decisions[trigger as usize]
}

#[test]
fn a_trace_whose_root_is_there_waits_less() {
    let config = Config {
        decision_wait: 30 * SECOND,
        decision_wait_after_root: Some(2 * SECOND),
        ..config(all())
    };
    let mut sampler = TailSampler::new(config).unwrap();
    let (start, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, start, vec![child(span(id(1), "a")), child(span(id(2), "b"))], &mut out);
    assert_eq!(sampler.next_deadline(), Some(start + 30 * SECOND));
    offer(&mut sampler, start + 5 * SECOND, vec![span(id(2), "root of b")], &mut out);
    assert_eq!(sampler.next_deadline(), Some(start + 7 * SECOND));
    // What comes after the root belongs to the trace as well.
    offer(&mut sampler, start + 6 * SECOND, vec![child(span(id(2), "c"))], &mut out);
    sampler.poll(start + 7 * SECOND, &mut out);
    assert_eq!(names(&mut out), ["b", "c", "root of b"]);
    // A root at the end does not make a trace wait longer.
    offer(&mut sampler, start + 29 * SECOND, vec![span(id(1), "root of a")], &mut out);
    assert_eq!(sampler.next_deadline(), Some(start + 30 * SECOND));
    sampler.poll(start + 30 * SECOND, &mut out);
    assert_eq!(names(&mut out), ["a", "root of a"]);
    let stats = sampler.stats();
    assert_eq!((count(&stats, Trigger::AfterRoot), count(&stats, Trigger::Wait)), (1, 1));
    assert_eq!(stats.waited_millis, 37_000);
    let bounds = Waits::BOUNDS.map(Some).into_iter().chain([None]);
    let waited = std::iter::zip(bounds, stats.waits.counts).filter(|(_, count)| *count > 0);
    // By what is a little more than 7 and 30 seconds.
    let expected = [(Duration::from_millis(7_600), 1), (Duration::from_millis(30_100), 1)];
    assert_eq!(waited.collect::<Vec<_>>(), expected.map(|(bound, count)| (Some(bound), count)));
}

#[test]
fn a_trace_of_too_many_spans_is_decided_at_once_and_the_rest_follows() {
    let config = Config { max_trace_spans: Some(100), ..config(errors_and(0.0)) };
    let mut sampler = TailSampler::new(config).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let mut looping: Vec<_> = (0..100_000).map(|n| span(id(1), &format!("{n:06}"))).collect();
    looping[50] = failed(id(1), "failed");
    offer(&mut sampler, now, looping, &mut out);
    let kept: u64 = out.kept.iter().map(|payload| payload.items()).sum();
    assert_eq!((kept, out.sampled_out, sampler.held().traces), (100_000, 0, 0));
    let fine: Vec<_> = (0..250).map(|n| span(id(2), &format!("{n}"))).collect();
    offer(&mut sampler, now, fine, &mut out);
    assert_eq!((out.sampled_out, sampler.held().traces), (250, 0));
    let stats = sampler.stats();
    assert_eq!(count(&stats, Trigger::Spans), 2);
    assert_eq!((stats.late_kept, stats.late_sampled_out), (99_900, 150));
    assert_eq!(stats.spans_sampled_out[Trigger::Spans as usize], 100);
}

#[test]
fn a_trace_of_too_many_bytes_is_left_out_whatever_policies_say() {
    let config = Config { max_trace_bytes: Some(10_000), ..config(all()) };
    let mut sampler = TailSampler::new(config).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let large = "x".repeat(6000);
    offer(&mut sampler, now, vec![span(id(1), &large), span(id(2), &large)], &mut out);
    offer(&mut sampler, now, vec![span(id(1), &large), span(id(2), "small")], &mut out);
    assert_eq!((out.sampled_out, sampler.held().traces), (2, 1));
    offer(&mut sampler, now, vec![span(id(1), "late")], &mut out);
    assert_eq!(out.sampled_out, 3);
    sampler.poll(now + SECOND, &mut out);
    assert_eq!(names(&mut out), ["small", &large]);
    assert_eq!(count(&sampler.stats(), Trigger::TooLarge), 1);
}

#[test]
fn at_the_end_what_is_undecided_is_decided_or_left_out() {
    for (drops_at_end, kept) in [(false, 1), (true, 0)] {
        let mut sampler =
            TailSampler::new(Config { drops_at_end, ..config(errors_and(0.0)) }).unwrap();
        let (now, mut out) = (Instant::now(), Output::default());
        offer(&mut sampler, now, vec![failed(id(1), "a"), span(id(2), "b")], &mut out);
        assert!(sampler.drain(now, &mut out));
        assert_eq!(names(&mut out).len() as u64, kept);
        assert_eq!(kept + out.sampled_out, 2);
        assert_eq!(count(&sampler.stats(), Trigger::Drain), 2);
    }
}

#[test]
fn a_sampler_that_blocks_decides_nothing_early_and_says_that_it_is_full() {
    let config = Config { max_traces: 3, blocks_when_full: true, ..config(all()) };
    let mut sampler = TailSampler::new(config).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    for n in 1..=5 {
        assert_eq!(sampler.is_full(), n > 3);
        offer(&mut sampler, now, vec![span(id(n), "x")], &mut out);
    }
    assert_eq!((sampler.held().traces, out.kept.len()), (5, 0));
    sampler.poll(now + SECOND, &mut out);
    assert!(!sampler.is_full());
    assert_eq!(out.kept.iter().map(|payload| payload.items()).sum::<u64>(), 5);
}

#[test]
fn a_clock_that_steps_back_or_far_ahead_loses_nothing() {
    let mut sampler = TailSampler::new(config(all())).unwrap();
    let mut out = Output::default();
    let start = Instant::now() + Duration::from_secs(100);
    let steps = [0, 5, -50, 3, -99, 7, 1_000_000, 2];
    for (n, step) in steps.into_iter().enumerate() {
        let by = Duration::from_secs(i64::unsigned_abs(step));
        let now = if step < 0 { start - by } else { start + by };
        offer(&mut sampler, now, vec![span(id(n as u64 + 1), &n.to_string())], &mut out);
        sampler.poll(now, &mut out);
    }
    let last = start + Duration::from_secs(1_000_002);
    sampler.poll(last, &mut out);
    assert_eq!(names(&mut out).len(), steps.len());
    assert_eq!(sampler.next_deadline(), None);
}
