//! The trace table: which spans are held, where their bytes are, and when their traces are due.
//!
//! Spans are slices of the request they came in; those of a trace that stand in a row there are one,
//! a run. The request's bytes stay as long as one of its spans does, so what is held is counted in
//! whole requests: nothing is pinned unseen. Runs, traces and requests each live in a slab and refer
//! to each other by index; nothing is allocated per span once the slabs have grown.

use std::num::NonZeroU32;
use std::ops::ControlFlow;

use hashbrown::HashTable;
use teleflow_otlp::{Ack, Row, Signal};

use super::chunk::Chunk;
use super::config::Config;
use super::due::Lists;
use super::slab::{NIL, Slab};
use super::stats::Trigger;
use super::storage::{Stored, Whereabouts};
use crate::{SpanView, Spans, TraceSummary};

pub(super) mod ahead;
mod room;
mod stored;

/// Where spans, or log records, of one trace are that stand in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunRef {
    pub(super) chunk: u32,
    /// Which of the chunk's scopes.
    pub(super) scope: u32,
    /// Where the first one's field is in the chunk's bytes.
    pub(super) at: u32,
    /// How long they are: no field is empty.
    pub(super) len: NonZeroU32,
    /// How many they are.
    pub(super) spans: u32,
}

/// A run, in less memory.
#[derive(Clone, Copy, Debug)]
struct RunNode {
    chunk: u32,
    at: u32,
    len: NonZeroU32,
    /// Above the lowest eight bits the scope, in those how many spans there are.
    scope_and_spans: u32,
    next: u32,
}

/// What a run costs beside its bytes, and its share of its trace and its request.
const _: () = assert!(size_of::<Option<RunNode>>() == 20, "a run's place has grown");
const _: () = assert!(Row::MOST_SPANS < 1 << 8, "a run has more spans than fit");

/// Below as many scopes of a request spans can be held: nobody sends so many.
pub(super) const MOST_SCOPES: u32 = 1 << 24;

#[derive(Clone, Copy, Debug)]
struct TraceNode {
    id: [u8; 16],
    summary: TraceSummary,
    hash: u64,
    /// When it is due, in nanoseconds since the sampler began.
    deadline: u64,
    /// Its neighbours in its list.
    before: u32,
    after: u32,
    /// When it came, in milliseconds since the sampler began.
    came: u32,
    /// The trace's runs, first to last.
    first: u32,
    last: u32,
    /// Which list.
    list: u8,
    /// Whether a span of it has a trace state.
    has_state: bool,
}

/// What a trace costs beside its spans.
const _: () = assert!(size_of::<Option<TraceNode>>() <= 112, "a trace's place has grown");

/// A trace that was taken out of the table; its runs are taken by [`Table::take_run`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) id: [u8; 16],
    pub(super) hash: u64,
    pub(super) summary: TraceSummary,
    pub(super) has_state: bool,
    /// When it came, in milliseconds since the sampler began.
    pub(super) came: u32,
    /// Its first run.
    pub(super) first: u32,
}

#[derive(Debug)]
pub(super) struct Table {
    chunks: Slab<Chunk>,
    runs: Slab<RunNode>,
    traces: Slab<TraceNode>,
    by_id: HashTable<u32>,
    due: Lists,
    /// How many spans and log records are held.
    spans: usize,
    stored: Stored,
    /// What the chunks take, and of that what anybody needs.
    chunk_bytes: usize,
    needed: usize,
    /// What the next writing of kept spans takes of envelopes: of chunks that stay, for which they
    /// are written again with what comes later, and of those that go with it.
    staying: usize,
    going: usize,
}

// === impl Table ===

