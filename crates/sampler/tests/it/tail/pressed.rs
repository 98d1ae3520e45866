//! Random traffic into samplers with little room: what is decided when, nobody foretells; but every
//! span is accounted for, and a trace stays together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use teleflow_otlp::{Ack, Answer, Payload, Signal, validate};
use teleflow_sampler::{
    Config, Output, Policy, Relief, Remembered, Rule, TailSampler, Threshold, Trigger,
};

use super::model::{Hint, Traffic, items, seeds, without_state};
use super::stored::elsewhere;

fn config(rng: &mut fastrand::Rng, remembers: bool) -> Config {
    let rules = vec![
        Rule::new("few", Policy::percent(rng.u32(8..90).into(), "")),
        Rule::new("errors", Policy::errors()),
    ];
    let few = |rng: &mut fastrand::Rng| if remembers { 100_000 } else { rng.usize(..60) };
    let millis = |rng: &mut fastrand::Rng, most| Duration::from_millis(rng.u64(..most));
    Config {
        rules: rules.into(),
        decision_wait: millis(rng, 20_000),
        decision_wait_after_root: rng.bool().then(|| millis(rng, 9000)),
        max_bytes: rng.usize(64 * 1024..200 * 1024),
        storage: (rng.u8(..3) == 0).then(elsewhere),
        max_traces: rng.usize(1..2000),
        max_trace_spans: (rng.u8(..4) == 0).then(|| rng.u64(..30)),
        max_trace_bytes: (rng.u8(..4) == 0).then(|| rng.u64(50..20_000)),
        remembered: Remembered { kept: few(rng), dropped: few(rng) },
        payload_bytes: if remembers { rng.usize(2000..50_000) } else { rng.usize(..3000) },
        records_policy: rng.bool(),
        relief: (rng.u8(..4) == 0).then(|| relief(rng)),
        hash_seed: 3,
        ..Config::default()
    }
}

fn relief(rng: &mut fastrand::Rng) -> Relief {
    let activation = rng.u8(..101);
    Relief {
        threshold: Threshold::from_probability(0.5).unwrap(),
        activation,
        deactivation: rng.u8(..=activation),
        at_least: Duration::from_millis(rng.u64(..5000)),
    }
}

/// What came out of a sampler.
#[derive(Default)]
struct Came {
    traffic: Traffic,
    /// By span: whether it came out.
    is_kept: Vec<bool>,
    kept: u64,
}

// === impl Came ===

impl Came {
    fn take(&mut self, out: &mut Output) {
        for mut payload in out.kept.drain(..) {
            let (bytes, count) = (payload.to_bytes(), payload.items());
            assert_eq!(validate(Signal::Traces, &bytes), Ok(count));
            self.kept += count;
            payload.take_ack().settle(Answer::delivered(count));
            for (message, _, resource, _) in items(&bytes) {
                let name = Span::decode(&*message).unwrap().name;
                let number: usize = name[..8].parse().unwrap();
                assert!(!std::mem::replace(&mut self.is_kept[number], true), "{number} came twice");
                let raw = &self.traffic.raw[number];
                assert!(without_state(&message) == without_state(&raw.message), "{number}");
                assert!(resource == raw.resource, "the resource of {number} has changed");
            }
        }
    }
}

