//! The rules of a tail sampler, as the configuration says them: policies that all vote, or rules of
//! which the first that matches decides.

use std::time::Duration;

use crate::engine::By;
use crate::policy::{Part, Policy, Rule};

/// What a tail sampler keeps.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rules {
    /// Each policy votes, as in the Collector's `tail_sampling`.
    Policies(Policies),
    /// The first rule that matches a trace decides about it, as in Refinery and the Collector's
    /// `adaptive_tail_sampling`. A trace that none matches is left out.
    FirstMatch(Vec<MatchRule>),
}

/// Policies that vote.
///
/// A trace is left out where a [`Policy::Drop`](crate::Policy::Drop) matches, and else kept where
/// any policy keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policies {
    /// The policies.
    pub policies: Vec<Rule>,
    /// Asks no further once a policy keeps the trace. What is kept is the same; policies that count,
    /// such as rate limits, hear of fewer traces.
    pub first_match: bool,
    /// Has policies with `is_inverted` vote as they did in the Collector until 0.160: one that does
    /// not keep a trace has it left out, unless it is dropped anyway; and one that keeps it does so
    /// only where no other policy votes against it.
    pub inverted_votes: bool,
}

/// A rule of which the first that matches decides.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchRule {
    /// For people and metrics.
    pub name: String,
    /// How conditions are to be met.
    pub scope: MatchScope,
    /// Conditions about spans, in OTTL: all of them have to be met. Without any the rule matches
    /// every trace.
    pub conditions: Vec<String>,
    /// What is kept of the traces that match.
    pub sampler: DynamicSampler,
}

/// How the conditions of a rule are to be met.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MatchScope {
    /// Each by any span of the trace.
    #[default]
    AnySpan,
    /// All by one span.
    SameSpan,
}

/// What is kept of the traces that a rule matches. All but [`RateLimit`](Self::RateLimit) write how
/// likely that was, and keep counts free of bias.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DynamicSampler {
    /// All.
    Always,
    /// None.
    Never,
    /// A share, within 0 and 1.
    Ratio(f64),
    /// A share of all, of rare keys more than of frequent ones.
    AdaptivePercentage {
        /// The share of all traces, within 0 and 1.
        goal: f64,
        /// What tells traces apart, and over how long.
        keys: Keys,
        /// How often rates are set anew. 15 s.
        interval: Duration,
        /// How much the last interval counts, within 0 and 1. 0.5.
        weight: f64,
    },
    /// So many traces a second, of rare keys more than of frequent ones.
    AdaptiveThroughput {
        /// Traces a second.
        goal: f64,
        /// What tells traces apart.
        keys: Keys,
        /// The share that is kept until rates are known. 0.1.
        initial: f64,
        /// What rates follow.
        algorithm: Algorithm,
    },
    /// So many traces a second of each key.
    PerKeyThroughput {
        /// Traces a second and key.
        goal: f64,
        /// What tells traces apart.
        keys: Keys,
        /// How often rates are set anew. 10 s.
        interval: Duration,
    },
    /// No more than so many spans a second. Nobody knows how likely that was.
    RateLimit {
        /// Spans a second.
        spans_per_second: u64,
        /// How many spans may come at once.
        burst: u64,
    },
}

/// What tells traces apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Keys {
    /// Attributes, each with its scope before it: `resource.`, `scope.`, `span.` (of any span),
    /// `root.` (of the root span) or `any.`. The values of all make the key.
    pub attributes: Vec<String>,
    /// The most keys; traces of further ones are one key more. 500.
    pub max_keys: usize,
}

/// What the rates of a [`DynamicSampler::AdaptiveThroughput`] follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    /// A moving average of what came in each interval.
    Ema {
        /// How often rates are set anew. 15 s.
        interval: Duration,
        /// How much the last interval counts, within 0 and 1. 0.5.
        weight: f64,
    },
    /// What came in a window that moves.
    Windowed {
        /// How often rates are set anew. 1 s.
        update: Duration,
        /// How far the window reaches. 30 s.
        lookback: Duration,
    },
}

// === impl Rules ===

impl Rules {
    /// The names of policies or rules, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (policies, rules): (&[Rule], &[MatchRule]) = match self {
            Self::Policies(policies) => (&policies.policies, &[]),
            Self::FirstMatch(rules) => (&[], rules),
        };
        let policies = policies.iter().map(|rule| &*rule.name);
        policies.chain(rules.iter().map(|rule| &*rule.name))
    }
}

impl Default for Rules {
    /// No policy: nothing is kept.
    fn default() -> Self {
        Self::Policies(Policies::default())
    }
}

impl From<Vec<Rule>> for Rules {
    fn from(policies: Vec<Rule>) -> Self {
        Self::Policies(Policies { policies, ..Policies::default() })
    }
}

impl Rules {
    /// The name of a policy or rule, and that of its part.
    pub(crate) fn told(&self, by: By) -> Option<(&str, Option<&str>)> {
        let rule = usize::from(by.rule);
        let part = by.part.and_then(|part| self.parts(rule).get(usize::from(part)));
        Some((self.names().nth(rule)?, part.map(|part| &*part.rule.name)))
    }

    /// The place here of what had a place in other rules: that of the same name.
    pub(crate) fn renamed(&self, before: &Self, by: By) -> Option<By> {
        let (name, part) = before.told(by)?;
        let rule = self.names().position(|known| known == name)?;
        let part = match part {
            Some(name) => {
                let place = self.parts(rule).iter().position(|part| part.rule.name == name)?;
                Some(u16::try_from(place).ok()?)
            }
            None => None,
        };
        Some(By { rule: u16::try_from(rule).ok()?, part })
    }

    /// The parts of a composite policy.
    fn parts(&self, rule: usize) -> &[Part] {
        match self {
            Self::Policies(policies) => {
                match policies.policies.get(rule).map(|rule| &rule.policy) {
                    Some(Policy::Composite(composite)) => &composite.parts,
                    _ => &[],
                }
            }
            Self::FirstMatch(_) => &[],
        }
    }
}

// === impl Keys ===

impl Keys {
    /// Tells traces apart by these attributes.
    pub fn new(attributes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { attributes: attributes.into_iter().map(Into::into).collect(), max_keys: 500 }
    }
}
