//! What was kept and is not written yet, and how it becomes payloads.

use teleflow_otlp::{Ack, Assembler, Payload, Signal};

use super::mark::{Labels, Mark, Marked};
use super::table::{RunRef, Table};
use crate::edit::Edited;
use crate::{Randomness, Threshold};

/// Kept spans that are not written yet; their chunks are still counted as used.
#[derive(Debug, Default)]
pub(super) struct Kept {
    runs: Vec<Run>,
    marks: Vec<Mark>,
    /// Of those, marks of traces without a trace state, by threshold.
    shared: Vec<(Option<Threshold>, u32)>,
    /// What the spans take.
    bytes: usize,
    /// How many times spans were written before.
    writing: u32,
    /// Fields and envelopes that are written anew; the memory serves again.
    edited: Edited,
}

/// Spans that stand in a row in their request.
#[derive(Clone, Copy, Debug)]
struct Run {
    place: RunRef,
    mark: MarkRef,
}

/// What is to be written to a span.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct MarkRef {
    /// Which mark; none where spans go as they are.
    mark: u32,
    /// What its scope tells.
    label: u16,
    /// Whether the spans may have a trace state.
    has_state: bool,
}

/// Where something is written anew: from, to.
type Piece = (usize, usize);

const NO_MARK: u32 = u32::MAX;

/// The most thresholds that marks are shared for: policies have few.
const SHARED: usize = 8;

// === impl MarkRef ===

impl MarkRef {
    /// Nothing is written to a span, nor to its scope.
    pub(super) const NONE: Self = Self::label(Labels::NONE);

    /// Nothing is written to a span.
    pub(super) const fn label(label: u16) -> Self {
        Self { mark: NO_MARK, label, has_state: false }
    }

    /// Whether, in a dry run, it would have been left out.
    pub(super) const fn is_left_out(self) -> bool {
        self.label & Labels::LEFT_OUT != 0
    }
}

// === impl Kept ===

impl Kept {
    /// Makes a mark, for spans that are pushed before the next writing. Traces without a trace state
    /// that were kept by the same odds share one.
    pub(super) fn mark(
        &mut self,
        threshold: Option<Threshold>,
        (randomness, tells): (Randomness, bool),
        has_state: bool,
        label: u16,
    ) -> MarkRef {
        let is_shared = !has_state && !tells;
        let known = self.shared.iter().find(|(known, _)| is_shared && *known == threshold);
        let mark = match known {
            Some((_, mark)) => *mark,
            None => {
                let mark = self.marks.len() as u32;
                self.marks.push(Mark::new(threshold, randomness, tells));
                if is_shared && self.shared.len() < SHARED {
                    self.shared.push((threshold, mark));
                }
                mark
            }
        };
        MarkRef { mark, label, has_state: false }
    }

    /// Makes a mark that is another, and these attributes too.
    pub(super) fn with_attributes(&mut self, base: MarkRef, attributes: &[u8]) -> MarkRef {
        let mark = self.marks.get(base.mark as usize).cloned().unwrap_or_default();
        self.marks.push(mark.with_attributes(attributes));
        MarkRef { mark: (self.marks.len() - 1) as u32, ..base }
    }

    /// How many times spans were written before: marks are good until that changes.
    pub(super) const fn writing(&self) -> u32 {
        self.writing
    }

    /// Takes spans that are still counted as used.
    #[inline]
    pub(super) fn push(&mut self, table: &mut Table, more: RunRef, mark: MarkRef, has_state: bool) {
        let is_same =
            self.marks.get(mark.mark as usize).is_none_or(|mark| !has_state && mark.is_empty());
        let mark = match is_same {
            true => MarkRef::label(mark.label),
            false => MarkRef { has_state, ..mark },
        };
        self.bytes += more.len.get() as usize;
        let writing = self.writing.wrapping_add(1);
        if let Some(Run { place, mark: last }) = self.runs.last_mut()
            && (place.chunk, place.scope) == (more.chunk, more.scope)
            && place.at + place.len.get() == more.at
            && *last == mark
            && let Some(len) = place.len.checked_add(more.len.get())
        {
            place.len = len;
            place.spans += more.spans;
            table.leave(more.chunk, more.spans, writing, false);
            return;
        }
        table.leave(more.chunk, more.spans, writing, true);
        self.runs.push(Run { place: more, mark });
    }

    /// What the spans take that wait to be written.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether there is nothing, not even a mark: of a trace that has log records alone it is for no
    /// span.
    pub(super) fn is_clear(&self) -> bool {
        self.runs.is_empty() && self.marks.is_empty()
    }

