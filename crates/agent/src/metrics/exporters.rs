//! Exporters: what became of items, and what waits in queues.

use std::fmt;

use teleflow::exporter::{QueueConfig, QueueStats};
use teleflow::{Books, Signal, Stats};

use super::families::{Families, Labels, Rows};
use super::sending::Exporters;

pub(super) fn write(
    families: &mut Families<'_>,
    stats: &Stats,
    books: &Books,
    exporters: &Exporters,
) -> fmt::Result {
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
    queues(families, stats, exporters)
}

fn queues(families: &mut Families<'_>, stats: &Stats, exporters: &Exporters) -> fmt::Result {
    let queues = || {
        stats.lanes.iter().flat_map(|lane| {
            lane.queues.iter().map(move |(exporter, queue)| {
                let labels: Labels = vec![
                    ("exporter", exporter.clone()),
                    ("pipeline", lane.name.clone()),
                    ("data_type", lane.signal.name().to_owned()),
                ];
                (exporter, labels, queue)
            })
        })
    };
    let (mut sizes, mut capacities) = (Rows::new(), Rows::new());
    for (exporter, labels, queue) in queues() {
        let known = exporters.iter().find(|(name, _)| name == exporter);
        if let Some(config) = known.and_then(|(_, figures)| figures.queue.as_ref()) {
            let (size, capacity) = fill(config, queue);
            sizes.push((labels.clone(), size));
            capacities.push((labels, capacity));
        }
    }
    let help = "What is held, being sent included, by the measure of its sizer";
    families.gauge("otelcol_exporter_queue_size", help, sizes)?;
    let help = "What may be held, by the measure of its sizer";
    families.gauge("otelcol_exporter_queue_capacity", help, capacities)?;
    let each = |value: fn(&QueueStats) -> u64| -> Rows {
        queues().map(|(_, labels, queue)| (labels, value(queue))).collect()
    };
    let queued = each(|queue| queue.queued_requests as u64);
    families.gauge("teleflow_exporter_queue_requests", "Requests that wait to be sent", queued)?;
    let in_flight = each(|queue| queue.in_flight_requests as u64);
    families.gauge("otelcol_exporter_in_flight_requests", "Requests being sent", in_flight)?;
    let items = each(|queue| queue.queued_items + queue.in_flight_items);
    families.gauge("teleflow_exporter_queue_items", "Items waiting or being sent", items)?;
    let bytes = each(|queue| (queue.queued_bytes + queue.in_flight_bytes) as u64);
    let help = "Bytes waiting or being sent, before compression";
    families.gauge("teleflow_exporter_queue_bytes", help, bytes)
}

/// How much a queue holds and may hold, by what bounds it first: items or requests where the config
/// file says so, and else bytes.
fn fill(config: &QueueConfig, queue: &QueueStats) -> (u64, u64) {
    match (config.max_items, config.max_requests.get()) {
        (Some(items), _) => (queue.queued_items + queue.in_flight_items, items.get()),
        (None, usize::MAX) => {
            let held = queue.queued_bytes + queue.in_flight_bytes;
            (held as u64, config.max_bytes.get() as u64)
        }
        (None, requests) => {
            let held = queue.queued_requests + queue.in_flight_requests;
            (held as u64, requests as u64)
        }
    }
}
