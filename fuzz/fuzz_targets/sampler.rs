//! Any bytes as requests into the tail sampler, the first of them its bounds: every span comes out
//! once, and is answered for.

#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use teleflow_otlp::{Ack, Answer, Payload, Signal, validate};
use teleflow_sampler::{
    Config, Counts, Output, Policy, Relief, Remembered, Rule, TailSampler, Threshold,
};

/// Two bits for each bound: without, tight, wide.
fn config([first, second]: [u8; 2]) -> Config {
    let rules =
        vec![Rule::new("errors", Policy::errors()), Rule::new("half", Policy::percent(50.0, ""))];
    let of = |byte: u8, at: u8| usize::from(byte >> at & 3);
    let many = [0, 0, 2, 1000][of(first, 6)];
    // What has no bits of its own.
    let more = first.wrapping_mul(0x9d) ^ second;
    let relief = [Some(0), Some(60), None, None][of(more, 0)];
    Config {
        rules: rules.into(),
        max_bytes: 64 * 1024,
        max_traces: [50_000, 1, 3, 40][of(first, 0)],
        max_trace_spans: [None, Some(0), Some(2), Some(20)][of(first, 2)],
        max_trace_bytes: [None, None, Some(10), Some(200)][of(first, 4)],
        remembered: Remembered { kept: many, dropped: many },
        decision_wait: Duration::from_secs([30, 0, 5, 20][of(second, 0)]),
        decision_wait_after_root: [None, None, Some(1), Some(10)][of(second, 2)]
            .map(Duration::from_secs),
        payload_bytes: [1000, 1, 30, 100_000][of(second, 4)],
        writes_threshold: second & 0x40 == 0,
        records_policy: second & 0x80 != 0,
        relief: relief.map(|activation| Relief {
            activation,
            deactivation: activation / 2,
            threshold: Threshold::from_probability(0.5).expect("a half is a probability"),
            at_least: Duration::from_secs(5),
        }),
        counts: [Counts::None, Counts::None, Counts::Spans, Counts::All][of(more, 2)],
        host: (more & 0x10 != 0).then(|| "h".to_owned()),
        dry_run: of(more, 5) == 0,
        ..Config::default()
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return };
    let [first, second, third, fourth] = *head;
    let mut sampler = TailSampler::new(config([first, second])).expect("it is a good one");
    let (mut now, mut out) = (Instant::now(), Output::default());
    let (mut offered, mut kept) = (0, 0);
    let answered = Arc::new(AtomicU64::new(0));
    let hand_on = |out: &mut Output, kept: &mut u64| {
        for mut payload in out.kept.drain(..) {
            assert_eq!(validate(Signal::Traces, &payload.to_bytes()), Ok(payload.items()));
            *kept += payload.items();
            let answer = Answer::delivered(payload.items());
            payload.take_ack().settle(answer);
        }
    };
    // Requests are parted by a byte that protobuf does not begin with, twice.
    for (at, request) in rest.split(|byte| *byte == 0xff).enumerate() {
        let request = Bytes::copy_from_slice(request);
        let Ok(payload) = Payload::parse(Signal::Traces, request) else { continue };
        offered += payload.items();
        let answered = Arc::clone(&answered);
        let ack = Ack::new(payload.items(), move |answer| {
            answered.fetch_add(answer.items(), Ordering::Relaxed);
        });
        sampler.offer(now, payload.with_ack(ack), &mut out);
        hand_on(&mut out, &mut kept);
        if at == 2 {
            sampler.reconfigure(config([third, fourth])).expect("it is a good one");
        }
        now += Duration::from_secs(9);
        sampler.poll(now, &mut out);
        hand_on(&mut out, &mut kept);
        assert_eq!(offered, kept + out.sampled_out + sampler.held().spans);
    }
    while !sampler.drain(now, &mut out) {
        hand_on(&mut out, &mut kept);
    }
    hand_on(&mut out, &mut kept);
    assert_eq!(offered, kept + out.sampled_out);
    assert_eq!(answered.load(Ordering::Relaxed), offered);
});
