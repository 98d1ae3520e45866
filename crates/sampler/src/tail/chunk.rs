//! A request of which spans or records are held.

use std::iter;

use bytes::Bytes;
use smallvec::SmallVec;
use teleflow_otlp::{Ack, Answer, Signal, tree};

use super::digest::Request;
use super::storage::Whereabouts;
use super::table::RunRef;
use crate::SpanView;

/// A request that spans came in.
///
/// Envelopes that are in one piece stay where they are; those in several are copied together. A place
/// below the request's length is in the request, one above in the copies.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// Of nearly all requests it is one.
    pub(super) scopes: SmallVec<[Scope; 1]>,
    rare: Option<Box<Rare>>,
    /// How many spans are in use, and one for whoever still reads it.
    pub(super) live: u32,
    /// What they take.
    pub(super) live_bytes: u32,
    /// What the envelopes take, each counted once.
    pub(super) envelopes: u32,
    /// How many of the spans in use wait to be written.
    pub(super) leaving: u32,
    /// The writing of kept spans that this chunk was last a part of, and how much of its envelopes
    /// was counted for it.
    writing: u32,
    counted: u32,
    pub(super) signal: Signal,
    /// Whether it is still being read: nothing in it may move.
    pub(super) is_open: bool,
    /// Where its bytes are: those that are stored take no memory.
    pub(super) whereabouts: Whereabouts,
}

/// What few requests have.
#[derive(Debug, Default)]
struct Rare {
    /// Envelopes that are in several pieces.
    copies: Vec<u8>,
    /// Who waits for the spans that were not written yet.
    ack: Ack,
}

/// Where a scope group's envelopes are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) resource: Piece,
    pub(crate) scope: Piece,
}

/// A place in a chunk: from, to.
pub(crate) type Piece = (u32, u32);

/// An envelope that is to be added.
#[derive(Clone, Copy, Debug)]
pub(super) enum Envelope<'a> {
    /// It is in one piece in the request, from here to there.
    There(usize, usize),
    /// It was put together.
    Copied(&'a [u8]),
}

/// What a request's buffer takes beside its bytes: counters and the allocator's part, a guess.
const OVERHEAD: usize = 64;

// === impl Chunk ===

impl Chunk {
    /// One without spans, that is being read.
    pub(super) fn new(signal: Signal, bytes: Bytes, ack: Ack) -> Self {
        Self {
            bytes,
            scopes: SmallVec::new(),
            rare: (!ack.is_none()).then(|| Box::new(Rare { ack, ..Rare::default() })),
            live: 1,
            live_bytes: 0,
            envelopes: 0,
            leaving: 0,
            writing: 0,
            counted: 0,
            signal,
            is_open: true,
            whereabouts: Whereabouts::Memory,
        }
    }

    /// One that was read, with its scopes.
    pub(super) fn read(mut request: Request, scopes: &[Scope]) -> Self {
        let ack = request.take_ack();
        let mut chunk = Self::new(Signal::Traces, request.bytes, ack);
        let mut of = None;
        for scope in scopes {
            let is_new = of.replace(scope.resource) != Some(scope.resource);
            chunk.envelopes += if is_new { len(scope.resource) } else { 0 } + len(scope.scope);
        }
        chunk.scopes = SmallVec::from_slice(scopes);
        chunk
    }

    /// What it takes, in bytes, beside its place in the table.
    pub(super) fn size(&self) -> usize {
        let scopes = match self.scopes.spilled() {
            true => self.scopes.capacity() * size_of::<Scope>(),
            false => 0,
        };
        let rare = self.rare.as_ref().map_or(0, |rare| size_of::<Rare>() + rare.copies.capacity());
        let bytes = if self.whereabouts == Whereabouts::Stored { 0 } else { self.bytes.len() };
        bytes + OVERHEAD + scopes + rare
    }

    /// Adds an envelope, and tells where it is.
    pub(super) fn add_envelope(&mut self, envelope: Envelope<'_>) -> Piece {
        match envelope {
            Envelope::There(from, to) => (from as u32, to as u32),
            Envelope::Copied(bytes) => {
                let copies = &mut self.rare.get_or_insert_default().copies;
                let from = self.bytes.len() + copies.len();
                copies.extend_from_slice(bytes);
                (from as u32, (from + bytes.len()) as u32)
            }
        }
    }

    /// Adds a scope that has spans, and returns its index. `resource_is_new` where this is the
    /// resource's first.
    pub(super) fn add_scope(&mut self, added: Scope, resource_is_new: bool) -> u32 {
        let Scope { resource, scope } = added;
        // Groups of one scope in a row are one group: else a request of nothing but groups would
        // take many times its bytes.
        let repeats = self.scopes.last().is_some_and(|last| {
            last.resource == resource && self.piece(last.scope) == self.piece(scope)
        });
        if repeats {
            if let (Some(end), Some(rare)) =
                ((scope.0 as usize).checked_sub(self.bytes.len()), &mut self.rare)
            {
                rare.copies.truncate(end);
            }
        } else {
            self.envelopes += if resource_is_new { len(resource) } else { 0 } + len(scope);
            self.scopes.push(added);
        }
        self.scopes.len() as u32 - 1
    }

