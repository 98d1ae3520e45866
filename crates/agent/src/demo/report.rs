//! The line a second on the terminal.

use std::time::Duration;

use teleflow::{Account, Pipeline, Signal};

use super::generator::{Counts, total};

/// What the last line said, to tell rates from.
#[derive(Debug)]
pub(crate) struct Progress {
    seconds: u64,
    sent: u64,
    traces: Account,
}

// === impl Progress ===

impl Progress {
    pub(crate) fn new() -> Self {
        Self { seconds: 0, sent: 0, traces: nothing() }
    }

    /// What happened since the last line.
    pub(crate) fn line(&mut self, pipeline: &Pipeline, counts: &Counts) -> String {
        let books = pipeline.books();
        let traces = books.of(Signal::Traces).next().cloned().unwrap_or_else(nothing);
        let held: u64 = pipeline
            .stats()
            .lanes
            .iter()
            .map(|lane| {
                let sampler = lane.sampler.as_ref().map_or(0, |(_, held)| held.bytes);
                let batcher = lane.batcher.as_ref().map_or(0, |(_, _, bytes)| *bytes as u64);
                let queues = lane
                    .queues
                    .iter()
                    .map(|(_, queue)| (queue.queued_bytes + queue.in_flight_bytes) as u64);
                sampler + batcher + queues.sum::<u64>()
            })
            .sum();
        let mut dropped = String::new();
        for account in &books.accounts {
            for (reason, count) in &account.dropped {
                dropped.push_str(&format!(" ({} {reason}: {count})", account.signal));
            }
        }
        self.seconds += 1;
        let line = format!(
            "{:>4}s  {:>7} items/s  spans: {:>6} in, {:>6} delivered, {:>6} sampled out  dropped {}{dropped}  \
             held {:>8}  {}",
            self.seconds,
            total(counts) - self.sent,
            traces.accepted - self.traces.accepted,
            traces.delivered - self.traces.delivered,
            traces.sampled_out - self.traces.sampled_out,
            books.dropped(),
            bytes(held),
            latency(&counts.latencies),
        );
        (self.sent, self.traces) = (total(counts), traces);
        line
    }
}

fn nothing() -> Account {
    Account {
        lane: String::new(),
        signal: Signal::Traces,
        destination: String::new(),
        accepted: 0,
        recovered: 0,
        delivered: 0,
        sampled_out: 0,
        rejected: 0,
        dropped: Default::default(),
        held: 0,
    }
}

fn latency(latencies: &[Duration]) -> String {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize);
    match (at(0.5), at(0.99)) {
        (Some(p50), Some(p99)) => format!(
            "request p50 {:.1} ms, p99 {:.1} ms",
            p50.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3
        ),
        _ => "no request".to_owned(),
    }
}

/// A size for people.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.0} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// The generator's count of a signal beside the books', as a line; and whether the books have all
/// of it. They may have more: the ports are open to others.
pub(crate) fn compare(signal: Signal, sent: &Counts, accepted: u64) -> (String, bool) {
    let generated = sent.accepted[signal.index()];
    let unit = signal.items_name();
    let verdict = match accepted.checked_sub(generated) {
        Some(0) => "equal".to_owned(),
        Some(more) => {
            let others = format!("others sent {more} {}", unit.replace('_', " "));
            match sent.unanswered {
                0 => others,
                _ => format!("{others}, or the demo did in requests whose answer was lost"),
            }
        }
        None => "MISSING in the books".to_owned(),
    };
    (format!("{unit:<24}{generated:>12}{accepted:>12}  {verdict}"), accepted >= generated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_may_send_too_and_nothing_that_was_answered_may_be_missing() {
        let mut sent = Counts { accepted: [10, 20, 30], ..Counts::default() };
        let mut check = |accepted, unanswered, verdict: &str, agrees| {
            sent.unanswered = unanswered;
            let (line, does) = compare(Signal::Metrics, &sent, accepted);
            assert!(line.starts_with("metric_points "), "{line}");
            assert!(line.ends_with(&format!("{accepted}  {verdict}")), "{line}");
            assert_eq!(does, agrees, "{line}");
        };
        check(20, 0, "equal", true);
        check(27, 0, "others sent 7 metric points", true);
        let or = "others sent 7 metric points, or the demo did in requests whose answer was lost";
        check(27, 1, or, true);
        check(19, 1, "MISSING in the books", false);
    }

    #[test]
    fn percentiles_are_of_what_there_is() {
        assert_eq!(latency(&[]), "no request");
        let hundred: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(latency(&hundred), "request p50 51.0 ms, p99 100.0 ms");
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!([bytes(9), bytes(2048), bytes(3_500_000)], ["9 B", "2 KiB", "3.3 MiB"]);
    }
}
