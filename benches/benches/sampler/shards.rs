//! Two samplers on two threads: as shards of one, and each by itself.
//!
//! Both threads get batches and route each span by its trace to the shard whose it is. What is the
//! other's goes into its letter box in bundles. The rival gets the same batches and keeps them.

use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use teleflow_benches::process::{self, thread_cpu_time};
use teleflow_otlp::Payload;
use teleflow_sampler::{Digest, Router};

use crate::batches::{Batches, Fate, Ids, SPANS, TraceId, validated};
use crate::cases::{AT_ONCE, Bench, Came, HELD, median};

/// Threads and shards.
const SHARDS: usize = 2;

/// Batches that each thread gets in a round.
const COUNT: usize = 40_000;

/// Batches before those: until the tables are full, as much is decided as comes, and all memory was
/// used once.
const BEFORE: usize = 2 * HELD as usize;

/// Payloads of the other shard that go into its letter box at once.
const BUNDLE: usize = 64;

/// Rounds in which each way has its turn; the median of each counts.
const ROUNDS: usize = 21;

/// Whose the spans of a batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mixture {
    /// All of one trace.
    OneTrace,
    /// Of ten traces.
    TenTraces,
}

/// How many times as much as one sampler on one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scaling {
    /// Two shards.
    pub(crate) shards: f64,
    /// Two that know nothing of each other.
    pub(crate) apart: f64,
    /// Spans of the two shards in a second that the busier thread has on its core.
    pub(crate) rate: f64,
}

/// What the threads of a round share.
#[derive(Debug, Default)]
struct Shared {
    boxes: [Mutex<Digest>; SHARDS],
    /// Spun on: whoever sleeps at the start comes when the other is half done.
    ready: AtomicUsize,
    /// How many times they waited for each other.
    turns: AtomicUsize,
}

/// Measures both ways, and one thread alone, in turns.
pub(crate) fn scaling(batches: &Batches, mixture: Mixture, cores: [usize; SHARDS]) -> Scaling {
    let (mut alone, mut shards, mut apart) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        let run = |cores: &[usize], routed| rate(batches, mixture, cores, routed, round);
        alone.push(run(&cores[..1], false));
        shards.push(run(&cores, true));
        apart.push(run(&cores, false));
    }
    // Machines are not equally fast at all times: what is compared was measured in one round.
    let against = |of: &[f64], to: &[f64]| median(of.iter().zip(to).map(|(a, b)| a / b).collect());
    let (of_apart, apart) = (against(&shards, &apart), against(&apart, &alone));
    Scaling { shards: of_apart * apart, apart, rate: median(shards) }
}

/// What it costs to part a batch among the shards, in nanoseconds a span: one thread's work, which
/// a sampler that is alone has not.
pub(crate) fn routing(batches: &Batches, mixture: Mixture) -> f64 {
    let mut router = Router::new(SHARDS, 1).expect("there may be two shards");
    let mut parts = Vec::new();
    let rounds = (0..ROUNDS as u64).map(|round| {
        let mut feed = Feed::new(mixture, round);
        // As many as the caches of a core hold.
        let mut took = Duration::ZERO;
        for _ in 0..100 {
            let payloads: Vec<_> = (0..AT_ONCE).map(|_| validated(feed.next(batches))).collect();
            let begun = thread_cpu_time();
            for payload in payloads {
                router.route(payload, &mut parts);
                parts.clear();
            }
            took += thread_cpu_time() - begun;
        }
        took.as_nanos() as f64 / (100 * AT_ONCE * SPANS) as f64
    });
    median(rounds.collect())
}

/// Spans of all threads in a second that the busier one has on its core.
fn rate(batches: &Batches, mixture: Mixture, cores: &[usize], routed: bool, round: u64) -> f64 {
    let shared = Shared::default();
    let took = thread::scope(|scope| {
        let started: Vec<_> = cores
            .iter()
            .enumerate()
            .map(|(shard, &core)| {
                let shared = &shared;
                scope.spawn(move || {
                    process::pin(core).expect("the process may use it");
                    let mut bench = Bench::holding(HELD);
                    let mut new = Feed::new(mixture, round * 10 + shard as u64);
                    shared.ready.fetch_add(1, SeqCst);
                    while shared.ready.load(SeqCst) < cores.len() {
                        std::hint::spin_loop();
                    }
                    let mut make = |_| new.next(batches);
                    if routed {
                        shared.work(shard, &mut bench, make)
                    } else {
                        bench.run(BEFORE, Came::Validated, &mut make);
                        bench.run(COUNT, Came::Validated, make)
                    }
                })
            })
            .collect();
        let joined = started.into_iter().map(|thread| thread.join().expect("it does not panic"));
        joined.fold(Duration::ZERO, Duration::max)
    });
    (cores.len() * COUNT * SPANS) as f64 / took.as_secs_f64()
}

