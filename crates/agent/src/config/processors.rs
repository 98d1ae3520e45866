//! The `processors` section.

mod adaptive;
mod batch;
mod policy;
mod probabilistic;
mod recorded;
mod shared;
mod stress_relief;
mod tail_sampling;

use super::components::{self, Components};
use super::later;
use super::read::At;

pub(crate) use adaptive::{
    AdaptiveTailSampling, Algorithm, Keyed, MatchRule, RecordFingerprint, RuleSampler, Unit,
};
pub(crate) use batch::Batch;
pub(crate) use policy::{Composite, ErrorMode, Policy, Rule, StatusCode};
#[cfg(test)]
pub(crate) use policy::{Part, Rate};
pub(crate) use probabilistic::{Mode, ProbabilisticSampler};
pub(crate) use recorded::{Counts, Recorded};
pub(crate) use shared::{Servers, Shared};
pub(crate) use stress_relief::StressRelief;
#[cfg(test)]
pub(crate) use tail_sampling::MIN_MAX_BYTES;
pub(crate) use tail_sampling::{DecisionCache, Strategy, TailSampling};

/// What happens between a receiver and an exporter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Processor {
    /// `adaptive_tail_sampling`
    AdaptiveTailSampling(AdaptiveTailSampling),
    /// `batch`
    Batch(Batch),
    /// `probabilistic_sampler`
    ProbabilisticSampler(ProbabilisticSampler),
    /// `tail_sampling`
    TailSampling(TailSampling),
}

/// Reads the section.
pub(super) fn read(section: &At<'_>) -> Components<Processor> {
    let kinds: &components::Kinds<Processor> = &[
        ("adaptive_tail_sampling", |at| Processor::AdaptiveTailSampling(adaptive::read(at))),
        ("batch", |at| Processor::Batch(batch::read(at))),
        ("probabilistic_sampler", |at| Processor::ProbabilisticSampler(probabilistic::read(at))),
        ("tail_sampling", |at| Processor::TailSampling(tail_sampling::read(at))),
    ];
    components::read(section, kinds, later::PROCESSORS)
}

// === impl Processor ===

impl Processor {
    /// Whether it holds traces and decides about them.
    pub(crate) const fn is_tail_sampler(&self) -> bool {
        matches!(self, Self::AdaptiveTailSampling(_) | Self::TailSampling(_))
    }

    /// What it remembers of its decisions, where it holds traces.
    pub(crate) const fn decision_cache(&self) -> Option<&DecisionCache> {
        match self {
            Self::AdaptiveTailSampling(adaptive) => Some(&adaptive.decision_cache),
            Self::TailSampling(tail) => Some(&tail.decision_cache),
            Self::Batch(_) | Self::ProbabilisticSampler(_) => None,
        }
    }

    /// The same, to change it.
    pub(crate) const fn decision_cache_mut(&mut self) -> Option<&mut DecisionCache> {
        match self {
            Self::AdaptiveTailSampling(adaptive) => Some(&mut adaptive.decision_cache),
            Self::TailSampling(tail) => Some(&mut tail.decision_cache),
            Self::Batch(_) | Self::ProbabilisticSampler(_) => None,
        }
    }
}
