//! How a request is read: each span is held with its trace, or follows what was decided about it.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use teleflow_otlp::tree::{self, ResourceGroup, ScopeGroup};
use teleflow_otlp::{Ack, Signal};

use super::chunk::{Chunk, Envelope, Piece, Scope, leave_out};
use super::digest::Request;
use super::kept::MarkRef;
use super::mark::Labels;
use super::run::{Packed, Place, Run, read_row};
use super::slab::NIL;
use super::table::ahead::AHEAD;
use super::table::{MOST_SCOPES, RunRef, Table};
use super::{Config, Output, Strategy, TailSampler, Trigger, chance, nanos};
use crate::engine::By;
use crate::memory::Past;
use crate::{Randomness, SpanView, Threshold, Trace, TraceSummary};

/// The bounds are looked at whenever so many spans of a request were read.
pub(super) const CHECK_EVERY: u32 = 4096;

/// The groups that an item of a request is below. Their envelopes are read once, and added to the chunk
/// if there is an item of theirs in it.
#[derive(Debug, Default)]
pub(super) struct Groups {
    of_resource: Lazy,
    of_scope: Lazy,
    /// Where the resource's envelope is in the chunk.
    resource: Option<Piece>,
    /// Which of the chunk's scopes, and how long its envelopes are.
    scope: Option<(u32, usize)>,
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

/// What is known of a trace.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// It is held.
    Held(u32),
    /// It was decided about.
    Past(Past),
    /// Nothing; the hash of its id.
    New(u64),
}

/// What becomes of spans that come in.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// They are held with their trace.
    Held(u32),
    /// With these odds.
    Kept(MarkRef, Option<Threshold>),
    Dropped,
}

// === impl Groups ===

impl Groups {
    /// The next resource begins.
    pub(super) fn enter_resource(&mut self) {
        self.resource = None;
        self.of_resource.clear();
    }

    /// The next scope begins.
    pub(super) fn enter_scope(&mut self) {
        self.scope = None;
        self.of_scope.clear();
    }

    /// Adds the scope to a chunk, where it is not in it, and tells which it is and how long that is
    /// which it stands below.
    #[inline]
    pub(super) fn add_to(
        &mut self,
        table: &mut Table,
        chunk: u32,
        (resource, scope): (ResourceGroup<'_>, ScopeGroup<'_>),
    ) -> (u32, usize) {
        if let Some(known) = self.scope {
            return known;
        }
        let of_resource =
            self.of_resource.get(|| resource.envelope_in_place(), |out| resource.envelope(out));
        let of_scope = self.of_scope.get(|| scope.envelope_in_place(), |out| scope.envelope(out));
        let added = table.change(chunk, |chunk| {
            let is_new = self.resource.is_none();
            let resource = *self.resource.get_or_insert_with(|| chunk.add_envelope(of_resource));
            let scope = chunk.add_envelope(of_scope);
            let index = chunk.add_scope(Scope { resource, scope }, is_new);
            let (above, own) = chunk.envelope_lens(index);
            (index, above + own)
        });
        *self.scope.insert(added)
    }

    /// Has a chunk that is being read forget its scopes, where no item of it is in use.
    pub(super) fn forget(&mut self, table: &mut Table, chunk: u32) {
        if table.change(chunk, |chunk| chunk.forget_scopes()) {
            (self.resource, self.scope) = (None, None);
        }
    }
}

// === impl TailSampler ===

impl TailSampler {
    pub(super) fn offer_segment(
        &mut self,
        now: Instant,
        segment: Bytes,
        mut ack: Ack,
        out: &mut Output,
    ) {
        assert!(segment.len() < 1 << 31, "a request of 2 GiB has to be cut first");
        // Made for the first spans that are not left out at once.
        let mut chunk = None;
        let mut until_check = CHECK_EVERY;
        let mut known = Groups::default();
        for resource in tree::resources(&segment) {
            known.enter_resource();
            self.ask_about_parts(now, out);
            for scope in resource.scopes() {
                known.enter_scope();
                for row in scope.rows() {
                    if until_check == 0 {
                        until_check = CHECK_EVERY;
                        self.ask_about_parts(now, out);
                        self.make_room(now, out);
                        if let Some(chunk) = chunk {
                            known.forget(&mut self.table, chunk);
                        }
                    }
                    until_check = until_check.saturating_sub(row.spans);
                    // Nothing else of a span is looked at where its trace was dropped.
                    let mut found = row.trace_id.map(|id| self.look_up(&id));
                    if self.is_left_out(found) {
                        self.leave_out_late(row.spans, out);
                        continue;
                    }
                    let chunk = *chunk.get_or_insert_with(|| {
                        let ack = std::mem::take(&mut ack);
                        self.table.add_chunk(Chunk::new(Signal::Traces, segment.clone(), ack))
                    });
                    let groups = (resource, scope);
                    let (scope, above) = known.add_to(&mut self.table, chunk, groups);
                    let is_large = above > self.config.payload_bytes || scope >= MOST_SCOPES;
                    read_row(&row, scope, |run| {
                        // What was looked up is true of the first run, if that is the row's.
                        let found = found.take().filter(|_| run.id == row.trace_id);
                        self.take_run(now, chunk, run, found, is_large, out);
                    });
                }
            }
        }
        self.ask_about_parts(now, out);
        match chunk {
            Some(chunk) => self.table.seal(chunk),
            None => leave_out(ack),
        }
    }

