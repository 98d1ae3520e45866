//! The tail sampler: waits until a trace is complete, then decides.
//!
//! A trace is decided when [`Config::decision_wait`] has passed since its first span came, or
//! [`Config::decision_wait_after_root`] since its root did. It is decided earlier, on what is there,
//! when it has too many spans, and when the table would go over its bound of bytes or traces, until
//! it is within the bound again. Evicting means deciding, never losing: an early decision asks the
//! same policies. Decisions are remembered, so that a span that comes late follows the rest of its
//! trace.
//!
//! A span whose trace id is missing or malformed belongs to no trace and is decided by itself when
//! it comes. So is one below a resource or scope that is longer than [`Config::payload_bytes`]: that
//! is repeated wherever a span below it goes, and must not be, trace by trace.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_otlp::span::{TailFields, leading_trace_id};
use teleflow_otlp::{Ack, Answer, Payload, Signal, tree};

use self::chunk::{Envelope, Scope};
use self::config::MAX_WAIT;
use self::kept::{Kept, MarkRef};
use self::mark::Labels;
use self::table::{SpanRef, Table};
use crate::engine::{Engine, Verdict};
use crate::memory::{Memory, Past};
use crate::rules::Rules;
use crate::secret::{Keyed, Purpose};
use crate::{Randomness, Threshold, Trace, TraceSummary};

mod chunk;
mod config;
mod due;
mod kept;
mod logs;
mod mark;
mod pressure;
mod slab;
mod stats;
mod table;

pub use self::config::{Config, ConfigError, MIN_BYTES, Remembered};
pub use self::stats::{Held, Stats, Trigger};

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
    /// How many log records were sampled out with their traces.
    pub logs_sampled_out: u64,
}

/// Collects traces and decides about them as wholes.
pub struct TailSampler {
    config: Config,
    engine: Engine,
    keyed: Keyed,
    table: Table,
    memory: Memory,
    kept: Kept,
    kept_logs: Kept,
    labels: Labels,
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
            engine: Engine::new(&config.rules)?,
            keyed: Keyed::new(config.hash_seed, Purpose::Table),
            table: Table::new(),
            memory: Memory::new(config.remembered),
            kept: Kept::default(),
            kept_logs: Kept::default(),
            labels: Labels::default(),
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
    /// secret of the configuration that was first stays.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); then nothing has changed.
    pub fn reconfigure(&mut self, config: Config) -> Result<(), ConfigError> {
        config.check()?;
        let engine = Engine::new(&config.rules)?;
        let before = std::mem::replace(&mut self.engine, engine);
        self.engine.adopt(before);
        self.memory.resize(config.remembered);
        self.memory.rename(|by| config.rules.renamed(&self.config.rules, by));
        self.labels = Labels::default();
        self.config = Config { hash_seed: self.config.hash_seed, ..config };
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
        self.close_up();
    }

    /// Decides about the traces that have waited long enough.
    ///
    /// Where much is kept it stops after some payloads, and [`next_deadline`](Self::next_deadline)
    /// is past: hand them on, and poll again.
    pub fn poll(&mut self, now: Instant, out: &mut Output) {
        self.last_poll = Some(now);
        let time = self.time(now);
        if !self.decide_while(now, |deadline| deadline <= time, None, out) {
            self.last_poll = None;
        }
    }

