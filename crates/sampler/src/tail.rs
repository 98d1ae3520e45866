//! The tail sampler: waits until a trace is complete, then decides.
//!
//! A trace is decided when [`Config::decision_wait`] has passed since its first span came, or
//! [`Config::decision_wait_after_root`] since its root did. It is decided earlier, on what is there,
//! when it has too many spans, and when the table would go over its bound of bytes or traces, until
//! it is within the bound again. Evicting means deciding, never losing: an early decision asks the
//! same policies, or is left to chance ([`Eviction::Ratio`]). Decisions are remembered, so that a span that comes late follows the rest of its
//! trace.
//!
//! A span whose trace id is missing or malformed belongs to no trace and is decided by itself when
//! it comes. So is one below a resource or scope that is longer than [`Config::payload_bytes`]: that
//! is repeated wherever a span below it goes, and must not be, trace by trace.

use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

use teleflow_otlp::{Ack, Payload, Signal, tree};

use self::config::MAX_WAIT;
use self::deciding::chance;
use self::eviction::Evictions;
use self::ingest::Ingest;
use self::kept::Kept;
use self::mark::Labels;
use self::relief::Pressure;
use self::roots::Roots;
use self::sharing::Votes;
use self::table::Table;
use crate::engine::{By, Engine};
use crate::memory::Memory;
use crate::secret::{Keyed, Purpose};

pub(crate) mod chunk;
mod config;
mod counts;
mod deciding;
pub(crate) mod digest;
mod dry;
mod due;
mod eviction;
mod ingest;
mod kept;
mod logs;
mod mark;
mod notes;
mod pressure;
mod reading;
mod relief;
mod roots;
pub(crate) mod run;
mod sharing;
mod slab;
mod stats;
mod storage;
mod table;
mod waits;

pub use self::config::{Config, ConfigError, MIN_BYTES, Remembered};
pub use self::counts::Counts;
pub use self::digest::Digest;
pub use self::eviction::Eviction;
pub use self::ingest::Strategy;
pub use self::notes::{FingerprintNote, Notes};
pub use self::relief::{Relief, ReliefStats};
pub use self::sharing::{Answer, Proposal, Reason, Shared, Sharing, SharingStats};
pub use self::stats::{Held, Stats, StorageStats, Trigger};
pub use self::storage::{Storage, StorageError, StorageWriter};
pub use self::waits::Waits;

/// Decisions are made in steps of this, so that a busy sampler is not woken for each trace.
const STEP: Duration = Duration::from_millis(20);

/// A poll or drain ends when what it kept takes so many times [`Config::payload_bytes`], for the
/// caller to hand that on first.
const PAYLOADS_AT_ONCE: usize = 4;

/// What came out of a call. Filled by the sampler, emptied by the caller.
#[derive(Debug, Default)]
pub struct Output {
    /// Traces, or parts of them, that are kept.
    pub kept: Vec<Payload>,
    /// How many spans were sampled out.
    pub sampled_out: u64,
    /// How many log records were sampled out with their traces.
    pub logs_sampled_out: u64,
    /// What others are to be told and asked, with [`Config::sharing`]: at most 16 384 at a time.
    pub proposals: Vec<Proposal>,
}

/// Collects traces and decides about them as wholes.
pub struct TailSampler {
    config: Config,
    engine: Engine,
    evictions: Evictions,
    roots: Roots,
    keyed: Keyed,
    table: Table,
    memory: Memory,
    kept: Kept,
    kept_logs: Kept,
    labels: Labels,
    votes: Votes,
    noted: notes::Shared,
    pressure: Pressure,
    ingest: Ingest,
    /// The first `now` there was. Times are counted from it.
    began: Option<Instant>,
    last_poll: Option<Instant>,
    /// How many bytes of requests stayed without need after spans were last copied out.
    idle_before: usize,
    stats: Stats,
}

// === impl TailSampler ===

