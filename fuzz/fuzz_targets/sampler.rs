//! Any bytes as requests into the tail sampler: every span comes out once, and is answered for.

#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use teleflow_otlp::{Ack, Answer, Payload, Signal, validate};
use teleflow_sampler::{Config, Output, Policy, Rule, TailSampler};

fuzz_target!(|bytes: &[u8]| {
    let rules =
        vec![Rule::new("errors", Policy::errors()), Rule::new("half", Policy::percent(50.0, ""))];
    let rules = rules.into();
    let config = Config { rules, max_bytes: 64 * 1024, payload_bytes: 1000, ..Config::default() };
    let mut sampler = TailSampler::new(config).expect("it is a good one");
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
    for request in bytes.split(|byte| *byte == 0xff) {
        let request = Bytes::copy_from_slice(request);
        let Ok(payload) = Payload::parse(Signal::Traces, request) else { continue };
        offered += payload.items();
        let answered = Arc::clone(&answered);
        let ack = Ack::new(payload.items(), move |answer| {
            answered.fetch_add(answer.items(), Ordering::Relaxed);
        });
        sampler.offer(now, payload.with_ack(ack), &mut out);
        hand_on(&mut out, &mut kept);
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
