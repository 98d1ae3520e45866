//! The memory against a model, at its fullest, and under attack.

use std::collections::{HashMap, HashSet, VecDeque};

use fastrand::Rng;

use super::*;
use crate::secret::{Keyed, Purpose};

fn memory(kept: usize, dropped: usize) -> Memory {
    Memory::new(Remembered { kept, dropped })
}

fn kept(bits: u64, by: Option<By>) -> Past {
    Past::Kept { threshold: Threshold::from_bits(bits), by }
}

fn hash(n: u64) -> u64 {
    Keyed::new(1, Purpose::Table).id(&u128::from(n).to_be_bytes())
}

/// Which decisions are to be known: the newest of the latest `capacity` of each kind.
#[derive(Default)]
struct Model {
    kept: Latest,
    dropped: Latest,
    past: HashMap<u64, Past>,
}

/// The latest traces of a kind, each once.
#[derive(Default)]
struct Latest {
    traces: VecDeque<u64>,
    capacity: usize,
    /// A larger capacity, and what has to come before it counts.
    larger: usize,
    until: usize,
    since: HashSet<u64>,
}

impl Latest {
    fn push(&mut self, hash: u64) {
        self.since.insert(hash);
        if self.since.len() > self.until {
            self.capacity = self.capacity.max(self.larger);
        }
        self.traces.retain(|it| *it != hash);
        self.traces.push_back(hash);
        self.forget();
    }

    fn forget(&mut self) {
        self.traces.drain(..self.traces.len().saturating_sub(self.capacity));
    }

    /// A larger generation comes when the young one is full, and the next when that is full.
    fn resize(&mut self, capacity: usize) {
        self.until = self.capacity.max(self.larger) + capacity;
        self.larger = capacity;
        self.capacity = if self.capacity == 0 { capacity } else { self.capacity.min(capacity) };
        self.since.clear();
        self.forget();
    }
}

impl Model {
    fn remember(&mut self, hash: u64, past: Past) {
        match past {
            Past::Kept { .. } => {
                self.kept.push(hash);
                self.past.insert(hash, past);
            }
            Past::Dropped => self.dropped.push(hash),
        }
    }

    fn check(&self, memory: &Memory) {
        for hash in &self.kept.traces {
            assert_eq!(memory.find(*hash), Some(self.past[hash]));
        }
        for hash in &self.dropped.traces {
            // A trace of which both is remembered was kept.
            assert!(memory.find(*hash).is_some());
            if !self.past.contains_key(hash) {
                assert_eq!(memory.find(*hash), Some(Past::Dropped));
            }
        }
    }
}

#[test]
fn the_latest_are_known_as_to_a_model() {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let mut remembered = Remembered { kept: rng.usize(..50), dropped: rng.usize(..200) };
        let (mut memory, mut model) = (Memory::new(remembered), Model::default());
        model.kept.resize(remembered.kept);
        model.dropped.resize(remembered.dropped);
        let traces = rng.u64(1..2000);
        for step in 0..3000 {
            // Now and then a trace is decided again.
            let hash = hash(rng.u64(..traces));
            let by = rng.bool().then(|| By { rule: rng.u16(..4), part: rng.bool().then_some(7) });
            let past = if rng.u8(..4) == 0 {
                kept(rng.u64(..) >> rng.u8(7..9), by)
            } else {
                Past::Dropped
            };
            match past {
                Past::Kept { threshold, by } => memory.remember_kept(hash, threshold, by),
                Past::Dropped => memory.remember_dropped(hash),
            }
            model.remember(hash, past);
            if rng.u16(..500) == 0 {
                remembered = Remembered { kept: rng.usize(..60), dropped: rng.usize(..250) };
                memory.resize(remembered);
                model.kept.resize(remembered.kept);
                model.dropped.resize(remembered.dropped);
            }
            if step % 29 == 0 {
                model.check(&memory);
            }
        }
        model.check(&memory);
        let stats = memory.stats();
        assert_eq!((stats.capacity, stats.forgotten_early), (remembered, 0), "seed {seed}");
        assert_eq!(memory.find(hash(5000)), None);
    }
}

