//! What exporters do to send: requests, connections, retries, circuit breakers, endpoints.

use std::fmt;

use teleflow::exporter::{AdaptiveConcurrencyStats, RetryStats, SplitStats, WireStats};
use teleflow_concurrency::{BreakerState, BreakerStats};

use super::families::{Families, Labels, Rows, with};
use crate::watched::Figures;

/// By the exporter's name.
pub(super) type Exporters = [(String, Figures)];

/// The value of a label, and what is counted under it.
type Part<'a, T> = (&'a str, fn(&T) -> u64);

pub(super) fn write(families: &mut Families<'_>, exporters: &Exporters) -> fmt::Result {
    wire(families, exporters)?;
    retries(families, exporters)?;
    splits(families, exporters)?;
    limits(families, exporters)?;
    breakers(families, exporters)?;
    endpoints(families, exporters)?;
    failovers(families, exporters)?;
    let failing = exporters.iter().filter_map(|(name, figures)| {
        let failing = figures.failing?;
        Some((exporter(name), failing.as_secs()))
    });
    let help = "For how long the destination has taken nothing that was sent: 0 where it does";
    families.gauge("teleflow_exporter_failing_seconds", help, failing.collect())
}

fn wire(families: &mut Families<'_>, exporters: &Exporters) -> fmt::Result {
    let each = |count: fn(&WireStats) -> u64| sums(exporters, |figures| &figures.wires, count);
    let requests = each(|wire| wire.requests);
    let help = "Requests handed to a connection, retries included";
    families.counter("teleflow_exporter_requests", help, requests)?;
    let bytes = each(|wire| wire.bytes);
    families.counter(
        "teleflow_exporter_bytes",
        "Bytes handed to connections, before compression",
        bytes,
    )?;
    let wire_bytes = each(|wire| wire.wire_bytes);
    let help =
        "Bytes handed to connections, after compression, without what the protocol puts around";
    families.counter("teleflow_exporter_wire_bytes", help, wire_bytes)?;
    let encoded = each(|wire| wire.encoded);
    let help = "Requests encoded anew, as JSON is: once for all retries and destinations";
    families.counter("teleflow_exporter_encoded_requests", help, encoded)?;
    let compressed = each(|wire| wire.compressed);
    let help = "Requests compressed here: once for all retries and destinations";
    families.counter("teleflow_exporter_compressed_requests", help, compressed)?;
    let fallbacks = each(|wire| wire.fallbacks);
    let help = "Requests sent once more in a simpler compression, for the server refused the other";
    families.counter("teleflow_exporter_compression_fallbacks", help, fallbacks)?;
    let events = parts(
        exporters,
        |figures| &figures.wires,
        "event",
        &[
            ("connected", |wire: &WireStats| wire.connections.connected),
            ("failed", |wire| wire.connections.failed),
            // Not by our doing.
            ("lost", |wire| wire.connections.lost),
            // By our doing: unused for too long, or at the end.
            ("closed", |wire| wire.connections.closed),
        ],
    );
    let help = "What happened to connections";
    families.counter("teleflow_exporter_connection_events", help, events)
}

fn retries(families: &mut Families<'_>, exporters: &Exporters) -> fmt::Result {
    let each = |count: fn(&RetryStats) -> u64| sums(exporters, |figures| &figures.retries, count);
    let attempts = each(|retry| retry.attempts);
    let help = "Exports started, retries included";
    families.counter("teleflow_exporter_attempts", help, attempts)?;
    let retries = each(|retry| retry.retries);
    let help = "Exports started that were not the first of their request";
    families.counter("teleflow_exporter_retries", help, retries)?;
    let put_off = each(|retry| retry.put_off);
    let help = "Waits for a retry that were longer because the retry budget was spent";
    families.counter("teleflow_exporter_retries_put_off", help, put_off)?;
    let gave_up = each(|retry| retry.gave_up);
    let help = "Requests that could have been sent again, but not in time";
    families.counter("teleflow_exporter_retries_given_up", help, gave_up)?;
    let given_back = each(|retry| retry.given_back);
    let help = "Requests given back unsent, for the end did not let them wait for a retry";
    families.counter("teleflow_exporter_retries_given_back", help, given_back)
}

fn splits(families: &mut Families<'_>, exporters: &Exporters) -> fmt::Result {
    let each = |count: fn(&SplitStats) -> u64| sums(exporters, |figures| &figures.splits, count);
    let split = each(|split| split.split);
    let help = "Requests too large for the server in one piece";
    families.counter("teleflow_exporter_split_requests", help, split)?;
    let pieces = each(|split| split.pieces);
    families.counter(
        "teleflow_exporter_split_pieces",
        "Requests sent in place of those that were too large",
        pieces,
    )?;
    let dropped = each(|split| split.dropped_items);
    let help = "Items too large for the server by themselves, or refused in too many pieces";
    families.counter("teleflow_exporter_split_dropped_items", help, dropped)
}

