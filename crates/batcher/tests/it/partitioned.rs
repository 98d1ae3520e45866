//! A batcher for each key, against one batcher a key and the bounds of all.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use teleflow_batcher::{Batch, Batcher, Config, ConfigError, OnFull, PartitionConfig, Partitioned};
use teleflow_otlp::Signal;

use crate::spans::{numbered, numbers};

const MS: Duration = Duration::from_millis(1);

fn partitioned(each: Config, config: PartitionConfig) -> Partitioned<Arc<[u8]>> {
    Partitioned::new(Signal::Traces, each, config).unwrap()
}

fn key(number: u32) -> Arc<[u8]> {
    Arc::from(number.to_le_bytes())
}

fn at_most(partitions: usize, on_full: OnFull) -> PartitionConfig {
    let max_partitions = NonZeroUsize::new(partitions).unwrap();
    PartitionConfig { max_partitions, on_full, ..PartitionConfig::default() }
}

/// Whose it is, and the numbers in it.
type Sent = (Option<Arc<[u8]>>, Vec<u64>);

fn of(batches: &[Batch<Arc<[u8]>>]) -> Vec<Sent> {
    batches.iter().map(|batch| (batch.key.clone(), numbers(&batch.payload))).collect()
}

/// Where there is room for all keys it is a batcher a key.
#[test]
fn b1_partitions_are_batchers_side_by_side() {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let each = Config {
            min_items: rng.u64(5..40),
            timeout: MS * rng.u32(1..100),
            margin: MS,
            ..Config::default()
        };
        let config = PartitionConfig { idle: Some(Duration::MAX), ..PartitionConfig::default() };
        let mut ours = partitioned(each.clone(), config);
        let mut naive: BTreeMap<u32, Batcher> = BTreeMap::new();
        let (mut now, mut number) = (Instant::now(), 0);
        for _ in 0..1000 {
            let (mut batches, mut expected) = (Vec::new(), Vec::new());
            if rng.u8(..4) == 0 {
                now += MS * rng.u32(..20);
                ours.poll(now, &mut batches);
                for (&name, batcher) in &mut naive {
                    expected
                        .extend(batcher.poll(now).map(|batch| (Some(key(name)), numbers(&batch))));
                }
            } else {
                let name = rng.u32(..30);
                let all = number..number + rng.u64(1..10);
                number = all.end;
                let deadline = rng.bool().then(|| now + MS * rng.u32(..50));
                ours.offer(now, &key(name), numbered(all.clone(), 3), deadline, &mut batches);
                let batcher = naive
                    .entry(name)
                    .or_insert_with(|| Batcher::new(Signal::Traces, each.clone()).unwrap());
                let mut full = Vec::new();
                batcher.offer_by(now, numbered(all, 3), deadline, &mut full);
                expected.extend(full.iter().map(|batch| (Some(key(name)), numbers(batch))));
            }
            let mut batches = of(&batches);
            // What is due at once comes in the order of its time, and ours polls by that.
            batches.sort();
            expected.sort();
            assert_eq!(batches, expected, "seed {seed}");
            let due = naive.values().filter_map(Batcher::next_deadline).min();
            assert_eq!(ours.next_deadline(), due, "seed {seed}");
            let stats = ours.stats();
            assert_eq!(stats.items_held, naive.values().map(Batcher::items).sum::<u64>());
            assert_eq!(stats.bytes_held, naive.values().map(Batcher::bytes).sum::<usize>());
            assert_eq!(stats.partitions, naive.len());
        }
        let mut rest = Vec::new();
        ours.close(&mut rest);
        let held: u64 = naive.values().map(Batcher::items).sum();
        assert_eq!(rest.iter().map(|batch| batch.payload.items()).sum::<u64>(), held);
        assert_eq!((ours.stats().items_held, ours.stats().bytes_held), (0, 0));
        assert_eq!(ours.stats().batches.items, number);
    }
}