#[test]
fn at_most_twice_as_many_are_known() {
    let mut memory = memory(100, 1000);
    for n in 0..10_000 {
        memory.remember_kept(hash(n), None, None);
        memory.remember_dropped(hash(1_000_000 + n));
    }
    let known =
        |from: u64| (from..from + 10_000).filter(|n| memory.find(hash(*n)).is_some()).count();
    assert!((100..=200).contains(&known(0)), "{}", known(0));
    assert!((1000..=2000).contains(&known(1_000_000)), "{}", known(1_000_000));
    let stats = memory.stats();
    assert_eq!(stats.kept, known(0) as u64);
    assert_eq!(stats.dropped, known(1_000_000) as u64);
}

#[test]
fn without_capacity_nothing_is_remembered_and_no_memory_is_taken() {
    let mut memory = memory(0, 0);
    memory.remember_kept(1, None, None);
    memory.remember_dropped(2);
    assert_eq!((memory.find(1), memory.find(2)), (None, None));
    assert_eq!(memory.bytes(), 0);
    memory.resize(Remembered { kept: 1, dropped: 1 });
    memory.remember_kept(1, None, None);
    memory.remember_dropped(2);
    assert_eq!((memory.find(1), memory.find(2)), (Some(kept(u64::MAX, None)), Some(Past::Dropped)));
    memory.resize(Remembered { kept: 0, dropped: 0 });
    assert_eq!((memory.find(1), memory.find(2)), (None, None));
    assert_eq!(memory.bytes(), 0);
}

#[test]
fn at_its_fullest_a_dropped_trace_takes_4_5_bytes_and_new_ones_are_not_taken_for_it() {
    for (capacity, fresh) in [(10_000, 100_000), (100_000, 1_000_000)] {
        let mut memory = memory(0, capacity);
        for n in 0..2 * capacity as u64 {
            memory.remember_dropped(hash(n));
        }
        let stats = memory.stats();
        assert_eq!((stats.dropped, stats.forgotten_early), (2 * capacity as u64, 0));
        let each = memory.bytes() as f64 / stats.dropped as f64;
        assert!(each <= 4.5, "{each} bytes each");
        assert!((0..2 * capacity as u64).all(|n| memory.find(hash(n)) == Some(Past::Dropped)));
        let mistaken = (1 << 40..(1 << 40) + fresh).filter(|n| memory.find(hash(*n)).is_some());
        let mistaken = mistaken.count();
        // One is expected in 250 runs of a million.
        assert!(mistaken <= 2, "{mistaken} of {fresh}");
        let rate = stats.false_positive_rate;
        assert!((3e-9..4e-9).contains(&rate), "{rate}");
    }
}

#[test]
fn the_rate_of_mistakes_is_what_it_is_said_to_be() {
    // Of fingerprints that are known to be there, so that there is something to count: whether a
    // bucket holds what it should not depends on the buckets alone.
    let mut memory = memory(0, 1000);
    for n in 0..1500 {
        memory.remember_dropped(hash(n));
    }
    let mut rng = Rng::with_seed(3);
    let tries = 400_000;
    let mistaken = (0..tries)
        .filter(|_| {
            let fingerprint = hash(rng.u64(..1500)) & u64::from(u32::MAX);
            memory.find(rng.u64(..) << 32 | fingerprint).is_some()
        })
        .count();
    // So 1500 fingerprints stand for the 2^32 that there could be.
    let expected = memory.stats().false_positive_rate * 2f64.powi(32) / 1500.0 * f64::from(tries);
    let sigma = expected.sqrt();
    assert!((mistaken as f64 - expected).abs() < 5.0 * sigma, "{mistaken}, not {expected}");
}

#[test]
fn a_filter_of_any_size_gets_full() {
    let mut rng = Rng::with_seed(1);
    for capacity in (1..300).chain([1000, 5000, 20_000]) {
        let mut memory = memory(0, capacity);
        for _ in 0..capacity * 2 {
            memory.remember_dropped(rng.u64(..));
        }
        assert_eq!(memory.stats().forgotten_early, 0, "{capacity}");
    }
}

#[test]
fn a_kept_trace_takes_18_bytes_in_its_table() {
    let mut memory = memory(28_672, 0);
    for n in 0..2 * 28_672 {
        memory.remember_kept(hash(n), Some(Threshold::ALL), Some(By { rule: 1, part: None }));
    }
    // Seven of eight places of 2^15 are taken.
    let each = memory.bytes() as f64 / memory.stats().kept as f64;
    assert!((20.5..20.7).contains(&each), "{each} bytes each");
}

