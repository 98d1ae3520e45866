//! A request's worth of telemetry, as bytes.

use bytes::Bytes;

use crate::{Invalid, Signal, validate};

/// Validated telemetry of one signal, on its way from a receiver to an exporter.
///
/// Holds one or more segments, each a complete `Export…ServiceRequest` in protobuf. Because
/// repeated fields of concatenated messages add up, the segments laid end to end are one request:
/// merging payloads is appending segments.
///
/// Cloning is cheap: the bytes are shared.
#[derive(Clone, Debug)]
pub struct Payload {
    signal: Signal,
    segments: Vec<Bytes>,
    items: u64,
    bytes: usize,
    // The acknowledgement's place is here: all payloads are made, merged and cut in this crate, so
    // that it can go with the items through `append` and `split`.
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
        Self { signal, segments: Vec::new(), items: 0, bytes: 0 }
    }

    /// Takes bytes that this process wrote or has validated before, and their number of items.
    ///
    /// Nothing is checked. With bytes that are not a valid request, views end early and counts are
    /// wrong; no memory safety depends on it.
    pub fn trusted(signal: Signal, request: Bytes, items: u64) -> Self {
        let bytes = request.len();
        let segments = if request.is_empty() { Vec::new() } else { vec![request] };
        Self { signal, segments, items, bytes }
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

    /// Gives up the pieces.
    pub fn into_segments(self) -> Vec<Bytes> {
        self.segments
    }

    /// Adds `other` to the end. Copies no telemetry.
    ///
    /// # Panics
    ///
    /// If the two are of different signals.
    pub fn append(&mut self, other: Self) {
        assert_eq!(self.signal, other.signal, "only payloads of one signal can be merged");
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
