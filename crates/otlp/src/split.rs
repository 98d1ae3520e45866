//! Cuts a payload into smaller ones, by items and by bytes.

use std::borrow::Cow;

use bytes::Bytes;

use crate::assemble::{Assembler, field_len};
use crate::metric::MetricParts;
use crate::{Payload, Signal, tree};

/// How large a payload may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most items. A piece may have more where its envelope takes over 64 KiB: then as many as
    /// weigh as much as the envelope does.
    pub items: u64,
    /// The most bytes. One item that is larger goes alone, over the limit; and a piece whose
    /// envelope takes more than half of the limit may be twice as long as the envelope.
    pub bytes: usize,
}

/// A longer envelope is not repeated for items that weigh less than it does: a small request would
/// become a huge one.
const LARGE_ENVELOPE: usize = 64 * 1024;

impl Limits {
    /// No limit at all.
    pub const NONE: Self = Self { items: u64::MAX, bytes: usize::MAX };

    /// Whether `payload` is within both.
    pub fn allow(&self, payload: &Payload) -> bool {
        payload.items() <= self.items && payload.bytes() <= self.bytes
    }
}

/// Cuts `payload` so that the first piece is within `first` and the others within `rest`.
///
/// No item is lost and their order stays. Every piece but the last is as full as the limits let it
/// be. Metrics are cut between data points where need be. Envelopes (resource, scope, schema URLs,
/// unknown fields; of a metric all but its points) are repeated in each piece that has an item of
/// theirs; groups and metrics without any item are left out. A limit of zero items counts as one.
///
/// The pieces together take at most a little over twice the bytes of `payload`, unless envelopes
/// under 64 KiB are repeated for the sake of the limit of items.
///
/// Who waits for the payload waits for its pieces.
pub fn split(mut payload: Payload, first: Limits, rest: Limits) -> Vec<Payload> {
    let mut ack = payload.take_ack();
    let mut cutter = Cutter {
        signal: payload.signal(),
        limits: first,
        rest,
        assembler: Assembler::new(),
        items: 0,
        bytes: 0,
        done: Vec::new(),
    };
    for segment in payload.segments() {
        cutter.segment(segment);
    }
    cutter.finish();
    let mut pieces = cutter.done;
    if !ack.is_none() {
        let awaited = |piece: Payload| {
            let of_piece = ack.take(piece.items());
            piece.with_ack(of_piece)
        };
        pieces = pieces.into_iter().map(awaited).collect();
    }
    pieces
}

struct Cutter<'a> {
    signal: Signal,
    limits: Limits,
    rest: Limits,
    assembler: Assembler<'a>,
    /// What the piece that is being filled holds; the bytes are an upper bound.
    items: u64,
    bytes: usize,
    done: Vec<Payload>,
}

/// The groups that items go into, and which of them have to be opened before the next one.
struct Place<'a> {
    resource: Group<'a>,
    scope: Group<'a>,
}

/// What of a group is repeated in each piece: all but its children.
struct Group<'a> {
    envelope: Cow<'a, [u8]>,
    is_open: bool,
}

// === impl Group ===

impl<'a> Group<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self { envelope: tree::envelope(message, 2), is_open: false }
    }

    /// What it takes in a piece, at most, in bytes: the length of its content is not known yet.
    fn bytes(&self) -> usize {
        field_len(self.envelope.len() + 5)
    }

    /// What opening it would add.
    fn to_open(&self) -> usize {
        if self.is_open { 0 } else { self.bytes() }
    }
}

// === impl Cutter ===

impl<'a> Cutter<'a> {
    fn segment(&mut self, segment: &'a Bytes) {
        let strays = tree::envelope(segment, 1);
        self.bytes += strays.len();
        self.assembler.strays(strays);
        for group in tree::resources(segment) {
            let mut resource = Group::new(group.message());
            for scope in group.scopes() {
                let mut place = Place { resource, scope: Group::new(scope.message()) };
                self.scope(&mut place, segment, scope);
                resource = place.resource;
            }
        }
    }

