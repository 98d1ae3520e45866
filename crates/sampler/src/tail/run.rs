//! Spans of one trace that stand in a row, read.

use std::num::NonZeroU32;

use teleflow_otlp::Row;
use teleflow_otlp::span::TailFields;
use teleflow_otlp::tree;

use crate::trace::StatusSet;
use crate::{Randomness, TraceSummary};

/// Where spans in a row are in their request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) at: u32,
    /// What they take: no field is empty.
    pub(crate) len: NonZeroU32,
    pub(crate) spans: u32,
}

/// Spans of one trace in a row, read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Their trace; `None` where it is missing or malformed: then the span is alone.
    pub(crate) id: Option<[u8; 16]>,
    /// Which of their request's scopes they are below.
    pub(crate) scope: u32,
    pub(crate) place: Place,
    pub(crate) summary: TraceSummary,
    /// Whether a span of them has a trace state.
    pub(crate) has_state: bool,
}

/// A run, in as much memory as a processor fetches at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed {
    /// Zeros: none.
    id: [u8; 16],
    pub(crate) scope: u32,
    pub(crate) place: Place,
    start: u64,
    end: u64,
    randomness: Option<Randomness>,
    statuses: StatusSet,
    has_root: bool,
    is_flagged: bool,
    has_odds: bool,
    has_state: bool,
}

const _: () = assert!(size_of::<Packed>() <= 64, "a packed run has grown");

/// Reads a row, and gives its runs out.
#[inline]
pub(crate) fn read_row(row: &Row<'_>, scope: u32, mut take: impl FnMut(Run)) {
    let (mut fields, mut at) = (row.fields, row.at as u32);
    let mut last: Option<Run> = None;
    while let Some((message, rest)) = tree::split_message(fields) {
        let Some(len) = NonZeroU32::new((fields.len() - rest.len()) as u32) else { break };
        let span = TailFields::read(message);
        if let Some(run) = &mut last
            && row.trace_id.is_some_and(|id| run.id == Some(id) && span.trace_id == id)
            && let Some(sum) = run.place.len.checked_add(len.get())
        {
            run.place = Place { len: sum, spans: run.place.spans + 1, ..run.place };
            run.add(&span, len);
        } else if let Some(run) = last.replace(Run::new(&span, Place { at, len, spans: 1 }, scope))
        {
            take(run);
        }
        (fields, at) = (rest, at + len.get());
    }
    if let Some(run) = last {
        take(run);
    }
}

// === impl Run ===

impl Run {
    #[inline]
    fn new(span: &TailFields<'_>, place: Place, scope: u32) -> Self {
        let id = <[u8; 16]>::try_from(span.trace_id).ok().filter(|id| *id != [0; 16]);
        let mut run = Self { id, scope, place, summary: TraceSummary::default(), has_state: false };
        run.add(span, place.len);
        run
    }

    #[inline]
    fn add(&mut self, span: &TailFields<'_>, len: NonZeroU32) {
        self.summary.add(span, u64::from(len.get()));
        self.has_state |= !span.trace_state.is_empty();
    }

    /// Its spans one by one, of which the fields are at hand.
    pub(crate) fn read_spans(self, fields: &[u8], take: impl FnMut(Self)) {
        let Place { at, len: _, spans } = self.place;
        // Without an id every span is a run.
        let row = Row { trace_id: None, fields, at: at as usize, spans };
        read_row(&row, self.scope, take);
    }
}

// === impl Packed ===

impl Packed {
    pub(crate) fn id(&self) -> Option<[u8; 16]> {
        Some(self.id).filter(|id| *id != [0; 16])
    }

    #[inline]
    pub(crate) fn unpack(&self) -> Run {
        let Self { scope, place, start, end, randomness, statuses, .. } = *self;
        let Self { has_root, is_flagged, has_odds, has_state, .. } = *self;
        let (spans, bytes) = (u64::from(place.spans), u64::from(place.len.get()));
        let summary = TraceSummary {
            spans,
            bytes,
            start,
            end,
            randomness,
            statuses,
            has_root,
            is_flagged,
            has_odds,
        };
        Run { id: self.id(), scope, place, summary, has_state }
    }
}

impl From<Run> for Packed {
    #[inline]
    fn from(run: Run) -> Self {
        let Run { id, scope, place, summary, has_state } = run;
        // Runs have as many spans and bytes as their place says.
        let TraceSummary {
            spans: _,
            bytes: _,
            start,
            end,
            randomness,
            statuses,
            has_root,
            is_flagged,
            has_odds,
        } = summary;
        Self {
            id: id.unwrap_or_default(),
            scope,
            place,
            start,
            end,
            randomness,
            statuses,
            has_root,
            is_flagged,
            has_odds,
            has_state,
        }
    }
}