/// With few places, few bytes and little time: nothing is lost, mixed up or out of bounds.
#[test]
fn b1_bounds_hold_and_nothing_is_lost_or_mixed_up() {
    for seed in 0..30 {
        let mut rng = Rng::with_seed(seed);
        let on_full = if seed % 2 == 0 { OnFull::Evict } else { OnFull::ShareRest };
        let most = rng.usize(1..20);
        let each = Config { max_bytes: 500, min_items: 30, ..Config::default() };
        let max_bytes = rng.usize(500..3000);
        let idle = Some(MS * rng.u32(1..500));
        let config = PartitionConfig { max_bytes, idle, ..at_most(most, on_full) };
        let mut ours = partitioned(each, config);
        let (mut now, mut number, mut batches) = (Instant::now(), 0u64, Vec::new());
        let mut offered: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        let (mut sent, mut seen) = (0, 0);
        for _ in 0..2000 {
            now += MS * rng.u32(..10);
            if rng.bool() {
                ours.poll(now, &mut batches);
                assert!(ours.next_deadline().is_none_or(|due| due > now));
            }
            let name = rng.u32(..30).min(rng.u32(..30));
            let all = number..number + rng.u64(1..8);
            number = all.end;
            offered.entry(name).or_default().extend(all.clone());
            ours.offer(now, &key(name), numbered(all, 3), None, &mut batches);
            let stats = ours.stats();
            assert!(stats.partitions <= most && stats.bytes_held <= max_bytes, "seed {seed}");
            sent += batches[seen..].iter().map(|batch| batch.payload.items()).sum::<u64>();
            seen = batches.len();
            assert_eq!(stats.items_held + sent, number, "seed {seed}");
        }
        ours.close(&mut batches);
        let stats = ours.stats();
        let gone = stats.expired + stats.evicted;
        assert_eq!(stats.created, stats.partitions as u64 + gone);
        assert_eq!(stats.batches.batches, batches.len() as u64);
        assert_eq!(stats.shared > 0, seed % 2 == 1 && batches.iter().any(|b| b.key.is_none()));
        match on_full {
            OnFull::Evict => {
                let mut out: BTreeMap<Option<Arc<[u8]>>, Vec<u64>> = BTreeMap::new();
                for (key, numbers) in of(&batches) {
                    out.entry(key).or_default().extend(numbers);
                }
                let offered: BTreeMap<_, _> =
                    offered.into_iter().map(|(name, all)| (Some(key(name)), all)).collect();
                assert_eq!(out, offered, "seed {seed}: each key has its own, in order");
            }
            OnFull::ShareRest => {
                let mut seen = BTreeSet::new();
                for (its, numbers) in of(&batches) {
                    let own = its.map(|its| u32::from_le_bytes((*its).try_into().unwrap()));
                    for number in numbers {
                        assert!(own.is_none_or(|own| offered[&own].binary_search(&number).is_ok()));
                        assert!(seen.insert(number), "{number} came twice");
                    }
                }
                assert_eq!(seen.len() as u64, number);
            }
        }
    }
}

#[test]
fn b1_when_full_the_least_recently_used_makes_room() {
    let mut ours = partitioned(Config::default(), at_most(2, OnFull::Evict));
    let (now, mut batches) = (Instant::now(), Vec::new());
    for (number, name) in [1, 2, 1, 3].into_iter().enumerate() {
        let number = number as u64;
        ours.offer(now, &key(name), numbered(number..=number, 0), None, &mut batches);
    }
    assert_eq!(of(&batches), [(Some(key(2)), vec![1])]);
    let stats = ours.stats();
    assert_eq!((stats.evicted, stats.partitions, stats.batches.for_pressure), (1, 2, 1));
}

#[test]
fn b1_when_full_the_rest_shares_one_until_a_place_is_free() {
    let mut ours = partitioned(Config::default(), at_most(1, OnFull::ShareRest));
    let (now, mut batches) = (Instant::now(), Vec::new());
    for (number, name) in [1, 2, 3].into_iter().enumerate() {
        let number = number as u64;
        let at = now + MS * name;
        ours.offer(at, &key(name), numbered(number..=number, 0), None, &mut batches);
    }
    ours.poll(now + 300 * MS, &mut batches);
    assert_eq!(of(&batches), [(Some(key(1)), vec![0]), (None, vec![1, 2])]);
    batches.clear();
    // After ten timeouts without anything the first key gave its place up.
    let later = now + 2001 * MS;
    ours.offer(later, &key(2), numbered(3..4, 0), None, &mut batches);
    ours.flush(&key(2), &mut batches);
    assert_eq!(of(&batches), [(Some(key(2)), vec![3])]);
    let stats = ours.stats();
    assert_eq!((stats.shared, stats.expired, stats.partitions), (2, 1, 1));
}

#[test]
fn b1_idle_partitions_go_even_where_nothing_else_comes() {
    let mut ours = partitioned(Config::default(), PartitionConfig::default());
    let (now, mut batches) = (Instant::now(), Vec::new());
    for name in 0..1000 {
        ours.offer(now + MS * name, &key(name), numbered(0..1, 0), None, &mut batches);
    }
    let mut at = now;
    while let Some(due) = ours.next_deadline() {
        assert!(due > at, "each look has something to do");
        at = due;
        ours.poll(at, &mut batches);
    }
    assert_eq!(at, now + 999 * MS + 2000 * MS, "ten timeouts after the last");
    let stats = ours.stats();
    assert_eq!((stats.partitions, stats.expired, batches.len()), (0, 1000, 1000));
    assert_eq!(stats.batches.timed_out, 1000);
}

#[test]
fn b1_partitions_that_may_hold_less_than_one_of_them_are_refused() {
    let config = PartitionConfig { max_bytes: 10, ..PartitionConfig::default() };
    let error = Partitioned::<u8>::new(Signal::Logs, Config::default(), config).unwrap_err();
    assert_eq!(error, ConfigError::PartitionBytes { one: 4_000_000, all: 10 });
}

#[test]
fn b1_a_partition_that_goes_before_its_batch_is_due_sends_it() {
    let config = PartitionConfig { idle: Some(50 * MS), ..PartitionConfig::default() };
    let mut ours = partitioned(Config::default(), config);
    let (now, mut batches) = (Instant::now(), Vec::new());
    ours.offer(now, &key(1), numbered(0..1, 0), None, &mut batches);
    assert_eq!(ours.next_deadline(), Some(now + 50 * MS));
    ours.poll(now + 50 * MS, &mut batches);
    assert_eq!(of(&batches), [(Some(key(1)), vec![0])]);
    assert_eq!((ours.stats().expired, ours.stats().batches.for_pressure), (1, 1));
    assert_eq!(ours.next_deadline(), None);
}