    fn scope(&mut self, place: &mut Place<'a>, segment: &'a [u8], scope: tree::ScopeGroup<'a>) {
        // Items in a row are added as one.
        let mut run = 0..0;
        for item in scope.items() {
            let count = match self.signal {
                Signal::Metrics => MetricParts::count(item.message),
                Signal::Traces | Signal::Logs => 1,
            };
            if count == 0 {
                continue;
            }
            let (at, len) = (item.at, item.field.len());
            let fits = self.fits(count, len, 0, place);
            if !fits || run.end != at {
                self.assembler.items(&segment[std::mem::replace(&mut run, at..at)]);
            }
            if !fits && count > 1 {
                self.metric(place, &MetricParts::read(item.message));
                run = at + len..at + len;
                continue;
            }
            if !fits {
                self.cut(place);
            }
            self.open(place);
            self.items += count;
            self.bytes += len;
            run.end = at + len;
        }
        self.assembler.items(&segment[run]);
    }

    /// Adds a metric's points, as many at a time as fit.
    fn metric(&mut self, place: &mut Place<'a>, metric: &MetricParts<'a>) {
        let overhead = metric.overhead();
        let mut points = Vec::new();
        let mut count = 0;
        for point in metric.points() {
            let bytes = overhead + points.len() + point.len();
            if !self.fits(count + 1, bytes, overhead, place) {
                self.add_points(place, metric, &mut points, &mut count);
                // A single point over the limit goes alone.
                self.cut(place);
            }
            points.extend_from_slice(point);
            count += 1;
        }
        self.add_points(place, metric, &mut points, &mut count);
    }

    fn add_points(
        &mut self,
        place: &mut Place<'a>,
        metric: &MetricParts<'a>,
        points: &mut Vec<u8>,
        count: &mut u64,
    ) {
        if *count == 0 {
            return;
        }
        let field = metric.field(points);
        self.open(place);
        self.items += std::mem::take(count);
        self.bytes += field.len();
        self.assembler.items(field);
        points.clear();
    }

    /// Whether so much more has room in the current piece. `overhead` is what of the bytes would be
    /// repeated in the next piece.
    ///
    /// A piece may take twice its envelope, whatever the limit: with an envelope near the limit,
    /// each item would else carry a copy of it, and a small request become a huge one.
    fn fits(&self, items: u64, bytes: usize, overhead: usize, place: &Place<'_>) -> bool {
        let envelope = place.resource.bytes() + place.scope.bytes() + overhead;
        let bytes = self.bytes + bytes + place.resource.to_open() + place.scope.to_open();
        if envelope > LARGE_ENVELOPE && bytes <= 2 * envelope {
            return true;
        }
        self.items + items <= self.limits.items.max(1)
            && bytes <= self.limits.bytes.max(2 * envelope)
    }

    fn open(&mut self, place: &mut Place<'a>) {
        let Place { resource, scope } = place;
        self.bytes += resource.to_open() + scope.to_open();
        if !resource.is_open {
            self.assembler.resource(resource.envelope.clone());
        }
        if !scope.is_open {
            self.assembler.scope(scope.envelope.clone());
        }
        (resource.is_open, scope.is_open) = (true, true);
    }

    /// Ends a piece, if it holds anything; the next one has to open its groups again.
    fn cut(&mut self, place: &mut Place<'a>) {
        if self.items > 0 {
            self.finish();
            (place.resource.is_open, place.scope.is_open) = (false, false);
        }
    }

    fn finish(&mut self) {
        if self.assembler.is_empty() {
            return;
        }
        let mut request = Vec::new();
        self.assembler.finish(&mut request);
        self.done.push(Payload::trusted(self.signal, Bytes::from(request), self.items));
        (self.items, self.bytes) = (0, 0);
        self.limits = self.rest;
    }
}
