//! Decisions as spans come: policies are asked about what a request brought of a trace, and a trace
//! that one of them keeps or drops does not wait.
//!
//! Each part is looked at once, when it comes: what a request has of a trace below one resource, or
//! of that what came until the bounds are looked at, or a trace has too many spans. So a trace costs
//! no more the more often something of it comes. A policy that looks at counts sees those of the
//! whole trace.

use std::ops::ControlFlow;
use std::time::Instant;

use teleflow_otlp::span::TailFields;

use super::config::ConfigError;
use super::table::{RunRef, Table};
use super::{Output, TailSampler, Trigger};
use crate::policy::{Policy, Rule};
use crate::rules::Rules;
use crate::{SpanView, Spans, Trace, TraceSummary};

/// When it is decided whether a trace is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Strategy {
    /// When it is likely complete: all of it is looked at, once.
    #[default]
    TraceComplete,
    /// As soon as what a request brings of it settles it: a policy keeps or drops that part. Its
    /// other spans follow. Parts are looked at by themselves, only spans and bytes are counted
    /// together; so policies that a later span could make change their minds are refused: limits,
    /// the most spans of a trace, the longest time it may take.
    ///
    /// What is not settled when its wait ends is left out, and no policy is asked. Only where there
    /// are policies that drop, which any span that comes may bring to do so, nothing is kept before,
    /// and all policies are asked about the whole trace then.
    SpanIngest,
}

/// Runs of the request that is being read, about which no policy was asked yet.
#[derive(Debug, Default)]
pub(super) struct Ingest {
    /// As they came; as many as are read before the bounds are looked at, at most.
    unseen: Vec<Unseen>,
}

#[derive(Clone, Copy, Debug)]
struct Unseen {
    trace: u32,
    /// Its place among all.
    order: u32,
    /// `None`: the trace was decided, and what came of it before is gone.
    run: Option<RunRef>,
}

/// Some spans of a trace.
struct Part<'a> {
    table: &'a Table,
    spans: &'a [Unseen],
}

/// Whether rules can be asked about parts of a trace.
pub(super) fn check(rules: &Rules) -> Result<(), ConfigError> {
    match rules {
        Rules::Policies(policies) => {
            policies.policies.iter().try_for_each(|rule| check_rule(rule, &rule.name))
        }
        Rules::FirstMatch(_) => Err(ConfigError::RulesOnIngest),
    }
}

fn check_rule(rule: &Rule, path: &str) -> Result<(), ConfigError> {
    let changes = match &rule.policy {
        Policy::RateLimit { .. } | Policy::ByteLimit { .. } => "it counts what it lets pass",
        Policy::SpanCount { max: Some(_), .. } => "more spans may still come",
        Policy::Latency { up_to: Some(_), .. } => "a span that comes may make the trace longer",
        Policy::Custom(custom) if !custom.is_certain() => "it depends on more than the trace",
        _ => {
            return parts(&rule.policy)
                .into_iter()
                .try_for_each(|part| check_rule(part, &format!("{path}/{}", part.name)));
        }
    };
    let problem = format!("it cannot be asked about a part of a trace: {changes}");
    Err(ConfigError::Rule { rule: path.into(), problem })
}

fn parts(policy: &Policy) -> Vec<&Rule> {
    match policy {
        Policy::And(rules) | Policy::Drop(rules) => rules.iter().collect(),
        Policy::Not(rule) => vec![rule],
        Policy::Composite(composite) => composite.parts.iter().map(|part| &part.rule).collect(),
        _ => Vec::new(),
    }
}

// === impl Ingest ===

impl Ingest {
    /// Notes spans of a trace that waits.
    #[inline]
    pub(super) fn add(&mut self, trace: u32, run: RunRef) {
        self.push(trace, Some(run));
    }

    /// Notes that a trace was decided. Another may have its place next.
    fn forget(&mut self, trace: u32) {
        self.push(trace, None);
    }

    fn push(&mut self, trace: u32, run: Option<RunRef>) {
        let order = self.unseen.len() as u32;
        self.unseen.push(Unseen { trace, order, run });
    }
}

// === impl TailSampler ===

impl TailSampler {
    /// Asks about the parts of traces that came since the last time. Tells whether a trace was
    /// decided for that.
    #[inline]
    pub(super) fn ask_about_parts(&mut self, now: Instant, out: &mut Output) -> bool {
        !self.ingest.unseen.is_empty() && self.ask_about_unseen(now, out)
    }

    /// Few samplers decide as spans come: nobody else is to pay for it.
    #[cold]
    fn ask_about_unseen(&mut self, now: Instant, out: &mut Output) -> bool {
        let mut unseen = std::mem::take(&mut self.ingest.unseen);
        unseen.sort_unstable_by_key(|unseen| (unseen.trace, unseen.order));
        let mut any = false;
        for part in unseen.chunk_by(|one, next| one.trace == next.trace) {
            let gone = part.iter().rposition(|unseen| unseen.run.is_none());
            let part = &part[gone.map_or(0, |gone| gone + 1)..];
            if let Some(first) = part.first() {
                any |= self.ask_about_part(now, first.trace, part, out);
            }
        }
        unseen.clear();
        self.ingest.unseen = unseen;
        any
    }

    /// Decides about a trace that has too much, after its last part was asked about: unless nobody is
    /// asked about such.
    pub(super) fn decide_after_parts(
        &mut self,
        now: Instant,
        trace: u32,
        trigger: Trigger,
        out: &mut Output,
    ) {
        if trigger == Trigger::TooLarge {
            self.ingest.forget(trace);
        } else {
            let id = self.table.id(trace);
            self.ask_about_parts(now, out);
            if self.table.find(&id, self.keyed.id(&id)).is_none() {
                return;
            }
        }
        self.decide(now, trace, trigger, out);
    }

    fn ask_about_part(
        &mut self,
        now: Instant,
        trace: u32,
        spans: &[Unseen],
        out: &mut Output,
    ) -> bool {
        let part = Part { table: &self.table, spans };
        let mut own = TraceSummary::default();
        let _ = part.visit(&mut |span| {
            own.add(&TailFields::read(span.message), 0);
            ControlFlow::Continue(())
        });
        let whole = self.table.summary(trace);
        let is_first = own.spans == whole.spans;
        let TraceSummary { spans, bytes, randomness, has_odds, .. } = *whole;
        let summary = TraceSummary { spans, bytes, randomness, has_odds, ..own };
        let asked = Trace { id: self.table.id(trace), summary, spans: &part };
        let Some(verdict) = self.engine.decide_early(now, &asked, is_first) else { return false };
        self.settle(now, trace, Trigger::Ingest, Some(verdict), out);
        true
    }
}

impl Spans for Part<'_> {
    fn visit(&self, visit: &mut dyn FnMut(SpanView<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let runs = self.spans.iter().filter_map(|unseen| unseen.run);
        runs.flat_map(|run| self.table.chunk(run.chunk).views(run)).try_for_each(visit)
    }
}
