//! What was kept and is not written yet, and how it becomes payloads.

use bytes::Bytes;
use teleflow_otlp::{Ack, Assembler, Payload, Signal};

use super::table::{SpanRef, Table};

/// Kept spans that are not written yet; their chunks are still counted as used.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    runs: Vec<Run>,
    /// What the spans take, and the envelopes that will be written with them.
    bytes: usize,
    envelopes: usize,
    /// How many times spans were written before.
    writing: u64,
}

/// Spans that stand in a row in their request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Run {
    /// As if they were one.
    place: SpanRef,
    spans: u32,
}

// === impl Kept ===

impl Kept {
    /// Takes a span that is still counted as used.
    #[inline]
    pub(crate) fn push(&mut self, table: &mut Table, span: SpanRef) {
        self.bytes += span.len as usize;
        if let Some(run) = self.runs.last_mut()
            && (run.place.chunk, run.place.scope, run.place.at + run.place.len)
                == (span.chunk, span.scope, span.at)
        {
            run.place.len += span.len;
            run.spans += 1;
            return;
        }
        self.envelopes += table.count_envelopes(self.writing + 1, span.chunk);
        self.runs.push(Run { place: span, spans: 1 });
    }

    /// Whether the spans fill a payload and weigh as much as the envelopes that go with them: else
    /// a request of many spans below a huge resource would become many huge ones.
    pub(crate) fn is_worth_writing(&self, payload_bytes: usize) -> bool {
        self.bytes >= payload_bytes.max(self.envelopes).max(1)
    }

    /// Writes the spans into payloads, those of one scope together, and releases them.
    pub(crate) fn write(
        &mut self,
        table: &mut Table,
        payload_bytes: usize,
        payloads: &mut Vec<Payload>,
    ) {
        if self.runs.is_empty() {
            return;
        }
        self.runs.sort_unstable();
        let most = payload_bytes.max(self.envelopes);
        let mut rest = &self.runs[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let take = rest
                .iter()
                .take_while(|run| {
                    let fits = bytes < most;
                    bytes += run.place.len as usize;
                    fits
                })
                .count();
            let (now, later) = rest.split_at(take.max(1));
            let request = request(table, now);
            let (mut ack, mut spans) = (Ack::none(), 0);
            for run in now {
                let more = u64::from(run.spans);
                ack.append(spans, table.take_ack(run.place.chunk, run.spans), more);
                spans += more;
            }
            payloads.push(Payload::trusted(Signal::Traces, request, spans).with_ack(ack));
            rest = later;
        }
        for run in self.runs.drain(..) {
            table.release(run.place.chunk, run.spans);
        }
        // The vector's memory serves again, unless a flood made it huge.
        self.runs.shrink_to(16 * 1024);
        (self.bytes, self.envelopes) = (0, 0);
        self.writing += 1;
    }
}

/// One request of these spans.
fn request(table: &Table, runs: &[Run]) -> Bytes {
    let mut assembler = Assembler::new();
    let mut open: Option<(u32, u32, (u32, u32))> = None;
    let mut runs = runs.iter().map(|run| run.place).peekable();
    while let Some(mut run) = runs.next() {
        let chunk = table.chunk(run.chunk);
        let scope = chunk.scopes[run.scope as usize];
        if open.is_none_or(|(index, _, resource)| (index, resource) != (run.chunk, scope.resource))
        {
            assembler.resource(chunk.envelope(scope.resource));
            open = None;
        }
        if open.is_none_or(|(_, index, _)| index != run.scope) {
            assembler.scope(chunk.envelope(scope.scope));
        }
        open = Some((run.chunk, run.scope, scope.resource));
        // Neighbours are copied in one go.
        while let Some(next) = runs.next_if(|next| {
            (next.chunk, next.scope, next.at) == (run.chunk, run.scope, run.at + run.len)
        }) {
            run.len += next.len;
        }
        let start = run.at as usize;
        assembler.items(&chunk.bytes[start..start + run.len as usize]);
    }
    let mut request = Vec::new();
    assembler.finish(&mut request);
    request.into()
}
