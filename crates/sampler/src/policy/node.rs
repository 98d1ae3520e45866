//! A policy at work: how it votes, and for which randomness it would keep a trace.

use std::time::Instant;

use crate::Trace;
use crate::engine::Vote;
use crate::policy::chance::{Chance, Salt};
use crate::policy::custom::Running;
use crate::policy::fact::Fact;
use crate::policy::limit::{Bucket, Window};
use crate::policy::region::Region;
use crate::policy::spans::SpanTests;
use crate::policy::{Composite, Policy, Rule};
use crate::tail::ConfigError;

/// A policy at work.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// Whether it depends on nothing but what is in the trace: on no chance, and not on what was
    /// before.
    pub(crate) is_certain: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Fact(Fact),
    Chance(Chance),
    SpanLimit(Bucket),
    ByteLimit(Bucket),
    And(Vec<Node>),
    Not(Box<Node>),
    Drop(Vec<Node>),
    Composite(Vec<Node>, Window),
    Custom(Running),
}

/// What the policies of a set have in common while they are read.
#[derive(Debug)]
pub(crate) struct Building {
    pub(crate) tests: SpanTests,
    /// The salt that thresholds go by.
    pub(crate) salt: Salt,
    pub(crate) inverted_votes: bool,
}

/// What policies are asked about.
#[derive(Debug)]
pub(crate) struct Ask<'a, 't> {
    pub(crate) now: Instant,
    pub(crate) trace: &'a Trace<'t>,
    pub(crate) tests: &'a mut SpanTests,
    /// Whether something could not be told, and is to be counted.
    pub(crate) had_error: bool,
    /// The part of a composite policy that kept the trace.
    pub(crate) part: Option<u16>,
}

/// The most policies within policies. The Collector's configuration comes to four.
const MAX_DEPTH: usize = 32;

// === impl Node ===

impl Node {
    /// `path` names the policy after those it is part of, where there is a problem.
    pub(crate) fn new(
        policy: &Policy,
        path: &str,
        depth: usize,
        building: &mut Building,
    ) -> Result<Self, ConfigError> {
        let error = |path: &str, problem: &str| {
            Err(ConfigError::Rule { rule: path.into(), problem: problem.into() })
        };
        if depth == MAX_DEPTH {
            return error(path, "it is too deep within other policies");
        }
        let mut is_certain = true;
        let mut inner = |rule: &Rule| {
            let path = format!("{path}/{}", rule.name);
            if matches!(rule.policy, Policy::Drop(_)) {
                return error(&path, "a policy that drops cannot be part of another");
            }
            let node = Self::new(&rule.policy, &path, depth + 1, building)?;
            is_certain &= node.is_certain;
            Ok(node)
        };
        let kind = match policy {
            Policy::And(rules) => Kind::And(rules.iter().map(inner).collect::<Result<_, _>>()?),
            Policy::Drop(rules) if rules.is_empty() => {
                return error(path, "without a part it would drop every trace");
            }
            Policy::Drop(rules) => Kind::Drop(rules.iter().map(inner).collect::<Result<_, _>>()?),
            Policy::Not(rule) => Kind::Not(Box::new(inner(rule)?)),
            Policy::Composite(Composite { parts, .. }) if parts.len() > usize::from(u16::MAX) => {
                return error(path, "it has too many parts");
            }
            Policy::Composite(Composite { max_spans_per_second, parts }) => {
                let nodes = parts.iter().map(|part| inner(&part.rule));
                let nodes = nodes.collect::<Result<_, _>>()?;
                is_certain = false;
                let limits = parts.iter().map(|part| part.spans_per_second);
                Kind::Composite(nodes, Window::new(*max_spans_per_second, limits))
            }
            Policy::Ratio(ratio) => {
                let chance = Chance::new(ratio, &building.salt, path)?;
                is_certain = chance.is_certain();
                Kind::Chance(chance)
            }
            Policy::RateLimit { spans_per_second, burst } => {
                is_certain = false;
                Kind::SpanLimit(Bucket::new(*spans_per_second, *burst))
            }
            Policy::ByteLimit { bytes_per_second, burst } => {
                is_certain = false;
                Kind::ByteLimit(Bucket::new(*bytes_per_second, *burst))
            }
            Policy::Custom(custom) => {
                let running = Running::new(custom);
                is_certain = running.is_certain();
                Kind::Custom(running)
            }
            fact => match Fact::new(fact, path, building)? {
                Some(fact) => Kind::Fact(fact),
                None => return error(path, "this version does not know such a policy"),
            },
        };
        Ok(Self { kind, is_certain })
    }

