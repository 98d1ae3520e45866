//! How a pipeline starts.

use std::collections::BTreeMap;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use teleflow_batcher::Batcher;
use teleflow_exporter::{AnyExporter, OnFull, Queue};
use teleflow_otlp::Signal;
use teleflow_receiver::Receiver;
use teleflow_sampler::Config;
use teleflow_sampler::head::HeadSampler;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::sampling::{Unfit, samplers};
use super::shared::share;
use super::{Builder, LaneConfig, Phase, Pipeline, Sending, StartError};
use super::{RunningLane, RunningReceiver, Tasks};
use crate::books::{Entries, Ledger};
use crate::exchange::SharedDecisions;
use crate::inlet::Inlet;
use crate::intake::{Door, Entrance, Intake};
use crate::lane::{Follower, Handover, Lane, Part, Stages, State, Taken};
use crate::outlet::{Outlet, PersistentQueue};

/// The stages of a lane, and of its shards where it has several: they have the samplers then.
pub(super) struct Staged {
    lane: Stages,
    shards: Vec<Stages>,
}

/// A lane that has not been started.
struct Prepared {
    /// Whole so far.
    lane: Lane,
    shards: Vec<Arc<Stages>>,
    outlets: Vec<(String, Arc<Outlet>)>,
    is_full: Arc<AtomicBool>,
}

/// What receivers lead to, by receiver and signal.
type Entrances = BTreeMap<String, [Vec<Entrance>; 3]>;

/// The place of a followed lane, and what it hands over.
type Handed = (usize, mpsc::Receiver<Taken>);

// === impl Builder ===

impl Builder {
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
        let mut tasks = Tasks {
            receivers: JoinSet::new(),
            lanes: JoinSet::new(),
            exchanges: JoinSet::new(),
            end_exchanges: CancellationToken::new(),
        };
        let mut prepared = Vec::new();
        for config in &self.lanes {
            let follows = |other: &LaneConfig| other.follows.as_ref() == Some(&config.name);
            let is_followed = self.lanes.iter().any(follows);
            let staged = stages(config, &self.exporters, is_followed)?;
            let ledger = Ledger::new(&config.name, config.signal, &config.exporters);
            let outlets = open(config, &self.exporters, &ledger).await?;
            let is_full = Arc::new(AtomicBool::new(false));
            let refuses = refuses(config, &self.exporters);
            let lane = Lane {
                part: Part::Whole,
                follower: None,
                stages: Arc::new(staged.lane),
                ledger,
                outlets: outlets.iter().map(|(_, outlet)| Arc::clone(outlet)).collect(),
                is_full: refuses.then(|| Arc::clone(&is_full)),
                stop_intake: stop_intake.clone(),
                is_waited_for: config.receivers.iter().any(|name| self.waiting.contains(name)),
                give_up: give_up.child_token(),
                has_failed: Arc::default(),
            };
            let shards: Vec<_> = staged.shards.into_iter().map(Arc::new).collect();
            let samplers =
                if shards.is_empty() { slice::from_ref(&lane.stages) } else { &shards[..] };
            share(config, samplers, &mut tasks.exchanges, &tasks.end_exchanges);
            prepared.push(Prepared { lane, shards, outlets, is_full });
        }
        let handed = follow(&self.lanes, &mut prepared);
        let (lanes, mut entrances) = spawn(self.lanes, prepared, handed, &mut tasks.lanes)?;

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

/// Ties lanes to those that they follow: these end together. Returns what each is handed.
fn follow(configs: &[LaneConfig], prepared: &mut [Prepared]) -> Vec<Option<Handed>> {
    let mut all = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        let is_followed = |other: &LaneConfig| Some(&other.name) == config.follows.as_ref();
        let Some(followed) = configs.iter().position(is_followed) else {
            all.push(None);
            continue;
        };
        let (rest, handed) = Handover::channel();
        let ledger = prepared[index].lane.ledger.clone();
        let is_waited_for = prepared[index].lane.is_waited_for;
        let first = &mut prepared[followed].lane;
        first.follower = Some(Follower { ledger, rest });
        first.is_waited_for |= is_waited_for;
        let is_waited_for = first.is_waited_for;
        let (give_up, has_failed) = (first.give_up.clone(), Arc::clone(&first.has_failed));
        let lane = &mut prepared[index].lane;
        (lane.give_up, lane.has_failed, lane.is_waited_for) = (give_up, has_failed, is_waited_for);
        all.push(Some((followed, handed)));
    }
    all
}

