//! Everything at once: random configurations with any of what a sampler can do, random traffic
//! through shards, and others that answer late or never. Whatever comes together, the books balance.

mod check;
mod traffic;
mod twins;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_otlp::{Ack, Answer as Told, Payload, Signal, validate};
use teleflow_sampler::{
    Answer, Config, Counts, Digest, DynamicSampler, Eviction, FingerprintNote, Keys, MatchRule,
    Notes, Output, Policies, Policy, Proposal, Ratio, Reason, Relief, Remembered, Router, Rule,
    Rules, Shared, Sharing, Storage, StorageError, StorageWriter, Strategy, TailSampler, Threshold,
    Unit,
};

use self::check::Check;
use self::traffic::{Traffic, number};
use super::model::{Hint, items, seeds};

/// A storage that is full or fails now and then.
#[derive(Debug)]
struct Moody(Arc<AtomicU64>);

impl Storage for Moody {
    fn writer(&self) -> Box<dyn StorageWriter> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl StorageWriter for Moody {
    fn store(&mut self, bytes: &[u8]) -> Result<Bytes, StorageError> {
        match self.0.fetch_add(1, Relaxed) % 7 {
            3 => Err(StorageError::Full),
            5 => Err(StorageError::Failed),
            _ => Ok(Bytes::copy_from_slice(bytes)),
        }
    }

    fn used_bytes(&self) -> u64 {
        0
    }
}

/// A quarter: a world of these does more than others.
fn few_seeds() -> u64 {
    seeds().div_ceil(4)
}

fn millis(rng: &mut fastrand::Rng, most: u64) -> Duration {
    Duration::from_millis(if rng.u8(..5) == 0 { 0 } else { rng.u64(..most) })
}

fn rules(rng: &mut fastrand::Rng, strategy: Strategy) -> Rules {
    if strategy == Strategy::TraceComplete && rng.u8(..4) == 0 {
        let errors = vec!["span.status.code == STATUS_CODE_ERROR".to_owned()];
        let keys = Keys::new(["span.route"]);
        let (unit, interval) = (Unit::Spans, Duration::from_secs(2));
        let rest = match rng.u8(..3) {
            0 => DynamicSampler::Ratio(0.3),
            1 => {
                DynamicSampler::AdaptivePercentage { goal: 0.3, unit, keys, interval, weight: 0.5 }
            }
            _ => DynamicSampler::PerKeyThroughput { goal: 9.0, unit, keys, interval },
        };
        return Rules::FirstMatch(vec![
            MatchRule { conditions: errors, ..MatchRule::new("errors", DynamicSampler::Always) },
            MatchRule::new("rest", rest),
        ]);
    }
    let salt = if rng.bool() { "pepper" } else { "" };
    let ratio = Ratio { probability: rng.f64(), salt: salt.into() };
    let long = Rule::new("long", Policy::SpanCount { min: rng.u64(2..30), max: None });
    let mut policies = vec![
        Rule::new("errors", Policy::errors()),
        Rule::new("some", Policy::Ratio(ratio)),
        Rule::new("not", Policy::Not(Box::new(long.clone()))),
        Rule::new("drop", Policy::Drop(vec![long])),
    ];
    if strategy == Strategy::TraceComplete {
        policies.push(Rule::new("slow", Policy::slower_than(Duration::from_millis(900))));
        policies.push(Rule::new("limit", Policy::RateLimit { spans_per_second: 50, burst: 100 }));
    }
    rng.shuffle(&mut policies);
    policies.truncate(rng.usize(..=policies.len()));
    Rules::Policies(Policies { policies, first_match: rng.bool(), inverted_votes: rng.bool() })
}

fn config(rng: &mut fastrand::Rng) -> Config {
    let any = |rng: &mut fastrand::Rng| rng.u8(..3) == 0;
    let strategy = if any(rng) { Strategy::SpanIngest } else { Strategy::TraceComplete };
    let activation = rng.u8(..=100);
    let relief = Relief {
        threshold: Threshold::from_probability(rng.f64().max(0.01)).unwrap(),
        activation: if rng.u8(..6) == 0 { 0 } else { activation },
        deactivation: if rng.u8(..6) == 0 { 0 } else { rng.u8(..=activation) },
        at_least: millis(rng, 2000),
    };
    let relief = Relief { deactivation: relief.deactivation.min(relief.activation), ..relief };
    let fingerprints = [FingerprintNote::None, FingerprintNote::Value, FingerprintNote::Hash];
    let remembers = |rng: &mut fastrand::Rng| [0, 10, 300, 3000][rng.usize(..4)];
    let storage: Arc<dyn Storage> = Arc::new(Moody(Arc::default()));
    let root = "span.status.code == STATUS_CODE_ERROR or span.kind == 1";
    Config {
        rules: rules(rng, strategy),
        strategy,
        decision_wait: millis(rng, 3000),
        decision_wait_after_root: any(rng).then(|| millis(rng, 1000)),
        root_condition: any(rng).then(|| root.into()),
        max_bytes: if rng.bool() { rng.usize(64 << 10..256 << 10) } else { 64 << 20 },
        storage: any(rng).then_some(storage),
        max_traces: if rng.bool() { rng.usize(1..100) } else { 100_000 },
        blocks_when_full: rng.u8(..6) == 0,
        max_trace_spans: any(rng).then(|| rng.u64(1..30)),
        max_trace_bytes: any(rng).then(|| rng.u64(50..5000)),
        remembered: Remembered { kept: remembers(rng), dropped: remembers(rng) },
        payload_bytes: if rng.bool() { rng.usize(..400) } else { rng.usize(..50_000) },
        writes_threshold: rng.bool(),
        records_policy: rng.bool(),
        counts: [Counts::None, Counts::Spans, Counts::All][rng.usize(..3)],
        notes: Notes { decision: any(rng), fingerprint: fingerprints[rng.usize(..3)] },
        host: any(rng).then(|| "host".into()),
        dry_run: rng.u8(..4) == 0,
        eviction: if any(rng) { Eviction::Ratio(rng.f64().max(0.01)) } else { Eviction::Rules },
        drops_at_end: rng.bool(),
        relief: any(rng).then_some(relief),
        holds_logs: rng.bool(),
        sharing: any(rng)
            .then(|| Sharing { grace: millis(rng, 1000), patience: millis(rng, 1000) }),
        hash_seed: 5,
    }
}

/// A sampler, and what came to it.
struct Shard {
    sampler: TailSampler,
    out: Output,
    spans: u64,
    logs: u64,
    logs_out: u64,
    spans_out: u64,
}

struct Asker {
    sent: u64,
    delivered: u64,
    dropped: u64,
    heard: Arc<Mutex<Vec<Told>>>,
}

struct World {
    rng: fastrand::Rng,
    config: Config,
    router: Router,
    shards: Vec<Shard>,
    traffic: Traffic,
    askers: Vec<Asker>,
    now: Instant,
    /// What is in the places that samplers have in common, and the answers on their way.
    places: HashMap<[u8; 16], Shared>,
    answers: Vec<(usize, Answer)>,
    /// Spans and records that went on.
    kept: u64,
    /// The longest request, and how long what is long may be.
    longest: usize,
    long: usize,
}

// === impl World ===

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = config(&mut rng);
        let count = rng.usize(1..4);
        let shard = |_| Shard {
            sampler: TailSampler::new(config.clone()).unwrap(),
            out: Output::default(),
            spans: 0,
            logs: 0,
            logs_out: 0,
            spans_out: 0,
        };
        Self {
            router: Router::new(count, seed).unwrap(),
            shards: (0..count).map(shard).collect(),
            traffic: Traffic::default(),
            askers: Vec::new(),
            now: Instant::now(),
            places: HashMap::new(),
            answers: Vec::new(),
            kept: 0,
            longest: 0,
            long: [300, 3000, 30_000][rng.usize(..3)],
            config,
            rng,
        }
    }

    fn step(&mut self) {
        match self.rng.u8(..24) {
            0 => self.reconfigure(),
            1..5 => self.poll(),
            5..8 => self.learn(),
            8 => {
                let (percent, at) = (self.rng.u8(..), self.rng.usize(..self.shards.len()));
                self.shards[at].sampler.note_waiting(percent);
            }
            _ => self.offer(),
        }
        self.check();
        let most = if self.rng.u8(..9) == 0 { 2_000_000_000 } else { 60_000_000 };
        self.now += Duration::from_nanos(self.rng.u64(..most));
    }

    fn payload(&mut self) -> Payload {
        let signal = if self.rng.u8(..5) == 0 { Signal::Logs } else { Signal::Traces };
        let mut payload = Payload::empty(signal);
        let requests = if self.rng.bool() { 1 } else { self.rng.usize(1..4) };
        for _ in 0..requests {
            let asker = self.askers.len();
            let (bytes, count) = self.traffic.request(&mut self.rng, signal, asker, self.long);
            self.longest = self.longest.max(bytes.len());
            let mut one = Payload::parse(signal, bytes).unwrap();
            assert_eq!(one.items(), count);
            let heard = Arc::new(Mutex::new(Vec::new()));
            let hears = Arc::clone(&heard);
            let is_awaited = self.rng.u8(..4) > 0;
            if is_awaited {
                let ack = Ack::new(count, move |told| hears.lock().unwrap().push(told));
                one = one.with_ack(ack);
            }
            // Whoever does not wait hears nothing: that is as if nothing had been sent.
            let sent = if is_awaited { count } else { u64::MAX };
            self.askers.push(Asker { sent, delivered: 0, dropped: 0, heard });
            payload.append(one);
        }
        payload
    }

    fn offer(&mut self) {
        let payload = self.payload();
        let is_of_logs = payload.signal() == Signal::Logs;
        let mut parts: Vec<_> = self.shards.iter().map(|_| Digest::new()).collect();
        match self.rng.u8(..5) {
            // Whoever sends does not care for traces.
            0 => parts[self.rng.usize(..self.shards.len())].add(payload),
            1 | 2 => {
                let mut whole = Vec::new();
                self.router.route(payload, &mut whole);
                whole.into_iter().for_each(|(at, part)| parts[at] = Digest::unread(part));
            }
            _ => self.router.digest(payload, &mut parts),
        }
        for (at, mut digest) in parts.into_iter().enumerate() {
            if digest.is_empty() {
                continue;
            }
            if self.rng.u8(..6) == 0 {
                let mut again = Digest::new();
                digest.into_payloads().for_each(|payload| again.add(payload));
                digest = again;
            }
            let shard = &mut self.shards[at];
            let items = digest.items();
            let is_looked_at = items > 0 && (!is_of_logs || self.config.holds_logs);
            *if is_of_logs { &mut shard.logs } else { &mut shard.spans } += items;
            if self.rng.bool() {
                shard.sampler.offer_digest(self.now, &mut digest, &mut shard.out);
                assert!(digest.is_empty(), "{digest:?} was not taken");
            } else {
                let mut offer = |payload| shard.sampler.offer(self.now, payload, &mut shard.out);
                digest.into_payloads().for_each(&mut offer);
            }
            if !is_looked_at {
                // Nor are the bounds, which may be new.
                continue;
            }
            let held = shard.sampler.held();
            let most = self.config.max_bytes + 5 * self.longest + (256 << 10);
            assert!(held.bytes <= most as u64, "{held:?}");
            let is_evicted = is_of_logs && shard.sampler.is_relieving();
            if !self.config.blocks_when_full || is_evicted {
                assert!(held.traces <= self.config.max_traces as u64, "{held:?}");
            }
        }
    }

    fn poll(&mut self) {
        let now = self.now;
        for shard in &mut self.shards {
            loop {
                let before = shard.out.kept.len();
                shard.sampler.poll(now, &mut shard.out);
                if shard.sampler.next_deadline().is_none_or(|due| due > now) {
                    break;
                }
                assert!(shard.out.kept.len() >= before + 4, "it stops for what was kept alone");
            }
        }
    }

    /// Others answer: some of what they were asked, in any order.
    fn learn(&mut self) {
        let mut answers: Vec<Vec<Answer>> = self.shards.iter().map(|_| Vec::new()).collect();
        self.rng.shuffle(&mut self.answers);
        let most = self.rng.usize(..=self.answers.len());
        for (at, answer) in self.answers.drain(..most) {
            answers[at].push(answer);
        }
        if !self.traffic.ids.is_empty() && self.rng.u8(..4) == 0 {
            // Nobody asked.
            let id = self.traffic.ids[self.rng.usize(..self.traffic.ids.len())];
            let at = self.rng.usize(..self.shards.len());
            let reason = self.reason();
            let shared = match self.rng.u8(..4) {
                0 => None,
                1 => Some(Shared::Dropped),
                2 => Some(Shared::Voted(reason)),
                _ => Some(Shared::Kept(reason)),
            };
            answers[at].push(Answer { id, shared });
        }
        for (shard, answers) in self.shards.iter_mut().zip(answers) {
            shard.sampler.learn(self.now, answers, &mut shard.out);
        }
    }

    fn reason(&mut self) -> Reason {
        let names = ["errors", "some", "_eviction", "stress_relief", "nobody", ""];
        let threshold = Threshold::from_probability(self.rng.f64().max(0.01)).ok();
        Reason {
            threshold: threshold.filter(|_| self.rng.bool()),
            policy: self.rng.bool().then(|| names[self.rng.usize(..names.len())].into()),
            part: (self.rng.u8(..9) == 0).then(|| "part".into()),
        }
    }

    fn reconfigure(&mut self) {
        self.config = config(&mut self.rng);
        for shard in &mut self.shards {
            shard.sampler.reconfigure(self.config.clone()).unwrap();
        }
    }

    /// To the end: in time, or at once.
    fn end(&mut self) {
        if self.rng.bool() {
            let mut polls = 0;
            while let Some(due) =
                self.shards.iter().filter_map(|shard| shard.sampler.next_deadline()).min()
            {
                self.now = self.now.max(due);
                self.poll();
                self.check();
                polls += 1;
                assert!(polls < 2000, "it never ends");
            }
        } else {
            for shard in &mut self.shards {
                while !shard.sampler.drain(self.now, &mut shard.out) {}
            }
            self.check();
        }
        for shard in &mut self.shards {
            let (held, stats) = (shard.sampler.held(), shard.sampler.stats());
            assert_eq!((held.spans, held.traces, held.stored_bytes), (0, 0, 0));
            // What is remembered, and room for some.
            assert!(held.bytes <= (400 << 10), "{held:?}");
            let decided: u64 = stats.spans_sampled_out.iter().sum();
            let books = stats.spans_kept + decided + stats.late_sampled_out;
            assert_eq!(shard.spans, books, "{stats:?}");
            assert_eq!(stats.sharing.waiting, 0);
        }
        for asker in &self.askers {
            let Asker { sent, delivered, dropped, heard } = asker;
            let expected = (*sent < u64::MAX).then(|| {
                let sampled_out = sent - delivered - dropped;
                Told { delivered: *delivered, dropped: *dropped, sampled_out, ..Told::default() }
            });
            assert_eq!(*heard.lock().unwrap(), Vec::from_iter(expected));
        }
    }

    fn check(&mut self) {
        for at in 0..self.shards.len() {
            let Output { kept, sampled_out, logs_sampled_out, proposals } =
                std::mem::take(&mut self.shards[at].out);
            for payload in kept {
                self.came_out(at, payload);
            }
            for proposal in proposals {
                self.propose(at, proposal);
            }
            let shard = &mut self.shards[at];
            shard.spans_out += sampled_out;
            shard.logs_out += logs_sampled_out;
            let (held, stats) = (shard.sampler.held(), shard.sampler.stats());
            let came = shard.spans + shard.logs;
            assert_eq!(came, shard.spans_out + shard.logs_out + held.spans, "the books: {stats:?}");
            let decisions: u64 = stats.decisions.iter().sum();
            assert_eq!(stats.traces, decisions + held.traces, "{stats:?}");
            assert_eq!(decisions, stats.traces_kept + stats.traces_sampled_out, "{stats:?}");
            assert!(stats.sharing.waiting <= held.traces, "{stats:?}");
        }
    }

    fn propose(&mut self, from: usize, proposal: Proposal) {
        let Proposal { id, shared, replaces } = proposal;
        if replaces {
            self.places.insert(id, shared.clone());
        }
        let there = self.places.entry(id).or_insert(shared).clone();
        match self.rng.u8(..6) {
            0 => {}
            1 => self.answers.push((from, Answer { id, shared: None })),
            _ => self.answers.push((from, Answer { id, shared: Some(there) })),
        }
    }

    fn came_out(&mut self, at: usize, mut payload: Payload) {
        let (bytes, signal, count) = (payload.to_bytes(), payload.signal(), payload.items());
        assert_eq!(validate(signal, &bytes), Ok(count));
        self.kept += count;
        match signal {
            Signal::Traces => self.shards[at].spans_out += count,
            _ => self.shards[at].logs_out += count,
        }
        let is_lost = self.rng.u8(..4) == 0;
        for (message, _, resource, scope) in items(&bytes) {
            let item = &mut self.traffic.items[number(signal, &message)];
            assert!(!std::mem::replace(&mut item.is_out, true), "it came out twice");
            assert_eq!(item.signal, signal);
            self.config.check_item(signal, &item.message, &message);
            assert_eq!(item.resource, resource);
            self.config.check_scope(&item.scope, &scope);
            let asker = &mut self.askers[item.asker];
            *(if is_lost { &mut asker.dropped } else { &mut asker.delivered }) += 1;
        }
        if !is_lost {
            payload.take_ack().settle(Told::delivered(count));
        }
    }
}

#[test]
fn whatever_comes_together_the_books_balance() {
    let (mut kept, mut came) = (0, 0);
    for seed in 0..few_seeds() {
        let hint = Hint(seed);
        let mut world = World::new(seed);
        for _ in 0..60 {
            world.step();
        }
        world.end();
        (kept, came) = (kept + world.kept, came + world.traffic.items.len() as u64);
        std::mem::forget(hint);
    }
    assert!(kept > came / 10 && came - kept > came / 10, "{kept} of {came} were kept");
}
