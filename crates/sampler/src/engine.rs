//! Rules at work: what becomes of a trace.

use std::time::Instant;

use crate::policy::set::PolicySet;
use crate::rules::set::RuleSet;
use crate::rules::{Rules, SamplerStats};
use crate::tail::ConfigError;
use crate::{Randomness, Threshold, Trace, TraceSummary};

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
    /// What the threshold is about, where that is not the trace's own randomness: it is to be
    /// written as well.
    pub(crate) randomness: Option<Randomness>,
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
    /// Of those, where a condition could not be evaluated, unless that is
    /// [silent](crate::OnError::Silent).
    pub errors: u64,
    /// Traces that were kept, and it was the first to vote so.
    pub traces_kept: u64,
    /// The spans of those.
    pub spans_kept: u64,
    /// The bytes of those spans, without their resources and scopes.
    pub bytes_kept: u64,
    /// What it voted to keep, whatever became of it.
    pub sampled: Volume,
    /// What it did not vote to keep, nor had dropped.
    pub not_sampled: Volume,
    /// What it had dropped.
    pub dropped: Volume,
    /// What its sampler learned, where it has one that learns.
    pub sampler: SamplerStats,
}

/// How much there is of some traces.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Volume {
    /// Their spans.
    pub spans: u64,
    /// The bytes of those, without their resources and scopes.
    pub bytes: u64,
}

/// What becomes of a trace, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// How every policy votes, each before its parts: those, too, that would not be asked.
    pub votes: Vec<Explained>,
    /// Whether the trace is kept.
    pub is_kept: bool,
    /// How likely it was to be kept, where that is known; by itself, without what was before.
    pub threshold: Option<Threshold>,
    /// What keeps it, or has it dropped.
    pub by: Option<String>,
}

/// Tells how rules decide about a trace, as if it were the first: with limits that let through all
/// that they ever do at once.
///
/// # Errors
///
/// If the rules make no sense, as [`TailSampler::new`](crate::TailSampler::new) would tell.
pub fn explain(rules: &Rules, now: Instant, trace: &Trace<'_>) -> Result<Explanation, ConfigError> {
    match Engine::new(rules)? {
        Engine::Policies(policies) => Ok(policies.explain(now, trace)),
        Engine::FirstMatch(rules) => {
            let (votes, verdict) = rules.explain(now, trace);
            let by = verdict.by.map(|by| votes[usize::from(by.rule)].rule.clone());
            let Verdict { is_kept, threshold, .. } = verdict;
            Ok(Explanation { votes, is_kept, threshold, by })
        }
    }
}

// === impl By ===

impl By {
    /// No policy or rule: relief. There are not so many rules.
    pub(crate) const RELIEF: Self = Self { rule: u16::MAX, part: Some(u16::MAX) };

    /// Chance, about a trace that had to go early. No rule has this place: there are at most 65 535.
    pub(crate) const EVICTION: Self = Self { rule: u16::MAX, part: None };

    /// Its name. No rule of a configuration file begins with `_`.
    pub(crate) const EVICTION_NAME: &str = "_eviction";
}

// === impl RuleStats ===

impl RuleStats {
    /// Counts how it voted about a trace. Where it could not be asked, there is no vote.
    pub(crate) const fn count(&mut self, vote: Vote, summary: &TraceSummary) {
        self.traces_seen += 1;
        match vote {
            Vote::Sampled | Vote::InvertSampled => {
                self.traces_sampled += 1;
                self.sampled.count(summary);
            }
            Vote::NotSampled | Vote::InvertNotSampled => self.not_sampled.count(summary),
            Vote::Dropped => {
                self.traces_dropped += 1;
                self.dropped.count(summary);
            }
            Vote::Error => {}
        }
    }

    /// Counts a trace that it was the first to keep.
    pub(crate) const fn count_kept(&mut self, summary: &TraceSummary) {
        self.traces_kept += 1;
        self.spans_kept += summary.spans;
        self.bytes_kept += summary.bytes;
    }
}

// === impl Volume ===

impl Volume {
    const fn count(&mut self, summary: &TraceSummary) {
        self.spans += summary.spans;
        self.bytes += summary.bytes;
    }
}

// === impl Verdict ===

impl Verdict {
    /// Nothing keeps it.
    pub(crate) const LEFT_OUT: Self =
        Self { is_kept: false, threshold: None, randomness: None, by: None };
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

    /// The key of the trace that was decided about, or [read](Self::read_key), last, where what decided has one.
    pub(crate) fn fingerprint(&self, by: By) -> Option<&str> {
        match self {
            Self::Policies(_) => None,
            Self::FirstMatch(rules) => rules.fingerprint(by),
        }
    }

    /// Reads the key of a trace, for [`fingerprint`](Self::fingerprint), as if it was decided about.
    pub(crate) fn read_key(&mut self, by: By, trace: &Trace<'_>) {
        match self {
            Self::Policies(_) => {}
            Self::FirstMatch(rules) => rules.read_key(by, trace),
        }
    }

    /// Decides about a part of a trace, if that settles it. `is_first` where nothing of the trace came
    /// before.
    pub(crate) fn decide_early(
        &mut self,
        now: Instant,
        trace: &Trace<'_>,
        is_first: bool,
    ) -> Option<Verdict> {
        match self {
            Self::Policies(policies) => policies.decide_early(now, trace, is_first),
            Self::FirstMatch(_) => None,
        }
    }

    /// Decides about a trace that no part of it has settled.
    pub(crate) fn decide_late(&mut self, now: Instant, trace: &Trace<'_>) -> Verdict {
        match self {
            Self::Policies(policies) => policies.decide_late(now, trace),
            Self::FirstMatch(rules) => rules.decide(now, trace),
        }
    }

    /// What the thresholds of a trace's spans are about that come when it is gone, where that is not
    /// its own randomness.
    pub(crate) fn salted(&self, id: &[u8; 16]) -> Option<Randomness> {
        match self {
            Self::Policies(policies) => policies.salted(id),
            Self::FirstMatch(_) => None,
        }
    }

    /// What each did, in their order.
    pub(crate) fn stats(&self) -> Vec<RuleStats> {
        match self {
            Self::Policies(policies) => policies.stats(),
            Self::FirstMatch(rules) => rules.stats(),
        }
    }

    /// How many traces no rule matched.
    pub(crate) const fn unmatched(&self) -> u64 {
        match self {
            Self::Policies(_) => 0,
            Self::FirstMatch(rules) => rules.unmatched(),
        }
    }

    /// Goes on where another stopped: takes over what those policies or rules counted and learned
    /// that are in both, by name and definition. Of rules of the other kind nothing can be.
    pub(crate) fn adopt(&mut self, old: Self) {
        match (self, old) {
            (Self::Policies(new), Self::Policies(old)) => new.adopt(old),
            (Self::FirstMatch(new), Self::FirstMatch(old)) => new.adopt(old),
            (Self::Policies(_), Self::FirstMatch(_)) | (Self::FirstMatch(_), Self::Policies(_)) => {
            }
        }
    }
}
