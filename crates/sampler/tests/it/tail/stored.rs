//! Held spans in a storage, as far as the sampler goes: a storage that works, and one that does not.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_otlp::{Ack, Answer};
use teleflow_sampler::{
    Config, Output, Policy, Rule, Storage, StorageError, StorageStats, StorageWriter, TailSampler,
};

use super::{SECOND, config, failed, id, names, offer, span};

/// Counts what it is asked, and does what it is told.
#[derive(Debug, Default)]
struct Shelf {
    /// 0: stores; 1: is full; 2: fails; 3: stores half of it.
    does: AtomicU8,
    /// What it was given.
    taken: Mutex<Vec<usize>>,
    writers: AtomicU64,
}

#[derive(Debug)]
struct Hand(Arc<Shelf>);

#[derive(Debug)]
struct Shelves(Arc<Shelf>);

impl Storage for Shelves {
    fn writer(&self) -> Box<dyn StorageWriter> {
        self.0.writers.fetch_add(1, Relaxed);
        Box::new(Hand(Arc::clone(&self.0)))
    }
}

impl StorageWriter for Hand {
    fn store(&mut self, bytes: &[u8]) -> Result<Bytes, StorageError> {
        self.0.taken.lock().unwrap().push(bytes.len());
        match self.0.does.load(Relaxed) {
            0 => Ok(Bytes::copy_from_slice(bytes)),
            1 => Err(StorageError::Full),
            2 => Err(StorageError::Failed),
            _ => Ok(Bytes::copy_from_slice(&bytes[bytes.len() / 2..])),
        }
    }

    fn used_bytes(&self) -> u64 {
        1 << 40
    }
}

/// A name that makes a request large enough to be stored by itself.
fn long(n: u64) -> String {
    format!("{n}").repeat(70_000)
}

/// A storage that works, in memory that nobody counts.
pub(super) fn elsewhere() -> Arc<dyn Storage> {
    Arc::new(Shelves(Arc::default()))
}

/// Keeps errors, and stores.
fn storing() -> (Arc<Shelf>, Config) {
    let shelf = Arc::new(Shelf::default());
    let rules = vec![Rule::new("errors", Policy::errors())];
    let storage: Arc<dyn Storage> = Arc::new(Shelves(Arc::clone(&shelf)));
    (shelf, Config { storage: Some(storage), writes_threshold: false, ..config(rules) })
}

#[test]
fn what_waits_is_stored_once_and_what_goes_at_once_is_not() {
    let (shelf, config) = storing();
    let (mut sampler, mut out) = (TailSampler::new(config).unwrap(), Output::default());
    let start = Instant::now();
    let empty = sampler.held();
    assert_eq!((empty.stored_bytes, shelf.taken.lock().unwrap().len()), (0, 0));

    let spans =
        (1..=9).map(|n| if n < 5 { failed(id(n), &long(n)) } else { span(id(n), &long(n)) });
    offer(&mut sampler, start, spans.collect(), &mut out);
    let stored = shelf.taken.lock().unwrap().clone();
    let held = sampler.held();
    assert_eq!(stored, [held.stored_bytes as usize], "the request is there, in one piece");
    assert_eq!((held.spans, held.storage_bytes), (9, 1 << 40));
    assert!(held.bytes > empty.bytes, "bookkeeping is in memory");

    sampler.poll(start + SECOND, &mut out);
    assert_eq!(names(&mut out), (1..5).map(long).collect::<Vec<_>>());
    assert_eq!((out.sampled_out, sampler.held().stored_bytes), (5, 0));

    // Late spans follow at once.
    let late = vec![span(id(1), &long(10)), span(id(7), &long(11)), span(id(7), &long(12))];
    offer(&mut sampler, start + SECOND, late, &mut out);
    assert_eq!((names(&mut out), out.sampled_out), (vec![long(10)], 7));
    assert_eq!(shelf.taken.lock().unwrap().len(), 1, "nothing else was stored");
    let stats = sampler.stats().storage;
    assert_eq!(stats, StorageStats { requests: 1, bytes: stored[0] as u64, full: 0, failed: 0 });
}

#[test]
fn what_cannot_be_stored_stays_in_memory() {
    for (does, full, failures) in [(1, 1, 0), (2, 0, 1), (3, 0, 1)] {
        let (shelf, config) = storing();
        shelf.does.store(does, Relaxed);
        let (mut sampler, mut out) = (TailSampler::new(config).unwrap(), Output::default());
        let (start, empty) = (Instant::now(), sampler.held().bytes);
        offer(&mut sampler, start, vec![failed(id(1), &long(1)), span(id(2), &long(2))], &mut out);
        let held = sampler.held();
        assert_eq!((held.stored_bytes, held.spans), (0, 2));
        assert!(held.bytes > empty + shelf.taken.lock().unwrap()[0] as u64);
        // The next one is tried again.
        shelf.does.store(0, Relaxed);
        offer(&mut sampler, start, vec![failed(id(1), &long(3))], &mut out);
        assert!(sampler.held().stored_bytes > 0);
        sampler.poll(start + SECOND, &mut out);
        assert_eq!(names(&mut out), [long(1), long(3)]);
        let stats = sampler.stats().storage;
        assert_eq!((stats.requests, stats.full, stats.failed), (1, full, failures));
    }
}

