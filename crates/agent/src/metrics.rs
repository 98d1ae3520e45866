//! What `/metrics` says: the Collector's names where the meaning is the same, so that its
//! dashboards work, and our own for the books.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use teleflow::receiver::Transport;
use teleflow::store::SqliteStore;
use teleflow::{Books, Phase, Pipeline, Signal, Stats};

use crate::process;
use crate::talk::{self, Offered};

/// A pipeline's figures, read anew for each scrape.
#[derive(Debug)]
pub(crate) struct Metrics {
    pipeline: Arc<Pipeline>,
    registry: Registry,
}

#[derive(Debug)]
struct Source {
    pipeline: Arc<Pipeline>,
    stores: Stores,
    started: Instant,
}

/// The stores among the exporters, by the exporter's name.
type Stores = Vec<(String, Arc<SqliteStore>)>;

type Labels = Vec<(&'static str, String)>;

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(pipeline: Arc<Pipeline>, stores: Stores) -> Self {
        let mut registry = Registry::default();
        let source = Source { pipeline: Arc::clone(&pipeline), stores, started: Instant::now() };
        registry.register_collector(Box::new(source));
        Self { pipeline, registry }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.pipeline.phase()
    }

    pub(crate) fn failed_lanes(&self) -> Vec<&str> {
        self.pipeline.failed_lanes()
    }

    /// OpenMetrics text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a string does not fail; a defect is to be seen, not to be a panic.
            Err(fmt::Error) => "# metrics could not be written\n# EOF\n".to_owned(),
        }
    }
}

// === impl Source ===

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (stats, books) = (self.pipeline.stats(), self.pipeline.books());
        receivers(&mut encoder, &stats)?;
        exporters(&mut encoder, &stats, &books)?;
        tail_sampling(&mut encoder, &stats)?;
        items(&mut encoder, &books)?;
        store_rows(&mut encoder, &self.stores)?;
        log_lines(&mut encoder, talk::err().offered())?;
        let up = self.started.elapsed().as_secs_f64();
        float_counter(&mut encoder, "otelcol_process_uptime", "Seconds since the start", up)?;
        if let Some(usage) = process::usage() {
            let (name, help) = ("otelcol_process_memory_rss", "Resident memory, in bytes");
            gauge(&mut encoder, name, help, vec![(Vec::new(), usage.rss)])?;
            let (name, help) = ("teleflow_process_peak_rss", "The most resident memory, in bytes");
            gauge(&mut encoder, name, help, vec![(Vec::new(), usage.peak_rss)])?;
            let (name, help) = ("otelcol_process_cpu_seconds", "User and system time");
            float_counter(&mut encoder, name, help, usage.cpu_seconds)?;
        }
        Ok(())
    }
}

fn receivers(encoder: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
    for signal in Signal::ALL {
        let what = signal.items_name();
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for (name, snapshot) in &stats.receivers {
            for transport in Transport::ALL {
                let requests = snapshot.of(transport, signal);
                let labels =
                    vec![("receiver", name.clone()), ("transport", transport.name().to_owned())];
                accepted.push((labels.clone(), requests.accepted_items));
                refused.push((labels, requests.refused_items));
            }
        }
        let name = format!("otelcol_receiver_accepted_{what}");
        counter(encoder, &name, "Items of requests answered with success", accepted)?;
        let name = format!("otelcol_receiver_refused_{what}");
        counter(encoder, &name, "Items of requests turned away, to be sent again", refused)?;
    }
    let (mut requests, mut invalid) = (Vec::new(), Vec::new());
    let (mut open, mut in_flight) = (Vec::new(), Vec::new());
    for (name, snapshot) in &stats.receivers {
        let receiver = vec![("receiver", name.clone())];
        open.push((receiver.clone(), snapshot.connections_open as u64));
        in_flight.push((receiver, snapshot.bytes_in_flight as u64));
        for (transport, signal) in
            Transport::ALL.into_iter().flat_map(|t| Signal::ALL.map(|signal| (t, signal)))
        {
            let counted = snapshot.of(transport, signal);
            for (outcome, count) in [
                ("success", counted.accepted),
                ("refused", counted.refused),
                ("failure", counted.invalid + counted.incomplete),
            ] {
                let mut labels = vec![
                    ("receiver", name.clone()),
                    ("transport", transport.name().to_owned()),
                    ("data_type", signal.name().to_owned()),
                ];
                if outcome == "failure" {
                    invalid.push((labels.clone(), counted.invalid));
                }
                labels.push(("outcome", outcome.to_owned()));
                requests.push((labels, count));
            }
        }
    }
    counter(encoder, "otelcol_receiver_requests", "Requests by outcome", requests)?;
    counter(
        encoder,
        "teleflow_receiver_invalid_requests",
        "Requests that were malformed, too large or of a wrong type",
        invalid,
    )?;
    gauge(encoder, "teleflow_receiver_connections", "Open connections", open)?;
    gauge(
        encoder,
        "teleflow_receiver_bytes_in_flight",
        "Bytes of requests that are being read or handed on",
        in_flight,
    )
}