    /// Forgets the scopes of a chunk that is being read and has no span in use; tells whether it
    /// did.
    pub(super) fn forget_scopes(&mut self) -> bool {
        if self.live > 1 || self.scopes.is_empty() {
            return false;
        }
        (self.scopes, self.envelopes) = (SmallVec::new(), 0);
        self.forget_copies();
        true
    }

    /// Spans of it.
    #[inline]
    pub(super) fn views(&self, run: RunRef) -> impl Iterator<Item = SpanView<'_>> {
        let Scope { resource, scope } = self.scopes[run.scope as usize];
        let (resource, scope) = (self.piece(resource), self.piece(scope));
        let mut fields = self.fields(run.at, run.len.get());
        iter::from_fn(move || {
            let (message, rest) = tree::split_message(fields)?;
            fields = rest;
            Some(SpanView { resource, scope, message })
        })
    }

    /// Fields in a row.
    #[inline]
    pub(super) fn fields(&self, at: u32, len: u32) -> &[u8] {
        &self.bytes[at as usize..][..len as usize]
    }

    /// An envelope.
    pub(super) fn piece(&self, (from, to): Piece) -> &[u8] {
        let (from, to) = (from as usize, to as usize);
        match from.checked_sub(self.bytes.len()) {
            // One without content may be at the end.
            Some(start) if from < to => &self.copies()[start..start + to - from],
            Some(_) => &[],
            None => &self.bytes[from..to],
        }
    }

    /// How long the envelopes of a scope are, in bytes: the resource's and its own.
    pub(super) fn envelope_lens(&self, scope: u32) -> (usize, usize) {
        let Scope { resource, scope } = self.scopes[scope as usize];
        (len(resource) as usize, len(scope) as usize)
    }

    /// How much its envelopes add to a writing: what was not counted for it before.
    pub(super) fn count_envelopes(&mut self, writing: u32) -> usize {
        if std::mem::replace(&mut self.writing, writing) != writing {
            self.counted = 0;
        }
        let counted = std::mem::replace(&mut self.counted, self.envelopes);
        self.counted.saturating_sub(counted) as usize
    }

    /// Whether all that is left of it waits to be written.
    pub(super) const fn goes(&self) -> bool {
        self.leaving > 0 && self.leaving == self.live
    }

    /// What was counted for the writing, once.
    pub(super) const fn take_counted(&mut self) -> usize {
        std::mem::replace(&mut self.counted, 0) as usize
    }

    /// What it would take of memory without the bytes that nobody needs.
    pub(super) const fn needed(&self) -> usize {
        if matches!(self.whereabouts, Whereabouts::Stored) {
            return 0;
        }
        self.live_bytes as usize + self.envelopes as usize
    }

    /// Begins to move out of its bytes: the envelopes move at once, into what is returned; the spans
    /// are to follow, then [`settle`](Self::settle).
    pub(super) fn unsettle(&mut self) -> Vec<u8> {
        let mut moved = Vec::with_capacity(self.needed());
        let mut last: Option<(Piece, Piece)> = None;
        for index in 0..self.scopes.len() {
            let mut put = |chunk: &Self, piece: Piece| {
                let from = moved.len() as u32;
                moved.extend_from_slice(chunk.piece(piece));
                (from, moved.len() as u32)
            };
            let Scope { resource, scope } = self.scopes[index];
            let new_resource = match last {
                Some((old, new)) if old == resource => new,
                _ => put(self, resource),
            };
            last = Some((resource, new_resource));
            let scope = put(self, scope);
            self.scopes[index] = Scope { resource: new_resource, scope };
        }
        moved
    }

    /// Ends a move.
    pub(super) fn settle(&mut self, moved: Vec<u8>) {
        self.bytes = moved.into();
        self.forget_copies();
    }

    /// Hands out who waits for so many spans that go on.
    pub(super) fn take_ack(&mut self, spans: u64) -> Ack {
        self.rare.as_mut().map_or_else(Ack::none, |rare| rare.ack.take(spans))
    }

    /// Answers those who wait for spans that did not go on: they were left out.
    pub(super) fn settle_ack(self) {
        if let Some(rare) = self.rare {
            leave_out(rare.ack);
        }
    }

    fn copies(&self) -> &[u8] {
        self.rare.as_ref().map_or(&[], |rare| &rare.copies)
    }

    fn forget_copies(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.copies = Vec::new();
        }
    }
}

/// Answers those who wait for what was left out.
pub(super) fn leave_out(ack: Ack) {
    let left_out = Answer::sampled_out(ack.items());
    ack.settle(left_out);
}

const fn len((from, to): Piece) -> u32 {
    to - from
}
