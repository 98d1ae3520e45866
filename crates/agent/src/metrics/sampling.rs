//! The tail samplers: under the Collector's names what it has too, and the rest under ours, which
//! are the same for samplers with policies and for those with rules.

use std::collections::BTreeSet;
use std::fmt;

use teleflow::Stats;
use teleflow::sampler::{self, Held, RuleStats, Trigger, Volume, Waits};

use super::families::{Families, Labels, Rows, Sizes, with};

const WITH_POLICIES: &str = "otelcol_processor_tail_sampling";
const WITH_RULES: &str = "otelcol_processor_adaptive_tail_sampling";
const OURS: &str = "teleflow_tail_sampling";

/// The sampler of a pipeline.
#[derive(Clone, Copy, Debug)]
struct Sampler<'a> {
    pipeline: &'a str,
    stats: &'a sampler::Stats,
    held: &'a Held,
}

/// `adaptive` has the pipelines whose samplers have rules.
pub(super) fn write(
    families: &mut Families<'_>,
    stats: &Stats,
    adaptive: &BTreeSet<String>,
) -> fmt::Result {
    let samplers = stats.lanes.iter().filter_map(|lane| {
        let (stats, held) = lane.sampler.as_ref()?;
        Some(Sampler { pipeline: &lane.name, stats, held })
    });
    let samplers: Vec<_> = samplers.collect();
    let is_adaptive = |sampler: &Sampler<'_>| adaptive.contains(sampler.pipeline);
    let (with_rules, with_policies): (Vec<_>, Vec<_>) =
        samplers.iter().copied().partition(is_adaptive);
    write_policies(families, &with_policies)?;
    write_rules(families, &with_rules)?;
    write_ours(families, &samplers)
}

