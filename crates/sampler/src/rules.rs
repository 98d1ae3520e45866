//! The rules of a tail sampler, as the configuration says them: policies that all vote, or rules of
//! which the first that matches decides.

use std::time::Duration;

use crate::engine::By;
use crate::policy::{Part, Policy, Rule};

mod divided;
mod fingerprint;
mod matching;
mod sampler;
pub(crate) mod set;
mod shape;
#[cfg(test)]
mod tests;
mod text;

pub use self::shape::Shape;

/// What a tail sampler keeps.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rules {
    /// Each policy votes, as in the Collector's `tail_sampling`.
    Policies(Policies),
    /// The first rule that matches a trace decides about it, as in Refinery and the Collector's
    /// `adaptive_tail_sampling`: what its sampler leaves out no later rule keeps. A trace that none
    /// matches is left out. At most 65 535 rules, each with a name of its own.
    ///
    /// Conditions of all rules are looked at in one pass over the spans, which ends when the first
    /// rule matches or nothing can change any more. A rule behind one without conditions is never
    /// asked.
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
    /// What the trace has to be as a whole.
    pub shape: Shape,
    /// How conditions are to be met.
    pub scope: MatchScope,
    /// Conditions about spans, in OTTL: all of them have to be met. Without any the rule matches
    /// every trace of its shape. One that cannot be evaluated of a span is not met by it; traces in which that
    /// happened are counted as the rule's [errors](crate::RuleStats::errors).
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
/// likely that was, and keep counts free of bias: the probability for a trace follows from its key and
/// from what came before it, never from its own randomness, and never is it 0.
///
/// # Those that learn
///
/// Time goes in intervals. What each key is expected to bring follows from the intervals before, and
/// the probability of its traces from that and from what may be kept, its budget.
///
/// - The first trace of a key in an interval is kept for sure, as long as the budget has room for one
///   of each key; where keys are more than that, half of the budget goes to first traces as they
///   come.
/// - Keys share a budget by the logarithm of what they bring, as Refinery's do; what rare ones do not
///   need is for the others. (Each key of [`PerKeyThroughput`](Self::PerKeyThroughput) has its own.)
/// - A key that was not there before is one of the others until the interval ends, together with those
///   beyond [`Keys::max_keys`]. These have as much of the budget as they are of all traces, but at
///   most three quarters, half of it for first traces; where none was there in the last interval an
///   eighth, and the rest is kept at the mean rate. So new keys do not break a goal, however many
///   come.
/// - Where more comes than was expected, and the budget is used up, the probability falls, with the
///   power 1.5 of the excess: no interval keeps more than four budgets, and a trace. A budget is the
///   goal of an interval, less what was kept too much before or with what was kept too little: at
///   least a quarter of the goal, and at most twice the goal or, with [`Algorithm::Windowed`], that
///   of the lookback.
/// - A pause of whatever length is as many intervals without a trace.
///
/// Traces count as they come, whatever they stand for. Where an earlier sampler left out some, up to
/// so many times the goal is kept, and the counts are right all the same: the two decide by the same
/// randomness, and what one of them keeps the other does, too, if it would keep more.
///
/// All goals are those of one sampler. With shards each has its own, and its part of the goal is to be
/// given.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DynamicSampler {
    /// All.
    Always,
    /// None.
    Never,
    /// A share, within 0 and 1. It is rounded to four hexadecimal digits, as the specification has it;
    /// below 2^-56 nothing is kept.
    Ratio(f64),
    /// A share of all, of rare keys more than of frequent ones. What is expected is a moving average.
    /// Until the first interval has ended the share is kept of each key, and the first trace of each
    /// for sure where that fits.
    AdaptivePercentage {
        /// The share of all that comes, above 0 and at most 1.
        goal: f64,
        /// Of what: where traces are of different sizes, a share of the traces is none of the spans.
        unit: Unit,
        /// What tells traces apart.
        keys: Keys,
        /// How often rates are set anew: above 0 and at most a day. 15 s.
        interval: Duration,
        /// How much the last interval counts, above 0 and at most 1. 0.5.
        weight: f64,
    },
    /// So much a second, of rare keys more than of frequent ones.
    AdaptiveThroughput {
        /// Traces or spans a second: above 0 and at most 10^15. It should allow for some traces in an
        /// interval, or the counts become coarse.
        goal: f64,
        /// What is counted.
        unit: Unit,
        /// What tells traces apart.
        keys: Keys,
        /// The share that is kept until the first interval has ended, above 0 and at most 1; less,
        /// once the interval's goal is used up. 0.1.
        initial: f64,
        /// What rates follow.
        algorithm: Algorithm,
    },
    /// So much a second of each key, and of all keys that found no place together. What is
    /// expected of a key is what the last interval brought, and half of the way where that was less.
    PerKeyThroughput {
        /// Traces or spans a second and key: above 0 and at most 10^15.
        goal: f64,
        /// What is counted.
        unit: Unit,
        /// What tells traces apart.
        keys: Keys,
        /// How often rates are set anew: above 0 and at most a day. 10 s.
        interval: Duration,
    },
    /// No more than so many spans a second. Nobody knows how likely that was. A trace of more spans
    /// than the burst is never kept.
    RateLimit {
        /// Spans a second, above 0.
        spans_per_second: u64,
        /// How many spans may come at once, above 0.
        burst: u64,
    },
}

