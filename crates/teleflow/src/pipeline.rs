//! The one place that wires receivers, lanes and exporters, starts them, drains them and stops
//! them.
//!
//! Start runs downstream to upstream, so that nothing is taken in that cannot go on; shutdown runs
//! upstream to downstream: receivers stop taking, lanes decide and batch what they hold, queues
//! send what they have, exporters flush. One deadline bounds all of it but the flush of an exporter,
//! which has at least a second; what the deadline cuts off is entered in the books as dropped.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use teleflow_exporter::{AnyExporter, Exporter, QueueStats};
use teleflow_otlp::Signal;
use teleflow_sampler::Storage;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

pub use self::builder::{Builder, Sending};
pub use self::lane_config::LaneConfig;
pub use self::sampling::ChangeError;
pub use self::start_error::StartError;
use crate::books::{Books, Ledger};
use crate::exchange::ExchangeStats;
use crate::inlet::Inlet;
use crate::intake::Routing;
use crate::lane::Stages;
use crate::outlet::Outlet;

mod builder;
mod lane_config;
mod sampling;
mod shared;
mod start;
mod start_error;

/// Where a pipeline is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Receivers take what comes.
    Serving,
    /// Nothing is taken in any more; what is held is handed on.
    Draining,
    /// Everything is delivered or given up.
    Stopped,
}

/// A running pipeline.
///
/// Has to be [shut down](Self::shutdown): dropping it loses what it holds.
pub struct Pipeline {
    inlets: Vec<(String, Inlet)>,
    receivers: Vec<RunningReceiver>,
    lanes: Vec<RunningLane>,
    exporters: Vec<(String, AnyExporter)>,
    phase: AtomicU8,
    stop_intake: CancellationToken,
    give_up: CancellationToken,
    tasks: Mutex<Option<Tasks>>,
}

struct RunningReceiver {
    name: String,
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
    stats: teleflow_receiver::Stats,
}

struct RunningLane {
    name: String,
    signal: Signal,
    ledger: Ledger,
    stages: Arc<Stages>,
    /// Where there are several: the samplers are in these.
    shards: Vec<Arc<Stages>>,
    /// What parts payloads for these.
    routing: Option<Arc<Routing>>,
    /// The sampler's secret, if there is one, and how it decides with others.
    hash_seed: Option<u64>,
    sharing: Option<teleflow_sampler::Sharing>,
    /// Where it holds spans, if not in memory.
    storage: Option<Arc<dyn Storage>>,
    outlets: Vec<(String, Arc<Outlet>)>,
    has_failed: Arc<AtomicBool>,
}

struct Tasks {
    receivers: JoinSet<()>,
    lanes: JoinSet<()>,
    /// Those that carry what samplers propose; they end after the lanes.
    exchanges: JoinSet<()>,
    end_exchanges: CancellationToken,
}

/// What a pipeline's parts have counted, at one moment.
#[derive(Clone, Debug)]
pub struct Stats {
    /// By receiver.
    pub receivers: Vec<(String, teleflow_receiver::Snapshot)>,
    /// By lane.
    pub lanes: Vec<LaneStats>,
}

/// What a lane's parts have counted.
#[derive(Clone, Debug)]
pub struct LaneStats {
    /// The lane's name.
    pub name: String,
    /// What it carries.
    pub signal: Signal,
    /// What the head sampler did.
    pub head: Option<teleflow_sampler::head::HeadStats>,
    /// The sampler's counters and what it holds: of all shards together.
    pub sampler: Option<(teleflow_sampler::Stats, teleflow_sampler::Held)>,
    /// What came of its deciding together with others, where it does.
    pub exchange: Option<ExchangeStats>,
    /// The batcher's counters, and the items and bytes that it holds.
    pub batcher: Option<(teleflow_batcher::Stats, u64, usize)>,
    /// Of each exporter that is sent batches of its own, by its name: its batcher's counters, and
    /// the items and bytes that it holds.
    pub batchers: Vec<(String, teleflow_batcher::Stats, u64, usize)>,
    /// By exporter.
    pub queues: Vec<(String, QueueStats)>,
}

// === impl Pipeline ===

impl Pipeline {
    /// Starts with no parts.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where a receiver listens for OTLP/gRPC, if it does.
    pub fn grpc_addr(&self, receiver: &str) -> Option<SocketAddr> {
        self.receivers.iter().find(|known| known.name == receiver)?.grpc
    }

    /// Where a receiver listens for OTLP/HTTP, if it does.
    pub fn http_addr(&self, receiver: &str) -> Option<SocketAddr> {
        self.receivers.iter().find(|known| known.name == receiver)?.http
    }