fn write_policies(families: &mut Families<'_>, samplers: &[Sampler<'_>]) -> fmt::Result {
    let mut counter =
        |what, help, rows| families.counter(&format!("{WITH_POLICIES}_{what}"), help, rows);
    let global = samplers.iter().flat_map(|sampler| {
        let dropped = sampler.stats.traces_dropped;
        let out = sampler.stats.traces_sampled_out.saturating_sub(dropped);
        sampler.decided([sampler.stats.traces_kept, out, dropped], &sampler.labels())
    });
    counter("global_count_traces_sampled", "Traces decided", global.collect())?;
    let votes = samplers.iter().flat_map(|sampler| {
        sampler.rules("policy").flat_map(|(labels, rule)| {
            let RuleStats { traces_seen, traces_sampled, traces_dropped, errors, .. } = *rule;
            let out = traces_seen.saturating_sub(traces_sampled + traces_dropped + errors);
            sampler.decided([traces_sampled, out, traces_dropped], &labels)
        })
    });
    let help = "Traces by how a policy voted, whatever became of them";
    counter("count_traces_sampled", help, votes.collect())?;
    let mut volumes = |what, help, of: fn(&Volume) -> u64| {
        let votes = samplers.iter().flat_map(|sampler| {
            sampler.rules("policy").flat_map(move |(labels, rule)| {
                let RuleStats { sampled, not_sampled, dropped, .. } = rule;
                sampler.decided([sampled, not_sampled, dropped].map(of), &labels)
            })
        });
        counter(what, help, votes.collect())
    };
    let help = "Spans of traces by how a policy voted, whatever became of them";
    volumes("count_spans_sampled", help, |volume| volume.spans)?;
    let help = "Bytes of spans of traces by how a policy voted, whatever became of them";
    volumes("count_bytes_sampled", help, |volume| volume.bytes)?;
    let asked = samplers.iter().flat_map(|sampler| {
        sampler.rules("policy").map(|(labels, rule)| (labels, rule.traces_seen))
    });
    let help = "Traces that a policy was asked about";
    counter("sampling_policy_execution_count", help, asked.collect())?;
    let late = samplers.iter().flat_map(|sampler| {
        let labels = sampler.labels();
        let of = |is_sampled, count| (with(&labels, "sampled", is_sampled), count);
        let stats = sampler.stats;
        [of("true", stats.late_kept), of("false", stats.late_sampled_out)]
    });
    let help = "Spans that came after the decision, and followed it";
    counter("early_releases_from_cache_decision", help, late.collect())?;
    let mut each =
        |what, help, count: fn(&Sampler<'_>) -> u64| counter(what, help, each(samplers, count));
    each("new_trace_id_received", "Traces that came", |sampler| sampler.stats.traces)?;
    let help = "Traces that were dropped, for they were too large";
    each("traces_dropped_too_large", help, |sampler| sampler.decisions([Trigger::TooLarge]))?;
    let help = "Times that a policy could not vote about a trace";
    each("sampling_policy_evaluation_error", help, |sampler| sampler.errors())?;
    let name = format!("{WITH_POLICIES}_sampling_traces_on_memory");
    families.gauge(
        &name,
        "Undecided traces",
        self::each(samplers, |sampler| sampler.held.traces),
    )?;
    let name = format!("{WITH_POLICIES}_sampling_trace_removal_age");
    let help = "Seconds from the first span of a trace to its decision, with which its spans go";
    families.histogram(&name, help, samplers.iter().map(Sampler::waits).collect())
}

fn write_rules(families: &mut Families<'_>, samplers: &[Sampler<'_>]) -> fmt::Result {
    let mut counter =
        |what, help, rows| families.counter(&format!("{WITH_RULES}_{what}"), help, rows);
    let kept = samplers
        .iter()
        .flat_map(|sampler| sampler.rules("rule").map(|(labels, rule)| (labels, rule.traces_kept)));
    let help = "Traces that were kept, by the rule that decided; `_eviction` is chance, about those \
                that had to go early";
    counter("traces_sampled", help, kept.collect())?;
    let out = samplers.iter().flat_map(|sampler| {
        // Whom a rule was asked about and the next one was not, it has decided about. What is no
        // rule of the file begins with `_`, and passes nothing on.
        let unmatched = sampler.stats.unmatched;
        let rules = sampler.stats.rules.iter().filter(|rule| !rule.name.starts_with('_'));
        let passed_on = rules.skip(1).map(|rule| rule.traces_seen).chain([unmatched, 0]);
        let rules = std::iter::zip(sampler.rules("rule"), passed_on);
        let of_rules = rules.map(|((labels, rule), passed_on)| {
            (labels, rule.traces_seen.saturating_sub(passed_on + rule.traces_kept))
        });
        of_rules.chain([(with(&sampler.labels(), "rule", "_unmatched"), unmatched)])
    });
    let help = "Traces that were left out, by the rule that decided; `_unmatched` are those that no \
                rule matched, and `_eviction` is as above";
    counter("traces_dropped", help, out.collect())?;
    let triggers = samplers.iter().flat_map(|sampler| {
        let labels = sampler.labels();
        [
            ("trace_timeout", sampler.decisions([Trigger::Wait])),
            ("root_span", sampler.decisions([Trigger::AfterRoot])),
            ("span_limit", sampler.decisions([Trigger::Spans, Trigger::TooLarge])),
            ("eviction", sampler.decisions([Trigger::Bytes, Trigger::Count])),
            ("shutdown", sampler.decisions([Trigger::Drain])),
            ("relief", sampler.decisions([Trigger::Relief])),
        ]
        .map(|(cause, count)| (with(&labels, "trigger", cause), count))
    });
    counter("decision_triggers", "Traces by what caused the decision", triggers.collect())?;
    let evicted = each(samplers, |sampler| sampler.decisions([Trigger::Bytes, Trigger::Count]));
    let help = "Traces decided early, for there was no room for more";
    counter("traces_evicted", help, evicted)?;
    let errors = samplers.iter().flat_map(|sampler| {
        let of_rules = sampler.rules("rule").map(|(labels, rule)| (labels, rule.errors));
        let labels = with(&sampler.labels(), "rule", "_root_span_condition");
        of_rules.chain([(labels, sampler.stats.root_errors)])
    });
    let help = "Traces that a condition of a rule could not be evaluated for; of \
                `_root_span_condition`, spans";
    counter("ottl_eval_errors", help, errors.collect())?;
    let name = format!("{WITH_RULES}_traces_active");
    families.gauge(&name, "Undecided traces", each(samplers, |sampler| sampler.held.traces))?;
    let keys = samplers.iter().flat_map(|sampler| {
        sampler.rules("rule").map(|(labels, rule)| (labels, rule.sampler.keys))
    });
    let name = format!("{WITH_RULES}_sampler_keyspace_size");
    families.gauge(&name, "Kinds of traces that the sampler of a rule tells apart", keys.collect())
}