fn exporters(encoder: &mut DescriptorEncoder<'_>, stats: &Stats, books: &Books) -> fmt::Result {
    for signal in Signal::ALL {
        let what = signal.items_name();
        let (mut sent, mut failed, mut not_queued) = (Vec::new(), Vec::new(), Vec::new());
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
        counter(encoder, &name, "Items that the destination took", sent)?;
        let name = format!("otelcol_exporter_send_failed_{what}");
        counter(encoder, &name, "Items given up, or refused for good by the destination", failed)?;
        let name = format!("otelcol_exporter_enqueue_failed_{what}");
        counter(encoder, &name, "Items for which the queue had no room", not_queued)?;
    }
    let mut rows = [const { Vec::new() }; 3];
    for lane in &stats.lanes {
        for (exporter, queue) in &lane.queues {
            let labels: Labels = vec![
                ("exporter", exporter.clone()),
                ("pipeline", lane.name.clone()),
                ("data_type", lane.signal.name().to_owned()),
            ];
            let values = [
                queue.queued_requests as u64,
                queue.in_flight_requests as u64,
                (queue.queued_bytes + queue.in_flight_bytes) as u64,
            ];
            rows.iter_mut()
                .zip(values)
                .for_each(|(rows, value)| rows.push((labels.clone(), value)));
        }
    }
    let [queued, in_flight, bytes] = rows;
    gauge(encoder, "otelcol_exporter_queue_size", "Requests that wait to be sent", queued)?;
    gauge(encoder, "otelcol_exporter_in_flight_requests", "Requests being sent", in_flight)?;
    gauge(encoder, "teleflow_exporter_queue_bytes", "Bytes waiting or being sent", bytes)
}

fn tail_sampling(encoder: &mut DescriptorEncoder<'_>, stats: &Stats) -> fmt::Result {
    const PREFIX: &str = "otelcol_processor_tail_sampling";
    let mut sampled = Vec::new();
    let mut by_policy = Vec::new();
    let mut triggers = Vec::new();
    let mut late = Vec::new();
    let mut held = [const { Vec::new() }; 3];
    for lane in &stats.lanes {
        let Some((stats, now)) = &lane.sampler else { continue };
        let with = |key: &'static str, value: &str| -> Labels {
            vec![("pipeline", lane.name.clone()), (key, value.to_owned())]
        };
        sampled.push((with("sampled", "true"), stats.traces_kept));
        sampled.push((with("sampled", "false"), stats.traces_sampled_out));
        for rule in &stats.rules {
            for (is_sampled, count) in
                [("true", rule.traces_kept), ("false", rule.traces_seen - rule.traces_kept)]
            {
                let mut labels = with("policy", &rule.name);
                labels.push(("sampled", is_sampled.to_owned()));
                by_policy.push((labels, count));
            }
        }
        for (trigger, count) in ["wait", "bytes", "count", "drain"].into_iter().zip(stats.decisions)
        {
            triggers.push((with("trigger", trigger), count));
        }
        late.push((with("sampled", "true"), stats.late_kept));
        late.push((with("sampled", "false"), stats.late_sampled_out));
        let pipeline: Labels = vec![("pipeline", lane.name.clone())];
        for (rows, value) in held.iter_mut().zip([now.traces, now.spans, now.bytes]) {
            rows.push((pipeline.clone(), value));
        }
    }
    let [traces, spans, bytes] = held;
    counter(encoder, &format!("{PREFIX}_global_count_traces_sampled"), "Traces decided", sampled)?;
    counter(encoder, &format!("{PREFIX}_count_traces_sampled"), "Traces by policy", by_policy)?;
    counter(
        encoder,
        "teleflow_tail_sampling_decisions",
        "Traces by what caused the decision",
        triggers,
    )?;
    counter(
        encoder,
        "teleflow_tail_sampling_late_spans",
        "Spans that came after the decision",
        late,
    )?;
    let name = format!("{PREFIX}_sampling_traces_on_memory");
    gauge(encoder, &name, "Undecided traces", traces)?;
    gauge(encoder, "teleflow_tail_sampling_held_spans", "Undecided spans", spans)?;
    gauge(encoder, "teleflow_tail_sampling_held_bytes", "What they take, in bytes", bytes)
}