#[test]
fn small_requests_are_stored_together() {
    let (shelf, config) = storing();
    let (mut sampler, mut out) = (TailSampler::new(config).unwrap(), Output::default());
    let start = Instant::now();
    let name = "n".repeat(1000);
    let mut offered = 0;
    while shelf.taken.lock().unwrap().is_empty() {
        assert_eq!(sampler.held().stored_bytes, 0, "what waits to be stored is in memory");
        let before = sampler.held().bytes;
        offer(
            &mut sampler,
            start,
            vec![failed(id(offered), &format!("{offered}{name}"))],
            &mut out,
        );
        offered += 1;
        let is_stored = sampler.held().stored_bytes > 0;
        assert!(is_stored || sampler.held().bytes > before + 1000);
    }
    let written = shelf.taken.lock().unwrap()[0];
    assert!((64 * 1024..66 * 1024).contains(&written), "{written}");
    let stats = sampler.stats().storage;
    assert_eq!((stats.requests, stats.bytes), (offered, written as u64), "in one piece");
    assert_eq!(sampler.held().stored_bytes, written as u64);

    // What goes before it is written is not.
    offer(&mut sampler, start + SECOND / 2, vec![failed(id(1 << 20), &name)], &mut out);
    offer(&mut sampler, start + SECOND / 2, vec![span(id(1 << 21), &name)], &mut out);
    sampler.poll(start + SECOND, &mut out);
    assert_eq!((names(&mut out).len() as u64, sampler.held().stored_bytes), (offered, 0));
    sampler.poll(start + 2 * SECOND, &mut out);
    assert_eq!((names(&mut out), out.sampled_out), (vec![name.clone()], 1));
    for n in 0..64 {
        offer(&mut sampler, start + 2 * SECOND, vec![span(id(1 << 22 | n), &name)], &mut out);
    }
    let taken = shelf.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 2);
    assert!((64 * 1024..66 * 1024).contains(&taken[1]), "{taken:?}: of those that are held");
}

#[test]
fn many_tiny_requests_do_not_wait_for_more() {
    let (shelf, config) = storing();
    let (mut sampler, mut out) = (TailSampler::new(config).unwrap(), Output::default());
    for n in 0..512 {
        offer(&mut sampler, Instant::now(), vec![span(id(n), "tiny")], &mut out);
    }
    assert_eq!((shelf.taken.lock().unwrap().len(), sampler.stats().storage.requests), (1, 512));
}

#[test]
fn who_waits_for_stored_spans_is_answered() {
    let (_, config) = storing();
    let (mut sampler, mut out) = (TailSampler::new(config).unwrap(), Output::default());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let payload = crate::request(vec![failed(id(1), &long(1)), span(id(2), &long(2))]);
    let ack = Ack::new(2, move |answer| hears.lock().unwrap().push(answer));
    let start = Instant::now();
    sampler.offer(start, payload.with_ack(ack), &mut out);
    sampler.poll(start + SECOND, &mut out);
    out.kept[0].take_ack().settle(Answer::delivered(1));
    let answer = Answer { delivered: 1, sampled_out: 1, ..Answer::default() };
    assert_eq!(*heard.lock().unwrap(), [answer]);
}

#[test]
fn another_storage_takes_what_comes_and_the_same_one_goes_on() {
    let (first, config) = storing();
    let (second, other) = storing();
    let (mut sampler, mut out) = (TailSampler::new(config.clone()).unwrap(), Output::default());
    let start = Instant::now();
    let mut step = |sampler: &mut TailSampler, n| {
        offer(sampler, start, vec![failed(id(n), &long(n))], &mut out);
    };
    step(&mut sampler, 1);
    sampler.reconfigure(Config { max_traces: 7, ..config.clone() }).unwrap();
    assert_eq!(first.writers.load(Relaxed), 1, "it is the same storage");
    step(&mut sampler, 2);
    sampler.reconfigure(other).unwrap();
    step(&mut sampler, 3);
    sampler.reconfigure(Config { storage: None, ..config }).unwrap();
    step(&mut sampler, 4);
    let taken = [&first, &second].map(|shelf| shelf.taken.lock().unwrap().len());
    assert_eq!(taken, [2, 1]);
    assert!(sampler.held().storage_bytes >= sampler.held().stored_bytes);
    assert!(sampler.held().stored_bytes > 0, "what was stored stays where it is");
    sampler.poll(start + 2 * SECOND, &mut out);
    assert_eq!(names(&mut out), (1..5).map(long).collect::<Vec<_>>());
    assert_eq!(sampler.held().stored_bytes, 0);
}

#[test]
fn early_decisions_are_not_more_than_have_to_be() {
    let (_, config) = storing();
    let max_bytes = 200_000;
    let decision_wait = Duration::from_secs(3600);
    let config = Config { max_bytes, max_traces: usize::MAX, decision_wait, ..config };
    let remembered = teleflow_sampler::Remembered { kept: 10, dropped: 10 };
    let mut sampler = TailSampler::new(Config { remembered, ..config }).unwrap();
    let (mut out, now) = (Output::default(), Instant::now());
    let mut spans = 0;
    for n in 0..2000u64 {
        let name = "n".repeat(400);
        let of_one = (0..10).map(|at| span(id(1 + n * 3 + at % 3), &name));
        offer(&mut sampler, now, of_one.collect(), &mut out);
        spans += 10;
        let held = sampler.held();
        assert!(held.bytes <= max_bytes as u64 + 10_000, "{held:?}");
        assert_eq!(spans, out.sampled_out + held.spans);
        if out.sampled_out > 0 {
            // A sixteenth is freed, and little more.
            assert!(held.bytes > max_bytes as u64 * 3 / 4, "{held:?}");
        }
    }
    let held = sampler.held();
    assert!(out.sampled_out > 0 && held.stored_bytes > 2 * max_bytes as u64, "{held:?}");
}
