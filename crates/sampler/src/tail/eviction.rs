//! Traces that have to go early: who decides about them.

use super::{ConfigError, Trigger};
use crate::engine::{By, RuleStats, Verdict};
use crate::{Threshold, Trace};

/// What decides about a trace that has to go early, because the bound of bytes or that of traces was
/// reached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Eviction {
    /// The rules, as about any other trace: what they would keep is kept, as far as that can be told
    /// of the spans that are there.
    #[default]
    Rules,
    /// Chance alone: this share is kept, above 0 and at most 1, by the randomness of the trace and
    /// with the threshold of that share. No span is looked at, so a sampler under pressure does less
    /// for each trace in place of as much. In statistics it is the rule `_eviction`, after all
    /// others.
    Ratio(f64),
}

/// An [`Eviction`] at work.
#[derive(Debug)]
pub(super) struct Evictions {
    /// `None` where rules decide.
    threshold: Option<Threshold>,
    stats: RuleStats,
}

// === impl Evictions ===

impl Evictions {
    pub(super) fn new(eviction: Eviction) -> Result<Self, ConfigError> {
        let threshold = match eviction {
            Eviction::Rules => None,
            Eviction::Ratio(ratio) if ratio > 0.0 && ratio <= 1.0 => {
                // Below all thresholds the highest is the nearest.
                Some(Threshold::from_probability(ratio).unwrap_or(Threshold::MOST))
            }
            Eviction::Ratio(ratio) => return Err(ConfigError::Eviction(ratio.to_string())),
        };
        let stats = RuleStats { name: By::EVICTION_NAME.into(), ..RuleStats::default() };
        Ok(Self { threshold, stats })
    }

    /// Goes on with what was counted before.
    pub(super) fn adopt(&mut self, old: Self) {
        self.stats = old.stats;
    }

    /// Decides about a trace that has to go early, where that is not for the rules to do.
    pub(super) fn decide(&mut self, trigger: Trigger, trace: &Trace<'_>) -> Option<Verdict> {
        if !matches!(trigger, Trigger::Bytes | Trigger::Count) {
            return None;
        }
        let threshold = self.threshold?;
        self.stats.traces_seen += 1;
        if !threshold.keeps(trace.randomness()) {
            return Some(Verdict { threshold: Some(threshold), ..Verdict::LEFT_OUT });
        }
        self.stats.traces_sampled += 1;
        self.stats.traces_kept += 1;
        self.stats.spans_kept += trace.summary.spans;
        let (threshold, by) = (Some(threshold), Some(By::EVICTION));
        Some(Verdict { is_kept: true, threshold, by, ..Verdict::LEFT_OUT })
    }

    /// What it did, as a rule; `None` where rules decide.
    pub(super) fn stats(&self) -> Option<RuleStats> {
        self.threshold.is_some().then(|| self.stats.clone())
    }
}
