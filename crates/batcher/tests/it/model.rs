//! The batcher against a list of numbers.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::{Duration, Instant};

use fastrand::Rng;
use teleflow_batcher::{Batcher, Config};
use teleflow_otlp::{Payload, Signal};

use crate::spans::{SPAN, numbered, numbers};

/// What a batcher should do where nothing is cut: written down plainly.
#[derive(Default)]
struct Naive {
    held: Vec<u64>,
    bytes: usize,
    requests: u64,
    due: Option<Instant>,
    out: Vec<Vec<u64>>,
}

impl Naive {
    fn offer(&mut self, config: &Config, now: Instant, offered: &Offered) {
        if self.bytes + offered.bytes > config.max_bytes {
            self.send();
        }
        self.held.extend(&offered.numbers);
        self.bytes += offered.bytes;
        self.requests += 1;
        let age = self.due.unwrap_or(now + config.timeout);
        let leave = offered.deadline.filter(|&at| at > now).map(|at| at - config.margin);
        self.due = Some(leave.map_or(age, |leave| leave.min(age)));
        let enough = self.held.len() as u64 >= config.min_items
            || config.min_bytes.is_some_and(|min| self.bytes >= min.get())
            || self.bytes == config.max_bytes
            || config.min_requests.is_some_and(|min| self.requests >= min.get())
            || config.max_requests.is_some_and(|max| self.requests >= max.get());
        if enough || self.due <= Some(now) {
            self.send();
        }
    }

    fn poll(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.send();
        }
    }

    fn send(&mut self) {
        if self.requests > 0 {
            self.out.push(std::mem::take(&mut self.held));
        }
        (self.bytes, self.requests, self.due) = (0, 0, None);
    }
}

struct Offered {
    numbers: Vec<u64>,
    bytes: usize,
    deadline: Option<Instant>,
}

/// Unit by unit: present or not.
fn config(rng: &mut Rng) -> Config {
    let min_requests = rng.bool().then(|| NonZeroU64::new(rng.u64(1..20)).unwrap());
    let max_requests = rng.bool().then(|| NonZeroU64::new(rng.u64(20..30)).unwrap());
    Config {
        min_items: if rng.bool() { rng.u64(..60) } else { u64::MAX },
        min_bytes: rng.bool().then(|| NonZeroUsize::new(rng.usize(1..800)).unwrap()),
        max_bytes: rng.usize(800..1500),
        min_requests,
        max_requests,
        timeout: Duration::from_millis(rng.u64(..100)),
        margin: Duration::from_millis(rng.u64(..30)),
        ..Config::default()
    }
}

/// Offers, lets time pass and polls, at random; returns what the batcher sent.
fn run(
    rng: &mut Rng,
    config: &Config,
    sizes: std::ops::Range<u64>,
    mut each: impl FnMut(Step<'_>),
) -> Vec<Payload> {
    let mut batcher = Batcher::new(Signal::Traces, config.clone()).unwrap();
    let (mut now, mut next, mut out) = (Instant::now() + Duration::from_secs(9), 0, Vec::new());
    let (mut sent, mut seen) = (0, 0);
    for _ in 0..200 {
        if rng.u8(..4) == 0 {
            now += Duration::from_millis(rng.u64(..60));
            out.extend(batcher.poll(now));
            each(Step { now, offered: None, batcher: &batcher });
            continue;
        }
        let all = next..next + rng.u64(sizes.clone());
        next = all.end;
        let payload = numbered(all.clone(), rng.usize(..20));
        let deadline = (rng.u8(..4) == 0)
            .then(|| now + Duration::from_millis(rng.u64(..100)) - Duration::from_millis(10));
        let offered = Offered { numbers: all.collect(), bytes: payload.bytes(), deadline };
        batcher.offer_by(now, payload, deadline, &mut out);
        each(Step { now, offered: Some(&offered), batcher: &batcher });
        sent += out[seen..].iter().map(Payload::items).sum::<u64>();
        seen = out.len();
        assert_eq!(sent + batcher.items(), next, "every item is in a batch or pending");
    }
    out.extend(batcher.close());
    assert_eq!(batcher.stats().items, next);
    assert_eq!(batcher.stats().batches, out.len() as u64);
    assert_eq!(out.iter().flat_map(numbers).collect::<Vec<_>>(), (0..next).collect::<Vec<_>>());
    out
}

struct Step<'a> {
    now: Instant,
    offered: Option<&'a Offered>,
    batcher: &'a Batcher,
}

#[test]
fn b1_batches_are_those_of_a_naive_model() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let config = config(&mut rng);
        let mut naive = Naive::default();
        let out = run(&mut rng, &config, 1..20, |Step { now, offered, batcher }| {
            match offered {
                Some(offered) => naive.offer(&config, now, offered),
                None => naive.poll(now),
            }
            assert_eq!(batcher.items(), naive.held.len() as u64, "seed {seed}");
            assert_eq!((batcher.bytes(), batcher.requests()), (naive.bytes, naive.requests));
            assert_eq!(batcher.next_deadline(), naive.due, "seed {seed}");
        });
        naive.send();
        let out: Vec<_> = out.iter().map(numbers).collect();
        assert_eq!(out, naive.out, "seed {seed}: {config:?}");
    }
}

#[test]
fn b1_whatever_is_cut_stays_whole_in_order_and_within_all_limits() {
    let mut cut = 0;
    for seed in 0..50 {
        let mut rng = Rng::with_seed(seed);
        let max_items = rng.u64(1..80);
        let min_items = if rng.bool() { rng.u64(..=max_items) } else { u64::MAX };
        let max_items = NonZeroU64::new(max_items);
        let max_bytes = rng.usize(100..1500);
        let min_bytes = None;
        let config = Config { min_items, max_items, min_bytes, max_bytes, ..config(&mut rng) };
        let max_requests = config.max_requests.map_or(u64::MAX, NonZeroU64::get);
        let out = run(&mut rng, &config, 1..200, |step| {
            assert!(step.batcher.items() <= max_items.unwrap().get());
            assert!(step.batcher.bytes() < max_bytes);
            cut += step.batcher.stats().split;
        });
        for batch in out {
            assert!(batch.items() <= max_items.unwrap().get(), "seed {seed}");
            assert!(batch.bytes() <= max_bytes, "seed {seed}: {} bytes", batch.bytes());
            assert!(batch.segments().len() as u64 <= max_requests);
            assert!(batch.bytes() > SPAN && batch.items() > 0, "an empty request is never sent");
        }
    }
    assert!(cut > 0, "something was cut");
}
