//! Batchers: those of pipelines, and those of exporters.

use std::fmt;

use teleflow::Stats;
use teleflow::batcher::{self, Trigger};

use super::families::{Families, Labels, Rows, with};

/// A batcher, and what it holds: items and bytes.
type Batcher<'a> = (Labels, &'a batcher::Stats, u64, u64);

pub(super) fn write(families: &mut Families<'_>, stats: &Stats) -> fmt::Result {
    let in_pipelines = stats.lanes.iter().filter_map(|lane| {
        let (stats, items, bytes) = lane.batcher.as_ref()?;
        let labels = vec![("processor", "batch".to_owned()), ("pipeline", lane.name.clone())];
        Some((labels, stats, *items, *bytes as u64))
    });
    let in_pipelines: Vec<Batcher<'_>> = in_pipelines.collect();
    let each = |count: fn(&batcher::Stats) -> u64| -> Rows {
        in_pipelines.iter().map(|(labels, stats, ..)| (labels.clone(), count(stats))).collect()
    };
    let help = "Batches that went because they were large enough";
    let name = "otelcol_processor_batch_batch_size_trigger_send";
    families.counter(name, help, each(|batches| batches.full))?;
    let help = "Batches that went because they were old enough";
    let name = "otelcol_processor_batch_timeout_trigger_send";
    families.counter(name, help, each(|batches| batches.timed_out))?;
    write_all(families, "teleflow_batch", &in_pipelines)?;

    let of_exporters = stats.lanes.iter().flat_map(|lane| {
        lane.batchers.iter().map(|(exporter, stats, items, bytes)| {
            let labels = vec![("exporter", exporter.clone()), ("pipeline", lane.name.clone())];
            (labels, stats, *items, *bytes as u64)
        })
    });
    write_all(families, "teleflow_exporter_batch", &of_exporters.collect::<Vec<_>>())
}

fn write_all(families: &mut Families<'_>, prefix: &str, batchers: &[Batcher<'_>]) -> fmt::Result {
    let each = |count: fn(&Batcher<'_>) -> u64| -> Rows {
        batchers.iter().map(|batcher| (batcher.0.clone(), count(batcher))).collect()
    };
    let mut counter = |what: &str, help: &str, count| {
        families.counter(&format!("{prefix}_{what}"), help, each(count))
    };
    counter("requests", "Requests that came to be batched", |(_, of, ..)| of.payloads)?;
    counter("items", "Items that came to be batched", |(_, of, ..)| of.items)?;
    let help = "Requests that were cut, for a batch would have been too large";
    counter("split_requests", help, |(_, of, ..)| of.split)?;
    counter("split_pieces", "Pieces that requests were cut into", |(_, of, ..)| of.pieces)?;
    let help =
        "Requests cut into larger pieces than the limits say, or there would have been too many";
    counter("loosened_requests", help, |(_, of, ..)| of.loosened)?;
    let batches = batchers.iter().flat_map(|(labels, of, ..)| {
        Trigger::ALL.map(|cause| (with(labels, "trigger", cause.name()), of.batches_by(cause)))
    });
    let help = "Batches by what made them go";
    families.counter(&format!("{prefix}_batches"), help, batches.collect())?;
    let items = each(|(_, _, items, _)| *items);
    families.gauge(&format!("{prefix}_held_items"), "Items that wait in an open batch", items)?;
    let bytes = each(|(_, _, _, bytes)| *bytes);
    families.gauge(&format!("{prefix}_held_bytes"), "Bytes that wait in an open batch", bytes)
}
