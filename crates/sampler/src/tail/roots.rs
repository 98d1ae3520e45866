//! Which spans count as roots, after which a trace waits no longer than for stragglers.

use super::table::RunRef;
use super::{ConfigError, TailSampler, Trigger};
use crate::TraceSummary;
use crate::ottl::Condition;

/// What a span has to be.
#[derive(Debug)]
pub(super) enum Roots {
    /// One without a parent.
    WithoutParent,
    /// One that meets a condition.
    Meets(Condition),
}

// === impl Roots ===

impl Roots {
    pub(super) fn new(condition: Option<&str>) -> Result<Self, ConfigError> {
        let Some(text) = condition else { return Ok(Self::WithoutParent) };
        Condition::span(text)
            .map(Self::Meets)
            .map_err(|error| ConfigError::RootCondition(format!("`{text}`: {error}")))
    }
}

// === impl TailSampler ===

impl TailSampler {
    /// Whether one of the spans that were just added to a trace is a root of it. Once there was one,
    /// it is not asked again.
    #[inline]
    pub(super) fn counts_as_root(
        &mut self,
        trace: u32,
        run: RunRef,
        summary: &TraceSummary,
    ) -> bool {
        match &self.roots {
            Roots::WithoutParent => summary.has_root,
            Roots::Meets(_) => self.meets_root_condition(trace, run),
        }
    }

    #[cold]
    fn meets_root_condition(&mut self, trace: u32, run: RunRef) -> bool {
        let Roots::Meets(condition) = &self.roots else { return false };
        if self.table.trigger(trace) == Trigger::AfterRoot {
            return false;
        }
        self.table.chunk(run.chunk).views(run).any(|view| {
            condition.eval(&view, None).unwrap_or_else(|_| {
                // The trace waits for another, or as long as without a root.
                self.stats.root_errors += 1;
                false
            })
        })
    }
}