    /// How it votes. Limits count what they let pass.
    pub(crate) fn vote(&mut self, ask: &mut Ask<'_, '_>) -> Vote {
        let summary = &ask.trace.summary;
        let keeps = match &mut self.kind {
            Kind::Fact(fact) => return fact.vote(ask),
            Kind::Chance(chance) => Some(chance.keeps(ask.trace)),
            Kind::SpanLimit(bucket) => Some(bucket.take(ask.now, summary.spans)),
            Kind::ByteLimit(bucket) => Some(bucket.take(ask.now, summary.bytes)),
            Kind::And(nodes) => all(nodes, ask),
            Kind::Drop(nodes) => match all(nodes, ask) {
                Some(true) => return Vote::Dropped,
                other => other,
            },
            Kind::Not(node) => match node.vote(ask) {
                Vote::Sampled => Some(false),
                Vote::NotSampled => Some(true),
                // The votes of inverted policies stay as they are: as the Collector has it.
                other => return other,
            },
            Kind::Composite(nodes, window) => {
                window.tick(ask.now);
                first(nodes, window, ask)
            }
            Kind::Custom(running) => {
                let keeps = running.keeps(ask.now, ask.trace);
                ask.had_error |= keeps.is_none();
                keeps
            }
        };
        match keeps {
            Some(true) => Vote::Sampled,
            Some(false) => Vote::NotSampled,
            None => Vote::Error,
        }
    }

    /// For which randomness it keeps a trace of this content, however it votes. Limits count nothing.
    pub(crate) fn region(&self, ask: &mut Ask<'_, '_>) -> Region {
        match &self.kind {
            Kind::Fact(fact) => match fact.vote(ask) {
                Vote::Error => Region::Error,
                vote => Region::certain(is_for(vote)),
            },
            Kind::Chance(chance) => chance.region(ask.trace),
            Kind::SpanLimit(_) | Kind::ByteLimit(_) => Region::Unknown,
            Kind::Custom(_) if !self.is_certain => Region::Unknown,
            Kind::Custom(running) => match running.keeps(ask.now, ask.trace) {
                Some(keeps) => Region::certain(keeps),
                None => Region::Error,
            },
            Kind::And(nodes) | Kind::Drop(nodes) => {
                nodes.iter().fold(Region::ALL, |region, node| region.and(node.region(ask)))
            }
            Kind::Not(node) if node.votes_inverted() => node.region(ask),
            Kind::Not(node) => node.region(ask).not(),
            Kind::Composite(nodes, _) => {
                // Nothing is kept where no part keeps anything; else it depends on what was before.
                nodes.iter().fold(Region::NONE, |all, node| match (all, node.region(ask)) {
                    (Region::Error, _) | (_, Region::Error) => Region::Error,
                    (Region::NONE, Region::NONE) => Region::NONE,
                    _ => Region::Unknown,
                })
            }
        }
    }

    /// Whether its votes are those of inverted policies.
    pub(crate) fn votes_inverted(&self) -> bool {
        match &self.kind {
            Kind::Fact(Fact::Found(looked)) => looked.votes_inverted,
            Kind::Not(node) => node.votes_inverted(),
            _ => false,
        }
    }

    pub(crate) const fn drops(&self) -> bool {
        matches!(self.kind, Kind::Drop(_))
    }

    pub(crate) const fn is_composite(&self) -> bool {
        matches!(self.kind, Kind::Composite(..))
    }

    /// The policies that it is made of.
    pub(crate) fn inner(&self) -> &[Self] {
        match &self.kind {
            Kind::And(nodes) | Kind::Drop(nodes) | Kind::Composite(nodes, _) => nodes,
            Kind::Not(node) => std::slice::from_ref(node),
            _ => &[],
        }
    }

    /// Takes over what was counted by a policy of the same definition.
    pub(crate) fn adopt(&mut self, old: Self) {
        match (&mut self.kind, old.kind) {
            (Kind::SpanLimit(new), Kind::SpanLimit(old))
            | (Kind::ByteLimit(new), Kind::ByteLimit(old)) => *new = old,
            (Kind::And(new), Kind::And(old)) | (Kind::Drop(new), Kind::Drop(old)) => {
                adopt_all(new, old);
            }
            (Kind::Not(new), Kind::Not(old)) => new.adopt(*old),
            (Kind::Custom(new), Kind::Custom(old)) => *new = old,
            (Kind::Composite(new, window), Kind::Composite(old, old_window)) => {
                adopt_all(new, old);
                *window = old_window;
            }
            _ => {}
        }
    }
}

fn adopt_all(new: &mut [Node], old: Vec<Node>) {
    new.iter_mut().zip(old).for_each(|(new, old)| new.adopt(old));
}

/// Whether all keep it, asked until one does not; `None` if one before that could not be asked.
fn all(nodes: &mut [Node], ask: &mut Ask<'_, '_>) -> Option<bool> {
    for node in nodes {
        match node.vote(ask) {
            Vote::Error => return None,
            vote if !is_for(vote) => return Some(false),
            _ => {}
        }
    }
    Some(true)
}

/// Whether the first part that keeps it has room for it; `None` if one before could not be asked.
fn first(nodes: &mut [Node], window: &mut Window, ask: &mut Ask<'_, '_>) -> Option<bool> {
    for (index, node) in nodes.iter_mut().enumerate() {
        match node.vote(ask) {
            Vote::Error => return None,
            vote if is_for(vote) => {
                let fits = window.take(index, ask.trace.summary.spans);
                // Of a composite policy within another, the outer part comes last, and stays.
                ask.part = Some(index as u16);
                return Some(fits);
            }
            _ => {}
        }
    }
    Some(false)
}

/// Whether a vote counts for keeping where policies are part of another.
const fn is_for(vote: Vote) -> bool {
    matches!(vote, Vote::Sampled | Vote::InvertSampled | Vote::Dropped)
}
