//! Payloads that were read before a sampler gets them.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;
use teleflow_otlp::{Ack, Assembler, Payload, Signal, tree};

use super::chunk::{Chunk, Scope};
use super::run::{Run, runs};

/// A payload and what a [`TailSampler`](crate::TailSampler) wants to know of its spans.
///
/// Where samplers work side by side as shards of one, whoever parts the payloads among them has
/// their bytes at hand. If spans are read there, a sampler on another core need not fetch them: of
/// the bytes it touches what it keeps.
///
/// Reading takes up to 150 bytes a span beside the payload, where no two spans of a trace stand in
/// a row. Payloads of more than 4096 items, of more than 4 MiB or in several pieces are not read
/// ahead, and neither are log records and metrics: nothing is wrong with that but the time.
///
/// Who waits for the payload waits for the digest; one that is dropped says that its items were lost.
#[derive(Debug)]
pub struct Digest(pub(super) Content);

#[derive(Debug)]
pub(super) enum Content {
    Unread(Payload),
    Read { chunk: Chunk, runs: Runs, items: u64 },
}

/// Of nearly all requests it is one.
pub(crate) type Runs = SmallVec<[Run; 1]>;

const MOST_ITEMS: u64 = 4096;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// The runs of a request in their order, and the scopes that they are below.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) runs: Runs,
    pub(crate) scopes: SmallVec<[Below; 1]>,
}

/// Where a scope's envelopes are in the request, and whether it is its resource's first.
#[derive(Clone, Debug)]
pub(crate) struct Below {
    pub(crate) resource: Range<usize>,
    pub(crate) scope: Range<usize>,
    pub(crate) is_first: bool,
}

// === impl Digest ===

impl Digest {
    /// Reads a payload.
    pub fn of(payload: Payload) -> Self {
        match Sorted::of(&payload) {
            Some(sorted) => Self::sorted(payload, sorted),
            None => Self::unread(payload),
        }
    }

    /// A payload that is read by whoever samples it.
    pub const fn unread(payload: Payload) -> Self {
        Self(Content::Unread(payload))
    }

    /// Of a payload that was read.
    pub(crate) fn sorted(mut payload: Payload, sorted: Sorted) -> Self {
        let (items, ack) = (payload.items(), payload.take_ack());
        let request = payload.into_segments().next().unwrap_or_default();
        Self::new(request, items, ack, sorted)
    }

    /// Of spans that are in these bytes.
    pub(crate) fn new(bytes: Bytes, items: u64, ack: Ack, mut sorted: Sorted) -> Self {
        let mut chunk = Chunk::new(Signal::Traces, bytes, ack);
        let piece = |place: &Range<usize>| (place.start as u32, place.end as u32);
        let places = sorted.scopes.iter().map(|below| {
            let scope = Scope { resource: piece(&below.resource), scope: piece(&below.scope) };
            chunk.add_scope(scope, below.is_first)
        });
        let places: SmallVec<[u32; 4]> = places.collect();
        for run in &mut sorted.runs {
            run.scope = places[run.scope as usize];
        }
        Self(Content::Read { chunk, runs: sorted.runs, items })
    }

    /// Whether its spans were read.
    pub const fn is_read(&self) -> bool {
        matches!(self.0, Content::Read { .. })
    }

    /// The payload, for those who do not sample. A copy, where it was read.
    pub fn into_payload(self) -> Payload {
        match self.0 {
            Content::Unread(payload) => payload,
            Content::Read { mut chunk, runs, items } => {
                let ack = chunk.take_ack(items);
                let request = assemble(&chunk, &runs);
                Payload::trusted(Signal::Traces, request.into(), items).with_ack(ack)
            }
        }
    }

    /// The signal of every item in it.
    pub const fn signal(&self) -> Signal {
        match &self.0 {
            Content::Unread(payload) => payload.signal(),
            Content::Read { .. } => Signal::Traces,
        }
    }

    /// How many items it holds.
    pub const fn items(&self) -> u64 {
        match &self.0 {
            Content::Unread(payload) => payload.items(),
            Content::Read { items, .. } => *items,
        }
    }

    /// How many bytes it holds.
    pub const fn bytes(&self) -> usize {
        match &self.0 {
            Content::Unread(payload) => payload.bytes(),
            Content::Read { chunk, .. } => chunk.bytes.len(),
        }
    }
}

// === impl Sorted ===

impl Sorted {
    /// Reads a payload; `None` where it is not worth it, or an envelope is in several pieces.
    pub(crate) fn of(payload: &Payload) -> Option<Self> {
        let [request] = payload.segments() else { return None };
        let is_small = (1..=MOST_ITEMS).contains(&payload.items()) && payload.bytes() <= MOST_BYTES;
        if payload.signal() != Signal::Traces || !is_small {
            return None;
        }
        let mut sorted = Self::default();
        let mut spans = 0;
        for resource in tree::resources(request) {
            let mut of_resource = None;
            for scope in resource.scopes() {
                let mut index = None;
                for row in scope.rows() {
                    let index = match index {
                        Some(index) => index,
                        None => {
                            let is_first = of_resource.is_none();
                            if is_first {
                                of_resource = Some(resource.envelope_in_place()?);
                            }
                            let resource = of_resource.clone()?;
                            let scope = scope.envelope_in_place()?;
                            sorted.scopes.push(Below { resource, scope, is_first });
                            *index.insert(sorted.scopes.len() as u32 - 1)
                        }
                    };
                    spans += u64::from(row.spans);
                    sorted.runs.extend(runs(row, index));
                }
            }
        }
        // Whoever counted them did it wrong, or gave other bytes.
        (spans == payload.items()).then_some(sorted)
    }
}

/// The request of which these are the spans, and nothing else.
fn assemble(chunk: &Chunk, runs: &[Run]) -> Vec<u8> {
    let mut assembler = Assembler::new();
    let (mut resource, mut scope) = (None, None);
    for run in runs {
        let above = chunk.scopes[run.scope as usize];
        if resource.replace(above.resource) != Some(above.resource) {
            assembler.resource(chunk.piece(above.resource));
            scope = None;
        }
        if scope.replace(run.scope) != Some(run.scope) {
            assembler.scope(chunk.piece(above.scope));
        }
        assembler.items(chunk.fields(run.place.at, run.place.len.get()));
    }
    let mut request = Vec::new();
    assembler.finish(&mut request);
    request
}
