//! The trace table: which spans are held, where their bytes are, and how old their traces are.
//!
//! A span is a slice of the request it came in. The request's bytes stay as long as one of its
//! spans does, so what is held is counted in whole requests: nothing is pinned unseen. Spans,
//! traces and requests each live in a slab and refer to each other by index; nothing is allocated
//! per span once the slabs have grown.

use std::ops::ControlFlow;
use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashTable;
use teleflow_otlp::span::TailFields;
use teleflow_otlp::{Ack, Answer, tree};

use crate::{SpanView, Spans, TraceSummary};

/// The end of a list.
const NIL: u32 = u32::MAX;

/// A request that spans came in.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// The envelopes of the groups that have spans, and which is whose.
    pub(crate) envelopes: Vec<u8>,
    pub(crate) scopes: Vec<Scope>,
    /// Who waits for the spans that were not written yet.
    ack: Ack,
    /// How many spans are in use, and one for whoever still reads it.
    live: u32,
    /// The writing of kept spans that this chunk was last a part of, and how much of its envelopes
    /// was counted for it.
    writing: u64,
    counted: usize,
}

/// Where a scope group's envelopes are, as ranges of a chunk's `envelopes`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) resource: (u32, u32),
    pub(crate) scope: (u32, u32),
}

/// A span's place. The order is the order in which spans are written out together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct SpanRef {
    pub(crate) chunk: u32,
    /// Which of the chunk's scopes.
    pub(crate) scope: u32,
    /// Where the span's field is in the chunk's bytes.
    pub(crate) at: u32,
    pub(crate) len: u32,
}

#[derive(Clone, Copy, Debug)]
struct SpanNode {
    span: SpanRef,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct TraceNode {
    id: [u8; 16],
    hash: u64,
    summary: TraceSummary,
    deadline: Instant,
    /// The trace's spans, first to last.
    first: u32,
    last: u32,
    /// The trace that came next, or the next free node.
    next: u32,
}

/// A trace that was taken out of the table; its spans are taken by [`Table::take_span`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) id: [u8; 16],
    pub(crate) hash: u64,
    pub(crate) summary: TraceSummary,
    /// Its first span.
    pub(crate) first: u32,
}

#[derive(Debug)]
pub(crate) struct Table {
    chunks: Slab<Chunk>,
    spans: Slab<SpanNode>,
    traces: Slab<TraceNode>,
    by_id: HashTable<u32>,
    /// Traces in order of arrival, and so of their deadlines.
    oldest: u32,
    youngest: u32,
    chunk_bytes: usize,
}

/// What a request's buffer takes beside its bytes: counters and the allocator's part, a guess.
const CHUNK_OVERHEAD: usize = 64;