impl Table {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            chunks: Slab::new(),
            runs: Slab::new(),
            traces: Slab::new(),
            by_id: HashTable::new(),
            due: Lists::default(),
            spans: 0,
            stored: Stored::new(config),
            chunk_bytes: 0,
            needed: 0,
            staying: 0,
            going: 0,
        }
    }

    /// Adds a request of which no span is held; spans are pushed, and then [`release`](Self::release)d.
    ///
    /// Returns its index; it holds one reference of its own until [`seal`](Self::seal).
    pub(super) fn add_chunk(&mut self, chunk: Chunk) -> u32 {
        self.chunk_bytes += chunk.size();
        self.needed += chunk.needed();
        self.chunks.insert(chunk)
    }

    /// Changes a chunk that is being read.
    pub(super) fn change<T>(&mut self, index: u32, change: impl FnOnce(&mut Chunk) -> T) -> T {
        let chunk = self.chunks.get_mut(index);
        let (size, needed) = (chunk.size(), chunk.needed());
        let result = change(chunk);
        self.chunk_bytes = self.chunk_bytes - size + chunk.size();
        self.needed = self.needed - needed + chunk.needed();
        result
    }

    /// Ends the adding of spans: a request without any goes at once.
    pub(super) fn seal(&mut self, index: u32) {
        self.put_away(index);
        self.chunks.get_mut(index).is_open = false;
        self.let_go(index, 1, 0);
    }

    /// Counts spans that are handed on directly, without a trace; they are released like any other.
    pub(super) fn retain(&mut self, run: RunRef) {
        let chunk = self.chunks.get_mut(run.chunk);
        chunk.live += run.spans;
        chunk.live_bytes += run.len.get();
        self.needed += run.len.get() as usize;
    }

    /// Hands out who waits for so many spans that go on.
    pub(super) fn take_ack(&mut self, chunk: u32, spans: u32) -> Ack {
        self.chunks.get_mut(chunk).take_ack(u64::from(spans))
    }

    /// Gives up spans, and their chunk with its last: those that did not go on were left out.
    #[inline]
    pub(super) fn release(&mut self, run: RunRef) {
        self.let_go(run.chunk, run.spans, run.len.get());
    }

    #[inline]
    fn let_go(&mut self, index: u32, spans: u32, bytes: u32) {
        let chunk = self.chunks.get_mut(index);
        chunk.live -= spans;
        chunk.live_bytes -= bytes;
        self.needed -= if chunk.whereabouts == Whereabouts::Stored { 0 } else { bytes as usize };
        if chunk.live == 0 {
            let chunk = self.chunks.remove(index);
            self.chunk_bytes -= chunk.size();
            self.needed -= chunk.needed();
            self.stored.forget(index, &chunk);
            chunk.settle_ack();
        } else if chunk.goes() {
            self.note_going(index);
        }
    }

    /// Counts kept spans that wait to be written. Where they begin a run, the envelopes of their chunk
    /// may be new to the writing.
    #[inline]
    pub(super) fn leave(&mut self, index: u32, spans: u32, writing: u32, is_new_run: bool) {
        let chunk = self.chunks.get_mut(index);
        chunk.leaving += spans;
        if is_new_run {
            self.staying += chunk.count_envelopes(writing);
        }
        self.note_going(index);
    }

    /// Gives up a run of spans that was written.
    pub(super) fn release_written(&mut self, run: RunRef) {
        self.chunks.get_mut(run.chunk).leaving -= run.spans;
        self.release(run);
    }

    /// Begins to count for another writing.
    pub(super) const fn end_writing(&mut self) {
        (self.staying, self.going) = (0, 0);
    }

    /// What the next writing takes of the envelopes of chunks that stay, and of those that go.
    pub(super) const fn leaving_envelopes(&self) -> (usize, usize) {
        (self.staying, self.going)
    }

    fn note_going(&mut self, index: u32) {
        let chunk = self.chunks.get_mut(index);
        if chunk.goes() {
            let counted = chunk.take_counted();
            self.staying -= counted;
            self.going += counted;
        }
    }

    pub(super) fn chunk(&self, index: u32) -> &Chunk {
        self.chunks.get(index)
    }

    /// The trace of this id, if it is in the table.
    #[inline]
    pub(super) fn find(&self, id: &[u8; 16], hash: u64) -> Option<u32> {
        self.by_id.find(hash, |&index| self.traces.get(index).id == *id).copied()
    }

    /// Adds a trace that is not in the table, and waits so many nanoseconds.
    pub(super) fn add_trace(&mut self, id: [u8; 16], hash: u64, now: u64, wait: u64) -> u32 {
        let deadline = now.saturating_add(wait);
        let list = self.due.of(wait, Trigger::Wait, deadline);
        let index = self.traces.insert(TraceNode {
            id,
            summary: TraceSummary::default(),
            hash,
            deadline: 0,
            before: NIL,
            after: NIL,
            came: (now / 1_000_000) as u32,
            first: NIL,
            last: NIL,
            list,
            has_state: false,
        });
        self.by_id.insert_unique(hash, index, |&index| self.traces.get(index).hash);
        self.link(index, list, deadline);
        index
    }

    /// Has a trace wait no longer than so many nanoseconds from now on, for its root is there.
    pub(super) fn hurry(&mut self, index: u32, now: u64, wait: u64) {
        let deadline = now.saturating_add(wait);
        let before = self.traces.get(index).deadline;
        if deadline >= before || self.trigger(index) == Trigger::Learned {
            return;
        }
        let list = self.due.of(wait, Trigger::AfterRoot, deadline);
        // Where waits share a list it may not be due earlier there.
        if self.due.get(list).next_deadline(deadline) < before {
            self.unlink(index);
            self.link(index, list, deadline);
        }
    }

    /// Has a trace that has waited long enough wait for others, so many nanoseconds from now on.
    pub(super) fn postpone(&mut self, index: u32, now: u64, wait: u64) {
        let deadline = now.saturating_add(wait);
        let list = self.due.of(wait, Trigger::Learned, deadline);
        self.unlink(index);
        self.link(index, list, deadline);
    }

    /// What [`take`](Self::take) would take out.
    pub(super) fn look_at(&self, index: u32) -> Taken {
        let TraceNode { id, hash, summary, has_state, came, first, .. } = *self.traces.get(index);
        Taken { id, hash, summary, has_state, came, first }
    }

    /// Puts a trace at the end of a list.
    fn link(&mut self, index: u32, at: u8, deadline: u64) {
        let list = self.due.get_mut(at);
        list.last = list.next_deadline(deadline);
        let before = std::mem::replace(&mut list.youngest, index);
        let deadline = list.last;
        match before {
            NIL => list.oldest = index,
            before => self.traces.get_mut(before).after = index,
        }
        let trace = self.traces.get_mut(index);
        (trace.deadline, trace.before, trace.after, trace.list) = (deadline, before, NIL, at);
    }

    fn unlink(&mut self, index: u32) {
        let TraceNode { before, after, list, .. } = *self.traces.get(index);
        match before {
            NIL => self.due.get_mut(list).oldest = after,
            before => self.traces.get_mut(before).after = after,
        }
        match after {
            NIL => self.due.get_mut(list).youngest = before,
            after => self.traces.get_mut(after).before = before,
        }
    }

    /// Adds spans to a trace, and returns what is known of that then.
    #[inline]
    pub(super) fn add_run(
        &mut self,
        trace: u32,
        run: RunRef,
        more: &TraceSummary,
        has_state: bool,
    ) -> &TraceSummary {
        self.push(trace, run);
        let trace = self.traces.get_mut(trace);
        trace.summary.append(more);
        trace.has_state |= has_state;
        &trace.summary
    }

    /// Adds spans, or log records, to the end of a trace's list.
    #[inline]
    pub(super) fn push(&mut self, trace: u32, run: RunRef) {
        let node = self.runs.insert(RunNode::new(run));
        self.retain(run);
        self.spans += run.spans as usize;
        let trace = self.traces.get_mut(trace);
        match trace.last {
            NIL => trace.first = node,
            last => self.runs.get_mut(last).next = node,
        }
        trace.last = node;
    }

    /// The trace that is due first, and when.
    pub(super) fn next(&self) -> Option<(u32, u64)> {
        let deadlines = self.due.oldest().map(|index| (index, self.traces.get(index).deadline));
        deadlines.min_by_key(|(_, deadline)| *deadline)
    }

    /// Why a trace would be decided when it is due.
    pub(super) fn trigger(&self, trace: u32) -> Trigger {
        self.due.get(self.traces.get(trace).list).trigger
    }

    /// Takes a trace out.
    pub(super) fn take(&mut self, index: u32) -> Taken {
        self.unlink(index);
        let trace = self.traces.remove(index);
        if let Ok(entry) = self.by_id.find_entry(trace.hash, |&at| at == index) {
            entry.remove();
        }
        if self.by_id.is_empty() {
            // A quiet moment gives the memory of a busy one back.
            self.by_id = HashTable::new();
        }
        let TraceNode { id, hash, summary, has_state, came, first, .. } = trace;
        Taken { id, hash, summary, has_state, came, first }
    }

    /// The spans from a run on, to look at.
    pub(super) const fn spans_of(&self, first: u32) -> SpansOf<'_> {
        SpansOf { table: self, first }
    }

    /// Takes out a run of a taken trace, and says which comes next. Its chunk is still counted as
    /// used: the run has to be released.
    #[inline]
    pub(super) fn take_run(&mut self, index: u32) -> Option<(RunRef, u32)> {
        if index == NIL {
            return None;
        }
        let node = self.runs.remove(index);
        let run = node.run();
        self.spans -= run.spans as usize;
        Some((run, node.next))
    }

    pub(super) fn traces(&self) -> usize {
        self.traces.len()
    }

    /// How many spans and log records are held.
    pub(super) const fn spans(&self) -> usize {
        self.spans
    }

    /// What the table takes, in bytes: requests and bookkeeping, with room that is not used now.
    pub(super) fn bytes(&self) -> usize {
        self.chunk_bytes
            + self.chunks.bytes()
            + self.runs.bytes()
            + self.traces.bytes()
            + self.by_id.allocation_size()
    }

    /// What it would take without room to spare.
    pub(super) fn used_bytes(&self) -> usize {
        self.chunk_bytes
            + self.chunks.used_bytes()
            + self.runs.used_bytes()
            + self.traces.used_bytes()
            + self.by_id.allocation_size()
    }

    /// How many bytes of requests nobody needs: they stay for the sake of others.
    pub(super) const fn idle_bytes(&self) -> usize {
        self.chunk_bytes.saturating_sub(self.needed)
    }

    /// A trace's id.
    pub(super) fn id(&self, trace: u32) -> [u8; 16] {
        self.traces.get(trace).id
    }

    /// What is known of a trace.
    pub(super) fn summary(&self, trace: u32) -> &TraceSummary {
        &self.traces.get(trace).summary
    }
}

// === impl RunNode ===

impl RunNode {
    /// The end of a list.
    #[inline]
    fn new(run: RunRef) -> Self {
        let RunRef { chunk, scope, at, len, spans } = run;
        debug_assert!(scope < MOST_SCOPES && spans <= Row::MOST_SPANS, "{run:?} does not fit");
        Self { chunk, at, len, scope_and_spans: scope << 8 | spans, next: NIL }
    }

    #[inline]
    const fn run(self) -> RunRef {
        let Self { chunk, at, len, scope_and_spans, .. } = self;
        RunRef { chunk, scope: scope_and_spans >> 8, at, len, spans: scope_and_spans & 0xff }
    }
}

/// The spans of a trace.
pub(super) struct SpansOf<'a> {
    table: &'a Table,
    first: u32,
}

impl Spans for SpansOf<'_> {
    fn visit(&self, visit: &mut dyn FnMut(SpanView<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut next = self.first;
        while next != NIL {
            let node = self.table.runs.get(next);
            let chunk = self.table.chunk(node.chunk);
            if chunk.signal == Signal::Traces {
                chunk.views(node.run()).try_for_each(&mut *visit)?;
            }
            next = node.next;
        }
        ControlFlow::Continue(())
    }
}
