//! What a pipeline is made of, whether that fits together, and how it starts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use teleflow_batcher::Batcher;
use teleflow_exporter::{AnyExporter, Exporter, OnFull, Queue, QueueConfig};
use teleflow_otlp::Signal;
use teleflow_receiver::{BindError, Receiver};
use teleflow_sampler::TailSampler;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Phase, Pipeline, RunningLane, RunningReceiver, Tasks};
use crate::books::{Entries, Ledger};
use crate::inlet::Inlet;
use crate::intake::{Entrance, Intake, MAX_PAYLOADS};
use crate::lane::{Lane, Stages};
use crate::outlet::{Outlet, PersistentQueue, Storage, StorageError};

/// What a [`Pipeline`] is made of.
#[derive(Debug, Default)]
pub struct Builder {
    receivers: Vec<(String, teleflow_receiver::Config)>,
    inlets: Vec<String>,
    waiting: Vec<String>,
    exporters: Vec<(String, AnyExporter, Sending)>,
    lanes: Vec<LaneConfig>,
}

/// What stands between a lane and an exporter.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// How much may wait for the exporter, and what happens to more.
    ///
    /// [`OnFull::Reject`]: where a lane leads to this exporter alone, nothing that was taken in is
    /// dropped for want of room: it waits, and meanwhile receivers refuse what comes. Where a lane
    /// leads to several exporters, a full one does not hold up the others: what has no room is
    /// dropped for it, with the reason `queue_full`. [`OnFull::Wait`] holds up the lane and the
    /// senders, and with them the other exporters.
    pub queue: QueueConfig,
    /// Makes larger requests of smaller ones, for this exporter alone. `None`: requests go as the
    /// lane hands them on.
    pub batch: Option<teleflow_batcher::Config>,
    /// Where what waits is kept, so that it survives the end of the process. `None`: in memory.
    ///
    /// Of `queue` then only `num_consumers` and `on_full` count: the bounds are the storage's. And
    /// how long retries go on is not asked: what can be sent again is, until the storage drops it.
    pub storage: Option<Storage>,
}

/// A way through the pipeline for one signal: from receivers, through a sampler and a batcher where
/// there are any, to exporters, each of which gets everything.
#[derive(Clone, Debug)]
pub struct LaneConfig {
    /// For people, books and metrics. No two lanes have the same.
    pub name: String,
    /// What it carries.
    pub signal: Signal,
    /// The receivers that it takes from, by name.
    pub receivers: Vec<String>,
    /// Keeps some traces and leaves out others; only for [`Signal::Traces`].
    pub sampler: Option<teleflow_sampler::Config>,
    /// Makes larger requests of smaller ones.
    pub batcher: Option<teleflow_batcher::Config>,
    /// The exporters that it hands everything to, by name.
    pub exporters: Vec<String>,
}

/// Why a pipeline did not start. Nothing of it runs then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A lane names something that there is not.
    #[error("lane `{lane}` names the {kind} `{name}`, which does not exist")]
    Unknown {
        /// The lane.
        lane: String,
        /// `receiver` or `exporter`.
        kind: &'static str,
        /// What it names.
        name: String,
    },
    /// A lane names one twice.
    #[error("lane `{lane}` names the {kind} `{name}` twice")]
    Repeated {
        /// The lane.
        lane: String,
        /// `receiver` or `exporter`.
        kind: &'static str,
        /// What it names.
        name: String,
    },
    /// Two parts of a kind have one name.
    #[error("there are two {kind}s named `{name}`")]
    Duplicate {
        /// `receiver`, `exporter` or `lane`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A lane leads from nowhere or to nowhere.
    #[error("lane `{lane}` has no {kind}")]
    Incomplete {
        /// The lane.
        lane: String,
        /// `receiver` or `exporter`.
        kind: &'static str,
    },
    /// A lane that does not carry traces has a sampler.
    #[error("lane `{0}` carries no traces, so it cannot have a tail sampler")]
    NotTraces(String),
    /// A sampler's configuration does not work.
    #[error("the sampler of lane `{lane}` cannot work")]
    Sampler {
        /// The lane.
        lane: String,
        /// What is wrong.
        source: teleflow_sampler::ConfigError,
    },
    /// A batcher's configuration does not work.
    #[error("the batcher of lane `{lane}` cannot work")]
    Batcher {
        /// The lane.
        lane: String,
        /// What is wrong.
        source: teleflow_batcher::ConfigError,
    },
    /// The batcher of an exporter cannot work.
    #[error("the batcher of exporter `{exporter}` cannot work")]
    Sending {
        /// The exporter.
        exporter: String,
        /// What is wrong.
        source: teleflow_batcher::ConfigError,
    },
    /// The queue of an exporter cannot be kept on disk.
    #[error("exporter `{exporter}` cannot keep its queue for lane `{lane}` on disk")]
    Storage {
        /// The exporter.
        exporter: String,
        /// The lane.
        lane: String,
        /// What is wrong.
        source: StorageError,
    },
    /// A receiver that is to wait for results does not exist.
    #[error("there is no receiver `{0}` to wait for results")]
    NoReceiver(String),
    /// A receiver cannot listen.
    #[error("receiver `{receiver}` cannot listen")]
    Bind {
        /// The receiver.
        receiver: String,
        /// What is wrong.
        source: BindError,
    },
}

