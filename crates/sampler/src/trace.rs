//! A trace as those see it who decide about it.

use std::ops::ControlFlow;

use teleflow_otlp::span::{Event, Span, StatusCode, TailFields};
use teleflow_otlp::tree::{self, Scope};
use teleflow_otlp::value::{AnyValue, Attributes};

use crate::{Randomness, TraceState};

mod gathered;

pub use self::gathered::Gathered;

/// A trace that is to be decided about: what is there of it.
#[derive(Clone, Copy)]
pub struct Trace<'a> {
    /// Its id. Of a span that belongs to no trace, a hash stands for it.
    pub id: [u8; 16],
    /// What is known without another look at its spans.
    pub summary: TraceSummary,
    /// Its spans.
    pub spans: &'a dyn Spans,
}

/// The spans of a trace.
pub trait Spans {
    /// Shows them one by one, in the order in which they came, until one is answered with
    /// [`ControlFlow::Break`].
    ///
    /// What was shown stays where it is for as long as these spans are borrowed: the same place and
    /// length is the same content.
    fn visit(&self, visit: &mut dyn FnMut(SpanView<'_>) -> ControlFlow<()>) -> ControlFlow<()>;
}

/// A span and what it is below, as bytes.
#[derive(Clone, Copy, Debug)]
pub struct SpanView<'a> {
    /// Its `ResourceSpans`, without the scopes.
    pub resource: &'a [u8],
    /// Its `ScopeSpans`, without the spans.
    pub scope: &'a [u8],
    /// The `Span` message.
    pub message: &'a [u8],
}

/// What a trace looks like as a whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TraceSummary {
    /// How many spans it has so far.
    pub spans: u64,
    /// What its spans take, without their resources and scopes, in bytes.
    pub bytes: u64,
    /// The earliest start, in nanoseconds since 1970; 0 where no span has one.
    pub start: u64,
    /// The latest end, in nanoseconds since 1970.
    pub end: u64,
    /// The randomness that whoever started the trace gave it: that of the first span that has one.
    pub randomness: Option<Randomness>,
    /// Every status that one of its spans has.
    pub statuses: StatusSet,
    /// Whether its root span is here.
    pub has_root: bool,
    /// Whether a span has the sampled flag of W3C.
    pub is_flagged: bool,
    /// Whether a span says how it was sampled before: by `rv` or `th` in its trace state.
    pub has_odds: bool,
}

/// A set of span statuses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StatusSet(u8);

// One is held for each trace: every byte counts.
const _: () = assert!(size_of::<TraceSummary>() <= 48);

/// The sampled flag of W3C.
const SAMPLED: u32 = 1;

// === impl Trace ===

impl Trace<'_> {
    /// What chance decides about the trace with.
    pub fn randomness(&self) -> Randomness {
        self.summary.randomness.unwrap_or_else(|| Randomness::from_trace_id(self.id))
    }

    /// Whether any span is as `is`.
    pub fn any(&self, mut is: impl FnMut(SpanView<'_>) -> bool) -> bool {
        let mut visit = |span: SpanView<'_>| {
            if is(span) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.spans.visit(&mut visit).is_break()
    }
}

impl std::fmt::Debug for Trace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = u128::from_be_bytes(self.id);
        f.debug_struct("Trace")
            .field("id", &format_args!("{id:032x}"))
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

impl Spans for &[SpanView<'_>] {
    fn visit(&self, visit: &mut dyn FnMut(SpanView<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.iter().try_for_each(|span| visit(*span))
    }
}

// === impl SpanView ===

impl<'a> SpanView<'a> {
    /// The span, read.
    pub fn span(&self) -> Span<'a> {
        Span::read(self.message)
    }

    /// Its events.
    pub fn events(&self) -> impl Iterator<Item = Event<'a>> + use<'a> {
        self.span().events()
    }

    /// The first attribute of this name.
    pub fn attribute(&self, key: &str) -> Option<AnyValue<'a>> {
        first(self.span().attributes(), key)
    }

    /// The first attribute of this name that its resource has.
    pub fn resource_attribute(&self, key: &str) -> Option<AnyValue<'a>> {
        tree::headers(self.resource)
            .find_map(|resource| first(Attributes::of_resource(resource), key))
    }

    /// The first attribute of this name that its scope has.
    pub fn scope_attribute(&self, key: &str) -> Option<AnyValue<'a>> {
        tree::headers(self.scope).find_map(|scope| first(Attributes::of_scope(scope), key))
    }

    /// Its scope's name and version.
    pub fn scope(&self) -> Scope<'a> {
        tree::headers(self.scope).last().map(Scope::read).unwrap_or_default()
    }
}