/// Starts the lanes.
fn spawn(
    configs: Vec<LaneConfig>,
    prepared: Vec<Prepared>,
    handed: Vec<Option<Handed>>,
    tasks: &mut JoinSet<()>,
) -> Result<(Vec<RunningLane>, Entrances), StartError> {
    let (mut lanes, mut doors, mut followers) = (Vec::new(), Vec::new(), Vec::new());
    // Who needs room in several lanes takes it in the order of the tasks that it is in.
    let mut entries = Vec::new();
    for (index, ((config, prepared), handed)) in
        configs.into_iter().zip(prepared).zip(handed).enumerate()
    {
        let Prepared { lane, shards, outlets, is_full } = prepared;
        let (stages, has_failed) = (Arc::clone(&lane.stages), Arc::clone(&lane.has_failed));
        let ledger = lane.ledger.clone();
        let hash_seed = config.sampler.as_ref().map(|sampler| sampler.hash_seed);
        let sharing = config.shared.as_ref().map(SharedDecisions::sharing);
        let storage = config.sampler.as_ref().and_then(|sampler| sampler.storage.clone());
        let through = handed.as_ref().map_or(index, |(followed, _)| *followed);
        entries.push((through, config.receivers, config.signal, ledger.clone(), is_full));
        let mut routing = None;
        match handed {
            Some((_, handed)) => {
                followers.push((lane, handed));
                doors.push(None);
            }
            None => {
                let senders = lane.spawn(&shards, tasks);
                let reads = config.head.is_none();
                let seed = hash_seed.unwrap_or_default();
                let door = Door::new(senders, seed, reads).map_err(|unfit| {
                    let (lane, shards) = (config.name.clone(), config.shards);
                    StartError::Shards { lane, shards, problem: unfit.to_string() }
                })?;
                routing = door.routing();
                doors.push(Some(door));
            }
        }
        let (name, signal) = (config.name, config.signal);
        lanes.push(RunningLane {
            name,
            signal,
            ledger,
            stages,
            shards,
            routing,
            hash_seed,
            sharing,
            storage,
            outlets,
            has_failed,
        });
    }
    for (lane, handed) in followers {
        lane.spawn_behind(handed, tasks);
    }
    entries.sort_by_key(|(through, ..)| *through);
    let mut entrances = Entrances::new();
    for (through, receivers, signal, ledger, is_full) in entries {
        let Some(door) = &doors[through] else { continue };
        let entrance = Entrance::new(door.clone(), ledger, is_full);
        for receiver in receivers {
            let by_signal = entrances.entry(receiver).or_default();
            by_signal[signal.index()].push(entrance.clone());
        }
    }
    Ok((lanes, entrances))
}

/// What works on a lane's payloads.
pub(super) fn stages(
    lane: &LaneConfig,
    exporters: &[(String, AnyExporter, Sending)],
    is_followed: bool,
) -> Result<Staged, StartError> {
    let config = lane.sampler.clone();
    let sharing = lane.shared.as_ref().map(SharedDecisions::sharing);
    let config = config.map(|config| Config { holds_logs: is_followed, sharing, ..config });
    let mut sampling = samplers(config.as_ref(), lane.shards)
        .map_err(|unfit| {
            let (lane, shards) = (lane.name.clone(), lane.shards);
            match unfit {
                Unfit::Config(source) => StartError::Sampler { lane, source },
                Unfit::Shards(problem) => StartError::Shards { lane, shards, problem },
            }
        })?
        .into_iter()
        .map(|(blocks_when_full, sampler)| State {
            head: lane.head.clone().map(HeadSampler::new),
            sampler: Some(sampler),
            blocks_when_full,
            is_followed,
            ..State::default()
        });
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
    let batchers = outlets.collect::<Result<_, _>>()?;
    // The only sampler is in the lane itself.
    let own = match sampling.len() {
        0 => State { head: lane.head.clone().map(HeadSampler::new), ..State::default() },
        1 => sampling.next().unwrap_or_default(),
        _ => State::default(),
    };
    let state = State { batcher: of_lane, batchers, ..own };
    Ok(Staged { lane: Stages::new(state), shards: sampling.map(Stages::new).collect() })
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