// === impl Sending ===

impl From<QueueConfig> for Sending {
    fn from(queue: QueueConfig) -> Self {
        Self { queue, ..Self::default() }
    }
}

// === impl LaneConfig ===

impl LaneConfig {
    /// A lane from nowhere to nowhere.
    pub fn new(name: impl Into<String>, signal: Signal) -> Self {
        Self {
            name: name.into(),
            signal,
            receivers: Vec::new(),
            sampler: None,
            batcher: None,
            exporters: Vec::new(),
        }
    }

    /// Takes from a receiver.
    #[must_use]
    pub fn from(mut self, receiver: impl Into<String>) -> Self {
        self.receivers.push(receiver.into());
        self
    }

    /// Samples.
    #[must_use]
    pub fn sample(mut self, config: teleflow_sampler::Config) -> Self {
        self.sampler = Some(config);
        self
    }

    /// Batches.
    #[must_use]
    pub fn batch(mut self, config: teleflow_batcher::Config) -> Self {
        self.batcher = Some(config);
        self
    }

    /// Hands everything to an exporter.
    #[must_use]
    pub fn to(mut self, exporter: impl Into<String>) -> Self {
        self.exporters.push(exporter.into());
        self
    }
}

// === impl Builder ===

impl Builder {
    /// Adds an OTLP receiver.
    #[must_use]
    pub fn receiver(mut self, name: impl Into<String>, config: teleflow_receiver::Config) -> Self {
        self.receivers.push((name.into(), config));
        self
    }

    /// Adds a way in for this program's own telemetry, in the place of a receiver.
    #[must_use]
    pub fn inlet(mut self, name: impl Into<String>) -> Self {
        self.inlets.push(name.into());
        self
    }

    /// Has a receiver or an inlet answer a request only when every item of it has come to its end: delivered to
    /// every exporter, sampled out, refused for good, or lost. If any was lost the sender is told
    /// to send the request again; what had arrived arrives twice then.
    ///
    /// Without this a receiver answers as soon as the request is in its lanes. With a tail sampler
    /// the answer takes as long as the sampler waits: senders need the patience for that.
    #[must_use]
    pub fn wait_for_result(mut self, receiver: impl Into<String>) -> Self {
        self.waiting.push(receiver.into());
        self
    }

    /// Adds an exporter and says how much may wait for it, and whether it is sent batches of its
    /// own. Each lane that leads to it has a queue and a batcher of its own.
    #[must_use]
    pub fn exporter(
        mut self,
        name: impl Into<String>,
        exporter: impl Exporter,
        sending: impl Into<Sending>,
    ) -> Self {
        self.exporters.push((name.into(), AnyExporter::new(exporter), sending.into()));
        self
    }

    /// Adds a lane.
    #[must_use]
    pub fn lane(mut self, lane: LaneConfig) -> Self {
        self.lanes.push(lane);
        self
    }

