//! The tail samplers: under the Collector's names what it has too, and the rest under ours, which
//! are the same for samplers with policies and for those with rules.

use std::collections::BTreeSet;
use std::fmt;

use teleflow::Stats;
use teleflow::sampler::{self, Held, RuleStats};

use super::families::{Families, Labels, Rows, with};

const WITH_POLICIES: &str = "otelcol_processor_tail_sampling";
const WITH_RULES: &str = "otelcol_processor_adaptive_tail_sampling";
const OURS: &str = "teleflow_tail_sampling";

/// What causes decisions, in the order in which they are counted, and what the Collector calls it
/// where it has rules.
const TRIGGERS: [(&str, &str); 4] = [
    ("wait", "trace_timeout"),
    ("bytes", "eviction"),
    ("count", "eviction"),
    ("drain", "shutdown"),
];

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
        let dropped = sampler.dropped();
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
    each("new_trace_id_received", "Traces that came", |sampler| {
        sampler.stats.traces_kept + sampler.stats.traces_sampled_out + sampler.held.traces
    })?;
    let help = "Times that a policy could not vote about a trace";
    each("sampling_policy_evaluation_error", help, |sampler| sampler.errors())?;
    let name = format!("{WITH_POLICIES}_sampling_traces_on_memory");
    families.gauge(&name, "Undecided traces", self::each(samplers, |sampler| sampler.held.traces))
}

fn write_rules(families: &mut Families<'_>, samplers: &[Sampler<'_>]) -> fmt::Result {
    let mut counter =
        |what, help, rows| families.counter(&format!("{WITH_RULES}_{what}"), help, rows);
    let kept = samplers
        .iter()
        .flat_map(|sampler| sampler.rules("rule").map(|(labels, rule)| (labels, rule.traces_kept)));
    let help = "Traces that were kept, by the rule that decided";
    counter("traces_sampled", help, kept.collect())?;
    let out = samplers.iter().flat_map(|sampler| {
        // Whom a rule was asked about and the next one was not, it has decided about.
        let rules = &sampler.stats.rules;
        let passed_on = rules.iter().skip(1).map(|rule| rule.traces_seen).chain([0]);
        std::iter::zip(sampler.rules("rule"), passed_on).map(|((labels, rule), passed_on)| {
            (labels, rule.traces_seen.saturating_sub(passed_on + rule.traces_kept))
        })
    });
    let help = "Traces that were left out, by the rule that decided; of the last rule, those that \
                no rule matched too";
    counter("traces_dropped", help, out.collect())?;
    let triggers = samplers.iter().flat_map(|sampler| {
        let labels = sampler.labels();
        ["trace_timeout", "root_span", "span_limit", "eviction", "shutdown"].map(|cause| {
            let counts = TRIGGERS.iter().zip(sampler.stats.decisions);
            let count = counts.filter(|((_, name), _)| *name == cause).map(|(_, count)| count);
            (with(&labels, "trigger", cause), count.sum())
        })
    });
    counter("decision_triggers", "Traces by what caused the decision", triggers.collect())?;
    let evicted = each(samplers, |sampler| {
        let counts = TRIGGERS.iter().zip(sampler.stats.decisions);
        counts.filter(|((_, name), _)| *name == "eviction").map(|(_, count)| count).sum()
    });
    let help = "Traces decided early, for there was no room for more";
    counter("traces_evicted", help, evicted)?;
    let errors = samplers
        .iter()
        .flat_map(|sampler| sampler.rules("rule").map(|(labels, rule)| (labels, rule.errors)));
    let help = "Traces that a condition of a rule could not be evaluated for";
    counter("ottl_eval_errors", help, errors.collect())?;
    let name = format!("{WITH_RULES}_traces_active");
    families.gauge(&name, "Undecided traces", each(samplers, |sampler| sampler.held.traces))
}

fn write_ours(families: &mut Families<'_>, samplers: &[Sampler<'_>]) -> fmt::Result {
    let mut counter = |what, help, rows| families.counter(&format!("{OURS}_{what}"), help, rows);
    let decisions = samplers.iter().flat_map(|sampler| {
        let labels = sampler.labels();
        let counts = TRIGGERS.into_iter().zip(sampler.stats.decisions);
        counts.map(move |((cause, _), count)| (with(&labels, "trigger", cause), count))
    });
    counter("decisions", "Traces by what caused the decision", decisions.collect())?;
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
    let mut count = |what, help, count| counter(what, help, each(samplers, count));
    let help = "Spans without a usable trace id, decided by themselves";
    count("spans_without_trace", help, |sampler| sampler.stats.without_trace)?;
    let help = "Spans below a resource or scope too large to be repeated, decided by themselves";
    count("spans_below_large", help, |sampler| sampler.stats.below_large_envelope)?;
    let mut gauge =
        |what, help, count| families.gauge(&format!("{OURS}_{what}"), help, each(samplers, count));
    gauge("held_spans", "Undecided spans", |sampler| sampler.held.spans)?;
    let help = "Memory that undecided spans take, with the memory of decisions";
    gauge("held_bytes", help, |sampler| sampler.held.bytes)
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

    /// Traces that a policy has dropped.
    fn dropped(&self) -> u64 {
        self.stats.rules.iter().map(|rule| rule.traces_dropped).sum()
    }

    fn errors(&self) -> u64 {
        self.stats.rules.iter().map(|rule| rule.errors).sum()
    }
}
