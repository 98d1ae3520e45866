//! The tail sampler: waits until a trace is complete, then decides.
//!
//! A trace is decided when [`Config::decision_wait`] has passed since its first span came. It is
//! decided earlier, on what is there, when the table would go over its bound of bytes or traces:
//! the oldest traces first, until it is within the bound again. Evicting means deciding, never
//! losing: an early decision asks the same policies. Decisions are remembered, so that a span that
//! comes late follows the rest of its trace.
//!
//! A span whose trace id is missing or malformed belongs to no trace and is decided by itself when
//! it comes. So is one below a resource or scope that is longer than [`Config::payload_bytes`]: that
//! is repeated wherever a span below it goes, and must not be, trace by trace.

use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_otlp::span::TailFields;
use teleflow_otlp::{Ack, Payload, Signal, tree};

use self::config::MAX_WAIT;
use self::kept::Kept;
use self::table::{SpanRef, Table, Taken};
use crate::engine::{Engine, RuleStats};
use crate::keyed::{Keyed, Purpose};
use crate::memory::{Memory, Past};
use crate::{Trace, TraceSummary};

mod config;
mod kept;
mod table;

pub use self::config::{Config, ConfigError, MIN_BYTES, Remembered};

/// Decisions are made in steps of this, so that a busy sampler is not woken for each trace.
const STEP: Duration = Duration::from_millis(20);

/// The bounds are looked at whenever so many spans of a request were read.
const CHECK_EVERY: u32 = 4096;

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
    /// Spans below a resource or scope that is longer than [`Config::payload_bytes`].
    pub below_large_envelope: u64,
    /// By rule, in the order of the configuration.
    pub rules: Vec<RuleStats>,
}

