//! A gateway that samples in shards, by rules that change while it works.
//!
//! The same traces come in many requests, of several senders; the destination is slow, full and away
//! for a while. A trace is kept or left out as a whole, in whatever shard it is and whatever rules
//! come and go meanwhile, by rules that were in force between its first span and its decision. In some
//! worlds there are log records, which share the fate of their traces.

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use teleflow::exporter::{
    Delivered, ExportError, Exporter, OnFull, QueueConfig, Retry, RetryConfig,
};
use teleflow::sampler::{self, Policy, Rule, Trigger};
use teleflow::{Inlet, LaneConfig, Payload, Pipeline, Sending, Signal, batcher};
use teleflow_testkit::telemetry::Telemetry;
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::spans::{outcomes, records, that_fail, traces};
use crate::world::pass;

/// What happened in some worlds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    kept: u64,
    left_out: u64,
    /// Traces of several requests.
    in_pieces: u64,
    /// Traces that began under other rules than those they were decided by.
    across: u64,
    /// Traces of which it is certain by which rules they were decided.
    certain: u64,
    records: u64,
    refused: u64,
    changes: u64,
    early: u64,
    late: u64,
    /// Worlds of one, two and five shards.
    shards: [u64; 3],
}

/// What is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rules {
    All,
    Nothing,
    Errors,
}

/// What senders know of a trace.
#[derive(Clone, Copy, Debug)]
struct Trace {
    began: Instant,
    /// How often the rules had changed by then.
    changes: usize,
    spans: u64,
    records: u64,
    requests: u64,
    failed: bool,
}

/// Where kept spans arrive, on its good days. Clones are the same.
#[derive(Clone, Debug)]
struct Shelf(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: Rng,
    spans: HashMap<u128, u64>,
    records: HashMap<u128, u64>,
    away_until: Instant,
}

/// What senders and rules have in common.
struct World {
    rng: RefCell<Rng>,
    traces: RefCell<HashMap<u128, Trace>>,
    /// The rules, from the first on, and since when they were in force.
    rules: RefCell<Vec<(Instant, Rules)>>,
    refused: RefCell<u64>,
    has_records: bool,
    shelf: Shelf,
    config: sampler::Config,
}

const NUMBERS: [usize; 3] = [1, 2, 5];

pub(crate) fn live(seed: u64) -> Seen {
    fastrand::seed(seed);
    let rng = Rng::with_seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(run(rng))
}

async fn run(mut rng: Rng) -> Seen {
    let waits_for_result = rng.bool();
    let kind = rng.usize(..NUMBERS.len());
    let shelf = Shelf::new(&mut rng);
    let first = Rules::any(&mut rng);
    let config = sampler::Config {
        decision_wait: Duration::from_millis(rng.u64(1..3000)),
        max_traces: if rng.bool() { 50_000 } else { rng.usize(5..40) },
        blocks_when_full: rng.bool(),
        payload_bytes: 64 * 1024,
        hash_seed: rng.u64(..),
        ..sampler::Config::default()
    };
    let pipeline = start(
        &mut rng,
        &shelf,
        Rules::config(first, &config),
        NonZeroUsize::new(NUMBERS[kind]).unwrap(),
        waits_for_result,
    )
    .await;
    let world = World {
        rng: RefCell::new(rng.fork()),
        traces: RefCell::default(),
        rules: RefCell::new(vec![(Instant::now(), first)]),
        refused: RefCell::default(),
        has_records: rng.bool(),
        shelf: shelf.clone(),
        config,
    };
    let inlet = pipeline.inlet("in").unwrap();
    let pool: Vec<_> = (0..rng.usize(20..120)).map(|_| rng.u128(1..)).collect();
    let senders = (0..rng.usize(1..4)).map(|_| world.send(&inlet, &pool));
    tokio::select! {
        _ = join_all(senders) => {}
        () = world.go_wrong(&pipeline) => {}
    }
    shelf.0.lock().unwrap().away_until = Instant::now();
    if rng.bool() {
        pass(Duration::from_secs(rng.u64(..10))).await;
    }
    check(&pipeline);
    let (stats, _) = pipeline.stats().lanes[0].sampler.clone().unwrap();
    let books = pipeline.shutdown(Instant::now() + Duration::from_secs(1_000_000)).await;
    assert!(books.balance(), "{books}");
    for account in &books.accounts {
        assert_eq!((account.held, books.dropped(), account.rejected), (0, 0, 0), "{books}");
        assert_eq!(account.accepted, account.delivered + account.sampled_out, "{books}");
    }

    let mut seen = world.end();
    seen.shards[kind] = 1;
    seen.early = stats.decisions[Trigger::Count as usize];
    seen.late = stats.late_kept + stats.late_sampled_out;
    let traces = world.traces.borrow();
    let spans: u64 = traces.values().map(|trace| trace.spans).sum();
    let records: u64 = traces.values().map(|trace| trace.records).sum();
    let accepted: Vec<u64> = books.accounts.iter().map(|account| account.accepted).collect();
    assert_eq!(accepted, [spans, records], "{books}");
    seen
}

