//! Rules at work, of which the first that matches decides.

use std::time::Instant;

use super::MatchRule;
use super::matching::{Marks, Matcher};
use super::sampler::Sampler;
use crate::Trace;
use crate::engine::{By, Explained, RuleStats, Verdict, Vote};
use crate::tail::ConfigError;

#[derive(Debug)]
pub(crate) struct RuleSet {
    matcher: Matcher,
    samplers: Vec<Sampler>,
    stats: Vec<RuleStats>,
    marks: Marks,
    unmatched: u64,
}

// === impl RuleSet ===

impl RuleSet {
    /// Reads conditions, attributes and numbers.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read or is out of its range, or if a rule has no name of its own.
    pub(crate) fn new(rules: &[MatchRule]) -> Result<Self, ConfigError> {
        let error = |rule: &str, problem| ConfigError::Rule { rule: rule.to_owned(), problem };
        if rules.len() > usize::from(u16::MAX) {
            let problem = format!("{} rules: {} are the most", rules.len(), u16::MAX);
            return Err(error("rules", problem));
        }
        for (index, rule) in rules.iter().enumerate() {
            if rule.name.is_empty() {
                return Err(error(&format!("rule {}", index + 1), "it needs a name".into()));
            }
            if rules[..index].iter().any(|other| other.name == rule.name) {
                return Err(error(&rule.name, "another rule has this name, too".into()));
            }
        }
        let matcher =
            Matcher::new(rules).map_err(|(index, problem)| error(&rules[index].name, problem))?;
        let samplers = rules
            .iter()
            .map(|rule| Sampler::new(&rule.sampler).map_err(|problem| error(&rule.name, problem)))
            .collect::<Result<_, _>>()?;
        let stats = rules
            .iter()
            .map(|rule| RuleStats { name: rule.name.clone(), ..RuleStats::default() })
            .collect();
        Ok(Self { matcher, samplers, stats, marks: Marks::default(), unmatched: 0 })
    }

    /// Goes on where `old` was: rules of the same name keep their counts, and if their samplers are
    /// the same, too, what those learned, whatever became of the conditions.
    pub(crate) fn adopt(&mut self, old: Self) {
        self.unmatched = old.unmatched;
        for (stats, sampler) in old.stats.into_iter().zip(old.samplers) {
            let Some(index) = self.stats.iter().position(|own| own.name == stats.name) else {
                continue;
            };
            self.stats[index] = stats;
            if self.samplers[index].is_like(&sampler) {
                self.samplers[index] = sampler;
            }
        }
    }

    /// Decides about a trace. The threshold is the sampler's own, whether the trace is kept or not.
    pub(crate) fn decide(&mut self, now: Instant, trace: &Trace<'_>) -> Verdict {
        let found = self.matcher.first(trace, &mut self.marks);
        let asked = found.map_or(self.stats.len(), |found| found + 1);
        for (index, stats) in self.stats[..asked].iter_mut().enumerate() {
            if found != Some(index) {
                stats.count(Vote::NotSampled, &trace.summary);
            }
            stats.errors += u64::from(self.marks.has_error(index));
        }
        let Some(found) = found else {
            self.unmatched += 1;
            return Verdict::LEFT_OUT;
        };
        let answer = self.samplers[found].decide(now, trace);
        let vote = if answer.is_kept { Vote::Sampled } else { Vote::NotSampled };
        let stats = &mut self.stats[found];
        stats.count(vote, &trace.summary);
        if answer.is_kept {
            stats.count_kept(&trace.summary);
        }
        answer.verdict(found)
    }

    /// The key of the trace that a rule's sampler decided about last, if it has any.
    pub(crate) fn fingerprint(&self, by: By) -> Option<&str> {
        self.samplers.get(usize::from(by.rule))?.fingerprint()
    }

    /// Reads the key that a rule's sampler, if it has any, would decide about a trace by.
    pub(crate) fn read_key(&mut self, by: By, trace: &Trace<'_>) {
        if let Some(sampler) = self.samplers.get_mut(usize::from(by.rule)) {
            sampler.read_key(trace);
        }
    }

    /// What each rule would say of a trace, and why; and what would become of it. Nothing is learned
    /// or counted, and samplers answer as of the last trace that they were asked about.
    pub(crate) fn explain(&self, now: Instant, trace: &Trace<'_>) -> (Vec<Explained>, Verdict) {
        let mut marks = Marks::default();
        let found = self.matcher.first(trace, &mut marks);
        let mut verdict = Verdict::LEFT_OUT;
        let explain = |(index, stats): (usize, &RuleStats)| {
            let (vote, why) = match found {
                Some(found) if index > found => {
                    let first = &self.stats[found].name;
                    (Vote::NotSampled, format!("is not asked: `{first}` decides"))
                }
                Some(found) if index == found => {
                    let (answer, why) = self.samplers[index].explain(now, trace);
                    verdict = answer.verdict(index);
                    let vote = if answer.is_kept { Vote::Sampled } else { Vote::NotSampled };
                    (
                        vote,
                        format!("{}; {why}", self.matcher.why(index, true, &trace.summary, &marks)),
                    )
                }
                _ => (Vote::NotSampled, self.matcher.why(index, false, &trace.summary, &marks)),
            };
            Explained { rule: stats.name.clone(), vote, why }
        };
        (self.stats.iter().enumerate().map(explain).collect(), verdict)
    }

    /// How many traces no rule matched.
    pub(crate) const fn unmatched(&self) -> u64 {
        self.unmatched
    }

    /// What each rule did, in their order.
    pub(crate) fn stats(&self) -> Vec<RuleStats> {
        let of = |(stats, sampler): (&RuleStats, &Sampler)| RuleStats {
            sampler: sampler.stats(),
            ..stats.clone()
        };
        self.stats.iter().zip(&self.samplers).map(of).collect()
    }
}
