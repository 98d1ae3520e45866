//! A request's worth of telemetry, as bytes.

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::{Ack, Invalid, Signal, validate};

/// Validated telemetry of one signal, on its way from a receiver to an exporter.
///
/// Holds one or more segments, each a complete `Export…ServiceRequest` in protobuf. Because
/// repeated fields of concatenated messages add up, the segments laid end to end are one request:
/// merging payloads is appending segments.
///
/// Somebody may wait for what becomes of the items: the [`Ack`] goes along where payloads are merged
/// and cut. One that is dropped with its payload says that the items were lost.
///
/// Cloning is cheap: the bytes are shared. Nobody waits for a clone; where both go on, each needs its
/// part of the acknowledgement: [`Payload::fan_out`].
#[derive(Debug)]
pub struct Payload {
    signal: Signal,
    /// Nearly always one: it takes no allocation.
    segments: SmallVec<[Bytes; 1]>,
    items: u64,
    bytes: usize,
    ack: Ack,
}

// === impl Payload ===

impl Payload {
    /// Validates one request and counts its items.
    ///
    /// # Errors
    ///
    /// What [`validate`] finds wrong with the bytes.
    pub fn parse(signal: Signal, request: Bytes) -> Result<Self, Invalid> {
        let items = validate(signal, &request)?;
        Ok(Self::trusted(signal, request, items))
    }

    /// A payload that holds nothing.
    pub const fn empty(signal: Signal) -> Self {
        Self { signal, segments: SmallVec::new_const(), items: 0, bytes: 0, ack: Ack::none() }
    }

    /// Takes bytes that this process wrote or has validated before, and their number of items.
    ///
    /// Nothing is checked. With bytes that are not a valid request, views end early and counts are
    /// wrong; no memory safety depends on it.
    pub fn trusted(signal: Signal, request: Bytes, items: u64) -> Self {
        let bytes = request.len();
        let segments = if request.is_empty() { SmallVec::new() } else { smallvec![request] };
        Self { signal, segments, items, bytes, ack: Ack::none() }
    }

    /// The signal of every item in it.
    pub const fn signal(&self) -> Signal {
        self.signal
    }

    /// How many spans, data points or log records it holds.
    pub const fn items(&self) -> u64 {
        self.items
    }

    /// The length of the request, in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it holds no item. It may still hold bytes: envelopes without content.
    pub const fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// The request in pieces; each is a request by itself.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// Gives up the pieces. Who waits for them is told that they were lost, unless the
    /// acknowledgement was [taken](Self::take_ack) before.
    pub fn into_segments(self) -> impl ExactSizeIterator<Item = Bytes> {
        self.segments.into_iter()
    }

    /// Gives up the one piece of a request that is in one; `None` where there are more, or none.
    /// Who waits for it is told as with [`into_segments`](Self::into_segments).
    #[inline]
    pub fn into_segment(mut self) -> Option<Bytes> {
        if self.segments.len() == 1 { self.segments.pop() } else { None }
    }

    /// Has somebody wait for what becomes of the items.
    ///
    /// # Panics
    ///
    /// If the acknowledgement is not for all of them, or there is one already.
    #[must_use]
    pub fn with_ack(mut self, ack: Ack) -> Self {
        assert!(self.ack.is_none(), "somebody waits for the payload already");
        assert!(ack.is_none() || ack.items() == self.items, "some items would not be answered for");
        self.ack = ack;
        self
    }

    /// Takes the acknowledgement, to answer for the items.
    pub fn take_ack(&mut self) -> Ack {
        std::mem::take(&mut self.ack)
    }

    /// Whether somebody waits for what becomes of the items.
    pub const fn is_awaited(&self) -> bool {
        !self.ack.is_none()
    }

    /// The payload for so many ways, each to be answered for; the worst answer of each item counts.
    pub fn fan_out(mut self, ways: usize) -> impl ExactSizeIterator<Item = Self> {
        let acks = self.take_ack().fan_out(ways);
        acks.into_iter().map(move |ack| self.clone().with_ack(ack))
    }

    /// Adds `other` to the end. Copies no telemetry.
    ///
    /// # Panics
    ///
    /// If the two are of different signals.
    pub fn append(&mut self, mut other: Self) {
        assert_eq!(self.signal, other.signal, "only payloads of one signal can be merged");
        self.ack.append(self.items, other.take_ack(), other.items);
        self.items += other.items;
        self.bytes += other.bytes;
        if self.segments.is_empty() {
            self.segments = other.segments;
        } else {
            self.segments.extend(other.segments);
        }
    }

    /// The whole request in one piece: a copy where there are several segments, none where there is
    /// one.
    pub fn to_bytes(&self) -> Bytes {
        match &self.segments[..] {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => {
                let mut joined = Vec::with_capacity(self.bytes);
                many.iter().for_each(|segment| joined.extend_from_slice(segment));
                joined.into()
            }
        }
    }
}

impl Clone for Payload {
    fn clone(&self) -> Self {
        Self {
            signal: self.signal,
            segments: self.segments.clone(),
            items: self.items,
            bytes: self.bytes,
            ack: Ack::none(),
        }
    }
}
