//! Several samplers side by side, each with the traces of its own shard: what each of them is to do,
//! and what they did together.

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;

use crate::engine::{RuleStats, Volume};
use crate::memory::MemoryStats;
use crate::policy::{Composite, Part, Policy, Rule};
use crate::rules::{MatchRule, Policies, Rules, SamplerStats};
use crate::tail::{Config, Held, ReliefStats, Remembered, Stats, StorageStats};

/// The share of one shard: `index` of `of`.
#[derive(Clone, Copy, Debug)]
struct Share {
    index: usize,
    of: usize,
}

// === impl Config ===

impl Config {
    /// Divides it over so many shards, one configuration each.
    ///
    /// Bytes, traces, remembered decisions and all that rules allow a second add up to what was
    /// configured; only what would be zero for a shard, and is not zero as a whole, is one. What is
    /// about a single trace stays as it is, and so do bursts: they are the largest trace that a
    /// limit lets through, and a trace is in one shard as a whole.
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use teleflow_sampler::Config;
    ///
    /// let whole = Config { max_traces: 50_000, ..Config::default() };
    /// let shards = whole.divided(NonZeroUsize::new(3).ok_or("three is not zero")?);
    /// let traces: Vec<_> = shards.iter().map(|shard| shard.max_traces).collect();
    /// assert_eq!(traces, [16_667, 16_667, 16_666]);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn divided(&self, shards: NonZeroUsize) -> Vec<Self> {
        let of = shards.get();
        (0..of).map(|index| Share { index, of }.of_config(self)).collect()
    }
}

// === impl Share ===

impl Share {
    fn of_config(self, whole: &Config) -> Config {
        let Remembered { kept, dropped } = whole.remembered;
        Config {
            rules: self.of_rules(&whole.rules),
            max_bytes: self.of_count(whole.max_bytes as u64) as usize,
            max_traces: self.of_count(whole.max_traces as u64) as usize,
            remembered: Remembered {
                kept: self.of_count(kept as u64) as usize,
                dropped: self.of_count(dropped as u64) as usize,
            },
            ..whole.clone()
        }
    }

    fn of_rules(self, rules: &Rules) -> Rules {
        match rules {
            Rules::Policies(whole) => {
                Rules::Policies(Policies { policies: self.of_all(&whole.policies), ..*whole })
            }
            Rules::FirstMatch(rules) => {
                let of_rule = |rule: &MatchRule| {
                    let sampler = rule.sampler.part(self.of, |whole| self.of_count(whole));
                    MatchRule { sampler, ..rule.clone() }
                };
                Rules::FirstMatch(rules.iter().map(of_rule).collect())
            }
        }
    }

    fn of_all(self, rules: &[Rule]) -> Vec<Rule> {
        rules.iter().map(|rule| self.of_rule(rule)).collect()
    }

    fn of_rule(self, rule: &Rule) -> Rule {
        Rule { name: rule.name.clone(), policy: self.of_policy(&rule.policy) }
    }

    fn of_policy(self, policy: &Policy) -> Policy {
        match policy {
            Policy::RateLimit { spans_per_second, burst } => Policy::RateLimit {
                spans_per_second: self.of_count(*spans_per_second),
                burst: *burst,
            },
            Policy::ByteLimit { bytes_per_second, burst } => Policy::ByteLimit {
                bytes_per_second: self.of_count(*bytes_per_second),
                burst: *burst,
            },
            Policy::And(rules) => Policy::And(self.of_all(rules)),
            Policy::Not(rule) => Policy::Not(Box::new(self.of_rule(rule))),
            Policy::Drop(rules) => Policy::Drop(self.of_all(rules)),
            Policy::Composite(whole) => {
                let of_part = |part: &Part| Part {
                    rule: self.of_rule(&part.rule),
                    spans_per_second: self.of_count(part.spans_per_second),
                };
                Policy::Composite(Composite {
                    max_spans_per_second: self.of_count(whole.max_spans_per_second),
                    parts: whole.parts.iter().map(of_part).collect(),
                })
            }
            // Named one by one: a new policy has to say whether it is divided.
            Policy::Always
            | Policy::Status(_)
            | Policy::Latency { .. }
            | Policy::Ratio(_)
            | Policy::StringAttribute { .. }
            | Policy::NumericAttribute { .. }
            | Policy::BooleanAttribute { .. }
            | Policy::SpanCount { .. }
            | Policy::TraceState { .. }
            | Policy::TraceFlags
            | Policy::Conditions(_)
            | Policy::Custom(_) => policy.clone(),
        }
    }

    /// The first shards get what is left over.
    const fn of_count(self, whole: u64) -> u64 {
        let (share, rest) = (whole / self.of as u64, whole % self.of as u64);
        let share = share + ((self.index as u64) < rest) as u64;
        if share == 0 && whole > 0 { 1 } else { share }
    }
}

// === impl Stats ===

