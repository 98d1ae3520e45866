//! Traffic made to take more memory or work than it should.

use std::time::{Duration, Instant};

use teleflow_otlp::{Payload, Signal, Writer};
use teleflow_sampler::{Config, Output, Policy, Remembered, Rule, TailSampler, Trigger};

use super::{SECOND, config};

const KIB: usize = 1024;

/// `TELEFLOW_HOSTILE_TRACES=1000000` for the full length.
fn many() -> u64 {
    let number = std::env::var("TELEFLOW_HOSTILE_TRACES").ok();
    number.and_then(|number| number.parse().ok()).unwrap_or(40_000)
}

fn all() -> Config {
    config(vec![Rule::new("all", Policy::Always)])
}

fn none() -> Config {
    Config { remembered: Remembered { kept: 0, dropped: 0 }, ..config(vec![]) }
}

/// A request of a span of each of these traces, in a scope with a name, below a resource with one
/// attribute.
fn request(ids: impl IntoIterator<Item = u128>, attribute: usize, name: usize) -> Payload {
    let (mut out, mut spans) = (Vec::new(), 0);
    Writer::new(&mut out).message(1, |group| {
        group.message(1, |resource| {
            resource.message(1, |pair| pair.str(1, &"k".repeat(attribute)));
        });
        group.message(2, |scope| {
            scope.message(1, |scope| scope.str(1, &"s".repeat(name)));
            for id in ids {
                spans += 1;
                scope.message(2, |span| span.bytes(1, &id.to_be_bytes()));
            }
        });
    });
    Payload::trusted(Signal::Traces, out.into(), spans)
}

fn kept(out: &mut Output) -> u64 {
    out.kept.drain(..).map(|payload| payload.items()).sum()
}

#[test]
fn ids_that_share_their_halves_are_told_apart() {
    let ids = |low: u128| (1..=256u128).map(move |high| high << 64 | low);
    for shift in [0, 56] {
        let mut sampler = TailSampler::new(Config { max_traces: 1 << 17, ..all() }).unwrap();
        let (now, mut out) = (Instant::now(), Output::default());
        for low in 0..128 {
            sampler.offer(now, request(ids(low << shift), 1, 0), &mut out);
            // Again, and in both orders of the halves.
            let swapped = ids(low << shift).map(|id| id.rotate_left(64));
            sampler.offer(now, request(swapped, 1, 0), &mut out);
        }
        let mut distinct = std::collections::HashSet::new();
        (0..128).flat_map(|low| ids(low << shift)).for_each(|id| {
            distinct.extend([id, id.rotate_left(64)]);
        });
        assert_eq!(sampler.held().traces, distinct.len() as u64);
        while !sampler.drain(now, &mut out) {}
        assert_eq!(kept(&mut out), 2 * 128 * 256);
        assert_eq!(sampler.stats().late_kept, 0);
    }
}

#[test]
fn a_trace_of_a_hundred_thousand_spans_takes_what_its_spans_take() {
    let mut sampler = TailSampler::new(all()).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let before = sampler.held().bytes;
    let mut wire = 0;
    for _ in 0..100 {
        let payload = request(std::iter::repeat_n(7, 1000), 1, 0);
        wire += payload.bytes() as u64;
        sampler.offer(now, payload, &mut out);
    }
    let held = sampler.held();
    assert_eq!((held.traces, held.spans), (1, 100_000));
    assert!(held.bytes - before <= wire + 48 * 100_000, "{} for {wire}", held.bytes);
    while !sampler.drain(now, &mut out) {}
    assert_eq!(sampler.stats().decisions.iter().sum::<u64>(), 1);
    let written: usize = out.kept.iter().map(Payload::bytes).sum();
    // A threshold each, in a trace state.
    assert!(written as u64 <= wire + 16 * 100_000, "{written} for {wire}");
    assert_eq!(kept(&mut out), 100_000);
}

