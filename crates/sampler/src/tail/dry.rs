//! Dry run: all is kept, and told what would have become of it.
//!
//! Decisions are made, counted and remembered as ever. What they would have left out goes on like the
//! rest, and scopes tell the one from the other. Nothing else of what is kept changes: it was certain
//! to be, whatever its threshold would be; that is told by an attribute of its spans.

use teleflow_otlp::{Scalar, Writer};

use super::TailSampler;
use super::kept::MarkRef;
use super::mark::{Labels, SPAN_ATTRIBUTES};
use crate::Threshold;
use crate::engine::By;

// === impl TailSampler ===

impl TailSampler {
    /// What is written to what would have been kept, with this threshold.
    pub(super) fn dry_mark(&mut self, threshold: Option<Threshold>, label: u16) -> MarkRef {
        let mark = MarkRef::label(label);
        match threshold.filter(|_| self.config.writes_threshold) {
            Some(threshold) => {
                let (mut attributes, text) = (Vec::new(), threshold.to_string());
                let mut writer = Writer::new(&mut attributes);
                let text = Scalar::Str(&text);
                writer.attribute(SPAN_ATTRIBUTES, "tailsampling.dry_run.threshold", text);
                self.kept.with_attributes(mark, &attributes)
            }
            None => mark,
        }
    }

    /// What is written to what would have been left out; `None` where it is.
    pub(super) fn dry_drop(&mut self, by: Option<By>) -> Option<MarkRef> {
        let is_dry = self.config.dry_run;
        is_dry.then(|| MarkRef::label(self.label_of(by) | Labels::LEFT_OUT))
    }

    /// The same for what comes late.
    pub(super) fn dry_drop_late(&mut self) -> Option<MarkRef> {
        let late = if self.config.records_policy { Labels::LATE } else { Labels::NONE };
        self.config.dry_run.then_some(MarkRef::label(late | Labels::LEFT_OUT))
    }

    /// Counts spans that go on, as what they would have been. Those that would have been left out by
    /// themselves were counted when that was decided.
    pub(super) fn count_run(
        &mut self,
        mark: MarkRef,
        threshold: Option<Threshold>,
        spans: u64,
        is_late: bool,
    ) {
        let late = if is_late { spans } else { 0 };
        if mark.is_left_out() {
            self.stats.late_sampled_out += late;
        } else {
            self.stats.late_kept += late;
            self.count(threshold, spans);
        }
    }
}