    /// The way in for this program's own telemetry, by its name.
    pub fn inlet(&self, name: &str) -> Option<Inlet> {
        self.inlets.iter().find(|(known, _)| known == name).map(|(_, inlet)| inlet.clone())
    }

    /// Where the pipeline is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Stopped,
        }
    }

    /// The lanes that a bug ended: they take nothing any more, and what they held is in the books as
    /// dropped.
    pub fn failed_lanes(&self) -> Vec<&str> {
        let failed = self.lanes.iter().filter(|lane| lane.has_failed.load(Ordering::Acquire));
        failed.map(|lane| &*lane.name).collect()
    }

    /// The books, as they are now. They balance at every moment.
    pub fn books(&self) -> Books {
        let mut books = Books::default();
        for lane in &self.lanes {
            books.accounts.extend(lane.ledger.accounts());
        }
        for receiver in &self.receivers {
            let snapshot = receiver.stats.snapshot();
            for signal in Signal::ALL {
                books.refused[signal.index()] += snapshot.of_signal(signal).refused_items;
            }
        }
        books
    }

    /// What every part has counted.
    pub fn stats(&self) -> Stats {
        let lanes = self.lanes.iter().map(|lane| {
            let (head, sampler) = (lane.sampled_at_once(), lane.sampled());
            let exchange = lane.exchanged();
            let stages = lane.stages.lock();
            LaneStats {
                name: lane.name.clone(),
                signal: lane.signal,
                head,
                sampler,
                exchange,
                batcher: stages
                    .batcher
                    .as_ref()
                    .map(|stage| (stage.stats(), stage.items(), stage.bytes())),
                batchers: std::iter::zip(&lane.outlets, &stages.batchers)
                    .filter_map(|((name, _), stage)| {
                        let stage = stage.as_ref()?;
                        Some((name.clone(), stage.stats(), stage.items(), stage.bytes()))
                    })
                    .collect(),
                queues: lane
                    .outlets
                    .iter()
                    .map(|(name, outlet)| (name.clone(), outlet.stats()))
                    .collect(),
            }
        });
        Stats {
            lanes: lanes.collect(),
            receivers: self
                .receivers
                .iter()
                .map(|receiver| (receiver.name.clone(), receiver.stats.snapshot()))
                .collect(),
        }
    }

    /// Stops taking in, delivers what is held, and stops; gives up at `deadline` what is left then.
    ///
    /// Returns the final books: what is held in them is on disk, for the next start. A second call
    /// returns them again and waits for nothing.
    ///
    /// # Cancel safety
    ///
    /// A shutdown whose future is dropped is not finished: what the pipeline holds is lost with it.
    pub async fn shutdown(&self, deadline: Instant) -> Books {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut tasks) = tasks else { return self.books() };
        self.phase.store(Phase::Draining as u8, Ordering::Release);
        self.stop_intake.cancel();
        self.inlets.iter().for_each(|(_, inlet)| inlet.close());
        // The lanes end when the last receiver has let go of their intake.
        if timeout_at(deadline, tasks.receivers.join_all()).await.is_err() {
            tracing::warn!("requests were still coming in when the time to shut down had passed");
        }
        let lanes = async { while tasks.lanes.join_next().await.is_some() {} };
        if timeout_at(deadline, lanes).await.is_err() {
            self.give_up.cancel();
            while tasks.lanes.join_next().await.is_some() {}
        }
        // What was decided last is told to the others yet.
        tasks.end_exchanges.cancel();
        let exchanges = async { while tasks.exchanges.join_next().await.is_some() {} };
        if timeout_at(deadline, exchanges).await.is_err() {
            tasks.exchanges.shutdown().await;
        }
        let mut draining = JoinSet::new();
        for (_, outlet) in self.lanes.iter().flat_map(|lane| &lane.outlets) {
            let outlet = Arc::clone(outlet);
            draining.spawn(async move { outlet.drain(deadline).await });
        }
        draining.join_all().await;
        for (name, exporter) in &self.exporters {
            // A flush has a moment even where draining took all the time there was.
            let flush_by = deadline.max(Instant::now() + Duration::from_secs(1));
            match timeout_at(flush_by, exporter.shutdown()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(exporter = name, %error, "shutdown failed"),
                Err(_) => tracing::warn!(exporter = name, "did not shut down in time"),
            }
        }
        self.phase.store(Phase::Stopped as u8, Ordering::Release);
        self.books()
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("phase", &self.phase())
            .field("books", &self.books())
            .finish_non_exhaustive()
    }
}
