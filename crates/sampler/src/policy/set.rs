//! Policies that vote, and what becomes of a trace by their votes.

use std::collections::HashMap;
use std::time::Instant;

use crate::engine::{By, RuleStats, Verdict, Vote};
use crate::policy::chance::{Salt, first_salt};
use crate::policy::node::{Ask, Building, Node};
use crate::policy::region::Region;
use crate::policy::spans::SpanTests;
use crate::policy::{Composite, Policy, Rule};
use crate::rules::Policies;
use crate::tail::ConfigError;
use crate::{Randomness, Threshold, Trace};

mod early;

/// The policies of a tail sampler.
#[derive(Debug)]
pub(crate) struct PolicySet {
    config: Policies,
    /// In the order in which they are asked: those that drop first.
    policies: Vec<Asked>,
    tests: SpanTests,
    /// The salt that thresholds go by.
    salt: Salt,
    /// In the order of the configuration.
    stats: Vec<RuleStats>,
}

#[derive(Debug)]
struct Asked {
    /// Its place in the configuration.
    index: u16,
    node: Node,
}

/// What the votes about a trace come to.
#[derive(Debug, Default)]
struct Tally {
    sampled: Option<By>,
    invert_sampled: Option<By>,
    is_against: bool,
    is_vetoed: bool,
    /// Whether a policy that could not be asked may have voted otherwise for other randomness.
    is_unsure: bool,
    /// The lowest threshold of what keeps it, where one is known.
    threshold: Option<Threshold>,
}

// === impl PolicySet ===

impl PolicySet {
    pub(crate) fn new(config: &Policies) -> Result<Self, ConfigError> {
        let is_drop = |policy: &Policy| matches!(policy, Policy::Drop(_));
        let rules = config.policies.iter().enumerate();
        let (drops, others): (Vec<_>, Vec<_>) = rules.partition(|(_, rule)| is_drop(&rule.policy));
        let in_order = || others.iter().chain(&drops).map(|(_, rule)| *rule);
        let salt = first_salt(in_order());
        let mut building = Building {
            tests: SpanTests::default(),
            salt: salt.clone(),
            inverted_votes: config.inverted_votes,
        };
        let mut names = HashMap::new();
        let mut policies = Vec::with_capacity(config.policies.len());
        for (index, rule) in drops.into_iter().chain(others) {
            let error = |problem: &str| ConfigError::Rule {
                rule: rule.name.clone(),
                problem: problem.into(),
            };
            if rule.name.is_empty() {
                return Err(error("a policy needs a name"));
            }
            if names.insert(&rule.name, index).is_some() {
                return Err(error("another policy has the same name"));
            }
            let index = u16::try_from(index).map_err(|_| error("there are too many policies"))?;
            let node = Node::new(&rule.policy, &rule.name, 0, &mut building)?;
            policies.push(Asked { index, node });
        }
        let stats = config.policies.iter();
        let stats = stats.map(|rule| RuleStats { name: rule.name.clone(), ..RuleStats::default() });
        let stats = stats.collect();
        Ok(Self { config: config.clone(), policies, tests: building.tests, salt, stats })
    }

    pub(crate) fn decide(&mut self, now: Instant, trace: &Trace<'_>) -> Verdict {
        let Self { config, policies, tests, salt, stats } = self;
        tests.clear();
        let mut ask = Ask { now, trace, tests, had_error: false, part: None };
        let randomness = salt.randomness(trace);
        let mut tally = Tally::default();
        let mut rest = policies.iter_mut();
        for asked in &mut rest {
            let (vote, by) = asked.vote(&mut ask, stats);
            let node = &mut asked.node;
            match vote {
                Vote::Dropped => return Verdict { by: Some(by), ..Verdict::LEFT_OUT },
                Vote::Sampled => {
                    tally.sampled.get_or_insert(by);
                    tally.threshold = lower(tally.threshold, node, randomness, &mut ask);
                    if config.first_match {
                        break;
                    }
                }
                Vote::InvertSampled => _ = tally.invert_sampled.get_or_insert(by),
                Vote::InvertNotSampled => tally.is_vetoed = true,
                // That a policy does not drop a trace is no vote against it.
                Vote::NotSampled => tally.is_against |= !node.drops(),
                Vote::Error => tally.is_unsure |= !node.is_certain,
            }
        }
        let Some(by) = tally.by() else { return Verdict::LEFT_OUT };
        for Asked { node, .. } in rest {
            // What was not asked might have kept the trace with a lower randomness, too: unless one
            // in between would have left it out.
            if !node.votes_inverted() {
                tally.threshold = lower(tally.threshold, node, randomness, &mut ask);
            } else if node.vote(&mut ask) == Vote::InvertNotSampled {
                break;
            }
        }
        if tally.sampled.is_none() && !tally.is_unsure {
            tally.threshold = Some(Threshold::ALL);
        }
        let threshold = tally.threshold.and_then(|threshold| {
            let drops = policies.iter().map(|asked| &asked.node).take_while(|node| node.drops());
            above_drops(threshold, drops, &mut ask)
        });
        stats[usize::from(by.rule)].count_kept(&trace.summary);
        kept(salt, trace, randomness, threshold, by)
    }