impl TailSampler {
    /// Creates a sampler that holds nothing.
    ///
    /// # Errors
    ///
    /// If a bound is too small to work with, or a rule makes no sense.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            roots: Roots::new(config.root_condition.as_deref())?,
            engine: Engine::new(&config.rules)?,
            evictions: Evictions::new(config.eviction)?,
            keyed: Keyed::new(config.hash_seed, Purpose::Table),
            table: Table::new(&config),
            memory: Memory::new(config.remembered),
            kept: Kept::default(),
            kept_logs: Kept::default(),
            labels: Labels::new(&config),
            votes: Votes::default(),
            noted: notes::Shared::default(),
            pressure: Pressure::new(config.relief),
            ingest: Ingest::default(),
            began: None,
            last_poll: None,
            idle_before: 0,
            stats: Stats::default(),
            config,
        })
    }

    /// Works by another configuration from now on.
    ///
    /// Traces that are held stay, and are decided by the rules that are in force then; how long they
    /// wait was settled when they came. Decisions are remembered as far as there is room, and
    /// policies that are the same by name and definition keep what they learned and counted. The
    /// secret of the configuration that was first stays. Requests that are held stay where they are;
    /// those that come go into the new storage, if that is another one.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); then nothing has changed.
    pub fn reconfigure(&mut self, config: Config) -> Result<(), ConfigError> {
        config.check()?;
        let roots = Roots::new(config.root_condition.as_deref())?;
        let engine = Engine::new(&config.rules)?;
        let evictions = Evictions::new(config.eviction)?;
        self.roots = roots;
        let before = mem::replace(&mut self.engine, engine);
        self.engine.adopt(before);
        let before = mem::replace(&mut self.evictions, evictions);
        self.evictions.adopt(before);
        self.memory.resize(config.remembered);
        self.memory.rename(|by| match by {
            By::RELIEF => Some(by),
            _ => config.rules.renamed(&self.config.rules, by),
        });
        self.votes.rename(|by| config.rules.renamed(&self.config.rules, by));
        self.labels = Labels::new(&config);
        self.noted = notes::Shared::default();
        self.table.change_storage(&self.config, &config);
        self.config = Config { hash_seed: self.config.hash_seed, ..config };
        self.change_relief();
        Ok(())
    }

    /// Takes a payload's spans. Who waits for them is answered when they are left out, and else waits
    /// for the payload in which they come out. Late spans and what has to be decided early come out
    /// at once. Log records wait for the decision about their trace where
    /// [`Config::holds_logs`] says so; else they pass by, and metrics always do.
    ///
    /// # Panics
    ///
    /// If a segment of the payload takes 2 GiB or more: places in it are kept in 32 bits.
    pub fn offer(&mut self, now: Instant, mut payload: Payload, out: &mut Output) {
        if payload.signal() == Signal::Logs && self.config.holds_logs {
            return self.offer_logs(now, payload, out);
        }
        if payload.signal() != Signal::Traces {
            out.kept.push(payload);
            return;
        }
        let mut ack = payload.take_ack();
        let mut segments = payload.into_segments();
        while let Some(segment) = segments.next() {
            // Only where somebody waits for several segments has each to be counted.
            let of_segment = match segments.len() {
                0 => mem::take(&mut ack),
                _ if ack.is_none() => Ack::none(),
                _ => ack.take(span_count(&segment)),
            };
            self.offer_segment(now, segment, of_segment, out);
            self.make_room(now, out);
        }
        self.write_kept(out);
        self.close_up();
    }

    /// As [`offer`](Self::offer), for payloads that were read before. The digest is empty then, and
    /// can be filled again.
    ///
    /// # Panics
    ///
    /// As [`offer`](Self::offer).
    pub fn offer_digest(&mut self, now: Instant, digest: &mut Digest, out: &mut Output) {
        let Digest { requests, sorted, unread } = digest;
        let (mut runs, mut scopes) = (&sorted.runs[..], &sorted.scopes[..]);
        let mut ahead = 0;
        for request in requests.drain(..) {
            if ahead == 0 {
                ahead = self.look_ahead(runs);
            }
            ahead = ahead.saturating_sub(request.runs.into());
            let (own, above);
            (own, runs) = runs.split_at(request.runs.into());
            (above, scopes) = scopes.split_at(request.scopes.into());
            self.offer_read(now, request, (own, above), out);
            self.make_room(now, out);
        }
        sorted.clear();
        self.write_kept(out);
        self.close_up();
        unread.drain(..).for_each(|payload| self.offer(now, payload, out));
    }

    /// Decides about the traces that have waited long enough.
    ///
    /// Where much is kept it stops after some payloads, and [`next_deadline`](Self::next_deadline)
    /// is past: hand them on, and poll again.
    pub fn poll(&mut self, now: Instant, out: &mut Output) {
        self.last_poll = Some(now);
        // Until now it was as it is.
        self.look_at_pressure(now);
        let time = self.time(now);
        if !self.decide_while(now, |deadline| deadline <= time, None, out) {
            self.last_poll = None;
        }
        self.look_at_pressure(now);
    }

    /// When [`poll`](Self::poll) has something to do; `None` while nothing is held, and no [`Relief`]
    /// is about to end.
    ///
    /// A busy sampler asks to be polled every 20 ms, and not for every trace.
    pub fn next_deadline(&self) -> Option<Instant> {
        let due = self.table.next().map(|(_, deadline)| deadline);
        let deadline = due.into_iter().chain(self.pressure.deadline(self.config.relief)).min()?;
        let due = self.began? + Duration::from_nanos(deadline);
        Some(self.last_poll.map_or(due, |last| due.max(last + STEP)))
    }

    /// Decides about what is held, on what is there, and tells whether that was all. With
    /// [`Config::drops_at_end`] it leaves all out.
    ///
    /// Where much is kept it stops after some payloads: hand them on, and drain again.
    pub fn drain(&mut self, now: Instant, out: &mut Output) -> bool {
        self.decide_while(now, |_| true, Some(Trigger::Drain), out)
    }

    /// What is held now.
    pub fn held(&self) -> Held {
        Held {
            spans: self.table.spans() as u64,
            traces: self.table.traces() as u64,
            bytes: (self.table.bytes() + self.memory.bytes() + self.votes.bytes()) as u64,
            stored_bytes: self.table.stored_bytes(),
            storage_bytes: self.table.storage_bytes(),
        }
    }

    /// Whether as many traces are held as may be. With [`Config::blocks_when_full`] it is for the
    /// caller not to offer more until traces have been decided. Never while [`Relief`] is active:
    /// spans add no trace then, and for those that log records do others go early.
    pub fn is_full(&self) -> bool {
        if self.pressure.is_active() {
            return false;
        }
        self.table.traces() >= self.config.max_traces || self.table.bytes() > self.config.max_bytes
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        let mut rules = self.engine.stats();
        rules.extend(self.evictions.stats());
        let (memory, relief) = (self.memory.stats(), self.relief_stats());
        let (unmatched, storage) = (self.engine.unmatched(), self.table.storage_stats());
        let sharing = self.votes.stats();
        Stats { rules, unmatched, memory, relief, storage, sharing, ..self.stats.clone() }
    }

    /// Nanoseconds since the first call.
    fn time(&mut self, now: Instant) -> u64 {
        let began = *self.began.get_or_insert(now);
        let time = now.saturating_duration_since(began);
        // Centuries fit.
        time.as_secs().saturating_mul(1_000_000_000) + u64::from(time.subsec_nanos())
    }

    /// Writes the kept spans once they are worth it.
    fn write_if_worth(&mut self, out: &mut Output) {
        if self.is_worth_writing(self.config.payload_bytes) {
            self.write_kept(out);
        }
    }

    /// Whether so many bytes can be written, and what is written for the last time weighs as much as
    /// the envelopes that will have to be written again: else a request of many spans below a huge
    /// resource would become many huge ones.
    fn is_worth_writing(&self, least: usize) -> bool {
        let (staying, going) = self.table.leaving_envelopes();
        self.kept.bytes() + self.kept_logs.bytes() + going >= least.max(staying).max(1)
    }

    fn write_kept(&mut self, out: &mut Output) {
        for (kept, signal) in
            [(&mut self.kept, Signal::Traces), (&mut self.kept_logs, Signal::Logs)]
        {
            if kept.is_clear() {
                continue;
            }
            let bytes = self.config.payload_bytes;
            let marked = kept.write(&mut self.table, signal, bytes, &self.labels, &mut out.kept);
            self.stats.without_room += marked.without_room;
            self.stats.inconsistent += marked.inconsistent;
        }
        self.table.end_writing();
    }
}

impl fmt::Debug for TailSampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailSampler")
            .field("config", &self.config)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

const fn nanos(wait: Duration) -> u64 {
    // Within what the configuration allows it fits many times.
    if wait.as_nanos() > MAX_WAIT.as_nanos() {
        MAX_WAIT.as_nanos() as u64
    } else {
        wait.as_nanos() as u64
    }
}

/// How many spans a request holds.
fn span_count(request: &[u8]) -> u64 {
    let scopes = tree::resources(request).flat_map(|group| group.scopes());
    scopes.map(|scope| scope.items().count() as u64).sum()
}