impl Stats {
    /// Adds what the sampler of another shard did. The rules are the same for both.
    pub fn add(&mut self, other: &Self) {
        let Self {
            traces,
            traces_kept,
            traces_sampled_out,
            traces_dropped,
            decisions,
            waited_millis,
            waits,
            spans_kept,
            spans_sampled_out,
            spans_estimated,
            spans_unknown,
            late_kept,
            late_sampled_out,
            without_trace,
            below_large_envelope,
            without_room,
            inconsistent,
            copied_out,
            copied_out_bytes,
            unmatched,
            root_errors,
            storage,
            memory,
            sharing,
            relief,
            rules,
        } = other;
        self.traces += traces;
        self.traces_kept += traces_kept;
        self.traces_sampled_out += traces_sampled_out;
        self.traces_dropped += traces_dropped;
        std::iter::zip(&mut self.decisions, decisions).for_each(|(sum, more)| *sum += more);
        self.waited_millis += waited_millis;
        self.waits.add(waits);
        self.spans_kept += spans_kept;
        let sums = std::iter::zip(&mut self.spans_sampled_out, spans_sampled_out);
        sums.for_each(|(sum, more)| *sum += more);
        self.spans_estimated += spans_estimated;
        self.spans_unknown += spans_unknown;
        self.without_room += without_room;
        self.inconsistent += inconsistent;
        self.copied_out += copied_out;
        self.copied_out_bytes += copied_out_bytes;
        self.unmatched += unmatched;
        self.root_errors += root_errors;
        self.storage.add(*storage);
        self.memory.add(memory);
        self.sharing.add(sharing);
        self.relief.add(relief);
        self.late_kept += late_kept;
        self.late_sampled_out += late_sampled_out;
        self.without_trace += without_trace;
        self.below_large_envelope += below_large_envelope;
        std::iter::zip(&mut self.rules, rules).for_each(|(sum, more)| sum.add(more));
    }
}

// === impl ReliefStats ===

impl ReliefStats {
    fn add(&mut self, other: &Self) {
        let Self { active, level, activations, traces_kept, traces_sampled_out } = other;
        self.active += active;
        self.level = self.level.max(*level);
        self.activations += activations;
        self.traces_kept += traces_kept;
        self.traces_sampled_out += traces_sampled_out;
    }
}

// === impl RuleStats ===

impl RuleStats {
    fn add(&mut self, other: &Self) {
        let Self {
            name: _,
            traces_seen,
            traces_sampled,
            traces_dropped,
            errors,
            traces_kept,
            spans_kept,
            bytes_kept,
            sampled,
            not_sampled,
            dropped,
            sampler,
        } = other;
        self.traces_seen += traces_seen;
        self.traces_sampled += traces_sampled;
        self.traces_dropped += traces_dropped;
        self.errors += errors;
        self.traces_kept += traces_kept;
        self.spans_kept += spans_kept;
        self.bytes_kept += bytes_kept;
        self.sampled.add(sampled);
        self.not_sampled.add(not_sampled);
        self.dropped.add(dropped);
        self.sampler.add(sampler);
    }
}

// === impl Volume ===

impl Volume {
    const fn add(&mut self, other: &Self) {
        let Self { spans, bytes } = other;
        self.spans += *spans;
        self.bytes += *bytes;
    }
}

// === impl SamplerStats ===

impl SamplerStats {
    fn add(&mut self, other: &Self) {
        let Self { keys, beyond, intervals, last_seen, last_kept } = other;
        // A key is known to every shard that had a trace of it, and each counts intervals.
        self.keys = self.keys.max(*keys);
        self.intervals = self.intervals.max(*intervals);
        self.beyond += beyond;
        self.last_seen += last_seen;
        self.last_kept += last_kept;
    }
}

// === impl MemoryStats ===

impl MemoryStats {
    fn add(&mut self, other: &Self) {
        let Self { kept, dropped, capacity, false_positive_rate, forgotten_early, bytes } = other;
        self.kept += kept;
        self.dropped += dropped;
        self.capacity.kept += capacity.kept;
        self.capacity.dropped += capacity.dropped;
        // A trace is looked for in its own shard alone.
        self.false_positive_rate = self.false_positive_rate.max(*false_positive_rate);
        self.forgotten_early += forgotten_early;
        self.bytes += bytes;
    }
}

// === impl StorageStats ===

impl StorageStats {
    const fn add(&mut self, other: Self) {
        let Self { requests, bytes, full, failed } = other;
        self.requests += requests;
        self.bytes += bytes;
        self.full += full;
        self.failed += failed;
    }
}

// === impl Held ===

impl Held {
    /// Adds what the sampler of another shard holds.
    pub const fn add(&mut self, other: &Self) {
        let Self { spans, traces, bytes, stored_bytes, storage_bytes } = other;
        self.spans += *spans;
        self.traces += *traces;
        self.bytes += *bytes;
        self.stored_bytes += *stored_bytes;
        self.storage_bytes += *storage_bytes;
    }
}