// === impl Table ===

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Slab::new(),
            spans: Slab::new(),
            traces: Slab::new(),
            by_id: HashTable::new(),
            oldest: NIL,
            youngest: NIL,
            chunk_bytes: 0,
        }
    }

    /// Adds a request without spans; spans are pushed, and then [`release`](Self::release)d.
    ///
    /// Returns its index; it holds one reference of its own until [`seal`](Self::seal).
    pub(crate) fn add_chunk(&mut self, bytes: Bytes, ack: Ack) -> u32 {
        self.chunk_bytes += bytes.len() + CHUNK_OVERHEAD;
        self.chunks.insert(Chunk {
            bytes,
            envelopes: Vec::new(),
            scopes: Vec::new(),
            ack,
            live: 1,
            writing: 0,
            counted: 0,
        })
    }

    /// Adds the envelopes of a scope that has spans, and of its resource unless that is known by
    /// then. Returns the scope's index in its chunk.
    pub(crate) fn add_scope(
        &mut self,
        chunk: u32,
        known: &mut Option<(u32, u32)>,
        resource: &[u8],
        scope: &[u8],
    ) -> u32 {
        let chunk = self.chunks.get_mut(chunk);
        let before = chunk.lists();
        let mut write = |envelope: &[u8]| {
            let from = chunk.envelopes.len() as u32;
            chunk.envelopes.extend_from_slice(envelope);
            (from, chunk.envelopes.len() as u32)
        };
        let resource = *known.get_or_insert_with(|| write(resource));
        let scope = write(scope);
        // Groups of one scope in a row are one group: else a request of nothing but groups would
        // take many times its bytes.
        let repeats = chunk.scopes.last().is_some_and(|last| {
            last.resource == resource && chunk.envelope(last.scope) == chunk.envelope(scope)
        });
        if repeats {
            chunk.envelopes.truncate(scope.0 as usize);
        } else {
            chunk.scopes.push(Scope { resource, scope });
        }
        self.chunk_bytes += chunk.lists() - before;
        chunk.scopes.len() as u32 - 1
    }

    /// Forgets the scopes of a chunk that is being read and has no span in use; tells whether it
    /// did.
    pub(crate) fn forget_scopes(&mut self, chunk: u32) -> bool {
        let chunk = self.chunks.get_mut(chunk);
        if chunk.live > 1 || chunk.scopes.is_empty() {
            return false;
        }
        self.chunk_bytes -= chunk.lists();
        (chunk.envelopes, chunk.scopes) = (Vec::new(), Vec::new());
        true
    }

    /// Ends the adding of spans: a request without any goes at once.
    pub(crate) fn seal(&mut self, chunk: u32) {
        self.release(chunk, 1);
    }

    /// Counts a span that is handed on directly, without a trace; it is released like any other.
    pub(crate) fn retain(&mut self, chunk: u32) {
        self.chunks.get_mut(chunk).live += 1;
    }

    /// Hands out who waits for so many spans that go on.
    pub(crate) fn take_ack(&mut self, chunk: u32, spans: u32) -> Ack {
        self.chunks.get_mut(chunk).ack.take(u64::from(spans))
    }

    /// Gives up so many spans of a chunk, and the chunk with its last: those that did not go on were
    /// left out.
    pub(crate) fn release(&mut self, index: u32, spans: u32) {
        let chunk = self.chunks.get_mut(index);
        chunk.live -= spans;
        if chunk.live == 0 {
            let chunk = self.chunks.remove(index);
            self.chunk_bytes -= chunk.bytes.len() + CHUNK_OVERHEAD + chunk.lists();
            let left_out = Answer::sampled_out(chunk.ack.items());
            chunk.ack.settle(left_out);
        }
    }

    /// How much a chunk's envelopes add to a writing: what was not counted for it before.
    pub(crate) fn count_envelopes(&mut self, writing: u64, chunk: u32) -> usize {
        let chunk = self.chunks.get_mut(chunk);
        if std::mem::replace(&mut chunk.writing, writing) != writing {
            chunk.counted = 0;
        }
        let counted = std::mem::replace(&mut chunk.counted, chunk.envelopes.len());
        chunk.counted.saturating_sub(counted)
    }

    pub(crate) fn chunk(&self, index: u32) -> &Chunk {
        self.chunks.get(index)
    }

    /// The trace of this id, if it is in the table.
    #[inline]
    pub(crate) fn find(&self, id: &[u8; 16], hash: u64) -> Option<u32> {
        self.by_id.find(hash, |&index| self.traces.get(index).id == *id).copied()
    }

    /// Adds a trace that is not in the table, as the youngest.
    pub(crate) fn add_trace(&mut self, id: [u8; 16], hash: u64, deadline: Instant) -> u32 {
        let index = self.traces.insert(TraceNode {
            id,
            hash,
            summary: TraceSummary::default(),
            deadline,
            first: NIL,
            last: NIL,
            next: NIL,
        });
        self.by_id.insert_unique(hash, index, |&index| self.traces.get(index).hash);
        match self.youngest {
            NIL => self.oldest = index,
            youngest => self.traces.get_mut(youngest).next = index,
        }
        self.youngest = index;
        index
    }

    /// Adds a span to a trace.
    #[inline]
    pub(crate) fn add_span(&mut self, trace: u32, span: SpanRef, fields: &TailFields<'_>) {
        let node = self.spans.insert(SpanNode { span, next: NIL });
        self.chunks.get_mut(span.chunk).live += 1;
        let trace = self.traces.get_mut(trace);
        trace.summary.add(fields, u64::from(span.len));
        match trace.last {
            NIL => trace.first = node,
            last => self.spans.get_mut(last).next = node,
        }
        trace.last = node;
    }

    /// When the oldest trace is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        (self.oldest != NIL).then(|| self.traces.get(self.oldest).deadline)
    }

    /// Takes the oldest trace out.
    pub(crate) fn take_oldest(&mut self) -> Option<Taken> {
        if self.oldest == NIL {
            return None;
        }
        let index = self.oldest;
        let trace = self.traces.remove(index);
        self.oldest = trace.next;
        if self.oldest == NIL {
            self.youngest = NIL;
        }
        if let Ok(entry) = self.by_id.find_entry(trace.hash, |&at| at == index) {
            entry.remove();
        }
        if self.by_id.is_empty() {
            // A quiet moment gives the memory of a busy one back.
            self.by_id = HashTable::new();
        }
        Some(Taken { id: trace.id, hash: trace.hash, summary: trace.summary, first: trace.first })
    }

    /// The spans from one on, to look at.
    pub(crate) const fn spans_of(&self, first: u32) -> SpansOf<'_> {
        SpansOf { table: self, first }
    }

    /// Takes out a span of a taken trace, and says which comes next. Its chunk is still counted as
    /// used: the span has to be released.
    #[inline]
    pub(crate) fn take_span(&mut self, index: u32) -> Option<(SpanRef, u32)> {
        if index == NIL {
            return None;
        }
        let node = self.spans.remove(index);
        Some((node.span, node.next))
    }

    pub(crate) fn traces(&self) -> usize {
        self.traces.len
    }

    pub(crate) fn spans(&self) -> usize {
        self.spans.len
    }

    /// What the table takes, in bytes: requests and bookkeeping, with room that is not used now.
    pub(crate) fn bytes(&self) -> usize {
        self.chunk_bytes
            + self.chunks.bytes()
            + self.spans.bytes()
            + self.traces.bytes()
            + self.by_id.allocation_size()
    }
}