/// Collects traces and decides about them as wholes.
#[derive(Debug)]
pub struct TailSampler {
    config: Config,
    engine: Engine,
    keyed: Keyed,
    table: Table,
    memory: Memory,
    kept: Kept,
    last_poll: Option<Instant>,
    stats: Stats,
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
        Ok(Self {
            engine: Engine::new(&config.rules)?,
            keyed: Keyed::new(config.hash_seed, Purpose::Table),
            table: Table::new(),
            memory: Memory::new(config.remembered),
            kept: Kept::default(),
            last_poll: None,
            stats: Stats::default(),
            config: Config { decision_wait: config.decision_wait.min(MAX_WAIT), ..config },
        })
    }

    /// Takes a payload's spans. Who waits for them is answered when they are left out, and else waits
    /// for the payload in which they come out. Late spans and what has to be decided early come out at once;
    /// metrics and logs pass by.
    ///
    /// # Panics
    ///
    /// If a segment of the payload takes 4 GiB or more: places in it are kept in 32 bits.
    pub fn offer(&mut self, now: Instant, mut payload: Payload, out: &mut Output) {
        if payload.signal() != Signal::Traces {
            out.kept.push(payload);
            return;
        }
        let mut ack = payload.take_ack();
        let mut segments = payload.into_segments().into_iter().peekable();
        while let Some(segment) = segments.next() {
            // Only where somebody waits for several segments has each to be counted.
            let of_segment = match segments.peek() {
                Some(_) if !ack.is_none() => ack.take(span_count(&segment)),
                _ => std::mem::take(&mut ack),
            };
            self.offer_segment(now, segment, of_segment, out);
            self.make_room(now, out);
        }
        self.write_kept(out);
    }

    /// Decides about the traces that have waited long enough.
    ///
    /// Where much is kept it stops after some payloads, and [`next_deadline`](Self::next_deadline)
    /// is past: hand them on, and poll again.
    pub fn poll(&mut self, now: Instant, out: &mut Output) {
        self.last_poll = Some(now);
        let is_due = |table: &Table| table.next_deadline().is_some_and(|due| due <= now);
        if !self.decide_while(now, is_due, Trigger::Wait, out) {
            self.last_poll = None;
        }
    }

    /// When [`poll`](Self::poll) has something to do; `None` while nothing is held.
    ///
    /// A busy sampler asks to be polled every 20 ms, and not for every trace.
    pub fn next_deadline(&self) -> Option<Instant> {
        let due = self.table.next_deadline()?;
        Some(self.last_poll.map_or(due, |last| due.max(last + STEP)))
    }

    /// Decides about what is held, on what is there, and tells whether that was all.
    ///
    /// Where much is kept it stops after some payloads: hand them on, and drain again.
    pub fn drain(&mut self, now: Instant, out: &mut Output) -> bool {
        self.decide_while(now, |_| true, Trigger::Drain, out)
    }

    /// What is held now.
    pub fn held(&self) -> Held {
        Held {
            spans: self.table.spans() as u64,
            traces: self.table.traces() as u64,
            bytes: (self.table.bytes() + self.memory.bytes()) as u64,
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        Stats { rules: self.engine.stats(), ..self.stats.clone() }
    }

    fn offer_segment(&mut self, now: Instant, segment: Bytes, ack: Ack, out: &mut Output) {
        let deadline = now + self.config.decision_wait;
        assert!(u32::try_from(segment.len()).is_ok(), "a request of 4 GiB has to be cut first");
        let chunk = self.table.add_chunk(segment.clone(), ack);
        let mut until_check = CHECK_EVERY;
        // Spans of a trace often come in a row: the last look-up serves the next span too.
        let mut last: Option<([u8; 16], Place)> = None;
        // Each is read once, and only if there is a span below it.
        let (mut resource_envelope, mut scope_envelope) = (Lazy::default(), Lazy::default());
        for group in tree::resources(&segment) {
            let mut resource = None;
            resource_envelope.clear();
            for scope in group.scopes() {
                let mut known = None;
                scope_envelope.clear();
                for item in scope.items() {
                    if until_check == 0 {
                        until_check = CHECK_EVERY;
                        self.make_room(now, out);
                        if self.table.forget_scopes(chunk) {
                            (resource, known) = (None, None);
                        }
                        last = None;
                    }
                    until_check -= 1;
                    let (scope_index, is_large) = *known.get_or_insert_with(|| {
                        let group = resource_envelope.get(|out| group.envelope(out));
                        let scope = scope_envelope.get(|out| scope.envelope(out));
                        let index = self.table.add_scope(chunk, &mut resource, group, scope);
                        let envelope = self.table.chunk(chunk).envelope_len(index);
                        (index, envelope > self.config.payload_bytes)
                    });
                    let fields = TailFields::read(item.message);
                    let span = SpanRef {
                        chunk,
                        scope: scope_index,
                        at: item.at as u32,
                        len: item.field.len() as u32,
                    };
                    let place = match (<[u8; 16]>::try_from(fields.trace_id), last) {
                        (Ok(id), _) if is_large && id != [0; 16] => {
                            self.below_large(now, id, &fields, span)
                        }
                        (Ok(id), Some((last_id, place))) if id == last_id => self.late(place),
                        (Ok(id), _) if id != [0; 16] => {
                            let place = self.place(id, deadline);
                            last = Some((id, place));
                            self.late(place)
                        }
                        _ => self.alone(now, &fields, item.message, span),
                    };
                    match place {
                        Place::Trace(trace) => self.table.add_span(trace, span, &fields),
                        Place::Kept => {
                            self.table.retain(chunk);
                            self.kept.push(&mut self.table, span);
                        }
                        Place::Dropped => out.sampled_out += 1,
                    }
                }
            }
        }
        self.table.seal(chunk);
    }

    /// Where the spans of a trace go.
    #[inline]
    fn place(&mut self, id: [u8; 16], deadline: Instant) -> Place {
        let hash = self.keyed.id(&id);
        if let Some(trace) = self.table.find(&id, hash) {
            return Place::Trace(trace);
        }
        match self.memory.find(hash) {
            Some(Past::Kept { .. }) => Place::Kept,
            Some(Past::Dropped) => Place::Dropped,
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
    fn alone(
        &mut self,
        now: Instant,
        fields: &TailFields<'_>,
        message: &[u8],
        span: SpanRef,
    ) -> Place {
        self.stats.without_trace += 1;
        let hash = self.keyed.bytes(message);
        let id = (u128::from(hash) << 64 | u128::from(hash)).to_be_bytes();
        self.decide_alone(now, &id, fields, span)
    }

    /// Decides about a span whose resource or scope is too long to be held with its trace.
    fn below_large(
        &mut self,
        now: Instant,
        id: [u8; 16],
        fields: &TailFields<'_>,
        span: SpanRef,
    ) -> Place {
        self.stats.below_large_envelope += 1;
        match self.memory.find(self.keyed.id(&id)) {
            Some(Past::Kept { .. }) => self.late(Place::Kept),
            Some(Past::Dropped) => self.late(Place::Dropped),
            None => self.decide_alone(now, &id, fields, span),
        }
    }

    fn decide_alone(
        &mut self,
        now: Instant,
        id: &[u8; 16],
        fields: &TailFields<'_>,
        span: SpanRef,
    ) -> Place {
        let mut summary = TraceSummary::default();
        summary.add(fields, u64::from(span.len));
        let chunk = self.table.chunk(span.chunk);
        let view = [chunk.view(span)];
        let trace = Trace { id: *id, summary, spans: &&view[..] };
        let verdict = self.engine.decide(now, &trace);
        if verdict.is_kept { Place::Kept } else { Place::Dropped }
    }

    /// Decides early, oldest first, until the table is within its bounds, with some room to spare:
    /// else a full table would decide, and write, for each request that comes.
    fn make_room(&mut self, now: Instant, out: &mut Output) {
        let Config { max_bytes, max_traces, .. } = self.config;
        let spare = |bound: usize| bound - bound / 16;
        let (trigger, bytes, traces) = if self.table.bytes() > max_bytes {
            (Trigger::Bytes, spare(max_bytes), max_traces)
        } else if self.table.traces() > max_traces {
            (Trigger::Count, max_bytes, spare(max_traces))
        } else {
            return self.write_if_worth(out);
        };
        while self.table.bytes() > bytes || self.table.traces() > traces {
            if !self.decide_oldest(now, trigger, out) {
                break;
            }
            self.write_if_worth(out);
        }
        self.write_if_worth(out);
    }

    /// Decides about the oldest traces while `more`; `false` if it stopped for the caller to hand
    /// on what was kept.
    fn decide_while(
        &mut self,
        now: Instant,
        more: impl Fn(&Table) -> bool,
        trigger: Trigger,
        out: &mut Output,
    ) -> bool {
        let mut done = true;
        let start = out.kept.len();
        while more(&self.table) && self.decide_oldest(now, trigger, out) {
            self.write_if_worth(out);
            if out.kept.len() - start >= PAYLOADS_AT_ONCE {
                done = !more(&self.table) || self.table.traces() == 0;
                break;
            }
        }
        self.write_kept(out);
        done
    }

    fn decide_oldest(&mut self, now: Instant, trigger: Trigger, out: &mut Output) -> bool {
        let Some(trace) = self.table.take_oldest() else { return false };
        self.stats.decisions[trigger as usize] += 1;
        let spans = self.table.spans_of(trace.first);
        let view = Trace { id: trace.id, summary: trace.summary, spans: &spans };
        let verdict = self.engine.decide(now, &view);
        let keep = verdict.is_kept;
        if keep {
            self.memory.remember_kept(trace.hash, verdict.threshold, verdict.by);
            self.stats.traces_kept += 1;
        } else {
            self.memory.remember_dropped(trace.hash);
            self.stats.traces_sampled_out += 1;
            out.sampled_out += trace.summary.spans;
        }
        self.let_go(trace, keep);
        true
    }

    fn let_go(&mut self, trace: Taken, keep: bool) {
        let mut next = trace.first;
        while let Some((span, after)) = self.table.take_span(next) {
            next = after;
            if keep {
                self.kept.push(&mut self.table, span);
            } else {
                self.table.release(span.chunk, 1);
            }
        }
    }

    /// Writes the kept spans once they are worth it.
    fn write_if_worth(&mut self, out: &mut Output) {
        if self.kept.is_worth_writing(self.config.payload_bytes) {
            self.write_kept(out);
        }
    }

    fn write_kept(&mut self, out: &mut Output) {
        self.kept.write(&mut self.table, self.config.payload_bytes, &mut out.kept);
    }
}

/// How many spans a request holds.
fn span_count(request: &[u8]) -> u64 {
    let scopes = tree::resources(request).flat_map(|group| group.scopes());
    scopes.map(|scope| scope.items().count() as u64).sum()
}

/// An envelope that is read when it is first asked for.
#[derive(Debug, Default)]
struct Lazy {
    bytes: Vec<u8>,
    is_read: bool,
}

impl Lazy {
    fn get(&mut self, read: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        if !self.is_read {
            self.is_read = true;
            read(&mut self.bytes);
        }
        &self.bytes
    }

    /// Makes it the next group's; the memory serves again.
    fn clear(&mut self) {
        self.bytes.clear();
        self.is_read = false;
    }
}

/// What becomes of a span that comes in.
#[derive(Clone, Copy, Debug)]
enum Place {
    Trace(u32),
    Kept,
    Dropped,
}
