//! Payloads that were read before a sampler gets them.

use std::mem;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;
use teleflow_otlp::{Ack, Assembler, Payload, Signal, tree};

use super::chunk::{Piece, Scope};
use super::run::{Packed, read_row};

/// Payloads and what a [`TailSampler`](crate::TailSampler) wants to know of their spans.
///
/// Where samplers work side by side as shards of one, whoever parts the payloads among them has
/// their bytes at hand. If spans are read there, a sampler on another core need not fetch them: of
/// the bytes it touches what it keeps. What is known of many payloads stands together and can be
/// handed over at once; a digest that was emptied serves again without an allocation.
///
/// Reading takes up to 130 bytes a span beside the payload, where no two spans of a trace stand in
/// a row. Payloads of more than 4096 items, of more than 4 MiB or in several pieces are not read
/// ahead, and neither are log records and metrics: nothing is wrong with that but the time. A
/// sampler gets them after those that were read.
///
/// How many payloads it holds is for those who fill it to bound. Who waits for a payload waits for
/// the digest; one that is dropped says that its items were lost.
#[derive(Debug, Default)]
pub struct Digest {
    pub(crate) requests: Vec<Request>,
    /// Of all requests, one after the other.
    pub(crate) sorted: Sorted,
    pub(super) unread: SmallVec<[Payload; 1]>,
}

/// A request that was read.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Bytes,
    /// Who waits for its spans, if anybody does.
    ack: Option<Box<Ack>>,
    /// How many spans it has, and how many of the runs and scopes are its own.
    pub(crate) items: u32,
    pub(crate) runs: u16,
    pub(crate) scopes: u16,
    /// Whether the bytes are those of a request. Else they are pieces of one.
    pub(crate) is_whole: bool,
}

/// The runs of requests in their order, and the scopes that they are below.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) runs: Vec<Packed>,
    pub(crate) scopes: Vec<Scope>,
}

const MOST_ITEMS: u64 = 4096;
const _: () = assert!(MOST_ITEMS <= u16::MAX as u64, "a request has more runs than can be counted");
const MOST_BYTES: usize = 4 * 1024 * 1024;

// === impl Digest ===

impl Digest {
    /// One that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a payload.
    pub fn of(payload: Payload) -> Self {
        let mut digest = Self::new();
        digest.add(payload);
        digest
    }

    /// A payload that is read by whoever samples it.
    pub fn unread(payload: Payload) -> Self {
        let mut digest = Self::new();
        digest.unread.push(payload);
        digest
    }

    /// Reads a payload and adds it.
    pub fn add(&mut self, payload: Payload) {
        let (runs, scopes) = (self.sorted.runs.len(), self.sorted.scopes.len());
        if self.sorted.read(&payload) {
            let (runs, scopes) = (self.sorted.runs.len() - runs, self.sorted.scopes.len() - scopes);
            self.requests.push(Request::whole(payload, runs, scopes));
        } else {
            self.unread.push(payload);
        }
    }

    /// Adds a payload that was read.
    pub(crate) fn add_read(&mut self, payload: Payload, sorted: &Sorted) {
        self.requests.push(Request::whole(payload, sorted.runs.len(), sorted.scopes.len()));
        self.sorted.runs.extend_from_slice(&sorted.runs);
        self.sorted.scopes.extend_from_slice(&sorted.scopes);
    }

    /// Moves all payloads of another one to the end.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            return mem::swap(self, other);
        }
        self.requests.append(&mut other.requests);
        self.sorted.runs.append(&mut other.sorted.runs);
        self.sorted.scopes.append(&mut other.sorted.scopes);
        self.unread.append(&mut other.unread);
    }

    /// Whether it holds no payload.
    pub fn is_empty(&self) -> bool {
        self.payloads() == 0
    }

    /// Whether all that it holds was read.
    pub fn is_read(&self) -> bool {
        self.unread.is_empty()
    }

    /// How many payloads, or parts of such, it holds.
    pub fn payloads(&self) -> usize {
        self.requests.len() + self.unread.len()
    }

    /// How many items it holds.
    pub fn items(&self) -> u64 {
        let read = self.requests.iter().map(|request| u64::from(request.items));
        read.chain(self.unread.iter().map(Payload::items)).sum()
    }

    /// How many bytes its payloads hold.
    pub fn bytes(&self) -> usize {
        let read = self.requests.iter().map(|request| request.bytes.len());
        read.chain(self.unread.iter().map(Payload::bytes)).sum()
    }

    /// The payloads, for those who do not sample. Copies, where they were parted.
    pub fn into_payloads(self) -> impl Iterator<Item = Payload> {
        let Self { requests, sorted: Sorted { runs, scopes }, unread } = self;
        let (mut runs, mut scopes) = (runs.into_iter(), scopes.into_iter());
        let read = requests.into_iter().map(move |request| {
            let runs: Vec<_> = runs.by_ref().take(request.runs.into()).collect();
            let scopes: Vec<_> = scopes.by_ref().take(request.scopes.into()).collect();
            request.into_payload(&runs, &scopes)
        });
        read.chain(unread)
    }
}

