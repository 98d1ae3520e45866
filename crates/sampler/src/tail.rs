//! The tail sampler: waits until a trace is complete, then decides.
//!
//! A trace is decided when [`Config::decision_wait`] has passed since its first span came. It is
//! decided earlier, on what is there, when the table would go over its bound of bytes or traces:
//! the oldest traces first, until it is within the bound again. Evicting means deciding, never
//! losing: an early decision asks the same policies. Decisions are remembered, so that a span that
//! comes late follows the rest of its trace.
//!
//! A span whose trace id is missing or malformed belongs to no trace and is decided by itself when
//! it comes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::FixedState;
use teleflow_otlp::span::TailFields;
use teleflow_otlp::{Assembler, Payload, Signal, tree};
use thiserror::Error;

use crate::decided::Decided;
use crate::policy::{Rule, TraceSummary};
use crate::table::{self, Scope, SpanRef, Table, Taken};

/// How a [`TailSampler`] works.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is kept: a trace that any of these keeps. Without a rule nothing is.
    pub rules: Vec<Rule>,
    /// How long to wait for a trace's spans, from the first on. Zero decides at the next poll.
    pub decision_wait: Duration,
    /// The most bytes that undecided traces may take, requests and bookkeeping together. When it is
    /// reached the oldest traces are decided early.
    pub max_bytes: usize,
    /// The most undecided traces; beyond it the oldest are decided early.
    pub max_traces: usize,
    /// How many decisions to remember for late spans, at least; at most twice as many are. Takes 9
    /// to 18 bytes each. Zero forgets at once: a late span then starts a trace of its own.
    pub remembered_decisions: usize,
    /// Kept spans are handed out in payloads of about this many bytes.
    pub payload_bytes: usize,
    /// A secret that senders do not know, so that they cannot choose trace ids that slow the table
    /// down.
    pub hash_seed: u64,
}

/// Why a configuration does not work.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// `max_traces` is zero: there is no place for any trace.
    #[error("the number of traces must not be zero")]
    NoTraces,
    /// `max_bytes` is too small to hold a request.
    #[error("{0} bytes are too few to hold traces in: give at least {MIN_BYTES}")]
    TooFewBytes(usize),
}

/// The least that [`Config::max_bytes`] may be.
const MIN_BYTES: usize = 64 * 1024;

/// Decisions are made in steps of this, so that a busy sampler is not woken for each trace.
const STEP: Duration = Duration::from_millis(20);

/// What came out of a call. Filled by the sampler, emptied by the caller.
#[derive(Debug, Default)]
pub struct Output {
    /// Traces, or parts of them, that are kept.
    pub kept: Vec<Payload>,
    /// How many spans were sampled out.
    pub sampled_out: u64,
}

/// What the sampler holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// Undecided spans.
    pub spans: u64,
    /// Undecided traces.
    pub traces: u64,
    /// What they take, in bytes, with the memory of decisions.
    pub bytes: u64,
}

/// Why a trace was decided when it was.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Trigger {
    /// It had waited long enough.
    Wait,
    /// The byte bound was reached.
    Bytes,
    /// The bound on the number of traces was reached.
    Count,
    /// The sampler was drained.
    Drain,
}

/// What the sampler did so far.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Traces that were kept.
    pub traces_kept: u64,
    /// Traces that were sampled out.
    pub traces_sampled_out: u64,
    /// Decisions by what caused them, in the order of [`Trigger`].
    pub decisions: [u64; 4],
    /// Spans that came after their trace was decided, and were kept.
    pub late_kept: u64,
    /// Spans that came after their trace was decided, and were sampled out.
    pub late_sampled_out: u64,
    /// Spans without a usable trace id.
    pub without_trace: u64,
    /// By rule, in the order of the configuration.
    pub rules: Vec<RuleStats>,
}

/// What one rule did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RuleStats {
    /// The rule's name.
    pub name: String,
    /// Traces that it was the first to keep.
    pub traces_kept: u64,
    /// Traces that it was asked about.
    pub traces_seen: u64,
}

/// Collects traces and decides about them as wholes.
#[derive(Debug)]
pub struct TailSampler {
    config: Config,
    hasher: FixedState,
    table: Table,
    decided: Decided,
    /// Kept spans that are not written yet; their chunks are still counted as used.
    kept: Vec<SpanRef>,
    last_poll: Option<Instant>,
    stats: Stats,
}

// === impl Config ===

impl Default for Config {
    /// The Collector's waiting time (30 s) and number of traces (50 000), 256 MiB, no rule.
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            decision_wait: Duration::from_secs(30),
            max_bytes: 256 * 1024 * 1024,
            max_traces: 50_000,
            remembered_decisions: 100_000,
            payload_bytes: 1024 * 1024,
            hash_seed: 0,
        }
    }
}

// === impl TailSampler ===