#[test]
fn the_same_trace_takes_one_place() {
    let mut memory = memory(10, 10);
    for _ in 0..1000 {
        memory.remember_dropped(hash(1));
        memory.remember_kept(hash(2), None, None);
    }
    let stats = memory.stats();
    assert_eq!((stats.kept, stats.dropped), (1, 1));
}

#[test]
fn hashes_that_meet_are_forgotten_early_and_the_latest_are_known() {
    // What follows is what nobody can bring about who does not know the secret.
    let mut rng = Rng::with_seed(1);
    for (name, of) in [
        (
            "one fingerprint",
            Box::new(|rng: &mut Rng| rng.u64(..) << 32 | 7) as Box<dyn Fn(&mut Rng) -> u64>,
        ),
        ("one bucket", Box::new(|rng: &mut Rng| rng.u64(..) >> 32)),
        ("one pair of buckets", Box::new(|rng: &mut Rng| rng.u64(..) & 0xffff)),
        ("no fingerprint", Box::new(|rng: &mut Rng| rng.u64(..) << 32)),
    ] {
        let mut memory = memory(0, 1000);
        let mut latest = VecDeque::new();
        for _ in 0..20_000 {
            let hash = of(&mut rng);
            memory.remember_dropped(hash);
            latest.push_back(hash);
            if latest.len() > 4 {
                latest.pop_front();
            }
            assert!(latest.iter().all(|hash| memory.find(*hash).is_some()), "{name}");
        }
        let stats = memory.stats();
        assert!(stats.dropped <= 2000, "{name}");
    }
}

#[test]
fn more_memory_forgets_nothing_and_less_keeps_the_latest() {
    let mut memory = memory(100, 100);
    let remember = |memory: &mut Memory, range: std::ops::Range<u64>| {
        for n in range {
            memory.remember_kept(hash(n), None, None);
            memory.remember_dropped(hash(n + 1_000_000));
        }
    };
    let knows = |memory: &Memory, mut range: std::ops::Range<u64>| {
        range.all(|n| memory.find(hash(n)).is_some() && memory.find(hash(n + 1_000_000)).is_some())
    };
    remember(&mut memory, 0..150);
    memory.resize(Remembered { kept: 1000, dropped: 1000 });
    assert!(knows(&memory, 0..150));
    remember(&mut memory, 150..1250);
    assert!(knows(&memory, 250..1250));
    let large = memory.bytes();
    memory.resize(Remembered { kept: 10, dropped: 10 });
    assert!(knows(&memory, 1240..1250));
    remember(&mut memory, 1250..1300);
    assert!(knows(&memory, 1290..1300));
    assert!(memory.stats().kept <= 20 && memory.stats().dropped <= 20);
    assert!(memory.bytes() < large / 4, "{} of {large}", memory.bytes());
}

#[test]
fn what_kept_a_trace_gets_a_new_place_with_the_configuration() {
    let by = |rule, part| Some(By { rule, part });
    let mut memory = memory(10, 0);
    memory.remember_kept(1, None, by(1, Some(2)));
    memory.remember_kept(2, None, by(2, None));
    memory.remember_kept(3, None, None);
    // The first goes, and so the second is first.
    memory.rename(|by| by.rule.checked_sub(2).map(|rule| By { rule, ..by }));
    assert_eq!(memory.find(1), Some(kept(u64::MAX, None)));
    assert_eq!(memory.find(2), Some(kept(u64::MAX, by(0, None))));
    assert_eq!(memory.find(3), Some(kept(u64::MAX, None)));
    memory.remember_kept(4, None, by(0, None));
    memory.remember_kept(5, None, by(1, Some(2)));
    assert_eq!(memory.find(4), Some(kept(u64::MAX, by(0, None))));
    assert_eq!(memory.find(5), Some(kept(u64::MAX, by(1, Some(2)))));
}

#[test]
fn more_reasons_than_there_are_numbers_are_not_remembered() {
    let mut memory = memory(10, 0);
    let by = |n: u32| Some(By { rule: n as u16, part: Some((n >> 16) as u16) });
    for n in 0..40_000 {
        memory.remember_kept(u64::from(n), Threshold::from_bits(u64::from(n)), by(n));
    }
    assert_eq!(memory.find(39_999), Some(kept(39_999, None)));
    memory.remember_kept(1, Some(Threshold::MOST), by(32_766));
    assert_eq!(memory.find(1), Some(kept(Threshold::MOST.bits(), by(32_766))));
}