fn write_ours(families: &mut Families<'_>, samplers: &[Sampler<'_>]) -> fmt::Result {
    let mut counter = |what, help, rows| families.counter(&format!("{OURS}_{what}"), help, rows);
    let by_trigger = |counts: fn(&sampler::Stats) -> &[u64]| -> Rows {
        let rows = samplers.iter().flat_map(|sampler| {
            let (labels, counts) = (sampler.labels(), counts(sampler.stats));
            let rows = std::iter::zip(Trigger::ALL, counts);
            rows.map(move |(cause, count)| (with(&labels, "trigger", cause.name()), *count))
        });
        rows.collect()
    };
    let decisions = by_trigger(|stats| &stats.decisions);
    counter("decisions", "Traces by what caused the decision", decisions)?;
    let out = by_trigger(|stats| &stats.spans_sampled_out);
    let help =
        "Spans that were left out, by what caused the decision; without those that came late";
    counter("sampled_out_spans", help, out)?;
    let spans = samplers.iter().flat_map(|sampler| {
        let (labels, stats) = (sampler.labels(), sampler.stats);
        let of = |is_sampled, count| (with(&labels, "sampled", is_sampled), count);
        let out = stats.spans_sampled_out.iter().sum::<u64>() + stats.late_sampled_out;
        [of("true", stats.spans_kept), of("false", out)]
    });
    let help = "Spans by what became of them, those that came late too";
    counter("spans", help, spans.collect())?;
    let kept = samplers.iter().flat_map(|sampler| {
        sampler.rules("policy").map(|(labels, rule)| (labels, rule.traces_kept))
    });
    let help = "Traces that were kept, by the policy or rule that was the first to keep them";
    counter("kept_traces", help, kept.collect())?;
    let kept = samplers.iter().flat_map(|sampler| {
        sampler.rules("policy").map(|(labels, rule)| (labels, rule.spans_kept))
    });
    let help =
        "Spans of traces that were kept, by the policy or rule that was the first to keep them";
    counter("kept_spans", help, kept.collect())?;
    let relieved = samplers.iter().flat_map(|sampler| {
        let (labels, relief) = (sampler.labels(), sampler.stats.relief);
        let of = |is_sampled, count| (with(&labels, "sampled", is_sampled), count);
        [of("true", relief.traces_kept), of("false", relief.traces_sampled_out)]
    });
    let help = "Traces that were decided when they began, by stress relief";
    counter("relief_traces", help, relieved.collect())?;
    let kept = samplers.iter().flat_map(|sampler| {
        sampler.rules("policy").map(|(labels, rule)| (labels, rule.bytes_kept))
    });
    let help = "Bytes of spans of traces that were kept, by the policy or rule that was the first to \
                keep them";
    counter("kept_bytes", help, kept.collect())?;
    let mut count = |what, help, count| counter(what, help, each(samplers, count));
    let help = "Times that stress relief began";
    count("relief_activations", help, |sampler| sampler.stats.relief.activations)?;
    let help =
        "How many spans those stand for that were kept by known odds: an estimate of all spans";
    // A part of a span is of no account.
    count("estimated_spans", help, |sampler| sampler.stats.spans_estimated.round() as u64)?;
    let help = "Spans kept by odds that nobody knows: the estimate lacks what they stand for";
    count("unknown_spans", help, |sampler| sampler.stats.spans_unknown)?;
    let help = "How long traces had waited when they were decided, all together";
    count("waited_milliseconds", help, |sampler| sampler.stats.waited_millis)?;
    let help = "Spans whose trace state had no room for the threshold";
    count("spans_without_threshold", help, |sampler| sampler.stats.without_room)?;
    let help = "Spans that came with a threshold by which they would have been left out";
    count("inconsistent_spans", help, |sampler| sampler.stats.inconsistent)?;
    let help = "Times that spans were copied out of requests of which little else was needed";
    count("copied_out", help, |sampler| sampler.stats.copied_out)?;
    let help = "Memory that this gave back";
    count("copied_out_bytes", help, |sampler| sampler.stats.copied_out_bytes)?;
    let help = "Decisions that were forgotten early, for want of a place for one more";
    count("forgotten_early", help, |sampler| sampler.stats.memory.forgotten_early)?;
    let help = "Spans without a usable trace id, decided by themselves";
    count("spans_without_trace", help, |sampler| sampler.stats.without_trace)?;
    let help = "Spans below a resource or scope too large to be repeated, decided by themselves";
    count("spans_below_large", help, |sampler| sampler.stats.below_large_envelope)?;
    let help = "Seconds that traces had waited when they were decided";
    let waits = samplers.iter().map(Sampler::waits).collect();
    families.histogram(&format!("{OURS}_wait_seconds"), help, waits)?;
    let mut gauge =
        |what, help, count| families.gauge(&format!("{OURS}_{what}"), help, each(samplers, count));
    let help = "Samplers, of shards too, whose stress relief is active";
    gauge("relief_active", help, |sampler| sampler.stats.relief.active)?;
    let help = "How full the fullest of what has a bound is, with stress relief";
    gauge("relief_level", help, |sampler| sampler.stats.relief.level)?;
    gauge("held_spans", "Undecided spans", |sampler| sampler.held.spans)?;
    let help = "Memory that undecided spans take, with the memory of decisions";
    gauge("held_bytes", help, |sampler| sampler.held.bytes)?;
    let help = "Memory that decisions take";
    gauge("remembered_bytes", help, |sampler| sampler.stats.memory.bytes)?;
    let help = "Of 10^9 traces that come anew, how many are taken for one that was left out";
    gauge("false_positives", help, |sampler| {
        (sampler.stats.memory.false_positive_rate * 1e9).round() as u64
    })?;
    let remembered = samplers.iter().flat_map(|sampler| {
        let (labels, memory) = (sampler.labels(), &sampler.stats.memory);
        let of = |is_sampled, count| (with(&labels, "sampled", is_sampled), count);
        [of("true", memory.kept), of("false", memory.dropped)]
    });
    let help = "Decided traces that are remembered";
    families.gauge(&format!("{OURS}_remembered_traces"), help, remembered.collect())
}