async fn start(
    rng: &mut Rng,
    shelf: &Shelf,
    config: sampler::Config,
    shards: NonZeroUsize,
    waits_for_result: bool,
) -> Pipeline {
    let queue = QueueConfig {
        max_requests: NonZeroUsize::new(rng.usize(1..20)).unwrap(),
        num_consumers: NonZeroUsize::new(rng.usize(1..3)).unwrap(),
        on_full: if rng.bool() { OnFull::Wait } else { OnFull::Reject },
        ..QueueConfig::default()
    };
    let retry = RetryConfig {
        initial_interval: Duration::from_millis(rng.u64(10..500)),
        max_elapsed_time: Duration::ZERO,
        ..RetryConfig::default()
    };
    let exporter = Retry::new(shelf.clone(), retry).unwrap();
    let mut lane = LaneConfig::new("traces", Signal::Traces).from("in").to("shelf");
    lane = lane.sample(config).sample_in(shards);
    if rng.bool() {
        lane = lane.batch(batcher::Config {
            min_items: rng.u64(1..60),
            timeout: Duration::from_millis(rng.u64(1..500)),
            ..batcher::Config::default()
        });
    }
    let sending = Sending { queue, ..Sending::default() };
    let mut builder = Pipeline::builder().inlet("in").exporter("shelf", exporter, sending);
    if waits_for_result {
        builder = builder.wait_for_result("in");
    }
    let logs = LaneConfig::new("logs", Signal::Logs).from("in").to("shelf").follow("traces");
    builder.lane(lane).lane(logs).start().await.unwrap()
}

fn check(pipeline: &Pipeline) {
    let books = pipeline.books();
    assert!(books.balance(), "{books}");
}

// === impl World ===

impl World {
    /// Sends requests of some traces, each until it is taken.
    async fn send(&self, inlet: &Inlet, pool: &[u128]) {
        let mut telemetry = Telemetry::new(self.rng.borrow_mut().u64(..));
        let requests = self.rng.borrow_mut().usize(10..40);
        // Senders go through the traces: later requests are of later ones.
        for request in 0..requests {
            let at = pool.len() * request / requests;
            let some = &pool[at..(at + 12).min(pool.len())];
            let (payload, delay) = {
                let rng = &mut *self.rng.borrow_mut();
                let payload = match self.has_records && rng.u8(..3) == 0 {
                    true => records(&mut telemetry, rng, some),
                    false => that_fail(&mut telemetry, rng, some, 10),
                };
                (payload, Duration::from_millis(rng.u64(..700)))
            };
            self.note(&payload);
            while inlet.send(payload.clone()).await.is_err() {
                *self.refused.borrow_mut() += 1;
                pass(Duration::from_millis(300)).await;
            }
            pass(delay).await;
        }
    }

    /// From here on the gateway may have it.
    fn note(&self, payload: &Payload) {
        let mut known = self.traces.borrow_mut();
        let changes = self.rules.borrow().len() - 1;
        let new = Trace {
            began: Instant::now(),
            changes,
            spans: 0,
            records: 0,
            requests: 0,
            failed: false,
        };
        let mut ids = Vec::new();
        for (id, failed) in outcomes(payload) {
            let trace = known.entry(id).or_insert(new);
            let is_span = payload.signal() == Signal::Traces;
            *(if is_span { &mut trace.spans } else { &mut trace.records }) += 1;
            trace.failed |= failed;
            ids.push(id);
        }
        ids.sort_unstable();
        ids.dedup();
        ids.iter().for_each(|id| known.get_mut(id).unwrap().requests += 1);
    }

    /// Rules change, and the destination goes away and comes back.
    async fn go_wrong(&self, pipeline: &Pipeline) {
        loop {
            let (what, time) = {
                let rng = &mut *self.rng.borrow_mut();
                (rng.u8(..100), Duration::from_millis(rng.u64(..8000)))
            };
            match what {
                0..3 => self.shelf.0.lock().unwrap().away_until = Instant::now() + time,
                3 => self.change(pipeline),
                4..10 => {
                    let none = sampler::Config { max_traces: 0, ..self.config.clone() };
                    pipeline.change_sampler("traces", none).unwrap_err();
                }
                _ => {}
            }
            check(pipeline);
            pass(Duration::from_millis(97)).await;
        }
    }