    /// Writes the spans into payloads, those of one scope together, and releases them.
    pub(super) fn write(
        &mut self,
        table: &mut Table,
        signal: Signal,
        payload_bytes: usize,
        labels: &Labels,
        payloads: &mut Vec<Payload>,
    ) -> Marked {
        let mut marked = Marked::default();
        self.runs.sort_unstable_by_key(|run| {
            let RunRef { chunk, scope, at, .. } = run.place;
            (chunk, scope, run.mark.label, at)
        });
        let mut from = 0;
        while from < self.runs.len() {
            let to = from + self.fill(table, from, payload_bytes);
            marked.add(self.request(table, signal, from..to, labels, payloads));
            from = to;
        }
        for run in self.runs.drain(..) {
            table.release_written(run.place);
        }
        self.marks.clear();
        self.shared.clear();
        // The memory serves again, unless a flood made it huge.
        self.runs.shrink_to(16 * 1024);
        self.marks.shrink_to(4 * 1024);
        self.edited.shrink_to(1024 * 1024);
        self.bytes = 0;
        self.writing = self.writing.wrapping_add(1);
        marked
    }

    /// How many runs, from one on, fill a payload with what they are below. The envelopes that it
    /// begins with were perhaps written before: they are half of it at most.
    fn fill(&self, table: &Table, from: usize, payload_bytes: usize) -> usize {
        let mut most = payload_bytes;
        let mut bytes = 0;
        let (mut open, mut open_scope) = (None, None);
        for (count, run) in self.runs[from..].iter().enumerate() {
            if count > 0 && bytes >= most {
                return count;
            }
            let RunRef { chunk: index, scope, len, .. } = run.place;
            let chunk = table.chunk(index);
            let (resource_len, scope_len) = chunk.envelope_lens(scope);
            let resource = Some((index, chunk.scopes[scope as usize].resource));
            if std::mem::replace(&mut open, resource) != resource {
                bytes += resource_len;
                open_scope = None;
            }
            let group = Some((scope, run.mark.label));
            if std::mem::replace(&mut open_scope, group) != group {
                bytes += scope_len;
            }
            if count == 0 {
                most = most.max(2 * bytes);
            }
            bytes += len.get() as usize;
        }
        self.runs.len() - from
    }

    /// One payload of these runs.
    fn request(
        &mut self,
        table: &mut Table,
        signal: Signal,
        runs: std::ops::Range<usize>,
        labels: &Labels,
        payloads: &mut Vec<Payload>,
    ) -> Marked {
        let runs = &self.runs[runs];
        let (texts, marked) = edit(&mut self.edited, &self.marks, table, runs, labels);
        let edited = &self.edited.fields;
        let mut assembler = Assembler::new();
        // Chunk, place of the resource; and scope with label.
        let mut open: Option<(u32, (u32, u32))> = None;
        let mut open_scope = None;
        for (run, text) in runs.iter().zip(&texts) {
            let chunk = table.chunk(run.place.chunk);
            let scope = chunk.scopes[run.place.scope as usize];
            let resource = (run.place.chunk, scope.resource);
            if open != Some(resource) {
                assembler.resource(chunk.piece(scope.resource));
                (open, open_scope) = (Some(resource), None);
            }
            let group = (run.place.scope, run.mark.label);
            if open_scope != Some(group) {
                match text.scope {
                    Some((from, to)) => assembler.scope(&edited[from..to]),
                    None => assembler.scope(chunk.piece(scope.scope)),
                }
                open_scope = Some(group);
            }
            match text.spans {
                Some((from, to)) => assembler.items(&edited[from..to]),
                None => assembler.items(chunk.fields(run.place.at, run.place.len.get())),
            }
        }
        let mut request = Vec::new();
        assembler.finish(&mut request);
        let (mut ack, mut spans) = (Ack::none(), 0);
        for run in runs {
            let more = u64::from(run.place.spans);
            ack.append(spans, table.take_ack(run.place.chunk, run.place.spans), more);
            spans += more;
        }
        payloads.push(Payload::trusted(signal, request.into(), spans).with_ack(ack));
        marked
    }
}

/// What of a run is written anew.
#[derive(Clone, Copy, Debug, Default)]
struct Text {
    /// The envelope of its scope, for the first run of a scope.
    scope: Option<Piece>,
    spans: Option<Piece>,
}

/// Writes anew what has to be.
fn edit(
    edited: &mut Edited,
    marks: &[Mark],
    table: &Table,
    runs: &[Run],
    labels: &Labels,
) -> (Vec<Text>, Marked) {
    let (mut texts, mut marked) = (Vec::with_capacity(runs.len()), Marked::default());
    edited.fields.clear();
    let mut last = None;
    for run in runs {
        let chunk = table.chunk(run.place.chunk);
        let mut text = Text::default();
        let scope = (run.place.chunk, run.place.scope, run.mark.label);
        if last != Some(scope) {
            let envelope = chunk.piece(chunk.scopes[run.place.scope as usize].scope);
            let from = edited.fields.len();
            if labels.write(run.mark.label, envelope, &mut edited.fields) {
                text.scope = Some((from, edited.fields.len()));
            }
        }
        last = Some(scope);
        if let Some(mark) = marks.get(run.mark.mark as usize) {
            let from = edited.fields.len();
            let mut fields = chunk.fields(run.place.at, run.place.len.get());
            while let Some((message, rest)) = teleflow_otlp::tree::split_message(fields) {
                marked.add(mark.append(message, run.mark.has_state, edited));
                fields = rest;
            }
            text.spans = Some((from, edited.fields.len()));
        }
        texts.push(text);
    }
    (texts, marked)
}
