//! The byte bound, measured by the allocator.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_otlp::{Payload, Signal, Writer};
use teleflow_sampler::{Config, Output, Policy, Remembered, Rule, TailSampler, Trigger};
use teleflow_testkit::alloc::Counting;

#[global_allocator]
static ALLOCATED: Counting = Counting::new();

const MIB: usize = 1024 * 1024;

/// `TELEFLOW_BOUND_SPANS=10000000` for the full length.
fn spans() -> u64 {
    let number = std::env::var("TELEFLOW_BOUND_SPANS").ok();
    number.and_then(|number| number.parse().ok()).unwrap_or(500_000)
}

/// A request of up to 100 spans of traces that are open.
fn request(rng: &mut fastrand::Rng, open: &mut Vec<([u8; 16], u32)>) -> Payload {
    let mut out = Vec::new();
    let spans = rng.u64(1..=100);
    let attribute = [b'x'; 600];
    Writer::new(&mut out).message(1, |resource| {
        resource.message(1, |resource| {
            resource.message(1, |pair| pair.str(1, "service.name"));
        });
        resource.message(2, |scope| {
            for _ in 0..spans {
                if open.len() < 2000 {
                    open.push((rng.u128(1..).to_be_bytes(), rng.u32(1..40)));
                }
                let at = rng.usize(..open.len());
                let (id, left) = &mut open[at];
                scope.message(2, |span| {
                    span.bytes(1, &id[..]);
                    span.bytes(4, &[7; 8]);
                    span.fixed64(7, 1_000_000_000);
                    span.fixed64(8, 2_000_000_000);
                    span.message(9, |pair| pair.bytes(1, &attribute[..rng.usize(..600)]));
                    if rng.u16(..) < 300 {
                        span.message(15, |status| status.uint(3, 2));
                    }
                });
                *left -= 1;
                if *left == 0 {
                    open.swap_remove(at);
                }
            }
        });
    });
    // As long as it is: what a buffer has room for beyond that, the sampler cannot see.
    out.shrink_to_fit();
    Payload::trusted(Signal::Traces, Bytes::from(out), spans)
}

#[test]
fn what_is_allocated_stays_within_the_bound_and_a_tenth() {
    let max_bytes = 64 * MIB;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut open = Vec::with_capacity(4096);
    let mut out = Output::default();
    let before = ALLOCATED.bytes();
    let mut sampler = TailSampler::new(Config {
        rules: vec![
            Rule::new("errors", Policy::errors()),
            Rule::new("some", Policy::percent(10.0, "")),
        ]
        .into(),
        decision_wait: Duration::from_secs(30),
        max_bytes,
        max_traces: usize::MAX,
        remembered: Remembered { kept: 1000, dropped: 10_000 },
        payload_bytes: MIB / 4,
        ..Config::default()
    })
    .unwrap();
    let mut now = Instant::now();
    let (mut offered, mut kept) = (0, 0);
    ALLOCATED.forget_peak();
    while offered < spans() {
        let payload = request(&mut rng, &mut open);
        offered += payload.items();
        sampler.offer(now, payload, &mut out);
        kept += out.kept.drain(..).map(|payload| payload.items()).sum::<u64>();
        now += Duration::from_micros(rng.u64(..2000));
        while sampler.next_deadline().is_some_and(|due| due <= now) {
            sampler.poll(now, &mut out);
            kept += out.kept.drain(..).map(|payload| payload.items()).sum::<u64>();
        }
        assert_eq!(offered, kept + out.sampled_out + sampler.held().spans);
    }
    let most = ALLOCATED.peak() - before;
    assert!(most <= max_bytes + max_bytes / 10, "{most} bytes were allocated of {max_bytes}");
    assert!(most > max_bytes * 9 / 10, "{most} bytes: the bound was not reached");
    let stats = sampler.stats();
    assert!(stats.decisions[Trigger::Bytes as usize] > 1000, "{:?}", stats.decisions);
    drop((sampler, out));
    assert!(ALLOCATED.bytes() < before + 100_000, "nothing stays");
}
