//! Spans of one trace that stand in a row, read.

use std::num::NonZeroU32;

use teleflow_otlp::Row;
use teleflow_otlp::span::TailFields;
use teleflow_otlp::tree;

use crate::TraceSummary;

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

/// The runs of a row.
pub(crate) struct Runs<'a> {
    /// What the spans begin with.
    trace_id: Option<[u8; 16]>,
    scope: u32,
    /// The fields that were not read yet, and where they are in the request.
    fields: &'a [u8],
    at: u32,
    /// A span that does not belong to the run before it.
    next: Option<Run>,
}

/// The runs of a row.
pub(crate) const fn runs<'a>(row: Row<'a>, scope: u32) -> Runs<'a> {
    let Row { trace_id, fields, at, .. } = row;
    Runs { trace_id, scope, fields, at: at as u32, next: None }
}

// === impl Runs ===

impl Runs<'_> {
    /// Reads the next span, as a run of its own.
    #[inline]
    fn read(&mut self) -> Option<Run> {
        let (message, rest) = tree::split_message(self.fields)?;
        let len = NonZeroU32::new((self.fields.len() - rest.len()) as u32)?;
        let fields = TailFields::read(message);
        let id = <[u8; 16]>::try_from(fields.trace_id).ok().filter(|id| *id != [0; 16]);
        let mut summary = TraceSummary::default();
        summary.add(&fields, u64::from(len.get()));
        let place = Place { at: self.at, len, spans: 1 };
        self.fields = rest;
        self.at += len.get();
        let has_state = !fields.trace_state.is_empty();
        Some(Run { id, scope: self.scope, place, summary, has_state })
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    #[inline]
    fn next(&mut self) -> Option<Run> {
        let mut run = match self.next.take() {
            Some(run) => run,
            None => self.read()?,
        };
        // A span that has other ids than the one that it begins with is alone.
        if run.id.is_none() || run.id != self.trace_id {
            return Some(run);
        }
        while let Some((message, rest)) = tree::split_message(self.fields) {
            let fields = TailFields::read(message);
            if fields.trace_id != self.trace_id.as_ref().map_or(&[][..], |id| &id[..]) {
                self.next = self.read();
                break;
            }
            let len = (self.fields.len() - rest.len()) as u32;
            let Some(sum) = run.place.len.checked_add(len) else { break };
            run.place = Place { len: sum, spans: run.place.spans + 1, ..run.place };
            run.summary.add(&fields, u64::from(len));
            run.has_state |= !fields.trace_state.is_empty();
            self.fields = rest;
            self.at += len;
        }
        Some(run)
    }
}

impl Run {
    /// Its spans one by one, of which the fields are at hand.
    pub(crate) fn spans(self, fields: &[u8]) -> impl Iterator<Item = Self> + use<'_> {
        let Place { at, len: _, spans } = self.place;
        let mut runs = runs(Row { trace_id: None, fields, at: at as usize, spans }, self.scope);
        std::iter::from_fn(move || runs.read())
    }
}
