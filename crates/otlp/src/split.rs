//! Cuts a payload into smaller ones, by items and by bytes.

use std::ops::Range;

use bytes::Bytes;

use crate::assemble::{Assembler, field_len};
use crate::metric::MetricParts;
use crate::{Payload, Signal, tree};

/// How large a payload may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most items.
    pub items: u64,
    /// The most bytes. One item that is larger goes alone, over the limit; and a piece whose
    /// envelope takes more than half of the limit may be twice as long as the envelope.
    pub bytes: usize,
}

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
/// unknown fields) are repeated in each piece that has an item of theirs; groups without any item
/// are left out. A limit of zero items counts as one.
pub fn split(payload: &Payload, first: Limits, rest: Limits) -> Vec<Payload> {
    let mut cutter = Cutter {
        signal: payload.signal(),
        limits: first,
        rest,
        assembler: Assembler::new(),
        items: 0,
        bytes: 0,
        done: Vec::new(),
    };
    // Envelopes have to outlive the pieces that borrow them.
    let envelopes: Vec<_> = payload.segments().iter().map(|segment| envelopes(segment)).collect();
    for (segment, envelopes) in payload.segments().iter().zip(&envelopes) {
        cutter.segment(segment, envelopes);
    }
    cutter.finish();
    cutter.done
}

/// All envelopes of one segment, and where each scope's are.
struct Envelopes {
    bytes: Vec<u8>,
    /// Resource and scope, for each scope group in order.
    scopes: Vec<(Range<usize>, Range<usize>)>,
}

fn envelopes(segment: &[u8]) -> Envelopes {
    let mut found = Envelopes { bytes: Vec::new(), scopes: Vec::new() };
    for group in tree::resources(segment) {
        let start = found.bytes.len();
        group.envelope(&mut found.bytes);
        let resource = start..found.bytes.len();
        for scope in group.scopes() {
            let start = found.bytes.len();
            scope.envelope(&mut found.bytes);
            found.scopes.push((resource.clone(), start..found.bytes.len()));
        }
    }
    found
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

/// The group that items go into.
#[derive(Clone, Copy)]
struct Place<'a> {
    resource: &'a [u8],
    scope: &'a [u8],
}

// === impl Cutter ===

impl<'a> Cutter<'a> {
    fn segment(&mut self, segment: &'a [u8], envelopes: &'a Envelopes) {
        for stray in tree::strays(segment) {
            self.assembler.stray(stray);
            self.bytes += stray.len();
        }
        let mut places = envelopes.scopes.iter();
        for group in tree::resources(segment) {
            let mut open_resource = true;
            for scope in group.scopes() {
                let Some((resource, envelope)) = places.next() else { return };
                let place = Place {
                    resource: &envelopes.bytes[resource.clone()],
                    scope: &envelopes.bytes[envelope.clone()],
                };
                open_resource &= !self.scope(place, scope, open_resource);
            }
        }
    }

    /// Adds a scope's items; tells whether the current piece has the resource open afterwards.
    fn scope(&mut self, place: Place<'a>, scope: tree::ScopeGroup<'a>, resource: bool) -> bool {
        let mut open = Open { resource, scope: true };
        for item in scope.items() {
            let count = match self.signal {
                Signal::Metrics => MetricParts::count(item.message),
                Signal::Traces | Signal::Logs => 1,
            };
            if self.fits(count, item.field.len(), place, &open) {
                self.open(&mut open, place);
                self.add(count, item.field);
            } else if count > 1 {
                self.metric(&mut open, place, &MetricParts::read(item.message));
            } else {
                self.cut(&mut open);
                self.open(&mut open, place);
                self.add(count, item.field);
            }
        }
        !open.resource
    }

    /// Adds a metric's points, as many at a time as fit.
    fn metric(&mut self, open: &mut Open, place: Place<'a>, metric: &MetricParts<'a>) {
        let mut points = &metric.points[..];
        while !points.is_empty() {
            let mut bytes = metric.overhead();
            let mut take = 0;
            for point in points {
                if !self.fits(take as u64 + 1, bytes + point.len(), place, open) {
                    break;
                }
                bytes += point.len();
                take += 1;
            }
            if take == 0 && self.items > 0 {
                self.cut(open);
                continue;
            }
            // A single point over the limit goes alone.
            let (now, later) = points.split_at(take.max(1));
            self.open(open, place);
            self.add(now.len() as u64, metric.field(now));
            points = later;
        }
    }

    /// Whether so much more has room in the current piece.
    ///
    /// A piece may take twice its envelope, whatever the limit: with an envelope near the limit,
    /// each item would else carry a copy of it, and a small request become a huge one.
    fn fits(&self, items: u64, bytes: usize, place: Place<'_>, open: &Open) -> bool {
        let resource = field_len(place.resource.len() + 5);
        let scope = field_len(place.scope.len() + 5);
        let opened = usize::from(open.resource) * resource + usize::from(open.scope) * scope;
        self.items + items <= self.limits.items.max(1)
            && self.bytes + bytes + opened <= self.limits.bytes.max(2 * (resource + scope))
    }

    fn open(&mut self, open: &mut Open, place: Place<'a>) {
        if open.resource {
            self.assembler.resource(place.resource);
            self.bytes += field_len(place.resource.len() + 5);
        }
        if open.scope {
            self.assembler.scope(place.scope);
            self.bytes += field_len(place.scope.len() + 5);
        }
        *open = Open { resource: false, scope: false };
    }

    fn add(&mut self, items: u64, fields: impl Into<std::borrow::Cow<'a, [u8]>>) {
        let fields = fields.into();
        self.items += items;
        self.bytes += fields.len();
        self.assembler.items(fields);
    }

    /// Ends a piece, if it holds anything; the next one has to open its groups again.
    fn cut(&mut self, open: &mut Open) {
        if self.items > 0 {
            self.finish();
        }
        *open = Open { resource: true, scope: true };
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

/// Which groups have to be opened before the next item.
struct Open {
    resource: bool,
    scope: bool,
}
