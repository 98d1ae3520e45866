//! The samplers that decide at once.

use std::fmt;

use teleflow::{Signal, Stats};

use super::families::{Families, Rows, with};

const PREFIX: &str = "otelcol_processor_probabilistic_sampler_count";

pub(super) fn write(families: &mut Families<'_>, stats: &Stats) -> fmt::Result {
    let [mut spans, mut records] = [const { Rows::new() }; 2];
    let mut estimated = Rows::new();
    for lane in &stats.lanes {
        let Some(stats) = &lane.head else { continue };
        let pipeline = vec![("pipeline", lane.name.clone())];
        let rows = if lane.signal == Signal::Logs { &mut records } else { &mut spans };
        rows.push((with(&pipeline, "sampled", "true"), stats.kept));
        rows.push((with(&pipeline, "sampled", "false"), stats.sampled_out));
        estimated.push((pipeline, stats.adjusted_count.round() as u64));
    }
    families.counter(&format!("{PREFIX}_traces_sampled"), "Spans decided at once", spans)?;
    families.counter(&format!("{PREFIX}_logs_sampled"), "Log records decided at once", records)?;
    let help = "Spans and records that those stand for which were kept at once";
    families.counter("teleflow_head_sampling_estimated_items", help, estimated)
}