#[test]
fn many_traces_of_a_span_are_decided_once_each_whatever_the_bound() {
    for max_traces in [1, 10, 1000] {
        let remembered = Remembered { kept: 100, dropped: 100 };
        let mut sampler =
            TailSampler::new(Config { max_traces, remembered, ..config(vec![]) }).unwrap();
        let (now, mut out) = (Instant::now(), Output::default());
        let mut most = 0;
        for n in 0..many() / 10 {
            let ids =
                (1..=10).map(|id| u128::from(n * 10 + id).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            sampler.offer(now, request(ids, 1, 0), &mut out);
            assert!(sampler.held().traces <= max_traces as u64);
            most = most.max(sampler.held().bytes);
        }
        assert!(most < 800 * KIB as u64, "{most} bytes were held");
        let traces = sampler.stats().traces;
        assert_eq!(traces, many() / 10 * 10);
        let decisions = sampler.stats().decisions[Trigger::Count as usize];
        assert_eq!(decisions, traces - sampler.held().traces);
        assert_eq!(out.sampled_out, decisions);
    }
}

#[test]
fn a_request_scattered_over_ten_thousand_traces_is_freed_bit_by_bit() {
    let max_bytes = 2048 * KIB;
    let mut sampler =
        TailSampler::new(Config { max_bytes, max_traces: usize::MAX, ..none() }).unwrap();
    let (start, mut out) = (Instant::now(), Output::default());
    for n in 0..20u32 {
        let now = start + n * SECOND / 10;
        let ids =
            (1..=10_000u128).map(|id| id << 32 | u128::from(n) << 8 | (id + u128::from(n)) % 7);
        sampler.offer(now, request(ids, 100, 10), &mut out);
        let held = sampler.held().bytes;
        assert!(held <= max_bytes as u64, "{held} bytes are held");
    }
    let held = sampler.held().spans;
    assert!(held > 5000, "{held} are held: more was decided than had to be");
    while !sampler.drain(start, &mut out) {}
    assert_eq!(out.sampled_out, 200_000);
    assert!(sampler.held().bytes < 4 * KIB as u64, "{}", sampler.held().bytes);
}

#[test]
fn envelopes_of_every_length_around_the_limit_come_out_as_they_were() {
    for payload_bytes in [1, 20, 130, 16_400] {
        let mut sampler = TailSampler::new(Config { payload_bytes, ..all() }).unwrap();
        let (now, mut out) = (Instant::now(), Output::default());
        let (mut offered, mut received) = (0u64, 0);
        for near in payload_bytes.saturating_sub(20)..payload_bytes + 20 {
            for split in [0, 5] {
                let name = near.min(split);
                let id = 1 + u128::from(offered);
                let payload = request(id..id + 9, near - name, name);
                let wire = payload.bytes();
                offered += payload.items();
                sampler.offer(now, payload, &mut out);
                let mut written = 0;
                let mut is_done = false;
                while !is_done {
                    is_done = sampler.drain(now, &mut out);
                    written += out.kept.iter().map(Payload::bytes).sum::<usize>();
                    received += kept(&mut out);
                }
                assert!(written < 4 * wire + 9 * 16, "{written} for {wire}");
                assert_eq!(received, offered);
            }
        }
        // The least envelope is longer than a byte.
        assert!((sampler.stats().below_large_envelope < offered) == (payload_bytes > 1));
        assert!(sampler.stats().below_large_envelope > 0);
    }
}

#[test]
fn traces_in_turn_are_written_once_each() {
    let mut sampler = TailSampler::new(all()).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    // Late or not: what alternates is no reason to write its resource each time.
    for _ in 0..3 {
        let payload = request((0..20_000).map(|n| 1 + n % 2), 1000, 10);
        let wire = payload.bytes();
        sampler.offer(now, payload, &mut out);
        while !sampler.drain(now, &mut out) {}
        let written: usize = out.kept.iter().map(Payload::bytes).sum();
        assert!(written < wire + 20_000 * 16, "{written} for {wire}");
        assert_eq!(kept(&mut out), 20_000);
    }
    assert_eq!(sampler.stats().late_kept, 40_000);
}

#[test]
fn tiny_requests_at_the_byte_bound_are_no_reason_each_to_weigh_all_traces() {
    let max_bytes = 1024 * KIB;
    let mut sampler =
        TailSampler::new(Config { max_bytes, max_traces: usize::MAX, ..none() }).unwrap();
    let (start, mut out) = (Instant::now(), Output::default());
    let mut next = 0u128;
    let mut ids = |count: u128| {
        next += count;
        next - count + 1..next + 1
    };
    // The bookkeeping takes most, until some are decided; then what comes is large.
    while sampler.stats().decisions[Trigger::Bytes as usize] == 0 {
        sampler.offer(start, request(ids(1000), 1, 0), &mut out);
    }
    let (mut times, mut before) = (0, sampler.stats().decisions[Trigger::Bytes as usize]);
    let offers = 4000;
    for n in 0..offers {
        let now = start + Duration::from_micros(n);
        sampler.offer(now, request(ids(1), 10 + n as usize % 90, 0), &mut out);
        let decisions = sampler.stats().decisions[Trigger::Bytes as usize];
        times += u64::from(decisions > before);
        before = decisions;
        assert!(sampler.held().bytes <= max_bytes as u64);
    }
    assert!(times <= offers / 10, "{times} times traces were weighed for {offers} requests");
}