fn first<'a>(mut attributes: Attributes<'a>, key: &str) -> Option<AnyValue<'a>> {
    attributes.find_map(|(name, value)| (name == key).then_some(value))
}

// === impl StatusSet ===

impl StatusSet {
    /// Adds a status.
    pub const fn insert(&mut self, status: StatusCode) {
        self.0 |= 1 << status as u8;
    }

    /// Whether a status is in it.
    pub const fn contains(self, status: StatusCode) -> bool {
        self.0 & 1 << status as u8 != 0
    }

    /// Whether the two have a status in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<StatusCode> for StatusSet {
    fn from_iter<I: IntoIterator<Item = StatusCode>>(statuses: I) -> Self {
        let mut set = Self::default();
        statuses.into_iter().for_each(|status| set.insert(status));
        set
    }
}

// === impl TraceSummary ===

impl TraceSummary {
    /// Adds a span, whose field takes so many bytes.
    #[inline]
    pub fn add(&mut self, span: &TailFields<'_>, bytes: u64) {
        self.spans += 1;
        self.bytes += bytes;
        // A time of zero is no time: it must not make a trace last since 1970.
        if span.start != 0 && (self.start == 0 || span.start < self.start) {
            self.start = span.start;
        }
        self.end = self.end.max(span.end);
        self.statuses.insert(span.status);
        self.has_root |= span.is_root;
        self.is_flagged |= span.flags & SAMPLED != 0;
        if !span.trace_state.is_empty() && self.randomness.is_none() {
            self.add_state(span.trace_state);
        }
    }

    /// Adds spans that came later.
    #[inline]
    pub fn append(&mut self, more: &Self) {
        self.spans += more.spans;
        self.bytes += more.bytes;
        if more.start != 0 && (self.start == 0 || more.start < self.start) {
            self.start = more.start;
        }
        self.end = self.end.max(more.end);
        self.statuses.0 |= more.statuses.0;
        self.has_root |= more.has_root;
        self.is_flagged |= more.is_flagged;
        if self.randomness.is_none() {
            self.randomness = more.randomness;
        }
        self.has_odds |= more.has_odds;
    }

    #[cold]
    fn add_state(&mut self, state: &[u8]) {
        // Most trace states are those of others.
        if !state.windows(3).any(|entry| entry == b"ot=") {
            return;
        }
        let state = TraceState::parse(std::str::from_utf8(state).unwrap_or_default());
        self.randomness = state.randomness();
        self.has_odds |= state.randomness().is_some() || state.threshold().is_some();
    }

    /// How long it took, in whole milliseconds; zero where it ends before it starts.
    pub const fn millis(&self) -> u64 {
        self.end.saturating_sub(self.start) / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(states: &[&str]) -> TraceSummary {
        let mut summary = TraceSummary::default();
        for state in states {
            let trace_state = state.as_bytes();
            summary.add(&TailFields { trace_state, ..TailFields::default() }, 10);
        }
        summary
    }

    #[test]
    fn the_first_randomness_counts_wherever_it_comes() {
        let rv = |digits: &str| digits.parse().ok();
        let (one, two) = ("ot=rv:00000000000001", "ot=th:8;rv:00000000000002");
        for (states, randomness, has_odds) in [
            (&[][..], None, false),
            (&["", "vendor=a", "not=th:8"], None, false),
            (&["ot=th:8"], None, true),
            (&["ot=th:8", "", "x=y", one], rv("00000000000001"), true),
            (&[one, two], rv("00000000000001"), true),
            (&["x=y", two, one, "ot=th:4"], rv("00000000000002"), true),
            (&["ot=rv:1;th:x", "ot=p:3"], None, false),
            (&["ot=rv:1", "vendor=b,ot=th:8", "ot="], None, true),
        ] {
            let summary = summary(states);
            assert_eq!(
                (summary.randomness, summary.has_odds),
                (randomness, has_odds),
                "{states:?}"
            );
        }
    }

    #[test]
    fn times_and_sizes_are_those_of_all_spans() {
        let mut summary = TraceSummary::default();
        assert_eq!(summary.millis(), 0);
        for (start, end) in [(5, 9), (0, 3_000_004), (4, 7)] {
            summary.add(&TailFields { start, end, ..TailFields::default() }, 100);
        }
        assert_eq!((summary.spans, summary.bytes), (3, 300));
        assert_eq!((summary.start, summary.end, summary.millis()), (4, 3_000_004, 3));
        let broken = TraceSummary { start: 9, end: 3, ..summary };
        assert_eq!(broken.millis(), 0);
    }
}