fn limits(families: &mut Families<'_>, exporters: &Exporters) -> fmt::Result {
    let each = |count: fn(&AdaptiveConcurrencyStats) -> u64| {
        sums(exporters, |figures| &figures.concurrency, count)
    };
    let limit = each(|concurrency| concurrency.limit as u64);
    let help = "Requests that may be under way at a time, as was found out";
    families.gauge("teleflow_exporter_concurrency_limit", help, limit)?;
    let in_flight = each(|concurrency| concurrency.in_flight as u64);
    let help = "Requests that are under way, of those that may be";
    families.gauge("teleflow_exporter_concurrency_in_flight", help, in_flight)?;
    let overloads = each(|concurrency| concurrency.overloads);
    let help = "Answers by which there were too many requests at a time";
    families.counter("teleflow_exporter_concurrency_overloads", help, overloads)?;
    let waits = sums(exporters, |figures| &figures.rate_waits, |waits| *waits);
    let help = "Requests that waited for their turn in a rate";
    families.counter("teleflow_exporter_rate_limit_waits", help, waits)
}

fn breakers(families: &mut Families<'_>, exporters: &Exporters) -> fmt::Result {
    let of: fn(&Figures) -> &Vec<BreakerStats> = |figures| &figures.breakers;
    let states = parts(
        exporters,
        of,
        "state",
        &[
            ("closed", |breaker: &BreakerStats| u64::from(breaker.state == BreakerState::Closed)),
            ("open", |breaker| u64::from(breaker.state == BreakerState::Open)),
            ("half_open", |breaker| u64::from(breaker.state == BreakerState::HalfOpen)),
        ],
    );
    let help = "Circuit breakers that are in this state";
    families.gauge("teleflow_exporter_circuit_breakers", help, states)?;
    let calls = parts(
        exporters,
        of,
        "outcome",
        &[
            ("success", |breaker: &BreakerStats| breaker.successes),
            ("failure", |breaker| breaker.failures),
            ("refused", |breaker| breaker.refused),
            ("probe", |breaker| breaker.probes),
        ],
    );
    let help = "Requests by what the circuit breaker saw: those refused were not sent";
    families.counter("teleflow_exporter_circuit_breaker_requests", help, calls)?;
    let changes = parts(
        exporters,
        of,
        "to",
        &[("open", |breaker: &BreakerStats| breaker.opened), ("closed", |breaker| breaker.closed)],
    );
    let help = "Times that a circuit breaker opened or closed";
    families.counter("teleflow_exporter_circuit_breaker_changes", help, changes)
}

fn endpoints(families: &mut Families<'_>, exporters: &Exporters) -> fmt::Result {
    let mut backends = Rows::new();
    let [mut out, mut requests, mut items] = [const { Rows::new() }; 3];
    for (name, figures) in exporters {
        for endpoint in &figures.endpoints {
            let labels = with(&exporter(name), "endpoint", &endpoint.name);
            out.push((labels.clone(), u64::from(endpoint.is_out)));
            requests.push((labels.clone(), endpoint.parts));
            items.push((labels, endpoint.items));
        }
        if !figures.endpoints.is_empty() {
            let used = figures.endpoints.iter().filter(|endpoint| !endpoint.is_out).count();
            backends.push((exporter(name), used as u64));
        }
    }
    let help = "Endpoints that are used";
    families.gauge("otelcol_loadbalancer_num_backends", help, backends)?;
    let help = "Whether an endpoint is left out: 1 where it is";
    families.gauge("teleflow_exporter_endpoint_out", help, out)?;
    let help = "Requests, or parts of them, that an endpoint was tried with";
    families.counter("teleflow_exporter_endpoint_requests", help, requests)?;
    families.counter(
        "teleflow_exporter_endpoint_items",
        "Items that an endpoint was tried with",
        items,
    )
}

fn failovers(families: &mut Families<'_>, exporters: &Exporters) -> fmt::Result {
    let mut exports = Rows::new();
    for (name, figures) in exporters {
        let all = figures.failovers.iter().flat_map(|of_each| of_each.iter().enumerate());
        for (destination, count) in all {
            exports.push((with(&exporter(name), "destination", &destination.to_string()), *count));
        }
    }
    let help = "Requests by the destination that they were sent to, the first being 0";
    families.counter("teleflow_exporter_failover_requests", help, exports)
}

/// For each exporter that has such a part: the sum over all of that kind.
fn sums<T>(exporters: &Exporters, of: fn(&Figures) -> &Vec<T>, count: impl Fn(&T) -> u64) -> Rows {
    let counting = exporters.iter().filter(|(_, figures)| !of(figures).is_empty());
    counting.map(|(name, figures)| (exporter(name), of(figures).iter().map(&count).sum())).collect()
}

/// As [`sums`], for each value of a label.
fn parts<T>(
    exporters: &Exporters,
    of: fn(&Figures) -> &Vec<T>,
    key: &'static str,
    counts: &[Part<'_, T>],
) -> Rows {
    let rows = counts.iter().flat_map(|(value, count)| {
        sums(exporters, of, count).into_iter().map(|(labels, sum)| (with(&labels, key, value), sum))
    });
    rows.collect()
}

fn exporter(name: &str) -> Labels {
    vec![("exporter", name.to_owned())]
}