/// The spans of a trace.
pub(crate) struct SpansOf<'a> {
    table: &'a Table,
    first: u32,
}

impl Spans for SpansOf<'_> {
    fn visit(&self, visit: &mut dyn FnMut(SpanView<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut next = self.first;
        while next != NIL {
            let node = self.table.spans.get(next);
            visit(self.table.chunk(node.span.chunk).view(node.span))?;
            next = node.next;
        }
        ControlFlow::Continue(())
    }
}

// === impl Chunk ===

impl Chunk {
    /// What its lists take, in bytes.
    const fn lists(&self) -> usize {
        self.envelopes.capacity() + self.scopes.capacity() * size_of::<Scope>()
    }

    /// A span of it.
    pub(crate) fn view(&self, span: SpanRef) -> SpanView<'_> {
        let Scope { resource, scope } = self.scopes[span.scope as usize];
        let field = &self.bytes[span.at as usize..][..span.len as usize];
        SpanView {
            resource: self.envelope(resource),
            scope: self.envelope(scope),
            message: tree::message(field),
        }
    }

    /// A part of the envelopes.
    pub(crate) fn envelope(&self, (from, to): (u32, u32)) -> &[u8] {
        &self.envelopes[from as usize..to as usize]
    }

    /// How long the envelopes of a scope are, in bytes.
    pub(crate) fn envelope_len(&self, scope: u32) -> usize {
        let Scope { resource, scope } = self.scopes[scope as usize];
        (resource.1 - resource.0 + scope.1 - scope.0) as usize
    }
}

/// Values by index; freed places are filled again, the latest first.
#[derive(Debug)]
struct Slab<T> {
    places: Vec<Place<T>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
enum Place<T> {
    Used(T),
    /// The next free place.
    Free(u32),
}

// === impl Slab ===

impl<T> Slab<T> {
    const fn new() -> Self {
        Self { places: Vec::new(), free: NIL, len: 0 }
    }

    #[inline]
    fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if self.free == NIL {
            let index = u32::try_from(self.places.len()).ok().filter(|&index| index != NIL);
            if self.places.len() == self.places.capacity() {
                // In steps of an eighth: doubling would leave up to half of the memory unused.
                self.places.reserve_exact((self.places.len() / 8).max(64));
            }
            self.places.push(Place::Used(value));
            return index.expect("four thousand million places do not fit into memory");
        }
        let index = self.free;
        let place = &mut self.places[index as usize];
        let Place::Free(next) = *place else { unreachable!("only freed places are in the list") };
        self.free = next;
        *place = Place::Used(value);
        index
    }

    #[inline]
    fn remove(&mut self, index: u32) -> T {
        self.len -= 1;
        let place = std::mem::replace(&mut self.places[index as usize], Place::Free(self.free));
        self.free = index;
        let Place::Used(value) = place else { unreachable!("an index is freed once") };
        if self.len == 0 {
            // A quiet moment gives the memory of a busy one back.
            *self = Self::new();
        }
        value
    }

    /// What it takes, in bytes.
    const fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place<T>>()
    }

    #[inline]
    fn get(&self, index: u32) -> &T {
        let Place::Used(value) = &self.places[index as usize] else {
            unreachable!("an index is used until it is freed")
        };
        value
    }

    #[inline]
    fn get_mut(&mut self, index: u32) -> &mut T {
        let Place::Used(value) = &mut self.places[index as usize] else {
            unreachable!("an index is used until it is freed")
        };
        value
    }
}