    /// Checks the parts against each other, without starting anything.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit.
    pub fn check(&self) -> Result<(), StartError> {
        let inlets = || self.receivers.iter().map(|(name, _)| name).chain(&self.inlets);
        unique("receiver", inlets())?;
        unique("exporter", self.exporters.iter().map(|(name, ..)| name))?;
        unique("lane", self.lanes.iter().map(|lane| &lane.name))?;
        let unknown = |name: &&String| !inlets().any(|known| known == *name);
        if let Some(name) = self.waiting.iter().find(unknown) {
            return Err(StartError::NoReceiver(name.clone()));
        }
        for lane in &self.lanes {
            for (kind, names, known) in [
                ("receiver", &lane.receivers, names(inlets())),
                ("exporter", &lane.exporters, names(self.exporters.iter().map(|(name, ..)| name))),
            ] {
                if names.is_empty() {
                    return Err(StartError::Incomplete { lane: lane.name.clone(), kind });
                }
                if let Some(name) = repeated(names.iter()) {
                    let (lane, name) = (lane.name.clone(), name.clone());
                    return Err(StartError::Repeated { lane, kind, name });
                }
                if let Some(name) = names.iter().find(|name| !known.contains(name)) {
                    let (lane, name) = (lane.name.clone(), name.clone());
                    return Err(StartError::Unknown { lane, kind, name });
                }
            }
            if lane.sampler.is_some() && lane.signal != Signal::Traces {
                return Err(StartError::NotTraces(lane.name.clone()));
            }
            Stages::of(lane, &self.exporters)?;
        }
        Ok(())
    }

    /// Opens the receivers' ports and starts everything.
    ///
    /// # Errors
    ///
    /// What [`check`](Self::check) finds, and ports that cannot be had.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time.
    pub async fn start(self) -> Result<Pipeline, StartError> {
        self.check()?;
        // Ports first: what is on disk is not touched where others have them.
        let mut bound = Vec::new();
        for (name, mut config) in self.receivers {
            config.signals = Signal::ALL.map(|signal| {
                let takes =
                    |lane: &LaneConfig| lane.signal == signal && lane.receivers.contains(&name);
                self.lanes.iter().any(takes)
            });
            match Receiver::bind(config).await {
                Ok(receiver) => bound.push((name, receiver)),
                Err(source) => return Err(StartError::Bind { receiver: name, source }),
            }
        }

        let (stop_intake, give_up) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = Tasks { receivers: JoinSet::new(), lanes: JoinSet::new() };
        let mut lanes = Vec::new();
        let mut entrances: BTreeMap<String, [Vec<Entrance>; 3]> = BTreeMap::new();
        for config in self.lanes {
            let ledger = Ledger::new(&config.name, config.signal, &config.exporters);
            let stages = Arc::new(Stages::of(&config, &self.exporters)?);
            let outlets = open(&config, &self.exporters, &ledger).await?;
            let (sender, intake) = mpsc::channel(MAX_PAYLOADS);
            let is_full = Arc::new(AtomicBool::new(false));
            let entrance = Entrance::new(sender, ledger.clone(), Arc::clone(&is_full));
            let refuses = refuses(&config, &self.exporters);
            let is_waited_for = config.receivers.iter().any(|name| self.waiting.contains(name));
            for receiver in config.receivers {
                let by_signal = entrances.entry(receiver).or_default();
                by_signal[config.signal.index()].push(entrance.clone());
            }
            let has_failed = Arc::new(AtomicBool::new(false));
            let lane = Lane {
                stages: Arc::clone(&stages),
                ledger: ledger.clone(),
                outlets: outlets.iter().map(|(_, outlet)| Arc::clone(outlet)).collect(),
                is_full: refuses.then_some(is_full),
                hurry: is_waited_for.then(|| stop_intake.clone()),
                give_up: give_up.clone(),
                has_failed: Arc::clone(&has_failed),
            };
            tasks.lanes.spawn(lane.run(intake));
            let (name, signal) = (config.name, config.signal);
            lanes.push(RunningLane { name, signal, ledger, stages, outlets, has_failed });
        }

        let mut receivers = Vec::new();
        for (name, receiver) in bound {
            receivers.push(RunningReceiver {
                grpc: receiver.grpc_addr(),
                http: receiver.http_addr(),
                stats: receiver.stats(),
                name: name.clone(),
            });
            let intake = Intake {
                lanes: Arc::new(entrances.remove(&name).unwrap_or_default()),
                waits_for_result: self.waiting.contains(&name),
            };
            let stop = stop_intake.clone();
            tasks.receivers.spawn(async move {
                let stopped = receiver.serve(intake, stop, INTAKE_GRACE).await;
                if stopped.connections_cut > 0 {
                    tracing::warn!(connections = stopped.connections_cut, "cut off at shutdown");
                }
            });
        }
        let inlets = self.inlets.into_iter().map(|name| {
            let intake = Intake {
                lanes: Arc::new(entrances.remove(&name).unwrap_or_default()),
                waits_for_result: self.waiting.contains(&name),
            };
            (name, Inlet::new(intake))
        });
        Ok(Pipeline {
            inlets: inlets.collect(),
            receivers,
            lanes,
            exporters: self
                .exporters
                .into_iter()
                .map(|(name, exporter, _)| (name, exporter))
                .collect(),
            phase: AtomicU8::new(Phase::Serving as u8),
            stop_intake,
            give_up,
            tasks: Mutex::new(Some(tasks)),
        })
    }
}