    /// When [`poll`](Self::poll) has something to do; `None` while nothing is held.
    ///
    /// A busy sampler asks to be polled every 20 ms, and not for every trace.
    pub fn next_deadline(&self) -> Option<Instant> {
        let (_, deadline) = self.table.next()?;
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
            bytes: (self.table.bytes() + self.memory.bytes()) as u64,
        }
    }

    /// Whether as many traces are held as may be. With [`Config::blocks_when_full`] it is for the
    /// caller not to offer more until traces have been decided.
    pub fn is_full(&self) -> bool {
        self.table.traces() >= self.config.max_traces || self.table.bytes() > self.config.max_bytes
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        Stats { rules: self.engine.stats(), memory: self.memory.stats(), ..self.stats.clone() }
    }

    /// Nanoseconds since the first call.
    fn time(&mut self, now: Instant) -> u64 {
        let began = *self.began.get_or_insert(now);
        now.saturating_duration_since(began).as_nanos() as u64
    }

    fn offer_segment(&mut self, now: Instant, segment: Bytes, mut ack: Ack, out: &mut Output) {
        assert!(segment.len() < 1 << 31, "a request of 2 GiB has to be cut first");
        let time = self.time(now);
        // Made for the first span that is not left out at once.
        let mut chunk = None;
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
                        if let Some(chunk) = chunk
                            && self.table.change(chunk, |chunk| chunk.forget_scopes())
                        {
                            (resource, known) = (None, None);
                        }
                        last = None;
                    }
                    until_check -= 1;
                    if let Some((id, Place::Dropped)) = last
                        && leading_trace_id(item.message) == Some(&id)
                    {
                        self.leave_out_late(out);
                        continue;
                    }
                    let fields = TailFields::read(item.message);
                    let id = <[u8; 16]>::try_from(fields.trace_id).ok().filter(|id| *id != [0; 16]);
                    let found = match (id, last) {
                        (Some(id), Some((last_id, place))) if id == last_id => Found::Place(place),
                        (Some(id), _) => self.look_up(&id),
                        (None, _) => Found::NoTrace,
                    };
                    if let (Some(id), Found::Place(Place::Dropped)) = (id, found) {
                        last = Some((id, Place::Dropped));
                        self.leave_out_late(out);
                        continue;
                    }
                    // No field is empty: it has a key.
                    let Some(len) = NonZeroU32::new(item.field.len() as u32) else { continue };
                    let chunk = *chunk.get_or_insert_with(|| {
                        let ack = std::mem::take(&mut ack);
                        self.table.add_chunk(Signal::Traces, segment.clone(), ack)
                    });
                    let (scope_index, is_large) = *known.get_or_insert_with(|| {
                        let of_group = resource_envelope
                            .get(|| group.envelope_in_place(), |out| group.envelope(out));
                        let of_scope = scope_envelope
                            .get(|| scope.envelope_in_place(), |out| scope.envelope(out));
                        self.table.change(chunk, |chunk| {
                            let is_new = resource.is_none();
                            let resource =
                                *resource.get_or_insert_with(|| chunk.add_envelope(of_group));
                            let scope = chunk.add_envelope(of_scope);
                            let index = chunk.add_scope(Scope { resource, scope }, is_new);
                            let (above, own) = chunk.envelope_lens(index);
                            (index, above + own > self.config.payload_bytes)
                        })
                    });
                    let span = SpanRef { chunk, scope: scope_index, at: item.at as u32, len };
                    let (place, is_remembered) = match (id, found) {
                        (Some(id), Found::Past(past)) => (self.past(&id, past), Some(id)),
                        (Some(_), Found::Place(place @ Place::Kept(..))) => (place, None),
                        (Some(id), _) if is_large => {
                            self.stats.below_large_envelope += 1;
                            (self.decide_alone(now, &id, &fields, span), None)
                        }
                        (Some(id), Found::Place(place)) => (place, Some(id)),
                        (Some(id), Found::New(hash)) => (self.begin(id, hash, time), Some(id)),
                        (Some(_), Found::NoTrace) | (None, _) => {
                            (self.alone(now, &fields, item.message, span), None)
                        }
                    };
                    if let Some(id) = is_remembered {
                        last = Some((id, place));
                    }
                    match place {
                        Place::Trace(trace) => {
                            if self.hold(now, time, trace, span, &fields, out) {
                                last = None;
                            }
                        }
                        Place::Kept(mark, threshold) => {
                            let is_late =
                                matches!(found, Found::Past(_) | Found::Place(Place::Kept(..)));
                            self.stats.late_kept += u64::from(is_late);
                            self.count(threshold, 1);
                            self.table.retain(span);
                            let has_state = !fields.trace_state.is_empty();
                            self.kept.push(&mut self.table, span, mark, has_state);
                        }
                        Place::Dropped => {
                            self.stats.spans_sampled_out[Trigger::Wait as usize] += 1;
                            out.sampled_out += 1;
                        }
                    }
                }
            }
        }
        match chunk {
            Some(chunk) => self.table.seal(chunk),
            None => {
                let left_out = Answer::sampled_out(ack.items());
                ack.settle(left_out);
            }
        }
    }

    /// Counts a span that is left out as the rest of its trace was.
    #[inline]
    fn leave_out_late(&mut self, out: &mut Output) {
        self.stats.late_sampled_out += 1;
        out.sampled_out += 1;
    }

    /// Adds a span to its trace. Tells whether the trace was decided for that.
    #[inline]
    fn hold(
        &mut self,
        now: Instant,
        time: u64,
        trace: u32,
        span: SpanRef,
        fields: &TailFields<'_>,
        out: &mut Output,
    ) -> bool {
        let summary = self.table.add_span(trace, span, fields);
        let trigger = if self.config.max_trace_bytes.is_some_and(|most| summary.bytes > most) {
            Some(Trigger::TooLarge)
        } else if self.config.max_trace_spans.is_some_and(|most| summary.spans >= most) {
            Some(Trigger::Spans)
        } else {
            None
        };
        if let Some(trigger) = trigger {
            self.decide(now, trace, trigger, out);
            return true;
        }
        if fields.is_root
            && let Some(wait) = self.config.decision_wait_after_root
        {
            self.table.hurry(trace, time, nanos(wait));
        }
        false
    }

    /// What is known of a trace.
    #[inline]
    fn look_up(&self, id: &[u8; 16]) -> Found {
        let hash = self.keyed.id(id);
        if let Some(trace) = self.table.find(id, hash) {
            return Found::Place(Place::Trace(trace));
        }
        match self.memory.find(hash) {
            None => Found::New(hash),
            Some(Past::Dropped) => Found::Place(Place::Dropped),
            Some(past) => Found::Past(past),
        }
    }

    /// Adds a trace.
    fn begin(&mut self, id: [u8; 16], hash: u64, time: u64) -> Place {
        self.stats.traces += 1;
        let wait = nanos(self.config.decision_wait);
        Place::Trace(self.table.add_trace(id, hash, time, wait))
    }

    /// What becomes of a span whose trace was decided before.
    fn past(&mut self, id: &[u8; 16], past: Past) -> Place {
        let Past::Kept { threshold, by } = past else { return Place::Dropped };
        let label = match self.config.records_policy {
            true => self.labels.of(&self.config.rules, by) | Labels::LATE,
            false => Labels::NONE,
        };
        let salted = match threshold {
            Some(Threshold::ALL) | None => None,
            Some(_) => self.engine.salted(id),
        };
        let own = Randomness::from_trace_id(*id);
        let chance = (salted.unwrap_or(own), salted.is_some());
        Place::Kept(self.mark(threshold, chance, true, label), threshold)
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

    /// Decides about a span without the rest of its trace.
    fn decide_alone(
        &mut self,
        now: Instant,
        id: &[u8; 16],
        fields: &TailFields<'_>,
        span: SpanRef,
    ) -> Place {
        let mut summary = TraceSummary::default();
        summary.add(fields, u64::from(span.len.get()));
        let view = [self.table.chunk(span.chunk).view(span)];
        let trace = Trace { id: *id, summary, spans: &&view[..] };
        let verdict = self.engine.decide(now, &trace);
        if !verdict.is_kept {
            return Place::Dropped;
        }
        let label = self.label(&verdict);
        let chance = chance(&verdict, &summary, *id);
        let has_state = !fields.trace_state.is_empty();
        Place::Kept(self.mark(verdict.threshold, chance, has_state, label), verdict.threshold)
    }

    /// Decides about the traces that are next while their deadlines are `due`; `false` if it stopped
    /// for the caller to hand on what was kept.
    fn decide_while(
        &mut self,
        now: Instant,
        due: impl Fn(u64) -> bool,
        trigger: Option<Trigger>,
        out: &mut Output,
    ) -> bool {
        let mut done = true;
        let start = out.kept.len();
        while let Some((trace, deadline)) = self.table.next()
            && due(deadline)
        {
            if out.kept.len() - start >= PAYLOADS_AT_ONCE {
                done = false;
                break;
            }
            let trigger = trigger.unwrap_or_else(|| self.table.trigger(trace));
            self.decide(now, trace, trigger, out);
            self.write_if_worth(out);
        }
        self.write_kept(out);
        done
    }

    /// Decides about a trace, and lets its spans go: on, or out.
    fn decide(&mut self, now: Instant, trace: u32, trigger: Trigger, out: &mut Output) {
        let time = self.time(now);
        let taken = self.table.take(trace);
        let is_left_out =
            trigger == Trigger::TooLarge || (trigger == Trigger::Drain && self.config.drops_at_end);
        let verdict = if is_left_out {
            Verdict::LEFT_OUT
        } else {
            let spans = self.table.spans_of(taken.first);
            let trace = Trace { id: taken.id, summary: taken.summary, spans: &spans };
            self.engine.decide(now, &trace)
        };
        let spans = taken.summary.spans;
        self.stats.decisions[trigger as usize] += 1;
        // The clock may have gone back.
        let waited = ((time / 1_000_000) as u32).wrapping_sub(taken.came) as i32;
        self.stats.waited_millis += u64::try_from(waited).unwrap_or_default();
        let mark = if verdict.is_kept {
            let label = self.label(&verdict);
            self.memory.remember_kept(taken.hash, verdict.threshold, verdict.by);
            self.stats.traces_kept += 1;
            self.count(verdict.threshold, spans);
            let chance = chance(&verdict, &taken.summary, taken.id);
            self.mark(verdict.threshold, chance, taken.has_state, label)
        } else {
            self.memory.remember_dropped(taken.hash);
            self.stats.traces_sampled_out += 1;
            // Of rules the one that decided is told, too; only a policy drops.
            let is_dropped =
                verdict.by.is_some() && matches!(self.config.rules, Rules::Policies(_));
            self.stats.traces_dropped += u64::from(is_dropped);
            self.stats.spans_sampled_out[trigger as usize] += spans;
            out.sampled_out += spans;
            MarkRef::NONE
        };
        let mut next = taken.first;
        while let Some((span, after)) = self.table.take_span(next) {
            next = after;
            let is_log = self.table.chunk(span.chunk).signal == Signal::Logs;
            if !verdict.is_kept {
                out.logs_sampled_out += u64::from(is_log);
                self.table.release(span.chunk, 1, span.len.get());
            } else if is_log {
                self.kept_logs.push(&mut self.table, span, MarkRef::NONE, false);
            } else {
                self.kept.push(&mut self.table, span, mark, taken.has_state);
            }
        }
    }

    /// What is to be written to the spans of a kept trace. `chance` is what decided, and whether it is
    /// to be told.
    fn mark(
        &mut self,
        threshold: Option<Threshold>,
        (randomness, tells): (Randomness, bool),
        has_state: bool,
        label: u16,
    ) -> MarkRef {
        let stays = !self.config.writes_threshold || (threshold.is_none() && !has_state);
        if stays {
            return MarkRef::label(label);
        }
        self.kept.mark(threshold, (randomness, tells), has_state, label)
    }

    /// Counts kept spans, and what they stand for.
    fn count(&mut self, threshold: Option<Threshold>, spans: u64) {
        self.stats.spans_kept += spans;
        match threshold {
            Some(threshold) => {
                self.stats.spans_estimated += threshold.adjusted_count() * spans as f64;
            }
            None => self.stats.spans_unknown += spans,
        }
    }

    fn label(&mut self, verdict: &Verdict) -> u16 {
        if !self.config.records_policy {
            return Labels::NONE;
        }
        self.labels.of(&self.config.rules, verdict.by)
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
            if kept.is_empty() {
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

/// What chance decided about a trace with, and whether that is to be told.
fn chance(verdict: &Verdict, summary: &TraceSummary, id: [u8; 16]) -> (Randomness, bool) {
    let own = summary.randomness.unwrap_or_else(|| Randomness::from_trace_id(id));
    (verdict.randomness.unwrap_or(own), verdict.randomness.is_some())
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

/// An envelope that is read when it is first asked for.
#[derive(Debug, Default)]
struct Lazy {
    bytes: Vec<u8>,
    place: Option<Range<usize>>,
    is_read: bool,
}

impl Lazy {
    fn get(
        &mut self,
        find: impl FnOnce() -> Option<Range<usize>>,
        read: impl FnOnce(&mut Vec<u8>),
    ) -> Envelope<'_> {
        if !self.is_read {
            self.is_read = true;
            self.place = find();
            if self.place.is_none() {
                read(&mut self.bytes);
            }
        }
        match &self.place {
            Some(place) => Envelope::There(place.start, place.end),
            None => Envelope::Copied(&self.bytes),
        }
    }

    /// Makes it the next group's; the memory serves again.
    fn clear(&mut self) {
        self.bytes.clear();
        self.is_read = false;
    }
}

/// What is known of a span's trace.
#[derive(Clone, Copy, Debug)]
enum Found {
    Place(Place),
    /// It was kept.
    Past(Past),
    /// Nothing; the hash of its id.
    New(u64),
    /// There is none.
    NoTrace,
}

/// What becomes of a span that comes in.
#[derive(Clone, Copy, Debug)]
enum Place {
    Trace(u32),
    /// With these odds.
    Kept(MarkRef, Option<Threshold>),
    Dropped,
}
