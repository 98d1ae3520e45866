//! Exporters: what became of items, and what waits in queues.

use std::fmt;

use teleflow::exporter::QueueStats;
use teleflow::{Books, Signal, Stats};

use super::families::{Families, Labels, Rows};

pub(super) fn write(families: &mut Families<'_>, stats: &Stats, books: &Books) -> fmt::Result {
    for signal in Signal::ALL {
        let what = signal.items_name();
        let [mut sent, mut failed, mut not_queued] = [const { Rows::new() }; 3];
        for account in books.of(signal) {
            let labels: Labels =
                vec![("exporter", account.destination.clone()), ("pipeline", account.lane.clone())];
            let of = |queue: bool| -> u64 {
                let is_queue = |reason: &str| matches!(reason, "queue_full" | "too_large");
                let lost = account.dropped.iter().filter(|(reason, _)| is_queue(reason) == queue);
                lost.map(|(_, count)| count).sum()
            };
            sent.push((labels.clone(), account.delivered));
            not_queued.push((labels.clone(), of(true)));
            failed.push((labels, of(false) + account.rejected));
        }
        let name = format!("otelcol_exporter_sent_{what}");
        families.counter(&name, "Items that the destination took", sent)?;
        let name = format!("otelcol_exporter_send_failed_{what}");
        families.counter(
            &name,
            "Items given up, or refused for good by the destination",
            failed,
        )?;
        let name = format!("otelcol_exporter_enqueue_failed_{what}");
        families.counter(&name, "Items for which the queue had no room", not_queued)?;
    }
    queues(families, stats)
}

fn queues(families: &mut Families<'_>, stats: &Stats) -> fmt::Result {
    let each = |value: fn(&QueueStats) -> u64| -> Rows {
        let rows = stats.lanes.iter().flat_map(|lane| {
            lane.queues.iter().map(move |(exporter, queue)| {
                let labels = vec![
                    ("exporter", exporter.clone()),
                    ("pipeline", lane.name.clone()),
                    ("data_type", lane.signal.name().to_owned()),
                ];
                (labels, value(queue))
            })
        });
        rows.collect()
    };
    let queued = each(|queue| queue.queued_requests as u64);
    families.gauge("otelcol_exporter_queue_size", "Requests that wait to be sent", queued)?;
    let in_flight = each(|queue| queue.in_flight_requests as u64);
    families.gauge("otelcol_exporter_in_flight_requests", "Requests being sent", in_flight)?;
    let items = each(|queue| queue.queued_items + queue.in_flight_items);
    families.gauge("teleflow_exporter_queue_items", "Items waiting or being sent", items)?;
    let bytes = each(|queue| (queue.queued_bytes + queue.in_flight_bytes) as u64);
    let help = "Bytes waiting or being sent, before compression";
    families.gauge("teleflow_exporter_queue_bytes", help, bytes)
}
