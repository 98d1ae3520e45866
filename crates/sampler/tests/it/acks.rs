//! Who waits for spans is answered for each of them, once, whatever becomes of their traces.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use teleflow_otlp::{Ack, Answer, Payload, Signal};
use teleflow_sampler::{Config, Output, Remembered};

use crate::{payload, rules, sampler, traffic};

/// Takes what was kept; every second payload is lost.
fn hand_on(out: &mut Output, count: &mut u64) -> Answer {
    let mut told = Answer::default();
    for mut payload in out.kept.drain(..) {
        *count += 1;
        let items = payload.items();
        if count.is_multiple_of(2) {
            told.dropped += items;
            drop(payload);
        } else {
            told.delivered += items;
            payload.take_ack().settle(Answer::delivered(items));
        }
    }
    told
}

fn add(sum: &mut Answer, more: Answer) {
    sum.delivered += more.delivered;
    sum.sampled_out += more.sampled_out;
    sum.rejected += more.rejected;
    sum.dropped += more.dropped;
}

#[test]
fn every_span_is_answered_for_once() {
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut sampler = sampler(Config {
            rules: rules().into(),
            decision_wait: Duration::from_millis(rng.u64(1..2000)),
            max_bytes: rng.usize(64 * 1024..300 * 1024),
            max_traces: rng.usize(10..400),
            remembered: Remembered { kept: rng.usize(..200), dropped: rng.usize(..200) },
            payload_bytes: rng.usize(1..100_000),
            hash_seed: seed,
            ..Config::default()
        });
        let mut now = Instant::now();
        let (mut out, mut handed_on, mut told) = (Output::default(), 0, Answer::default());
        let heard = Arc::new(Mutex::new((0, Answer::default())));
        let (mut awaited, mut requests) = (0, 0);
        // What is awaited, what is not, and what is made of several segments.
        let mut merged = Payload::empty(Signal::Traces);
        for request in traffic(seed, 200, 500) {
            let mut payload = payload(&request);
            let is_awaited = rng.u8(..4) > 0;
            if is_awaited {
                let (heard, items) = (Arc::clone(&heard), payload.items());
                (awaited, requests) = (awaited + items, requests + 1);
                payload = payload.with_ack(Ack::new(items, move |answer| {
                    assert_eq!(answer.items(), items);
                    let mut heard = heard.lock().unwrap();
                    heard.0 += 1;
                    add(&mut heard.1, answer);
                }));
            }
            merged.append(payload);
            if rng.bool() {
                let payload = std::mem::replace(&mut merged, Payload::empty(Signal::Traces));
                sampler.offer(now, payload, &mut out);
                add(&mut told, hand_on(&mut out, &mut handed_on));
            }
            now += Duration::from_millis(rng.u64(..100));
            sampler.poll(now, &mut out);
            add(&mut told, hand_on(&mut out, &mut handed_on));
        }
        sampler.offer(now, merged, &mut out);
        while !sampler.drain(Instant::now(), &mut out) {}
        add(&mut told, hand_on(&mut out, &mut handed_on));
        told.sampled_out = out.sampled_out;
        let (answers, answer) = *heard.lock().unwrap();
        assert_eq!((answers, answer.items()), (requests, awaited), "seed {seed}");
        // Of those that were awaited no more can have fared in a way than of all.
        assert!(answer.delivered <= told.delivered && answer.dropped <= told.dropped);
        assert!(answer.sampled_out <= told.sampled_out && answer.rejected == 0);
        assert!(answer.delivered > 0 && answer.dropped > 0 && answer.sampled_out > 0);
    }
}

#[test]
fn a_sampler_that_is_dropped_has_lost_what_it_held() {
    let mut sampler = sampler(Config { rules: rules().into(), ..Config::default() });
    let heard = Arc::new(Mutex::new(Vec::new()));
    let payload = traffic(1, 5, 5).iter().map(payload).find(|payload| !payload.is_empty()).unwrap();
    let items = payload.items();
    let ack = Ack::new(items, {
        let heard = Arc::clone(&heard);
        move |answer| heard.lock().unwrap().push(answer)
    });
    sampler.offer(Instant::now(), payload.with_ack(ack), &mut Output::default());
    assert!(heard.lock().unwrap().is_empty());
    drop(sampler);
    assert_eq!(*heard.lock().unwrap(), [Answer::dropped(items)]);
}