impl TailSampler {
    /// Creates a sampler that holds nothing.
    ///
    /// # Errors
    ///
    /// If a bound is too small to work with.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        if config.max_traces == 0 {
            return Err(ConfigError::NoTraces);
        }
        if config.max_bytes < MIN_BYTES {
            return Err(ConfigError::TooFewBytes(config.max_bytes));
        }
        let rules = config
            .rules
            .iter()
            .map(|rule| RuleStats { name: rule.name.clone(), ..RuleStats::default() })
            .collect();
        Ok(Self {
            hasher: FixedState::with_seed(config.hash_seed),
            table: Table::new(),
            decided: Decided::new(config.remembered_decisions),
            kept: Vec::new(),
            last_poll: None,
            stats: Stats { rules, ..Stats::default() },
            config,
        })
    }

    /// Takes a payload's spans. Late spans and what has to be decided early come out at once;
    /// metrics and logs pass by.
    ///
    /// # Panics
    ///
    /// If a segment of the payload takes 4 GiB or more: places in it are kept in 32 bits.
    pub fn offer(&mut self, now: Instant, payload: Payload, out: &mut Output) {
        if payload.signal() != Signal::Traces {
            out.kept.push(payload);
            return;
        }
        let deadline = now + self.config.decision_wait;
        for segment in payload.into_segments() {
            self.offer_segment(deadline, segment, out);
            self.make_room(out);
        }
        self.hand_out(out);
    }

    /// Decides about the traces that have waited long enough.
    pub fn poll(&mut self, now: Instant, out: &mut Output) {
        self.last_poll = Some(now);
        while self.table.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.decide_oldest(Trigger::Wait, out);
        }
        self.hand_out(out);
    }

    /// When [`poll`](Self::poll) has something to do; `None` while nothing is held.
    ///
    /// A busy sampler asks to be polled every 20 ms, and not for every trace.
    pub fn next_deadline(&self) -> Option<Instant> {
        let due = self.table.next_deadline()?;
        Some(self.last_poll.map_or(due, |last| due.max(last + STEP)))
    }

    /// Decides about everything that is held, on what is there.
    pub fn drain(&mut self, out: &mut Output) {
        while self.decide_oldest(Trigger::Drain, out) {}
        self.hand_out(out);
    }

    /// What is held now.
    pub fn held(&self) -> Held {
        Held {
            spans: self.table.spans() as u64,
            traces: self.table.traces() as u64,
            bytes: (self.table.bytes() + self.decided.bytes()) as u64,
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    fn offer_segment(&mut self, deadline: Instant, segment: Bytes, out: &mut Output) {
        assert!(u32::try_from(segment.len()).is_ok(), "a request of 4 GiB has to be cut first");
        let chunk = self.table.add_chunk(segment.clone());
        let mut envelopes = Vec::new();
        let mut scopes = Vec::new();
        // Spans of a trace often come in a row: the last look-up serves the next span too.
        let mut last: Option<([u8; 16], Place)> = None;
        for group in tree::resources(&segment) {
            let from = envelopes.len() as u32;
            group.envelope(&mut envelopes);
            let resource = (from, envelopes.len() as u32);
            for scope in group.scopes() {
                let from = envelopes.len() as u32;
                scope.envelope(&mut envelopes);
                scopes.push(Scope { resource, scope: (from, envelopes.len() as u32) });
                let scope_index = scopes.len() as u32 - 1;
                for item in scope.items() {
                    let fields = TailFields::read(item.message);
                    let span = SpanRef {
                        chunk,
                        scope: scope_index,
                        at: item.at as u32,
                        len: item.field.len() as u32,
                    };
                    let place = match (<[u8; 16]>::try_from(fields.trace_id), last) {
                        (Ok(id), Some((last_id, place))) if id == last_id => self.late(place),
                        (Ok(id), _) if id != [0; 16] => {
                            let place = self.place(id, deadline);
                            last = Some((id, place));
                            self.late(place)
                        }
                        _ => self.alone(&fields, item.message),
                    };
                    match place {
                        Place::Trace(trace) => self.table.add_span(trace, span, &fields),
                        Place::Kept => {
                            self.table.retain(chunk);
                            self.kept.push(span);
                        }
                        Place::Dropped => out.sampled_out += 1,
                    }
                }
            }
        }
        self.table.set_envelopes(chunk, envelopes, scopes);
        self.table.seal(chunk);
    }

    /// Where the spans of a trace go.
    #[inline]
    fn place(&mut self, id: [u8; 16], deadline: Instant) -> Place {
        let hash = table::hash(&self.hasher, &id);
        if let Some(trace) = self.table.find(&id, hash) {
            return Place::Trace(trace);
        }
        match self.decided.find(hash) {
            Some(true) => Place::Kept,
            Some(false) => Place::Dropped,
            None => Place::Trace(self.table.add_trace(id, hash, deadline)),
        }
    }

    /// Counts a span that finds its trace decided.
    #[inline]
    fn late(&mut self, place: Place) -> Place {
        match place {
            Place::Trace(_) => {}
            Place::Kept => self.stats.late_kept += 1,
            Place::Dropped => self.stats.late_sampled_out += 1,
        }
        place
    }

    /// Decides about a span that belongs to no trace. What stands in for its id is a hash of it.
    fn alone(&mut self, fields: &TailFields<'_>, message: &[u8]) -> Place {
        use std::hash::BuildHasher as _;
        self.stats.without_trace += 1;
        let mut summary = TraceSummary::default();
        summary.add(fields);
        let hash = self.hasher.hash_one(message);
        let id = (u128::from(hash) << 64 | u128::from(hash)).to_be_bytes();
        if self.decide(&id, &summary) { Place::Kept } else { Place::Dropped }
    }

    /// Decides early, oldest first, until the table is within its bounds.
    fn make_room(&mut self, out: &mut Output) {
        loop {
            let trigger = if self.table.bytes() > self.config.max_bytes {
                Trigger::Bytes
            } else if self.table.traces() > self.config.max_traces {
                Trigger::Count
            } else {
                return;
            };
            // What was kept holds its request until it is written.
            if !self.decide_oldest(trigger, out) {
                self.hand_out(out);
                return;
            }
            if self.kept.len().is_multiple_of(1024) && self.is_worth_writing() {
                self.hand_out(out);
            }
        }
    }

    /// Whether the kept spans weigh at least as much as the largest envelope that is written with
    /// them: else a request of many spans below a huge resource would become many huge ones.
    fn is_worth_writing(&self) -> bool {
        let spans: usize = self.kept.iter().map(|span| span.len as usize).sum();
        let envelope = |span: &SpanRef| self.table.chunk(span.chunk).envelopes.len();
        !self.kept.is_empty() && spans >= self.kept.iter().map(envelope).max().unwrap_or_default()
    }

    fn decide_oldest(&mut self, trigger: Trigger, out: &mut Output) -> bool {
        let Some(trace) = self.table.take_oldest() else { return false };
        self.stats.decisions[trigger as usize] += 1;
        let keep = self.decide(&trace.id, &trace.summary);
        self.decided.insert(trace.hash, keep);
        if keep {
            self.stats.traces_kept += 1;
        } else {
            self.stats.traces_sampled_out += 1;
            out.sampled_out += trace.summary.spans;
        }
        self.let_go(trace, keep);
        true
    }

    fn let_go(&mut self, trace: Taken, keep: bool) {
        let kept = &mut self.kept;
        self.table.take_spans(trace, |table, span| {
            if keep {
                kept.push(span);
            } else {
                table.release(span.chunk);
            }
        });
    }

    fn decide(&mut self, id: &[u8; 16], summary: &TraceSummary) -> bool {
        for (rule, stats) in self.config.rules.iter().zip(&mut self.stats.rules) {
            stats.traces_seen += 1;
            if rule.policy.keeps(id, summary) {
                stats.traces_kept += 1;
                return true;
            }
        }
        false
    }

    /// Writes the kept spans into payloads, spans of one scope together.
    fn hand_out(&mut self, out: &mut Output) {
        if self.kept.is_empty() {
            return;
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.sort_unstable();
        let mut rest = &kept[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let take = rest
                .iter()
                .take_while(|span| {
                    let envelope = self.table.chunk(span.chunk).envelopes.len();
                    let fits = bytes < self.config.payload_bytes.max(envelope);
                    bytes += span.len as usize;
                    fits
                })
                .count();
            let (now, later) = rest.split_at(take.max(1));
            let request = self.write(now);
            out.kept.push(Payload::trusted(Signal::Traces, request, now.len() as u64));
            rest = later;
        }
        for span in &kept {
            self.table.release(span.chunk);
        }
        kept.clear();
        // The vector's memory serves again, unless a flood made it huge.
        kept.shrink_to(64 * 1024);
        self.kept = kept;
    }

    fn write(&self, spans: &[SpanRef]) -> Bytes {
        let mut assembler = Assembler::new();
        let mut open: Option<(u32, u32, (u32, u32))> = None;
        let mut spans = spans.iter().copied().peekable();
        while let Some(mut span) = spans.next() {
            let chunk = self.table.chunk(span.chunk);
            let scope = chunk.scopes[span.scope as usize];
            let part = |(from, to): (u32, u32)| &chunk.envelopes[from as usize..to as usize];
            if open.is_none_or(|(index, _, resource)| {
                (index, resource) != (span.chunk, scope.resource)
            }) {
                assembler.resource(part(scope.resource));
                open = None;
            }
            if open.is_none_or(|(_, index, _)| index != span.scope) {
                assembler.scope(part(scope.scope));
            }
            open = Some((span.chunk, span.scope, scope.resource));
            // Neighbours are copied in one go.
            while let Some(next) = spans.next_if(|next| {
                (next.chunk, next.scope, next.at) == (span.chunk, span.scope, span.at + span.len)
            }) {
                span.len += next.len;
            }
            let start = span.at as usize;
            assembler.items(&chunk.bytes[start..start + span.len as usize]);
        }
        let mut request = Vec::new();
        assembler.finish(&mut request);
        request.into()
    }
}

/// What becomes of a span that comes in.
#[derive(Clone, Copy, Debug)]
enum Place {
    Trace(u32),
    Kept,
    Dropped,
}
