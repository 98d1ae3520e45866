//! Requests made to take more memory than they should.

use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_otlp::{Payload, Signal};
use teleflow_sampler::{Config, Output, Policy, Remembered, Rule, TailSampler};

const MIB: usize = 1024 * 1024;

/// Keeps spans with an error.
fn sampler(max_bytes: usize) -> TailSampler {
    crate::sampler(Config {
        rules: vec![Rule::new("errors", Policy::errors())].into(),
        max_bytes,
        decision_wait: Duration::MAX,
        ..Config::default()
    })
}

fn field(key: u8, message: &[u8]) -> Vec<u8> {
    let mut out = vec![key];
    let mut len = message.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(message);
    out
}

/// A span of a trace of its own, with an error or without.
fn span(id: u128, is_error: bool) -> Vec<u8> {
    let status: &[u8] = if is_error { &[0x7a, 2, 0x18, 2] } else { &[] };
    field(0x12, &[&field(0x0a, &id.to_be_bytes())[..], status].concat())
}

/// Spans below a resource whose only attribute is so long.
fn below(attribute: usize, spans: &[u8]) -> Vec<u8> {
    let key_value = field(0x0a, &vec![b'x'; attribute]);
    let resource = field(0x0a, &field(0x0a, &key_value));
    field(0x0a, &[resource, field(0x12, spans)].concat())
}

/// Offers a request and takes everything out; returns how many bytes came out, after a check that
/// every span did or was sampled out.
fn through(sampler: &mut TailSampler, request: Vec<u8>) -> usize {
    let payload = Payload::parse(Signal::Traces, Bytes::from(request)).unwrap();
    let (spans, mut out) = (payload.items(), Output::default());
    sampler.offer(Instant::now(), payload, &mut out);
    while !sampler.drain(Instant::now(), &mut out) {}
    let kept: u64 = out.kept.iter().map(Payload::items).sum();
    assert_eq!(kept + out.sampled_out, spans);
    assert_eq!(sampler.held().spans, 0);
    out.kept.iter().map(Payload::bytes).sum()
}

#[test]
fn a_large_resource_is_not_written_for_every_trace_below_it() {
    let spans: Vec<u8> = (1..=40_000).flat_map(|id| span(id, true)).collect();
    for (attribute, max_bytes) in [(MIB / 2, MIB), (4 * MIB, MIB), (4 * MIB, 256 * MIB)] {
        let mut sampler = sampler(max_bytes);
        let request = below(attribute, &spans);
        let len = request.len();
        let written = through(&mut sampler, request);
        assert!(written < 4 * len, "{len} bytes became {written}");
        let large = if attribute > MIB { 40_000 } else { 0 };
        assert_eq!(sampler.stats().below_large_envelope, large);
    }
}

#[test]
fn many_resources_are_not_written_for_every_trace_that_touches_them() {
    // Each trace has a span below each of eight resources.
    let spans: Vec<u8> = (1..=20_000).flat_map(|id| span(id, true)).collect();
    let request = below(90_000, &spans).repeat(8);
    let len = request.len();
    let mut sampler = crate::sampler(Config {
        rules: vec![Rule::new("errors", Policy::errors())].into(),
        payload_bytes: 100_000,
        ..Config::default()
    });
    let written = through(&mut sampler, request);
    assert!(written < 3 * len, "{len} bytes became {written}");
}

#[test]
fn a_span_below_a_large_resource_follows_its_trace_when_that_is_decided() {
    let (mut sampler, mut out) = (sampler(256 * MIB), Output::default());
    let mut offer = |sampler: &mut TailSampler, request| {
        let payload = Payload::parse(Signal::Traces, Bytes::from(request)).unwrap();
        sampler.offer(Instant::now(), payload, &mut out);
        std::mem::take(&mut out).kept.iter().map(Payload::items).sum::<u64>()
    };
    assert_eq!(offer(&mut sampler, below(0, &[span(1, true), span(2, false)].concat())), 0);
    while !sampler.drain(Instant::now(), &mut Output::default()) {}
    let late = [span(1, false), span(2, true), span(3, true), span(4, false)].concat();
    assert_eq!(offer(&mut sampler, below(2 * MIB, &late)), 2, "1 was kept before, 3 has an error");
    assert_eq!((sampler.stats().late_kept, sampler.stats().late_sampled_out), (1, 1));
}