// === impl Request ===

impl Request {
    /// All of a payload that was read.
    fn whole(mut payload: Payload, runs: usize, scopes: usize) -> Self {
        let (items, ack) = (payload.items(), payload.take_ack());
        let bytes = payload.into_segment().unwrap_or_default();
        Self { is_whole: true, ..Self::of_pieces(bytes, items, ack, (runs, scopes)) }
    }

    /// Pieces of a payload that was read.
    pub(crate) fn of_pieces(
        bytes: Bytes,
        items: u64,
        ack: Ack,
        (runs, scopes): (usize, usize),
    ) -> Self {
        Self {
            bytes,
            ack: (!ack.is_none()).then(|| Box::new(ack)),
            // There are not more: that is not read.
            items: items as u32,
            runs: runs as u16,
            scopes: scopes as u16,
            is_whole: false,
        }
    }

    pub(crate) fn take_ack(&mut self) -> Ack {
        self.ack.take().map_or_else(Ack::none, |ack| *ack)
    }

    fn into_payload(mut self, runs: &[Packed], scopes: &[Scope]) -> Payload {
        let ack = self.take_ack();
        let bytes = match self.is_whole {
            true => self.bytes,
            false => assemble(&self.bytes, runs, scopes).into(),
        };
        Payload::trusted(Signal::Traces, bytes, self.items.into()).with_ack(ack)
    }
}

// === impl Sorted ===

impl Sorted {
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.scopes.clear();
    }

    /// Adds what is in a payload. Tells whether it did: not where it is not worth it, or an envelope
    /// is in several pieces.
    pub(crate) fn read(&mut self, payload: &Payload) -> bool {
        let [request] = payload.segments() else { return false };
        let is_small = (1..=MOST_ITEMS).contains(&payload.items()) && payload.bytes() <= MOST_BYTES;
        if payload.signal() != Signal::Traces || !is_small {
            return false;
        }
        let (runs, scopes) = (self.runs.len(), self.scopes.len());
        // Whoever counted them did it wrong, or gave other bytes.
        let is_read = self.read_request(request) == Some(payload.items());
        if !is_read {
            self.runs.truncate(runs);
            self.scopes.truncate(scopes);
        }
        is_read
    }

    /// How many spans a request has; `None` where an envelope is in several pieces.
    fn read_request(&mut self, request: &[u8]) -> Option<u64> {
        let (first, mut spans) = (self.scopes.len(), 0);
        for resource in tree::resources(request) {
            let mut of_resource = None;
            for scope in resource.scopes() {
                let mut index = None;
                for row in scope.rows() {
                    let index = match index {
                        Some(index) => index,
                        None => {
                            let resource = match of_resource {
                                Some(resource) => resource,
                                None => *of_resource.insert(piece(resource.envelope_in_place()?)),
                            };
                            let scope = piece(scope.envelope_in_place()?);
                            self.enter(request, first, Scope { resource, scope });
                            *index.insert((self.scopes.len() - first - 1) as u32)
                        }
                    };
                    spans += u64::from(row.spans);
                    read_row(&row, index, |run| self.runs.push(run.into()));
                }
            }
        }
        Some(spans)
    }

    /// Goes on below a scope. Groups of one scope in a row are one group.
    fn enter(&mut self, request: &[u8], first: usize, scope: Scope) {
        let text = |(from, to): Piece| &request[from as usize..to as usize];
        let repeats = self.scopes[first..].last().is_some_and(|last| {
            last.resource == scope.resource && text(last.scope) == text(scope.scope)
        });
        if !repeats {
            self.scopes.push(scope);
        }
    }
}

const fn piece(place: Range<usize>) -> Piece {
    (place.start as u32, place.end as u32)
}

/// The request of which these are the spans, and nothing else.
fn assemble(bytes: &[u8], runs: &[Packed], scopes: &[Scope]) -> Vec<u8> {
    let text = |(from, to): Piece| &bytes[from as usize..to as usize];
    let mut assembler = Assembler::new();
    let (mut resource, mut scope) = (None, None);
    for run in runs {
        let above = scopes[run.scope as usize];
        if resource.replace(above.resource) != Some(above.resource) {
            assembler.resource(text(above.resource));
            scope = None;
        }
        if scope.replace(run.scope) != Some(run.scope) {
            assembler.scope(text(above.scope));
        }
        let from = run.place.at;
        assembler.items(text((from, from + run.place.len.get())));
    }
    let mut request = Vec::new();
    assembler.finish(&mut request);
    request
}