/// Returns how many decisions were made for want of room, and by relief, how often spans were copied
/// out, and how many requests were stored.
fn run(seed: u64) -> [u64; 4] {
    let mut rng = fastrand::Rng::with_seed(seed);
    let remembers = rng.bool();
    let first = config(&mut rng, remembers);
    let mut max_bytes = first.max_bytes as u64;
    let mut sampler = TailSampler::new(first).unwrap();
    let (start, mut now, mut out) = (Instant::now(), 1_000_000, Output::default());
    let mut came = Came::default();
    let mut traces: BTreeMap<[u8; 16], Vec<usize>> = BTreeMap::new();
    let (answered, answers) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (mut awaited, mut askers) = (0, 0);
    for _ in 0..150 {
        // Mostly ahead.
        now = if rng.u8(..20) == 0 { now - now.min(5000) } else { now + rng.u64(..500) };
        let at = start + Duration::from_millis(now);
        match rng.u8(..30) {
            0 => {
                let next = config(&mut rng, remembers);
                max_bytes = next.max_bytes as u64;
                // Else traces would be parted by rules.
                let rules_stay = remembers.then(|| sampler_rules(seed));
                let rules = rules_stay.unwrap_or_else(|| next.rules.clone());
                sampler.reconfigure(Config { rules, ..next }).unwrap();
            }
            1..6 => sampler.poll(at, &mut out),
            _ => {
                let mut payload = Payload::empty(Signal::Traces);
                for _ in 0..rng.usize(1..4) {
                    let (bytes, sent) = came.traffic.request(&mut rng, 0);
                    for span in &sent {
                        let Some(id) = span.id else { continue };
                        traces.entry(id).or_default().push(span.number);
                    }
                    came.is_kept.resize(came.traffic.raw.len(), false);
                    let one = Payload::parse(Signal::Traces, bytes).unwrap();
                    (awaited, askers) = (awaited + one.items(), askers + 1);
                    let (answered, answers) = (Arc::clone(&answered), Arc::clone(&answers));
                    let ack = Ack::new(one.items(), move |answer| {
                        answered.fetch_add(answer.items(), Ordering::Relaxed);
                        answers.lock().unwrap().push(answer);
                    });
                    payload.append(one.with_ack(ack));
                }
                let bytes = payload.bytes() as u64;
                sampler.offer(at, payload, &mut out);
                let held = sampler.held().bytes - sampler.stats().memory.bytes;
                // A bound that has become lower is met with the next request.
                let most = max_bytes + max_bytes / 16 + 4 * bytes;
                assert!(bytes == 0 || held <= most, "{held} of {max_bytes}, {bytes} came");
            }
        }
        came.take(&mut out);
        let offered = came.traffic.raw.len() as u64;
        assert_eq!(offered, came.kept + out.sampled_out + sampler.held().spans);
    }
    let at = start + Duration::from_millis(now);
    while !sampler.drain(at, &mut out) {
        came.take(&mut out);
    }
    came.take(&mut out);
    assert_eq!(came.traffic.raw.len() as u64, came.kept + out.sampled_out);
    let answers = answers.lock().unwrap();
    assert_eq!((answers.len(), answered.load(Ordering::Relaxed)), (askers, awaited));
    assert_eq!(answers.iter().map(|answer| answer.delivered).sum::<u64>(), came.kept);
    if remembers {
        for (id, spans) in traces {
            let kept = spans.iter().filter(|number| came.is_kept[**number]).count();
            assert!(kept == 0 || kept == spans.len(), "{kept} of {} of {id:x?}", spans.len());
        }
    }
    let stats = sampler.stats();
    assert_eq!(sampler.held().stored_bytes, 0);
    let [early, relieved] =
        [Trigger::Bytes, Trigger::Relief].map(|by| stats.decisions[by as usize]);
    [early, relieved, stats.copied_out, stats.storage.requests]
}

/// The rules that the sampler of this seed began with.
fn sampler_rules(seed: u64) -> teleflow_sampler::Rules {
    let mut rng = fastrand::Rng::with_seed(seed);
    let remembers = rng.bool();
    config(&mut rng, remembers).rules
}

#[test]
fn whatever_is_decided_early_spans_are_accounted_for_and_traces_stay_together() {
    let mut sums = [0; 4];
    for seed in 0..seeds() {
        let hint = Hint(seed);
        sums.iter_mut().zip(run(seed)).for_each(|(sum, more)| *sum += more);
        std::mem::forget(hint);
    }
    let [early, relieved, copied, stored] = sums;
    let counted = format!("{early} for want of room, {copied} copied out, {stored} stored");
    assert!(early > 100 && copied > 10 && stored > 1000, "{counted}");
    assert!(relieved > 100, "{relieved} by relief");
}