// === impl Shared ===

impl Shared {
    /// One shard's work: its own input, and what the other sends. Returns the CPU time of it. That
    /// the other is not ready in the end is not counted: on a machine that does other things as well
    /// that says when each thread had a core.
    fn work(
        &self,
        shard: usize,
        bench: &mut Bench,
        mut make: impl FnMut(usize) -> Bytes,
    ) -> Duration {
        let mut router = Router::new(SHARDS, 1).expect("there may be two shards");
        let (mut digests, mut post) = ([(); SHARDS].map(|()| Digest::new()), Digest::new());
        let mut took = Duration::ZERO;
        for start in (0..BEFORE + COUNT).step_by(AT_ONCE) {
            if start <= BEFORE {
                took = Duration::ZERO;
            }
            // Neither gets ahead of the other: what is under way is bounded.
            self.wait_for(start / AT_ONCE + 1);
            let numbers = start..(BEFORE + COUNT).min(start + AT_ONCE);
            let payloads: Vec<Payload> = numbers.map(|number| validated(make(number))).collect();
            let begun = thread_cpu_time();
            for payload in payloads {
                router.digest(payload, &mut digests);
                if digests[1 - shard].payloads() >= BUNDLE {
                    self.send(1 - shard, &mut digests[1 - shard]);
                    bench.take_digest(&mut digests[shard]);
                    self.receive(shard, &mut post, bench);
                }
            }
            took += thread_cpu_time() - begun;
        }
        self.send(1 - shard, &mut digests[1 - shard]);
        self.wait_for((BEFORE + COUNT).div_ceil(AT_ONCE) + 1);
        let begun = thread_cpu_time();
        bench.take_digest(&mut digests[shard]);
        self.receive(shard, &mut post, bench);
        took + (thread_cpu_time() - begun)
    }

    /// Waits until all have come here so many times.
    fn wait_for(&self, turns: usize) {
        self.turns.fetch_add(1, SeqCst);
        for spun in 0_u32.. {
            if self.turns.load(SeqCst) >= turns * SHARDS {
                break;
            }
            // It is there soon, unless the machine does other things as well.
            if spun < 100_000 { std::hint::spin_loop() } else { thread::yield_now() }
        }
    }

    fn send(&self, whose: usize, digest: &mut Digest) {
        self.boxes[whose].lock().expect("nobody panics").append(digest);
    }

    /// Takes what is in a letter box; `post` is empty before and after.
    fn receive(&self, shard: usize, post: &mut Digest, bench: &mut Bench) {
        mem::swap(post, &mut *self.boxes[shard].lock().expect("nobody panics"));
        bench.take_digest(post);
    }
}

/// New traces without end.
#[derive(Debug)]
struct Feed {
    mixture: Mixture,
    ids: Ids,
    number: usize,
    /// The traces of this batch and the nine after it.
    open: [TraceId; SPANS],
}

// === impl Feed ===

impl Feed {
    fn new(mixture: Mixture, seed: u64) -> Self {
        Self { mixture, ids: Ids::new(seed), number: 0, open: [[0; 16]; SPANS] }
    }

    fn next(&mut self, batches: &Batches) -> Bytes {
        let number = self.number;
        self.number += 1;
        if self.mixture == Mixture::OneTrace {
            return batches.of_one(Fate::of(number), self.ids.take());
        }
        if number.is_multiple_of(SPANS) {
            self.open = std::array::from_fn(|_| self.ids.take());
        }
        // A span of one trace in a hundred fails.
        let fate = if number % 100 == 7 { Fate::Failed } else { Fate::Ordinary };
        batches.of_many(fate, |index| self.open[index])
    }
}