    fn change(&self, pipeline: &Pipeline) {
        let rules = Rules::any(&mut self.rng.borrow_mut());
        let before = pipeline.stats().lanes[0].sampler.as_ref().unwrap().1;
        pipeline.change_sampler("traces", rules.config(&self.config)).unwrap();
        let after = pipeline.stats().lanes[0].sampler.as_ref().unwrap().1;
        assert_eq!((before.spans, before.traces), (after.spans, after.traces), "nothing is lost");
        self.rules.borrow_mut().push((Instant::now(), rules));
    }

    /// Whether nothing is decided before it has waited.
    fn is_roomy(&self) -> bool {
        self.config.blocks_when_full || self.config.max_traces > 1000
    }

    /// What became of each trace.
    fn end(&self) -> Seen {
        let (traces, rules) = (self.traces.borrow(), self.rules.borrow());
        let state = self.shelf.0.lock().unwrap();
        let changes = rules.len() as u64 - 1;
        let mut seen = Seen { refused: *self.refused.borrow(), changes, ..Seen::default() };
        for (id, trace) in traces.iter() {
            let count = |items: &HashMap<u128, u64>| items.get(id).copied().unwrap_or_default();
            let arrived = (count(&state.spans), count(&state.records));
            let whole = arrived == (0, 0) || arrived == (trace.spans, trace.records);
            assert!(whole, "{arrived:?} of {id:x} arrived: {trace:?}");
            let is_kept = arrived != (0, 0);
            seen.records += trace.records;
            // It was decided by the rules in force at some time after it had waited, or after it
            // began where there was no room.
            let waited = trace.began + self.config.decision_wait;
            let in_force = rules.partition_point(|(since, _)| *since <= waited) - 1;
            let first = if self.is_roomy() { in_force } else { trace.changes };
            let possible = &rules[first..];
            // Of several requests the one that failed may have come too late.
            let is_one = trace.requests == 1;
            let may = |(_, rules): &(Instant, Rules)| match rules {
                Rules::All => is_kept,
                Rules::Nothing => !is_kept,
                Rules::Errors if is_kept => trace.failed,
                Rules::Errors => !trace.failed || !is_one,
            };
            assert!(possible.iter().any(may), "{is_kept} by any of {possible:?}: {trace:?}");
            *(if is_kept { &mut seen.kept } else { &mut seen.left_out }) += 1;
            seen.in_pieces += u64::from(trace.requests > 1);
            seen.across += u64::from(trace.changes < first);
            seen.certain += u64::from(possible.len() == 1);
        }
        seen
    }
}

// === impl Rules ===

impl Rules {
    fn any(rng: &mut Rng) -> Self {
        *rng.choice(&[Self::All, Self::Nothing, Self::Errors]).unwrap()
    }

    fn config(self, config: &sampler::Config) -> sampler::Config {
        let rules = match self {
            Self::All => vec![Rule::new("all", Policy::Always)],
            Self::Nothing => Vec::new(),
            Self::Errors => vec![Rule::new("errors", Policy::errors())],
        };
        sampler::Config { rules: rules.into(), ..config.clone() }
    }
}

// === impl Shelf ===

impl Shelf {
    fn new(rng: &mut Rng) -> Self {
        let (spans, records) = (HashMap::new(), HashMap::new());
        let state = State { rng: rng.fork(), spans, records, away_until: Instant::now() };
        Self(Arc::new(Mutex::new(state)))
    }
}

impl Exporter for Shelf {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let delay = {
            let state = &mut *self.0.lock().unwrap();
            Duration::from_millis(state.rng.u64(..100))
        };
        pass(delay).await;
        let state = &mut *self.0.lock().unwrap();
        if Instant::now() < state.away_until {
            return Err(ExportError::Unreachable("it is away".into()));
        }
        let is_span = payload.signal() == Signal::Traces;
        let items = if is_span { &mut state.spans } else { &mut state.records };
        traces(&payload).into_iter().for_each(|id| *items.entry(id).or_default() += 1);
        Ok(Delivered::ALL)
    }
}

// === impl Seen ===

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        self.kept += other.kept;
        self.left_out += other.left_out;
        self.in_pieces += other.in_pieces;
        self.across += other.across;
        self.certain += other.certain;
        self.records += other.records;
        self.refused += other.refused;
        self.changes += other.changes;
        self.early += other.early;
        self.late += other.late;
        std::iter::zip(&mut self.shards, other.shards).for_each(|(all, own)| *all += own);
    }

    /// Whether everything that can happen did.
    pub(crate) fn is_rich(&self) -> bool {
        let counts = [
            self.kept,
            self.left_out,
            self.in_pieces,
            self.across,
            self.certain,
            self.records,
            self.refused,
            self.changes,
            self.early,
            self.late,
        ];
        counts.iter().all(|&count| count > 100) && self.shards.iter().all(|&count| count > 20)
    }
}