/// The books: for each pipeline and destination, accepted is the sum of all the others.
fn items(encoder: &mut DescriptorEncoder<'_>, books: &Books) -> fmt::Result {
    let (mut moved, mut held) = (Vec::new(), Vec::new());
    for account in &books.accounts {
        let labels: Labels = vec![
            ("pipeline", account.lane.clone()),
            ("destination", account.destination.clone()),
            ("data_type", account.signal.name().to_owned()),
        ];
        let with = |state: &str, reason: &str| {
            let mut labels = labels.clone();
            labels.push(("state", state.to_owned()));
            labels.push(("reason", reason.to_owned()));
            labels
        };
        moved.push((with("accepted", ""), account.accepted));
        moved.push((with("delivered", ""), account.delivered));
        moved.push((with("sampled_out", ""), account.sampled_out));
        moved.push((with("rejected", ""), account.rejected));
        for (reason, count) in &account.dropped {
            moved.push((with("dropped", reason), *count));
        }
        held.push((labels.clone(), account.held));
    }
    counter(encoder, "teleflow_items", "What became of every item", moved)?;
    gauge(encoder, "teleflow_items_held", "Items on their way", held)
}

fn store_rows(encoder: &mut DescriptorEncoder<'_>, stores: &Stores) -> fmt::Result {
    let (mut stored, mut evicted) = (Vec::new(), Vec::new());
    for (exporter, store) in stores {
        let stats = store.stats();
        for (rows, counted) in [(&mut stored, stats.stored), (&mut evicted, stats.evicted)] {
            for (table, count) in [
                ("spans", counted.spans),
                ("metric_points", counted.metric_points),
                ("logs", counted.logs),
            ] {
                let labels = vec![("exporter", exporter.clone()), ("table", table.to_owned())];
                rows.push((labels, count));
            }
        }
    }
    counter(encoder, "teleflow_store_rows", "Rows written to the store", stored)?;
    let help = "Rows deleted, oldest first, to keep the store within its bound";
    counter(encoder, "teleflow_store_evicted_rows", help, evicted)
}

fn log_lines(encoder: &mut DescriptorEncoder<'_>, log: Offered) -> fmt::Result {
    let rows = [("written", log.written), ("left_out", log.left_out), ("failed", log.failed)];
    let rows = rows.map(|(outcome, lines)| (vec![("outcome", outcome.to_owned())], lines));
    counter(encoder, "teleflow_log_lines", "Lines of the log by what became of them", rows.into())
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: Vec<(Labels, u64)>,
) -> fmt::Result {
    family(encoder, name, help, rows, ConstCounter::new)
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: Vec<(Labels, u64)>,
) -> fmt::Result {
    family(encoder, name, help, rows, ConstGauge::new)
}

fn family<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: Vec<(Labels, u64)>,
    metric: impl Fn(u64) -> M,
) -> fmt::Result {
    let Some((_, first)) = rows.first() else { return Ok(()) };
    let kind = metric(*first).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in &rows {
        metric(*value).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

fn float_counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> fmt::Result {
    let counter = ConstCounter::new(value);
    let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
    counter.encode(metric)
}
