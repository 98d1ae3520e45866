//! The trace table: which spans are held, where their bytes are, and how old their traces are.
//!
//! A span is a slice of the request it came in. The request's bytes stay as long as one of its
//! spans does, so what is held is counted in whole requests: nothing is pinned unseen. Spans,
//! traces and requests each live in a slab and refer to each other by index; nothing is allocated
//! per span once the slabs have grown.

use std::hash::BuildHasher;
use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashTable;
use teleflow_otlp::span::TailFields;

use crate::policy::TraceSummary;

/// The end of a list.
const NIL: u32 = u32::MAX;

/// A request that spans came in.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// The envelopes of all its groups, and which is whose.
    pub(crate) envelopes: Vec<u8>,
    pub(crate) scopes: Vec<Scope>,
    live: u32,
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

/// A trace that was taken out of the table; its spans are handed on by [`Table::take_spans`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) id: [u8; 16],
    pub(crate) hash: u64,
    pub(crate) summary: TraceSummary,
    first: u32,
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

/// What a chunk takes beside its bytes: itself and its lists, at a guess that covers most.
const CHUNK_OVERHEAD: usize = size_of::<Chunk>() + 64;
/// What a trace takes: its node and its place in the hash table at a load of a half.
const TRACE_OVERHEAD: usize = size_of::<TraceNode>() + 2 * (size_of::<u32>() + 1);

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
    pub(crate) fn add_chunk(&mut self, bytes: Bytes) -> u32 {
        self.chunk_bytes += bytes.len() + CHUNK_OVERHEAD;
        self.chunks.insert(Chunk { bytes, envelopes: Vec::new(), scopes: Vec::new(), live: 1 })
    }

    /// Adds the envelopes of a request's groups.
    pub(crate) fn set_envelopes(&mut self, chunk: u32, envelopes: Vec<u8>, scopes: Vec<Scope>) {
        self.chunk_bytes += envelopes.capacity() + scopes.capacity() * size_of::<Scope>();
        let chunk = self.chunks.get_mut(chunk);
        chunk.envelopes = envelopes;
        chunk.scopes = scopes;
    }

    /// Ends the adding of spans: a request without any goes at once.
    pub(crate) fn seal(&mut self, chunk: u32) {
        self.release(chunk);
    }

    /// Counts a span that is handed on directly, without a trace; it is released like any other.
    pub(crate) fn retain(&mut self, chunk: u32) {
        self.chunks.get_mut(chunk).live += 1;
    }

    /// Gives up one span of a chunk, and the chunk with its last.
    pub(crate) fn release(&mut self, index: u32) {
        let chunk = self.chunks.get_mut(index);
        chunk.live -= 1;
        if chunk.live == 0 {
            let chunk = self.chunks.remove(index);
            self.chunk_bytes -= chunk.bytes.len()
                + CHUNK_OVERHEAD
                + chunk.envelopes.capacity()
                + chunk.scopes.capacity() * size_of::<Scope>();
        }
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
        trace.summary.add(fields);
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
        Some(Taken { id: trace.id, hash: trace.hash, summary: trace.summary, first: trace.first })
    }

    /// Hands on a taken trace's spans in the order in which they came. Their chunks are still
    /// counted as used: each span has to be released.
    pub(crate) fn take_spans(&mut self, trace: Taken, mut each: impl FnMut(&mut Self, SpanRef)) {
        let mut next = trace.first;
        while next != NIL {
            let node = self.spans.remove(next);
            next = node.next;
            each(self, node.span);
        }
    }

    pub(crate) fn traces(&self) -> usize {
        self.traces.len
    }

    pub(crate) fn spans(&self) -> usize {
        self.spans.len
    }

    /// What the table's content takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.chunk_bytes + self.spans.len * size_of::<SpanNode>() + self.traces.len * TRACE_OVERHEAD
    }
}

/// The keyed hash of a trace id: a sender cannot choose ids that meet in one bucket.
pub(crate) fn hash(state: &foldhash::fast::FixedState, id: &[u8; 16]) -> u64 {
    state.hash_one(u128::from_le_bytes(*id))
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