/// What a goal counts. A decision is about a trace as a whole in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// Traces, however many spans they have.
    Traces,
    /// Spans: a trace counts for as many as it has when it is decided about. Those that come later
    /// follow the decision and count for none.
    ///
    /// How likely a trace is kept follows from its key and, where it has more spans than a budget has
    /// left, from their number: a trace of many budgets is kept now and then, and paid back by
    /// keeping less in the intervals that follow.
    Spans,
}

/// What tells traces apart: the values of attributes, and perhaps their number of spans, as `adaptive_tail_sampling` makes a key of them.
///
/// The distinct values of an attribute in the whole trace are sorted and joined with `,`, and those
/// of several attributes with `•`; one that no span has is `<missing>`. At most 16 values of an
/// attribute count, the first in their order, and 256 bytes; `…` stands for the rest. So the key does
/// not depend on the order in which spans came.
///
/// The number of spans, where it is a part of the key, is the last one.
///
/// Texts are as they are, numbers and truth values as they are written, bytes hexadecimal, lists and
/// maps as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Keys {
    /// Attributes, each with its scope before it: `resource.`, `scope.`, `span.` (of any span),
    /// `root.` (of root spans) or `any.` (of the first three together). The values of all
    /// make the key. The name may be written as in conditions, too:
    /// `span.attributes["http.route"]` is `span.http.route`. These are attributes only: the name,
    /// kind or status of a span is none. At most 32; without any all traces have the same key.
    pub attributes: Vec<String>,
    /// Which spans `root.` is about: those that meet this condition, in OTTL, and none that it cannot
    /// be evaluated of. `None`: those without a parent.
    pub root_condition: Option<String>,
    /// Whether the number of spans is a part of the key, too: that which a trace has when it is
    /// decided about. False. As many numbers as there are, as many keys there are of what else
    /// would be one: where traces are of very different sizes `max_keys` is soon reached.
    pub trace_length: bool,
    /// The most keys that are told apart, at most 100 000; traces of further ones are one key more.
    /// A key that brought nothing for some intervals makes room. Each takes at most 260 bytes, and
    /// with [`Algorithm::Windowed`] 4 more for each update that is looked back on. 500.
    pub max_keys: usize,
}

/// What the rates of a [`DynamicSampler::AdaptiveThroughput`] follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    /// A moving average of what came in each interval.
    Ema {
        /// How often rates are set anew: above 0 and at most a day. 15 s.
        interval: Duration,
        /// How much the last interval counts, above 0 and at most 1. 0.5.
        weight: f64,
    },
    /// What came in a window that moves.
    Windowed {
        /// How often rates are set anew: above 0 and at most a day. 1 s.
        update: Duration,
        /// How far the window reaches: 1 to 300 updates, and what is no whole one does not count.
        /// 30 s.
        lookback: Duration,
    },
}

/// What the sampler of a rule learned.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SamplerStats {
    /// Keys that are told apart now.
    pub keys: u64,
    /// Traces whose key found no place.
    pub beyond: u64,
    /// Intervals that have ended.
    pub intervals: u64,
    /// Traces that it decided about in the last of those, whatever its goal counts.
    pub last_seen: u64,
    /// Of those, what it kept.
    pub last_kept: u64,
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
        if by == By::EVICTION {
            return Some((By::EVICTION_NAME, None));
        }
        let rule = usize::from(by.rule);
        let part = by.part.and_then(|part| self.parts(rule).get(usize::from(part)));
        Some((self.names().nth(rule)?, part.map(|part| &*part.rule.name)))
    }

    /// The place here of what had a place in other rules: that of the same name.
    pub(crate) fn renamed(&self, before: &Self, by: By) -> Option<By> {
        if by == By::EVICTION {
            return Some(by);
        }
        let (name, part) = before.told(by)?;
        self.place_of(name, part)
    }

    /// The place of what has this name, and of its part.
    pub(crate) fn place_of(&self, name: &str, part: Option<&str>) -> Option<By> {
        let Some(rule) = self.names().position(|known| known == name) else {
            return (name == By::EVICTION_NAME && part.is_none()).then_some(By::EVICTION);
        };
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

// === impl MatchRule ===

impl MatchRule {
    /// Matches every trace.
    pub fn new(name: impl Into<String>, sampler: DynamicSampler) -> Self {
        let (shape, scope) = (Shape::default(), MatchScope::default());
        Self { name: name.into(), shape, scope, conditions: Vec::new(), sampler }
    }
}

// === impl Keys ===

impl Keys {
    /// Tells traces apart by these attributes.
    pub fn new(attributes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let attributes = attributes.into_iter().map(Into::into).collect();
        Self { attributes, root_condition: None, trace_length: false, max_keys: 500 }
    }
}
