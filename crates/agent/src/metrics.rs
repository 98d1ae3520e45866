//! What `/metrics` says: the Collector's names where the meaning is the same, so that its
//! dashboards work, and our own for the books and the rest. `docs/metrics.md` lists all of them.

mod batching;
mod exchange;
mod exporters;
mod families;
mod head;
mod receivers;
mod sampling;
mod sending;
mod storage;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use teleflow::store::{SqliteStore, StoreStats};
use teleflow::{Books, Phase, Pipeline, Stats};

use self::families::{Families, Rows, with};
use crate::process::{self, Usage};
use crate::reload::{Reloaded, Reloads};
use crate::talk::{self, Offered};
use crate::watched::{Figures, Watched};

/// A pipeline's figures, read anew for each scrape.
#[derive(Debug)]
pub(crate) struct Metrics {
    pipeline: Arc<Pipeline>,
    watched: Vec<(String, Watched)>,
    registry: Registry,
}

/// What is asked beside a pipeline: of its exporters, by the exporter's name, and of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    pub(crate) stores: Vec<(String, Arc<SqliteStore>)>,
    pub(crate) watched: Vec<(String, Watched)>,
    /// The pipelines whose tail sampler has rules, of which the first that matches decides.
    pub(crate) adaptive: BTreeSet<String>,
    pub(crate) reloads: Arc<Reloads>,
}

#[derive(Debug)]
struct Source {
    pipeline: Arc<Pipeline>,
    beside: Beside,
    started: Instant,
}

/// All that one scrape reads.
#[derive(Debug)]
struct Reading {
    stats: Stats,
    books: Books,
    exporters: Vec<(String, Figures)>,
    stores: Vec<(String, StoreStats)>,
    adaptive: BTreeSet<String>,
    reloaded: Reloaded,
    log: Offered,
    uptime: Duration,
    usage: Option<Usage>,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(pipeline: Arc<Pipeline>, beside: Beside) -> Self {
        let mut registry = Registry::default();
        let watched = beside.watched.clone();
        let source = Source { pipeline: Arc::clone(&pipeline), beside, started: Instant::now() };
        registry.register_collector(Box::new(source));
        Self { pipeline, watched, registry }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.pipeline.phase()
    }

    pub(crate) fn failed_lanes(&self) -> Vec<&str> {
        self.pipeline.failed_lanes()
    }

    /// The exporters whose destinations have been failing for at least this long, and for how long.
    pub(crate) fn failing(&self, at_least: Duration) -> Vec<(&str, Duration)> {
        let now = tokio::time::Instant::now();
        let failing = self.watched.iter().filter_map(|(name, watched)| {
            let failing = watched.failing(now).filter(|failing| *failing >= at_least)?;
            Some((name.as_str(), failing))
        });
        failing.collect()
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
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Beside { stores, watched, adaptive, reloads } = &self.beside;
        let now = tokio::time::Instant::now();
        let reading = Reading {
            stats: self.pipeline.stats(),
            books: self.pipeline.books(),
            exporters: watched.iter().map(|(name, of)| (name.clone(), of.figures(now))).collect(),
            stores: stores.iter().map(|(name, store)| (name.clone(), store.stats())).collect(),
            adaptive: adaptive.clone(),
            reloaded: reloads.counted(),
            log: talk::err().offered(),
            uptime: self.started.elapsed(),
            usage: process::usage(),
        };
        reading.write(&mut Families(encoder))
    }
}

// === impl Reading ===

impl Reading {
    fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        receivers::write(families, &self.stats)?;
        exporters::write(families, &self.stats, &self.books, &self.exporters)?;
        sending::write(families, &self.exporters)?;
        batching::write(families, &self.stats)?;
        head::write(families, &self.stats)?;
        sampling::write(families, &self.stats, &self.adaptive)?;
        exchange::write(families, &self.stats)?;
        storage::write(families, &self.stats)?;
        self.items(families)?;
        self.store_rows(families)?;
        self.process(families)
    }

    /// The books: for each pipeline and destination, accepted is the sum of all the others.
    fn items(&self, families: &mut Families<'_>) -> fmt::Result {
        let [mut moved, mut held, mut recovered] = [const { Rows::new() }; 3];
        for account in &self.books.accounts {
            let labels = vec![
                ("pipeline", account.lane.clone()),
                ("destination", account.destination.clone()),
                ("data_type", account.signal.name().to_owned()),
            ];
            let of = |state, reason| with(&with(&labels, "state", state), "reason", reason);
            moved.push((of("accepted", ""), account.accepted));
            moved.push((of("delivered", ""), account.delivered));
            moved.push((of("sampled_out", ""), account.sampled_out));
            moved.push((of("rejected", ""), account.rejected));
            for (reason, count) in &account.dropped {
                moved.push((of("dropped", reason), *count));
            }
            held.push((labels.clone(), account.held));
            recovered.push((labels, account.recovered));
        }
        families.counter("teleflow_items", "What became of every item", moved)?;
        let help = "Items found on disk at the start: they are among those accepted";
        families.counter("teleflow_items_recovered", help, recovered)?;
        families.gauge("teleflow_items_held", "Items on their way", held)
    }

    fn store_rows(&self, families: &mut Families<'_>) -> fmt::Result {
        let (mut stored, mut evicted) = (Rows::new(), Rows::new());
        for (exporter, stats) in &self.stores {
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
        families.counter("teleflow_store_rows", "Rows written to the store", stored)?;
        let help = "Rows deleted, oldest first, to keep the store within its bound";
        families.counter("teleflow_store_evicted_rows", help, evicted)
    }

    fn process(&self, families: &mut Families<'_>) -> fmt::Result {
        let Offered { written, left_out, failed } = self.log;
        let lines = [("written", written), ("left_out", left_out), ("failed", failed)];
        let lines = lines.map(|(outcome, lines)| (vec![("outcome", outcome.to_owned())], lines));
        let help = "Lines of the program's own log: written, left out for nobody read them in time, \
                    or failed because the standard error did not take them";
        families.counter("teleflow_log_lines", help, lines.into())?;
        let outcome = |outcome: &str| vec![("outcome", outcome.to_owned())];
        let Reloaded { succeeded, failed, of_restart } = self.reloaded;
        let reloads = vec![(outcome("success"), succeeded), (outcome("failure"), failed)];
        let help = "Times that the config file was read again";
        families.counter("teleflow_config_reloads", help, reloads)?;
        let help = "Keys of the config file that differ from what runs, and take a restart";
        let of_restart = vec![(Vec::new(), of_restart)];
        families.gauge("teleflow_config_keys_for_restart", help, of_restart)?;
        let up = self.uptime.as_secs_f64();
        families.float_counter("otelcol_process_uptime", "Time since the start", up)?;
        let Some(usage) = &self.usage else { return Ok(()) };
        let of = |value| vec![(Vec::new(), value)];
        families.gauge("otelcol_process_memory_rss", "Resident memory", of(usage.rss))?;
        let help = "The most resident memory so far";
        families.gauge("teleflow_process_peak_rss", help, of(usage.peak_rss))?;
        let (name, help) = ("otelcol_process_cpu_seconds", "User and system time");
        families.float_counter(name, help, usage.cpu_seconds)
    }
}
