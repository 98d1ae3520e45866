//! Receivers: what came in, and what did not.

use std::fmt;

use teleflow::receiver::{Snapshot, Transport};
use teleflow::{Signal, Stats};

use super::families::{Families, Labels, Rows, with};

pub(super) fn write(families: &mut Families<'_>, stats: &Stats) -> fmt::Result {
    items(families, stats)?;
    requests(families, stats)?;
    connections(families, stats)
}

fn items(families: &mut Families<'_>, stats: &Stats) -> fmt::Result {
    for signal in Signal::ALL {
        let what = signal.items_name();
        let (mut accepted, mut refused) = (Rows::new(), Rows::new());
        for (name, snapshot) in &stats.receivers {
            for transport in Transport::ALL {
                let requests = snapshot.of(transport, signal);
                let labels = with(&receiver(name), "transport", transport.name());
                accepted.push((labels.clone(), requests.accepted_items));
                refused.push((labels, requests.refused_items));
            }
        }
        let name = format!("otelcol_receiver_accepted_{what}");
        families.counter(&name, "Items of requests answered with success", accepted)?;
        let name = format!("otelcol_receiver_refused_{what}");
        families.counter(&name, "Items of requests turned away, to be sent again", refused)?;
    }
    Ok(())
}

fn requests(families: &mut Families<'_>, stats: &Stats) -> fmt::Result {
    let mut outcomes = Rows::new();
    let [mut invalid, mut denied, mut incomplete, mut bytes] = [const { Rows::new() }; 4];
    for (name, snapshot) in &stats.receivers {
        for transport in Transport::ALL {
            for signal in Signal::ALL {
                let labels = with(&receiver(name), "transport", transport.name());
                let labels = with(&labels, "data_type", signal.name());
                let counted = snapshot.of(transport, signal);
                let failed = counted.invalid + counted.denied + counted.incomplete;
                for (outcome, count) in [
                    ("success", counted.accepted),
                    ("refused", counted.refused),
                    ("failure", failed),
                ] {
                    outcomes.push((with(&labels, "outcome", outcome), count));
                }
                invalid.push((labels.clone(), counted.invalid));
                denied.push((labels.clone(), counted.denied));
                incomplete.push((labels.clone(), counted.incomplete));
                bytes.push((labels, counted.bytes));
            }
        }
    }
    families.counter("otelcol_receiver_requests", "Requests by outcome", outcomes)?;
    let help = "Requests that were malformed, too large or of a wrong type";
    families.counter("teleflow_receiver_invalid_requests", help, invalid)?;
    let help = "Requests turned away for good because of their credentials";
    families.counter("teleflow_receiver_denied_requests", help, denied)?;
    let help = "Requests without an end: the client left or was too slow, or the gateway ended";
    families.counter("teleflow_receiver_incomplete_requests", help, incomplete)?;
    let help = "Bytes of bodies as they came over the wire";
    families.counter("teleflow_receiver_bytes", help, bytes)?;
    let unrouted = each(stats, |snapshot| snapshot.unrouted);
    let help = "Requests to a path or by a method that is not served";
    families.counter("teleflow_receiver_unrouted_requests", help, unrouted)?;
    let bytes = each(stats, |snapshot| snapshot.bytes_in_flight as u64);
    let help = "Bytes of requests that are being read or handed on";
    families.gauge("teleflow_receiver_bytes_in_flight", help, bytes)
}

fn connections(families: &mut Families<'_>, stats: &Stats) -> fmt::Result {
    let open = each(stats, |snapshot| snapshot.connections_open as u64);
    families.gauge("teleflow_receiver_connections", "Open connections", open)?;
    let mut events = Rows::new();
    for (name, snapshot) in &stats.receivers {
        for (event, count) in [
            ("accepted", snapshot.connections),
            // Closed at once, for too many were open.
            ("refused", snapshot.connections_refused),
            ("handshake_failed", snapshot.handshakes_failed),
            // Asked to close because of their age.
            ("aged", snapshot.connections_aged),
            // Cut off, for they kept the receiver busy and sent nothing.
            ("abusive", snapshot.connections_abusive),
            // The operating system could not hand one over.
            ("accept_failed", snapshot.accept_errors),
        ] {
            events.push((with(&receiver(name), "event", event), count));
        }
    }
    let help = "What happened to connections";
    families.counter("teleflow_receiver_connection_events", help, events)
}

fn each(stats: &Stats, count: impl Fn(&Snapshot) -> u64) -> Rows {
    stats.receivers.iter().map(|(name, snapshot)| (receiver(name), count(snapshot))).collect()
}

fn receiver(name: &str) -> Labels {
    vec![("receiver", name.to_owned())]
}
