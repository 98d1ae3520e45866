//! How a request is read: each span is held with its trace, or follows what was decided about it.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use teleflow_otlp::span::{TailFields, leading_trace_id};
use teleflow_otlp::tree::{self, ResourceGroup, ScopeGroup};
use teleflow_otlp::{Ack, Answer, Signal};

use super::chunk::{Envelope, Piece, Scope};
use super::kept::MarkRef;
use super::mark::Labels;
use super::table::{SpanRef, Table};
use super::{Output, Strategy, TailSampler, Trigger, chance, nanos};
use crate::memory::Past;
use crate::{Randomness, Threshold, Trace, TraceSummary};

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
    /// Which of the chunk's scopes, and whether its envelopes are longer than a payload.
    scope: Option<(u32, bool)>,
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

    /// Adds the scope to a chunk, where it is not in it, and tells which it is and whether what it
    /// stands below is longer than a payload.
    #[inline]
    pub(super) fn add_to(
        &mut self,
        table: &mut Table,
        chunk: u32,
        (resource, scope): (ResourceGroup<'_>, ScopeGroup<'_>),
        payload_bytes: usize,
    ) -> (u32, bool) {
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
            (index, above + own > payload_bytes)
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
        // Made for the first span that is not left out at once.
        let mut chunk = None;
        let mut until_check = CHECK_EVERY;
        // Spans of a trace often come in a row: the last look-up serves the next span too.
        let mut last: Option<([u8; 16], Place)> = None;
        let mut groups = Groups::default();
        for resource in tree::resources(&segment) {
            groups.enter_resource();
            if self.ask_about_parts(now, out) {
                last = None;
            }
            for scope in resource.scopes() {
                groups.enter_scope();
                for item in scope.items() {
                    if until_check == 0 {
                        until_check = CHECK_EVERY;
                        self.ask_about_parts(now, out);
                        self.make_room(now, out);
                        if let Some(chunk) = chunk {
                            groups.forget(&mut self.table, chunk);
                        }
                        last = None;
                    }
                    until_check -= 1;
                    // Nothing else of a span is looked at where its trace was dropped.
                    let leading = leading_trace_id(item.message);
                    if let Some((id, Place::Dropped)) = last
                        && leading == Some(&id)
                    {
                        self.leave_out_late(out);
                        continue;
                    }
                    let leading = leading.filter(|id| **id != [0; 16]);
                    let mut found = leading.map(|id| (*id, self.known(id, last)));
                    if let Some((id, Found::Place(Place::Dropped))) = found {
                        last = Some((id, Place::Dropped));
                        self.leave_out_late(out);
                        continue;
                    }
                    let fields = TailFields::read(item.message);
                    let id = <[u8; 16]>::try_from(fields.trace_id).ok().filter(|id| *id != [0; 16]);
                    if found.map(|(leading, _)| leading) != id {
                        found = id.map(|id| (id, self.known(&id, last)));
                    }
                    let found = found.map_or(Found::NoTrace, |(_, found)| found);
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
                    let most = self.config.payload_bytes;
                    let (scope_index, is_large) =
                        groups.add_to(&mut self.table, chunk, (resource, scope), most);
                    let span = SpanRef { chunk, scope: scope_index, at: item.at as u32, len };
                    let (place, is_remembered) = match (id, found) {
                        (Some(id), Found::Past(past)) => (self.past(&id, past), Some(id)),
                        (Some(_), Found::Place(place @ Place::Kept(..))) => (place, None),
                        (Some(id), _) if is_large => {
                            self.stats.below_large_envelope += 1;
                            (self.decide_alone(now, &id, &fields, span), None)
                        }
                        (Some(id), Found::Place(place)) => (place, Some(id)),
                        (Some(id), Found::New(hash)) => (self.begin(id, hash, now), Some(id)),
                        (Some(_), Found::NoTrace) | (None, _) => {
                            (self.alone(now, &fields, item.message, span), None)
                        }
                    };
                    if let Some(id) = is_remembered {
                        last = Some((id, place));
                    }
                    match place {
                        Place::Trace(trace) => {
                            if self.hold(now, trace, span, &fields, out) {
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
        self.ask_about_parts(now, out);
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
        let is_on_ingest = self.config.strategy == Strategy::SpanIngest;
        if is_on_ingest {
            self.ingest.add(trace, span);
        }
        if let Some(trigger) = trigger {
            if is_on_ingest {
                self.decide_after_parts(now, trace, trigger, out);
            } else {
                self.decide(now, trace, trigger, out);
            }
            return true;
        }
        if fields.is_root
            && let Some(wait) = self.config.decision_wait_after_root
        {
            let time = self.time(now);
            self.table.hurry(trace, time, nanos(wait));
        }
        false
    }

    /// What is known of a trace, given the last that was looked up.
    #[inline]
    fn known(&self, id: &[u8; 16], last: Option<([u8; 16], Place)>) -> Found {
        match last {
            Some((last, place)) if last == *id => Found::Place(place),
            _ => self.look_up(id),
        }
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
    fn begin(&mut self, id: [u8; 16], hash: u64, now: Instant) -> Place {
        self.stats.traces += 1;
        let time = self.time(now);
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
}
