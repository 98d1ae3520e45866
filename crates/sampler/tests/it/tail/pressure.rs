//! What happens at the byte bound.

use std::time::Instant;

use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_sampler::{Config, Output, Policy, Remembered, Rule, TailSampler, Trigger};

use super::{SECOND, config, errors_and, failed, id, names, offer, span};

const KIB: usize = 1024;

/// The memory of decisions has a bound of its own.
const NOTHING: Remembered = Remembered { kept: 0, dropped: 0 };

fn large(id: [u8; 16], bytes: usize) -> Span {
    span(id, &"x".repeat(bytes))
}

#[test]
fn large_and_old_traces_are_decided_first() {
    let config = Config {
        max_bytes: 280 * KIB,
        decision_wait: 100 * SECOND,
        remembered: NOTHING,
        ..config(vec![])
    };
    let mut sampler = TailSampler::new(config).unwrap();
    let (start, mut out) = (Instant::now(), Output::default());
    // Old and small, old and large, young and large.
    for n in 0..50 {
        offer(&mut sampler, start, vec![large(id(1000 + n), 100)], &mut out);
    }
    for n in 0..10 {
        offer(&mut sampler, start, vec![large(id(2000 + n), 10_000)], &mut out);
    }
    for n in 0..20 {
        offer(&mut sampler, start + 80 * SECOND, vec![large(id(3000 + n), 10_000)], &mut out);
    }
    let stats = sampler.stats();
    let early = stats.decisions[Trigger::Bytes as usize];
    assert!((4..=10).contains(&early), "{early} were decided early");
    assert_eq!(out.sampled_out, early);
    assert!(sampler.held().bytes < 300_000);
    // All that are small and all that are young are still there: late spans would be told apart.
    let before = sampler.held().traces;
    for n in 0..10 {
        offer(&mut sampler, start + 80 * SECOND, vec![large(id(1000 + 2 * n), 1)], &mut out);
    }
    for n in 0..10 {
        offer(&mut sampler, start + 80 * SECOND, vec![large(id(3000 + n), 1)], &mut out);
    }
    assert_eq!((sampler.held().traces, sampler.stats().late_sampled_out), (before, 0));
}

#[test]
fn to_evict_is_to_decide() {
    let config = Config {
        max_bytes: 128 * KIB,
        decision_wait: 100 * SECOND,
        remembered: NOTHING,
        ..config(errors_and(0.0))
    };
    let mut sampler = TailSampler::new(config).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    for n in 0..1000 {
        let trace = if n % 10 == 0 {
            vec![failed(id(n + 1), &format!("{n:04}")), large(id(n + 1), 3000)]
        } else {
            vec![large(id(n + 1), 3000)]
        };
        offer(&mut sampler, now, trace, &mut out);
        assert!(sampler.held().bytes < 160_000, "{}", sampler.held().bytes);
    }
    while !sampler.drain(now, &mut out) {}
    let kept: u64 = out.kept.iter().map(|payload| payload.items()).sum();
    assert_eq!((kept, out.sampled_out), (200, 900));
    assert!(sampler.stats().decisions[Trigger::Bytes as usize] > 900);
}

#[test]
fn a_few_spans_do_not_keep_whole_requests_in_memory() {
    // Of each request all but one span is decided within a second; that one waits for long. Its
    // requests would take ten times the bound.
    let config = Config {
        max_bytes: 512 * KIB,
        remembered: NOTHING,
        decision_wait: 1000 * SECOND,
        decision_wait_after_root: Some(SECOND),
        ..config(vec![Rule::new("all", Policy::Always)])
    };
    let mut sampler = TailSampler::new(config).unwrap();
    let (start, mut out) = (Instant::now(), Output::default());
    for n in 0..400u32 {
        let now = start + 2 * n * SECOND;
        let mut spans: Vec<_> = (1..50).map(|m| large(id(u64::from(n * 100 + m)), 200)).collect();
        let waiting = span(id(1 << 40 | u64::from(n)), &format!("{n:03}"));
        spans.push(Span { parent_span_id: vec![1; 8], ..waiting });
        offer(&mut sampler, now, spans, &mut out);
        sampler.poll(now + SECOND, &mut out);
        assert!(sampler.held().bytes <= 600 * 1024, "{}", sampler.held().bytes);
    }
    let stats = sampler.stats();
    assert_eq!(stats.decisions[Trigger::Bytes as usize], 0, "nothing was decided early");
    assert!(stats.copied_out > 0 && stats.copied_out_bytes > 2_000_000, "{stats:?}");
    assert_eq!(sampler.held().spans, 400);
    out.kept.clear();
    // They are whole: they come out as they went in.
    while !sampler.drain(start + 900 * SECOND, &mut out) {}
    let expected: Vec<_> = (0..400).map(|n| format!("{n:03}")).collect();
    assert_eq!(names(&mut out), expected);
}

#[test]
fn room_that_small_traces_took_is_there_for_large_ones() {
    let max_bytes = 2048 * KIB;
    let config = Config {
        max_bytes,
        max_traces: usize::MAX,
        decision_wait: 100 * SECOND,
        decision_wait_after_root: Some(SECOND),
        remembered: NOTHING,
        ..config(vec![])
    };
    let mut sampler = TailSampler::new(config).unwrap();
    let (start, mut out) = (Instant::now(), Output::default());
    let mut offered = 0;
    for round in 0..3u32 {
        let now = start + 10 * round * SECOND;
        // One that stays, so that the table is never empty.
        let stays = Span { parent_span_id: vec![1; 8], ..span(id(7 + u64::from(round)), "stays") };
        offer(&mut sampler, now, vec![stays], &mut out);
        for n in 0..20_000u32 {
            let id = id(u64::from(round) << 32 | 1 << 31 | u64::from(n));
            offer(&mut sampler, now, vec![span(id, "")], &mut out);
        }
        sampler.poll(now + SECOND, &mut out);
        for n in 0..300u32 {
            let id = id(u64::from(round) << 32 | 1 << 30 | u64::from(n));
            let waits = Span { parent_span_id: vec![1; 8], ..large(id, 10_000) };
            offer(&mut sampler, now, vec![waits], &mut out);
            let held = sampler.held().bytes as usize;
            assert!(held <= max_bytes + 20_000, "{held}");
        }
        offered += 20_301;
    }
    assert_eq!(offered, out.sampled_out + sampler.held().spans);
}
