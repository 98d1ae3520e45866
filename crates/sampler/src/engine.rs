//! Rules at work: what becomes of a trace.

use std::time::Instant;

use crate::policy::set::PolicySet;
use crate::rules::set::RuleSet;
use crate::rules::{Rules, SamplerStats};
use crate::tail::ConfigError;
use crate::{Threshold, Trace};

/// What decides about traces. It has a state: rate limits and what dynamic samplers learned.
#[derive(Debug)]
pub(crate) enum Engine {
    Policies(PolicySet),
    FirstMatch(RuleSet),
}

/// What becomes of a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) is_kept: bool,
    /// How likely it was to be kept, where that is known; by itself, without what was before.
    pub(crate) threshold: Option<Threshold>,
    /// What kept it, or had it dropped.
    pub(crate) by: Option<By>,
}

/// A policy or rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct By {
    /// Its place in the configuration.
    pub(crate) rule: u16,
    /// The part of a composite policy.
    pub(crate) part: Option<u16>,
}

/// How a policy or rule votes about a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Vote {
    /// To leave it out, whatever others say.
    Dropped,
    /// To keep it.
    Sampled,
    /// Not to keep it.
    NotSampled,
    /// To keep it, if no other votes against: with `inverted_votes`.
    InvertSampled,
    /// To leave it out, unless it is dropped anyway: with `inverted_votes`.
    InvertNotSampled,
    /// It could not be asked.
    Error,
}

/// How a policy or rule voted about a trace, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explained {
    /// Its name; of a part, after those it is part of: `outer/inner`.
    pub rule: String,
    /// How it votes.
    pub vote: Vote,
    /// Why, in words.
    pub why: String,
}

/// What one policy or rule did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RuleStats {
    /// Its name.
    pub name: String,
    /// Traces that it was asked about, and spans that were decided by themselves.
    pub traces_seen: u64,
    /// Of those, what it voted to keep.
    pub traces_sampled: u64,
    /// Of those, what it had dropped.
    pub traces_dropped: u64,
    /// Of those, what it could not vote about.
    pub errors: u64,
    /// Traces that were kept, and it was the first to vote so.
    pub traces_kept: u64,
    /// The spans of those.
    pub spans_kept: u64,
    /// What its sampler learned, where it has one that learns.
    pub sampler: SamplerStats,
}

// === impl Engine ===

impl Engine {
    /// Reads regular expressions, conditions and numbers.
    pub(crate) fn new(rules: &Rules) -> Result<Self, ConfigError> {
        Ok(match rules {
            Rules::Policies(policies) => Self::Policies(PolicySet::new(policies)?),
            Rules::FirstMatch(rules) => Self::FirstMatch(RuleSet::new(rules)?),
        })
    }

    pub(crate) fn decide(&mut self, now: Instant, trace: &Trace<'_>) -> Verdict {
        match self {
            Self::Policies(policies) => policies.decide(now, trace),
            Self::FirstMatch(rules) => rules.decide(now, trace),
        }
    }

    /// What each did, in their order.
    pub(crate) fn stats(&self) -> Vec<RuleStats> {
        match self {
            Self::Policies(policies) => policies.stats(),
            Self::FirstMatch(rules) => rules.stats(),
        }
    }
}
