//! The tail sampler.

use std::fmt;

use teleflow::Stats;

use super::families::{Families, Labels, Rows, with};

const PREFIX: &str = "otelcol_processor_tail_sampling";

pub(super) fn write(families: &mut Families<'_>, stats: &Stats) -> fmt::Result {
    let [mut sampled, mut by_policy, mut triggers, mut late] = [const { Rows::new() }; 4];
    let [mut without_trace, mut below_large] = [const { Rows::new() }; 2];
    let [mut traces, mut spans, mut bytes] = [const { Rows::new() }; 3];
    for lane in &stats.lanes {
        let Some((stats, held)) = &lane.sampler else { continue };
        let pipeline: Labels = vec![("pipeline", lane.name.clone())];
        let labels = |key, value| with(&pipeline, key, value);
        sampled.push((labels("sampled", "true"), stats.traces_kept));
        sampled.push((labels("sampled", "false"), stats.traces_sampled_out));
        for rule in &stats.rules {
            for (is_sampled, count) in
                [("true", rule.traces_kept), ("false", rule.traces_seen - rule.traces_kept)]
            {
                let labels = with(&labels("policy", &rule.name), "sampled", is_sampled);
                by_policy.push((labels, count));
            }
        }
        for (trigger, count) in ["wait", "bytes", "count", "drain"].into_iter().zip(stats.decisions)
        {
            triggers.push((labels("trigger", trigger), count));
        }
        late.push((labels("sampled", "true"), stats.late_kept));
        late.push((labels("sampled", "false"), stats.late_sampled_out));
        without_trace.push((pipeline.clone(), stats.without_trace));
        below_large.push((pipeline.clone(), stats.below_large_envelope));
        traces.push((pipeline.clone(), held.traces));
        spans.push((pipeline.clone(), held.spans));
        bytes.push((pipeline, held.bytes));
    }
    let name = format!("{PREFIX}_global_count_traces_sampled");
    families.counter(&name, "Traces decided", sampled)?;
    let help = "Traces by policy: those it was the first to keep, and those it did not keep";
    families.counter(&format!("{PREFIX}_count_traces_sampled"), help, by_policy)?;
    let help = "Traces by what caused the decision";
    families.counter("teleflow_tail_sampling_decisions", help, triggers)?;
    let help = "Spans that came after the decision";
    families.counter("teleflow_tail_sampling_late_spans", help, late)?;
    let help = "Spans without a usable trace id, decided by themselves";
    families.counter("teleflow_tail_sampling_spans_without_trace", help, without_trace)?;
    let help = "Spans below a resource or scope too large to be repeated, decided by themselves";
    families.counter("teleflow_tail_sampling_spans_below_large", help, below_large)?;
    let name = format!("{PREFIX}_sampling_traces_on_memory");
    families.gauge(&name, "Undecided traces", traces)?;
    families.gauge("teleflow_tail_sampling_held_spans", "Undecided spans", spans)?;
    let help = "Memory that undecided spans take, with the memory of decisions";
    families.gauge("teleflow_tail_sampling_held_bytes", help, bytes)
}