/// One figure of each.
fn each(samplers: &[Sampler<'_>], count: fn(&Sampler<'_>) -> u64) -> Rows {
    samplers.iter().map(|sampler| (sampler.labels(), count(sampler))).collect()
}

// === impl Sampler ===

impl<'a> Sampler<'a> {
    fn labels(&self) -> Labels {
        vec![("pipeline", self.pipeline.to_owned())]
    }

    /// How long traces had waited.
    fn waits(&self) -> (Labels, Sizes) {
        let bounds =
            Waits::BOUNDS.map(|bound| bound.as_secs_f64()).into_iter().chain([f64::INFINITY]);
        let buckets = std::iter::zip(bounds, self.stats.waits.counts).collect();
        (self.labels(), Sizes { sum: self.stats.waited_millis as f64 / 1e3, buckets })
    }

    /// Each policy or rule, and its labels.
    fn rules(&self, key: &'static str) -> impl Iterator<Item = (Labels, &'a RuleStats)> + use<'a> {
        let labels = self.labels();
        self.stats.rules.iter().map(move |rule| (with(&labels, key, &rule.name), rule))
    }

    /// What was kept, not kept and dropped.
    fn decided(&self, counts: [u64; 3], labels: &Labels) -> Rows {
        let decisions = [("true", "sampled"), ("false", "not_sampled"), ("false", "dropped")];
        let rows = std::iter::zip(decisions, counts).map(|((is_sampled, decision), count)| {
            (with(&with(labels, "sampled", is_sampled), "decision", decision), count)
        });
        rows.collect()
    }

    /// Decisions by any of these.
    fn decisions<const N: usize>(&self, by: [Trigger; N]) -> u64 {
        let counts = std::iter::zip(Trigger::ALL, self.stats.decisions);
        counts.filter(|(cause, _)| by.contains(cause)).map(|(_, count)| count).sum()
    }

    fn errors(&self) -> u64 {
        self.stats.rules.iter().map(|rule| rule.errors).sum()
    }
}