    /// Takes a request that was read: its runs, and the scopes that they are below.
    pub(super) fn offer_read(
        &mut self,
        now: Instant,
        request: Request,
        (runs, scopes): (&[Packed], &[Scope]),
        out: &mut Output,
    ) {
        // Made for the first spans that are not left out at once.
        let (mut unused, mut index, mut last) = (Some(request), NIL, None);
        for run in runs.iter().map(Packed::unpack) {
            let resource = Some(scopes[run.scope as usize].resource);
            if index != NIL && last != resource {
                self.ask_about_parts(now, out);
            }
            let found = run.id.map(|id| self.look_up(&id));
            if self.is_left_out(found) {
                self.leave_out_late(run.place.spans, out);
                continue;
            }
            if let Some(request) = unused.take() {
                index = self.table.add_chunk(Chunk::read(request, scopes));
            }
            last = resource;
            let (above, own) = self.table.chunk(index).envelope_lens(run.scope);
            let is_large = above + own > self.config.payload_bytes;
            self.take_run(now, index, run, found, is_large, out);
        }
        self.ask_about_parts(now, out);
        match unused {
            Some(mut request) => leave_out(request.take_ack()),
            None => self.table.seal(index),
        }
    }

    /// Whether spans go, whatever they are: their trace was dropped.
    #[inline]
    const fn is_left_out(&self, found: Option<Found>) -> bool {
        matches!(found, Some(Found::Past(Past::Dropped))) && !self.config.dry_run
    }

    /// Counts spans that are left out as the rest of their trace was.
    #[inline]
    fn leave_out_late(&mut self, spans: u32, out: &mut Output) {
        self.stats.late_sampled_out += u64::from(spans);
        out.sampled_out += u64::from(spans);
    }

    /// Holds spans, or does with them what was decided about their trace.
    #[inline]
    fn take_run(
        &mut self,
        now: Instant,
        chunk: u32,
        run: Run,
        found: Option<Found>,
        is_large: bool,
        out: &mut Output,
    ) {
        let found = run.id.map(|id| found.unwrap_or_else(|| self.look_up(&id)));
        let is_late = matches!(found, Some(Found::Past(_)));
        let fate = match (run.id, found) {
            (Some(id), Some(Found::Past(past))) => match self.past(&id, past) {
                Fate::Dropped => return self.leave_out_late(run.place.spans, out),
                fate => fate,
            },
            _ if is_large && run.place.spans > 1 => {
                return self.take_one_by_one(now, chunk, run, is_large, out);
            }
            (Some(id), Some(_)) if is_large => {
                self.stats.below_large_envelope += 1;
                self.decide_alone(now, id, chunk, &run)
            }
            (Some(_), Some(Found::Held(trace))) => Fate::Held(trace),
            (Some(id), Some(Found::New(hash))) => self.begin(id, hash, now, &run),
            (Some(_), None) | (None, _) => self.alone(now, chunk, &run),
        };
        let place = run.at(chunk);
        match fate {
            Fate::Held(trace) if run.place.spans > 1 && !self.fits(trace, &run.summary) => {
                self.take_one_by_one(now, chunk, run, is_large, out);
            }
            Fate::Held(trace) => self.hold(now, trace, chunk, &run, out),
            Fate::Kept(mark, threshold) => {
                self.count_run(mark, threshold, run.summary.spans, is_late);
                self.table.retain(place);
                self.kept.push(&mut self.table, place, mark, run.has_state);
            }
            Fate::Dropped => out.sampled_out += run.summary.spans,
        }
    }

    /// Takes the spans of a run as if they did not stand in a row.
    #[cold]
    fn take_one_by_one(
        &mut self,
        now: Instant,
        chunk: u32,
        run: Run,
        is_large: bool,
        out: &mut Output,
    ) {
        let Place { at, len, .. } = run.place;
        let bytes = self.table.chunk(chunk).bytes.clone();
        run.read_spans(&bytes[at as usize..][..len.get() as usize], |run| {
            self.take_run(now, chunk, run, None, is_large, out);
        });
    }

    /// Whether a trace meets its limits with the last of so many spans at the earliest.
    #[inline]
    fn fits(&self, trace: u32, more: &TraceSummary) -> bool {
        let Config { max_trace_bytes, max_trace_spans, .. } = self.config;
        if max_trace_bytes.is_none() && max_trace_spans.is_none() {
            return true;
        }
        let held = self.table.summary(trace);
        max_trace_bytes.is_none_or(|most| held.bytes + more.bytes <= most)
            && max_trace_spans.is_none_or(|most| held.spans + more.spans <= most)
    }

