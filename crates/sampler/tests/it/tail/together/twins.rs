//! Payloads that were read ahead, against those that were not.

use std::time::{Duration, Instant};

use teleflow_otlp::{Payload, Signal};
use teleflow_sampler::{Config, Digest, Output, TailSampler};

use super::traffic::{Traffic, number};
use super::{config, few_seeds};
use crate::tail::model::{Hint, items};

/// A span by its number, its message and its scope.
type Went = (usize, Vec<u8>, Vec<u8>);

/// What came out since the last time: the spans in their order, and how many were left out.
fn came(out: &mut Output) -> (Vec<Went>, u64) {
    let mut spans = Vec::new();
    for payload in out.kept.drain(..).filter(|payload| payload.signal() == Signal::Traces) {
        for (message, _, _, scope) in items(&payload.to_bytes()) {
            spans.push((number(Signal::Traces, &message), message, scope));
        }
    }
    spans.sort();
    (spans, out.sampled_out)
}

#[test]
fn read_ahead_or_not_the_same_comes_out() {
    let mut kept = 0;
    for seed in 0..few_seeds() {
        let hint = Hint(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        // Bytes are counted otherwise, and so they decide nothing.
        let config = |rng: &mut fastrand::Rng| Config {
            max_bytes: 64 << 20,
            relief: None,
            storage: None,
            ..config(rng)
        };
        let first = config(&mut rng);
        let mut samplers = [0, 1].map(|_| TailSampler::new(first.clone()).unwrap());
        let mut outs = [Output::default(), Output::default()];
        let mut traffic = Traffic { is_proper: true, ..Traffic::default() };
        let mut now = Instant::now();
        for step in 0..60 {
            now += Duration::from_nanos(rng.u64(..200_000_000));
            let next = (rng.u8(..20) == 0).then(|| config(&mut rng));
            // One after the other, or together.
            let mut digests = [Digest::new(), Digest::new()];
            for _ in 0..rng.u8(1..4) {
                let (request, _) = traffic.request(&mut rng, Signal::Traces, 0, 3000);
                let payload = Payload::parse(Signal::Traces, request).unwrap();
                digests[0].append(&mut Digest::unread(payload.clone()));
                if rng.bool() {
                    digests[1].add(payload);
                } else {
                    digests[1].append(&mut Digest::of(payload));
                }
                if !digests[1].is_read() {
                    // Others would come before it.
                    break;
                }
            }
            let [plain, read] =
                digests.each_ref().map(|it| (it.payloads(), it.items(), it.bytes()));
            assert_eq!(plain, read);
            let each = samplers.iter_mut().zip(&mut outs).zip(digests);
            for ((sampler, out), mut digest) in each {
                if let Some(next) = &next {
                    sampler.reconfigure(next.clone()).unwrap();
                }
                sampler.offer_digest(now, &mut digest, out);
                if step % 4 == 0 {
                    // How much is kept before it stops may differ, but not in the end.
                    while sampler.next_deadline().is_some_and(|due| due <= now) {
                        sampler.poll(now, out);
                    }
                }
            }
            let [plain, read] = outs.each_mut().map(came);
            let other = plain.0.iter().zip(&read.0).find(|(plain, read)| plain != read);
            assert!(plain == read, "{other:?} differ, by {:?}", samplers[0]);
            kept += plain.0.len();
        }
        std::mem::forget(hint);
    }
    assert!(kept > 100 * few_seeds() as usize, "{kept} were kept");
}
