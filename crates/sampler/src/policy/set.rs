//! Policies at work.

use std::time::Instant;

use crate::engine::{By, RuleStats, Verdict};
use crate::policy::{Policy, Ratio};
use crate::rules::Policies;
use crate::tail::ConfigError;
use crate::{Randomness, Threshold, Trace};

#[derive(Debug)]
pub(crate) struct PolicySet {
    policies: Policies,
    stats: Vec<RuleStats>,
}

impl PolicySet {
    pub(crate) fn new(policies: &Policies) -> Result<Self, ConfigError> {
        let stats = policies
            .policies
            .iter()
            .map(|rule| RuleStats { name: rule.name.clone(), ..RuleStats::default() })
            .collect();
        Ok(Self { policies: policies.clone(), stats })
    }

    pub(crate) fn decide(&mut self, _now: Instant, trace: &Trace<'_>) -> Verdict {
        for (index, (rule, stats)) in self.policies.policies.iter().zip(&mut self.stats).enumerate()
        {
            stats.traces_seen += 1;
            if let Some(threshold) = keeps(&rule.policy, trace) {
                stats.traces_sampled += 1;
                stats.traces_kept += 1;
                stats.spans_kept += trace.summary.spans;
                let by = Some(By { rule: index as u16, part: None });
                return Verdict { is_kept: true, threshold: Some(threshold), by, randomness: None };
            }
        }
        Verdict { is_kept: false, threshold: None, by: None, randomness: None }
    }

    pub(crate) fn stats(&self) -> Vec<RuleStats> {
        self.stats.clone()
    }
}

fn keeps(policy: &Policy, trace: &Trace<'_>) -> Option<Threshold> {
    let summary = &trace.summary;
    let keeps = match policy {
        Policy::Always => true,
        Policy::Status(statuses) => statuses.intersects(summary.statuses),
        Policy::Latency { over, up_to } => {
            let millis = u128::from(summary.end.saturating_sub(summary.start) / 1_000_000);
            millis > over.as_millis() && up_to.is_none_or(|up_to| millis <= up_to.as_millis())
        }
        Policy::Ratio(Ratio { probability, .. }) => {
            let threshold = Threshold::from_probability(*probability).ok()?;
            let randomness: Randomness = trace.randomness();
            return threshold.keeps(randomness).then_some(threshold);
        }
        _ => false,
    };
    keeps.then_some(Threshold::ALL)
}
