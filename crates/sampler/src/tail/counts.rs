//! How much came of a trace, written to its root.

use std::num::NonZeroU32;

use teleflow_otlp::span::TailFields;
use teleflow_otlp::{Scalar, Writer, tree};

use super::TailSampler;
use super::kept::MarkRef;
use super::mark::SPAN_ATTRIBUTES;
use super::table::{RunRef, Taken};
use crate::{Spans as _, wire};

/// What a kept trace's root span tells of the trace, in attributes: what was there when it was
/// decided about. Spans that come later are not in it, and a root that does tells nothing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Counts {
    /// Nothing.
    #[default]
    None,
    /// The number of spans, `meta.span_count`. It is known without another look at them.
    Spans,
    /// Those of its spans' events, `meta.span_event_count`, of their links, `meta.span_link_count`,
    /// and of all three together, `meta.event_count`, as well. The fields of every span of a kept
    /// trace are counted for that.
    All,
}

/// Numbers of fields of a span.
const EVENTS: u32 = 11;
const LINKS: u32 = 13;

// === impl TailSampler ===

impl TailSampler {
    /// What is written to the root of a trace whose other spans have this mark, if that is another.
    pub(super) fn root_mark(&mut self, mark: MarkRef, trace: &Taken) -> Option<MarkRef> {
        if self.config.counts == Counts::None || !trace.summary.has_root {
            return None;
        }
        let spans = trace.summary.spans;
        let mut attributes = Vec::new();
        let mut writer = Writer::new(&mut attributes);
        let mut count = |key, count: u64| {
            let count = Scalar::Int(i64::try_from(count).unwrap_or(i64::MAX));
            writer.attribute(SPAN_ATTRIBUTES, key, count);
        };
        count("meta.span_count", spans);
        if self.config.counts == Counts::All {
            let (events, links) = self.events_and_links(trace.first);
            count("meta.span_event_count", events);
            count("meta.span_link_count", links);
            count("meta.event_count", spans + events + links);
        }
        Some(self.kept.with_attributes(mark, &attributes))
    }

    fn events_and_links(&self, first: u32) -> (u64, u64) {
        let (mut events, mut links) = (0, 0);
        // It never asks to stop.
        let _ = self.table.spans_of(first).visit(&mut |span| {
            for (number, _) in wire::contents(span.message) {
                events += u64::from(number == EVENTS);
                links += u64::from(number == LINKS);
            }
            std::ops::ControlFlow::Continue(())
        });
        (events, links)
    }

    /// Hands on a run, its root with a mark of its own.
    pub(super) fn push_with_root(
        &mut self,
        run: RunRef,
        mark: MarkRef,
        root: MarkRef,
        has_state: bool,
    ) {
        let mut next = run;
        while let Some((span, is_root)) = self.split_first(next) {
            let mark = if is_root { root } else { mark };
            self.kept.push(&mut self.table, span, mark, has_state);
            let Some(len) = NonZeroU32::new(next.len.get() - span.len.get()) else { return };
            next = RunRef { at: next.at + span.len.get(), len, spans: next.spans - 1, ..next };
        }
    }

    /// The first span of a run, and whether it is a root.
    fn split_first(&self, run: RunRef) -> Option<(RunRef, bool)> {
        let fields = self.table.chunk(run.chunk).fields(run.at, run.len.get());
        let (message, rest) = tree::split_message(fields)?;
        let len = NonZeroU32::new((fields.len() - rest.len()) as u32)?;
        Some((RunRef { len, spans: 1, ..run }, TailFields::read(message).is_root))
    }
}