    /// Adds spans to their trace, and decides about that if it has as much as it may.
    #[inline]
    fn hold(&mut self, now: Instant, trace: u32, chunk: u32, run: &Run, out: &mut Output) {
        let summary = self.table.add_run(trace, run.at(chunk), &run.summary, run.has_state);
        let trigger = if self.config.max_trace_bytes.is_some_and(|most| summary.bytes > most) {
            Some(Trigger::TooLarge)
        } else if self.config.max_trace_spans.is_some_and(|most| summary.spans >= most) {
            Some(Trigger::Spans)
        } else {
            None
        };
        let is_on_ingest = self.config.strategy == Strategy::SpanIngest;
        if is_on_ingest {
            self.ingest.add(trace, run.at(chunk));
        }
        if let Some(trigger) = trigger {
            if is_on_ingest {
                self.decide_after_parts(now, trace, trigger, out);
            } else {
                self.decide(now, trace, trigger, out);
            }
        } else if let Some(wait) = self.config.decision_wait_after_root
            && self.counts_as_root(trace, run.at(chunk), &run.summary)
        {
            let time = self.time(now);
            self.table.hurry(trace, time, nanos(wait));
        }
    }

    /// Looks at what is needed to take some of these runs, so that it is at hand then; returns how
    /// many those are.
    pub(super) fn look_ahead(&self, runs: &[Packed]) -> usize {
        let runs = &runs[..runs.len().min(AHEAD)];
        for id in runs.iter().filter_map(Packed::id) {
            let hash = self.keyed.id(&id);
            self.table.touch(hash);
            self.memory.touch(hash);
        }
        runs.len()
    }

    /// What is known of a trace.
    #[inline]
    fn look_up(&self, id: &[u8; 16]) -> Found {
        let hash = self.keyed.id(id);
        if let Some(trace) = self.table.find(id, hash) {
            return Found::Held(trace);
        }
        match self.memory.find(hash) {
            None => Found::New(hash),
            Some(past) => Found::Past(past),
        }
    }

    /// Adds a trace, or decides about it at once.
    fn begin(&mut self, id: [u8; 16], hash: u64, now: Instant, run: &Run) -> Fate {
        self.stats.traces += 1;
        if self.pressure.is_active() {
            let relieved = self.relieve(&id, hash, &run.summary);
            return relieved.map_or(Fate::Dropped, |(mark, odds)| Fate::Kept(mark, odds));
        }
        let time = self.time(now);
        let wait = nanos(self.config.decision_wait);
        Fate::Held(self.table.add_trace(id, hash, time, wait))
    }

    /// What becomes of spans whose trace was decided before.
    fn past(&mut self, id: &[u8; 16], past: Past) -> Fate {
        let Past::Kept { threshold, by } = past else {
            return self.dry_drop_late().map_or(Fate::Dropped, |mark| Fate::Kept(mark, None));
        };
        let label = match self.config.records_policy {
            true => self.labels.of(&self.config.rules, by) | Labels::LATE,
            false => Labels::NONE,
        };
        let salted = match threshold {
            Some(Threshold::ALL) | None => None,
            // These are decided by the trace's own randomness, whatever policies do.
            Some(_) if matches!(by, Some(By::EVICTION | By::RELIEF)) => None,
            Some(_) => self.engine.salted(id),
        };
        let own = Randomness::from_trace_id(*id);
        let chance = (salted.unwrap_or(own), salted.is_some());
        let mark = self.mark(threshold, chance, true, label);
        Fate::Kept(self.noted(mark, by, None), threshold)
    }

    /// Decides about a span that belongs to no trace. What stands in for its id is a hash of it.
    fn alone(&mut self, now: Instant, chunk: u32, run: &Run) -> Fate {
        self.stats.without_trace += 1;
        let fields = self.table.chunk(chunk).fields(run.place.at, run.place.len.get());
        let hash = self.keyed.bytes(tree::message(fields));
        let id = (u128::from(hash) << 64 | u128::from(hash)).to_be_bytes();
        self.decide_alone(now, id, chunk, run)
    }

    /// Decides about a span without the rest of its trace.
    fn decide_alone(&mut self, now: Instant, id: [u8; 16], chunk: u32, run: &Run) -> Fate {
        let views: Vec<SpanView<'_>> = self.table.chunk(chunk).views(run.at(chunk)).collect();
        let trace = Trace { id, summary: run.summary, spans: &&views[..] };
        let verdict = self.engine.decide(now, &trace);
        if !verdict.is_kept {
            self.stats.spans_sampled_out[Trigger::Wait as usize] += run.summary.spans;
            let dry = self.dry_drop(verdict.by);
            return dry.map_or(Fate::Dropped, |mark| Fate::Kept(mark, None));
        }
        let label = self.label(&verdict);
        let chance = chance(&verdict, &run.summary, id);
        let mark = self.mark(verdict.threshold, chance, run.has_state, label);
        Fate::Kept(self.noted(mark, verdict.by, None), verdict.threshold)
    }
}

impl Run {
    /// Where its spans are, in a chunk.
    const fn at(&self, chunk: u32) -> RunRef {
        let Place { at, len, spans } = self.place;
        RunRef { chunk, scope: self.scope, at, len, spans }
    }
}