/// Opens the ways from a lane to its exporters. What is on disk begins to leave.
async fn open(
    lane: &LaneConfig,
    exporters: &[(String, AnyExporter, Sending)],
    ledger: &Ledger,
) -> Result<Vec<(String, Arc<Outlet>)>, StartError> {
    let mut outlets = Vec::new();
    for (destination, wanted) in lane.exporters.iter().enumerate() {
        let known = exporters.iter().find(|(name, ..)| name == wanted);
        let Some((name, exporter, sending)) = known else { continue };
        let entries = Arc::new(Entries { ledger: ledger.clone(), destination });
        let exporter = exporter.clone();
        let mut queue = sending.queue.clone();
        if lane.exporters.len() == 1 {
            // What is in the lane waits; whether those outside do is for the door to say.
            queue.on_full = OnFull::Wait;
        }
        let outlet = match &sending.storage {
            None => Outlet::Memory(Queue::spawn(exporter, queue, entries)),
            Some(storage) => {
                let names = (&**name, &*lane.name);
                let opened = PersistentQueue::open(exporter, names, storage, &queue, entries).await;
                Outlet::Persistent(opened.map_err(|source| {
                    let (exporter, lane) = (name.clone(), lane.name.clone());
                    StartError::Storage { exporter, lane, source }
                })?)
            }
        };
        outlets.push((name.clone(), Arc::new(outlet)));
    }
    Ok(outlets)
}

/// Whether senders are refused while what is behind the lane is full.
fn refuses(lane: &LaneConfig, exporters: &[(String, AnyExporter, Sending)]) -> bool {
    let [only] = &lane.exporters[..] else { return false };
    exporters
        .iter()
        .any(|(name, _, sending)| name == only && sending.queue.on_full == OnFull::Reject)
}

/// How long requests that had begun may go on once nothing new is taken in.
const INTAKE_GRACE: Duration = Duration::from_secs(5);

impl Stages {
    fn of(
        lane: &LaneConfig,
        exporters: &[(String, AnyExporter, Sending)],
    ) -> Result<Self, StartError> {
        let sampler = lane
            .sampler
            .clone()
            .map(TailSampler::new)
            .transpose()
            .map_err(|source| StartError::Sampler { lane: lane.name.clone(), source })?;
        let batcher = |config: &Option<teleflow_batcher::Config>| {
            config.clone().map(|config| Batcher::new(lane.signal, config)).transpose()
        };
        let of_lane = batcher(&lane.batcher)
            .map_err(|source| StartError::Batcher { lane: lane.name.clone(), source })?;
        let sending = |wanted| exporters.iter().find(|(name, ..)| name == wanted);
        let outlets = lane.exporters.iter().filter_map(sending).map(|(exporter, _, sending)| {
            batcher(&sending.batch).map_err(|source| {
                let exporter = exporter.clone();
                StartError::Sending { exporter, source }
            })
        });
        Ok(Self::new(sampler, of_lane, outlets.collect::<Result<_, _>>()?))
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a String> {
    names.collect()
}

fn unique<'a>(
    kind: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), StartError> {
    match repeated(names) {
        Some(name) => Err(StartError::Duplicate { kind, name: name.clone() }),
        None => Ok(()),
    }
}

/// The first name that was there before.
fn repeated<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Some(name);
        }
        seen.push(name);
    }
    None
}