#[test]
fn groups_without_spans_take_no_memory() {
    let mut sampler = sampler(256 * MIB);
    let empty = field(0x0a, &[0x12, 0x00].repeat(2 * MIB));
    let request = [empty, below(10, &span(1, false))].concat();
    let len = request.len() as u64;
    let payload = Payload::parse(Signal::Traces, Bytes::from(request)).unwrap();
    let before = sampler.held().bytes;
    sampler.offer(Instant::now(), payload, &mut Output::default());
    let held = sampler.held().bytes - before;
    assert!(held < len + 32 * 1024, "{held} bytes are held of a request of {len}");
}

#[test]
fn groups_of_one_empty_span_each_take_no_memory_once_they_are_decided() {
    let mut sampler = sampler(MIB);
    // Two scopes in turn, so that no two neighbours are alike.
    let pair = [0x12, 4, 0x12, 0, 0x1a, 0, 0x12, 2, 0x12, 0];
    let request = field(0x0a, &pair.repeat(100_000));
    assert_eq!(through(&mut sampler, request), 0);
    assert_eq!(sampler.stats().without_trace, 200_000);
    assert!(sampler.held().bytes < 64 * 1024, "{} bytes are held", sampler.held().bytes);
}

#[test]
fn the_bound_is_held_within_a_request_too() {
    let mut sampler = crate::sampler(Config {
        rules: vec![Rule::new("errors", Policy::errors())].into(),
        max_bytes: 2 * MIB,
        decision_wait: Duration::MAX,
        remembered: Remembered { kept: 25_000, dropped: 25_000 },
        ..Config::default()
    });
    let (mut most, mut out) = (0, Output::default());
    for request in 0..4u128 {
        // Less than the bound in bytes, several times as much with its bookkeeping.
        let spans: Vec<u8> = (1..=50_000).flat_map(|n| span(request << 32 | n, false)).collect();
        let payload = Payload::parse(Signal::Traces, Bytes::from(below(10, &spans))).unwrap();
        sampler.offer(Instant::now(), payload, &mut out);
        // The decisions have a bound of their own.
        most = most.max(sampler.held().bytes);
    }
    assert!(most < 3 * MIB as u64, "{most} bytes were held");
    // Had the bounds been looked at only behind each request, the bookkeeping of it all would have
    // pushed everything out.
    let traces = sampler.held().traces;
    assert!((2500..=12_500).contains(&traces), "{traces} traces are held");
    while !sampler.drain(Instant::now(), &mut out) {}
    assert_eq!(out.sampled_out, 200_000);
    assert!(sampler.held().bytes < MIB as u64, "only decisions are held");
}

#[test]
fn a_poll_stops_when_it_kept_much_and_goes_on_where_it_stopped() {
    let mut sampler = crate::sampler(Config {
        rules: vec![Rule::new("errors", Policy::errors())].into(),
        decision_wait: Duration::from_secs(1),
        payload_bytes: 10_000,
        ..Config::default()
    });
    let (now, mut out) = (Instant::now(), Output::default());
    let spans: Vec<u8> = (1..=10_000).flat_map(|id| span(id, true)).collect();
    sampler.offer(now, Payload::parse(Signal::Traces, below(10, &spans).into()).unwrap(), &mut out);
    let due = now + Duration::from_secs(1);
    let (mut polls, mut kept) = (0, 0);
    while sampler.next_deadline().is_some_and(|next| next <= due) {
        sampler.poll(due, &mut out);
        assert!(out.kept.iter().map(Payload::bytes).sum::<usize>() < 60_000);
        kept += out.kept.drain(..).map(|payload| payload.items()).sum::<u64>();
        polls += 1;
    }
    assert_eq!(kept, 10_000);
    assert!(polls > 5, "{polls}");
}