    /// What the thresholds of a trace are about of which nothing but the id is known.
    pub(crate) fn salted(&self, id: &[u8; 16]) -> Option<Randomness> {
        self.salt.salted(id)
    }

    pub(crate) fn stats(&self) -> Vec<RuleStats> {
        self.stats.clone()
    }

    /// The policies and what works of each, in the order of the configuration.
    pub(crate) fn parts(&mut self) -> (&[Rule], Vec<&Node>, &mut SpanTests) {
        let mut nodes: Vec<_> = self.policies.iter().collect();
        nodes.sort_by_key(|asked| asked.index);
        let nodes = nodes.into_iter().map(|asked| &asked.node).collect();
        (&self.config.policies, nodes, &mut self.tests)
    }

    /// The name of a policy, with that of a part after it: `outer/inner`.
    pub(crate) fn name(&self, by: By) -> String {
        let rule = &self.config.policies[usize::from(by.rule)];
        match (&rule.policy, by.part) {
            (Policy::Composite(Composite { parts, .. }), Some(part)) => {
                format!("{}/{}", rule.name, parts[usize::from(part)].rule.name)
            }
            _ => rule.name.clone(),
        }
    }

    /// Whether its thresholds are about something else than the trace's own randomness.
    #[cfg(test)]
    pub(crate) fn is_salted(&self, trace: &Trace<'_>) -> bool {
        !self.salt.is_own(trace)
    }

    /// Takes over what policies of the same name and definition counted.
    pub(crate) fn adopt(&mut self, old: Self) {
        let Self { config, policies, stats, .. } = old;
        let rules = config.policies.iter().enumerate();
        let places: HashMap<_, _> = rules.map(|(place, rule)| (&*rule.name, place)).collect();
        let mut nodes: HashMap<_, _> =
            policies.into_iter().map(|Asked { index, node }| (usize::from(index), node)).collect();
        for Asked { index, node } in &mut self.policies {
            let index = usize::from(*index);
            let rule = &self.config.policies[index];
            let place = places.get(&*rule.name).copied();
            let Some(place) = place.filter(|&place| config.policies[place] == *rule) else {
                continue;
            };
            self.stats[index] = stats[place].clone();
            if let Some(old) = nodes.remove(&place) {
                node.adopt(old);
            }
        }
    }
}

// === impl Asked ===

impl Asked {
    /// Asks it, and counts what it says.
    fn vote(&mut self, ask: &mut Ask<'_, '_>, stats: &mut [RuleStats]) -> (Vote, By) {
        (ask.had_error, ask.part) = (false, None);
        let vote = self.node.vote(ask);
        let stats = &mut stats[usize::from(self.index)];
        stats.count(vote, &ask.trace.summary);
        stats.errors += u64::from(ask.had_error);
        (vote, By { rule: self.index, part: ask.part.filter(|_| self.node.is_composite()) })
    }
}

// === impl Tally ===

impl Tally {
    /// What keeps the trace, if anything does.
    fn by(&self) -> Option<By> {
        if self.is_vetoed {
            return None;
        }
        self.sampled.or_else(|| self.invert_sampled.filter(|_| !self.is_against))
    }
}

/// A trace is kept, with this threshold.
fn kept(
    salt: &Salt,
    trace: &Trace<'_>,
    randomness: Randomness,
    threshold: Option<Threshold>,
    by: By,
) -> Verdict {
    let is_chance = threshold.is_some_and(|threshold| threshold != Threshold::ALL);
    let randomness = (is_chance && !salt.is_own(trace)).then_some(randomness);
    Verdict { is_kept: true, threshold, randomness, by: Some(by) }
}

/// The threshold with another policy that keeps the trace: the lower one, where its own is known.
fn lower(
    before: Option<Threshold>,
    node: &Node,
    randomness: Randomness,
    ask: &mut Ask<'_, '_>,
) -> Option<Threshold> {
    if before == Some(Threshold::ALL) {
        return before;
    }
    match node.region(ask).threshold() {
        Some(threshold) if threshold.keeps(randomness) => {
            Some(before.map_or(threshold, |before| before.min(threshold)))
        }
        _ => before,
    }
}

/// The threshold of what policies that drop let pass: for some it was chance that they did.
fn above_drops<'a>(
    threshold: Threshold,
    mut drops: impl Iterator<Item = &'a Node>,
    ask: &mut Ask<'_, '_>,
) -> Option<Threshold> {
    drops.try_fold(threshold, |threshold, drop| {
        if drop.is_certain {
            return Some(threshold);
        }
        match drop.region(ask) {
            Region::NONE => Some(threshold),
            // Dropped below it, kept from there on.
            Region::Known(0, to) => Threshold::from_bits(to).map(|drop| threshold.max(drop)),
            _ => None,
        }
    })
}
