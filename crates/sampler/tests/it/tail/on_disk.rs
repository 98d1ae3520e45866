//! Held spans in real files.

use std::sync::Arc;
use std::time::{Duration, Instant};

use teleflow_otlp::{Payload, Signal};
use teleflow_pool::mapped::Arena;
use teleflow_sampler::{Config, Output, Policy, Remembered, Rule, TailSampler, Trigger};

use super::model::{Hint, Traffic, any_config, seeds};

const MIB: usize = 1024 * 1024;

/// What came out since the last time, byte by byte.
fn came(out: &mut Output) -> Vec<(u64, Vec<u8>)> {
    out.kept.drain(..).map(|payload| (payload.items(), payload.to_bytes().to_vec())).collect()
}

#[test]
fn a_sampler_keeps_the_same_bytes_wherever_it_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = 0;
    for seed in 0..seeds() {
        let hint = Hint(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        // More than there will be: nothing is decided for its bytes. On disk there may be too little.
        let in_memory = any_config(&mut rng, 64 * MIB);
        let most = if rng.bool() { 64 * MIB as u64 } else { rng.u64(..3 * MIB as u64) };
        let arena = Arc::new(Arena::open(folder.path(), most).unwrap());
        let on_disk = Config { storage: Some(arena.clone()), ..in_memory.clone() };
        let mut samplers = [in_memory, on_disk].map(|config| TailSampler::new(config).unwrap());
        let mut outs = [Output::default(), Output::default()];
        let (mut traffic, mut now) = (Traffic::default(), Instant::now());
        let mut kept = 0;
        let pace = 2_000_000 * 10_u64.pow(rng.u32(..3));
        for step in 0..200 {
            now += Duration::from_nanos(rng.u64(1..pace));
            let request = traffic.request(&mut rng, 0).0;
            for (sampler, out) in samplers.iter_mut().zip(&mut outs) {
                let payload = Payload::parse(Signal::Traces, request.clone()).unwrap();
                sampler.offer(now, payload, out);
                if step % 4 == 0 {
                    sampler.poll(now, out);
                }
            }
            let [plain, out] = outs.each_mut().map(came);
            kept += plain.iter().map(|(items, _)| items).sum::<u64>();
            assert!(plain == out, "what was kept differs");
            let [plain, held] = samplers.each_ref().map(TailSampler::held);
            assert_eq!((plain.spans, plain.traces), (held.spans, held.traces));
            assert_eq!(outs[0].sampled_out, outs[1].sampled_out);
            assert_eq!(traffic.raw.len() as u64, kept + outs[1].sampled_out + held.spans);
            assert_eq!(plain.bytes, held.bytes + held.stored_bytes, "on disk or in memory");
            assert!(held.stored_bytes <= held.storage_bytes);
            assert_eq!(held.storage_bytes, arena.used_bytes());
        }
        for (sampler, out) in samplers.iter_mut().zip(&mut outs) {
            while !sampler.drain(now, out) {}
        }
        let [plain, out] = outs.each_mut().map(came);
        assert!(plain == out, "what was kept at the end differs");
        stored += samplers[1].stats().storage.requests;
        assert_eq!(samplers[1].held().stored_bytes, 0);
        drop(samplers);
        assert_eq!(arena.used_bytes(), 0, "the disk is given back");
        std::mem::forget(hint);
    }
    assert!(stored > 20 * seeds(), "{stored} requests were on disk");
}

#[test]
fn what_does_not_fit_on_disk_is_in_memory_and_within_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let arena = Arc::new(Arena::open(folder.path(), 2 * MIB as u64).unwrap());
    let max_bytes = MIB / 2;
    let rules = vec![Rule::new("some", Policy::percent(30.0, ""))];
    let mut sampler = TailSampler::new(Config {
        rules: rules.into(),
        max_bytes,
        max_traces: usize::MAX,
        remembered: Remembered { kept: 100, dropped: 100 },
        payload_bytes: MIB / 16,
        storage: Some(arena.clone()),
        ..Config::default()
    })
    .unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut traffic, mut out, now) = (Traffic::default(), Output::default(), Instant::now());
    let (mut kept, mut most_stored) = (0, 0);
    let mut largest = 0;
    while sampler.stats().decisions[Trigger::Bytes as usize] < 5000 {
        let request = traffic.request(&mut rng, 0).0;
        largest = largest.max(request.len() as u64);
        sampler.offer(now, Payload::parse(Signal::Traces, request).unwrap(), &mut out);
        kept += came(&mut out).iter().map(|(items, _)| items).sum::<u64>();
        let held = sampler.held();
        assert_eq!(traffic.raw.len() as u64, kept + out.sampled_out + held.spans);
        assert!(held.bytes <= max_bytes as u64 + 4 * largest, "{held:?}");
        assert!(arena.used_bytes() <= 2 * MIB as u64);
        most_stored = most_stored.max(held.stored_bytes);
    }
    let stats = sampler.stats();
    assert!(most_stored > 3 * MIB as u64 / 2, "{most_stored} bytes were on disk");
    assert!(stats.storage.full > 100 && stats.storage.failed == 0, "{:?}", stats.storage);
    while !sampler.drain(now, &mut out) {}
    kept += came(&mut out).iter().map(|(items, _)| items).sum::<u64>();
    assert_eq!(traffic.raw.len() as u64, kept + out.sampled_out);
    drop(sampler);
    assert_eq!(arena.used_bytes(), 0);
}
