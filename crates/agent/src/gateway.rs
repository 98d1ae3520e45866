//! Makes a pipeline of a checked config: the one place where the file's words become the
//! libraries'.

mod auth;
mod holding;
mod receiving;
mod sampling;
mod sending;
mod sharing;
mod storing;
#[cfg(test)]
mod tests;

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;

use anyhow::Context as _;
use teleflow::exporter::{
    self, AnyExporter, Console, Delivered, ExportError, Exporter, QueueConfig, Retry, RetryConfig,
};
use teleflow::store::SqliteStore;
use teleflow::{Builder, LaneConfig, Payload, Pipeline, Sending, Signal, batcher, store};

use self::auth::Authenticators;
use self::holding::Storages;
pub(crate) use self::sampling::{check as check_samplers, sampler};
use crate::config::{self, Config};
use crate::metrics::Beside;
use crate::talk;
use crate::watched::Watched;

/// A pipeline that has not been started, and what of its exporters is asked beside it.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) builder: Builder,
    pub(crate) beside: Beside,
}

/// Stores by the name of their exporter.
pub(crate) type Stores = Vec<(String, Arc<SqliteStore>)>;

/// Makes what writes to a store; returns the store too, if it is open already.
pub(crate) type Open<'a> =
    &'a dyn Fn(store::Config) -> anyhow::Result<(AnyExporter, Option<Arc<SqliteStore>>)>;

/// Opens a store at once.
pub(crate) fn open(
    config: store::Config,
) -> anyhow::Result<(AnyExporter, Option<Arc<SqliteStore>>)> {
    let store = Arc::new(SqliteStore::open(config)?);
    Ok((AnyExporter::new(Arc::clone(&store)), Some(store)))
}

/// Makes the pipeline's parts. Opens the stores' files, tries whether held spans can be put on disk,
/// and opens nothing else.
pub(crate) fn parts(config: &Config, open: Open<'_>) -> anyhow::Result<Parts> {
    let mut builder = Pipeline::builder();
    let mut beside = Beside::default();
    let auth = Authenticators::of(config);
    let used = |of: fn(&config::Pipeline) -> &[config::Id], id: &config::Id| {
        config.service.pipelines.values().any(|pipeline| of(pipeline).contains(id))
    };
    for (id, component) in &config.receivers {
        // What is defined and not used is warned of, and not started.
        if used(|pipeline| &pipeline.receivers, id) {
            let config::Receiver::Otlp(otlp) = component;
            let made =
                receiving::receiver(otlp, &auth).with_context(|| format!("receivers.{id}"))?;
            builder = builder.receiver(id.to_string(), made);
            if waits_for_result(config, id) {
                builder = builder.wait_for_result(id.to_string());
            }
        }
    }
    for (id, component) in &config.exporters {
        if used(|pipeline| &pipeline.exporters, id) {
            let name = id.to_string();
            let made = exporter(&name, component, &auth, open);
            let made = made.with_context(|| format!("exporters.{id}"))?;
            let batch = component.queue().and_then(|queue| queue.batch.as_ref()).map(merging);
            let storage = storing::storage(config, component.queue());
            let storage = storage.with_context(|| format!("exporters.{id}"))?;
            let mut watched = made.watched;
            watched.queue(&made.queue, storage.as_ref());
            let sending = Sending { queue: made.queue, batch, storage };
            builder = builder.exporter(name, made.exporter, sending);
            beside.stores.extend(made.store.map(|store| (id.to_string(), store)));
            beside.watched.push((id.to_string(), watched));
        }
    }
    let mut storages = Storages::default();
    for (id, pipeline) in &config.service.pipelines {
        let mut lane = LaneConfig::new(id.to_string(), signal(id.signal));
        lane.receivers = pipeline.receivers.iter().map(ToString::to_string).collect();
        lane.exporters = pipeline.exporters.iter().map(ToString::to_string).collect();
        lane.follows = pipeline.follows.as_ref().map(ToString::to_string);
        for of in &pipeline.processors {
            match config.processors.get(of) {
                Some(config::Processor::Batch(batch)) => lane = lane.batch(batching(batch)),
                Some(config::Processor::AdaptiveTailSampling(adaptive)) => {
                    beside.adaptive.insert(id.to_string());
                    lane = lane.sample(sampling::adaptive(adaptive));
                    lane.shared = sharing::shared(adaptive.decision_cache.shared.as_ref())
                        .with_context(|| format!("processors.{of}"))?;
                }
                Some(config::Processor::ProbabilisticSampler(sampler)) => {
                    lane = lane.sample_at_once(sampling::probabilistic(sampler)?);
                }
                Some(config::Processor::TailSampling(tail)) => {
                    let shards = NonZeroUsize::new(tail.num_shards.into());
                    let shards = shards.unwrap_or(NonZeroUsize::MIN);
                    let storage = storages.of(config, tail);
                    let storage = storage.with_context(|| format!("processors.{of}"))?;
                    let sampler = teleflow::sampler::Config { storage, ..sampling::tail(tail) };
                    lane = lane.sample(sampler).sample_in(shards);
                    lane.shared = sharing::shared(tail.decision_cache.shared.as_ref())
                        .with_context(|| format!("processors.{of}"))?;
                }
                None => anyhow::bail!("processors.{of} is not defined"),
            }
        }
        builder = builder.lane(lane);
    }
    builder.check()?;
    Ok(Parts { builder, beside })
}

/// Whether a receiver answers only when its items have arrived: where it feeds an exporter of which
/// the file says so; or where nothing holds them up on their way to a disk, which is soon.
fn waits_for_result(config: &Config, receiver: &config::Id) -> bool {
    let fed = || config.service.pipelines.values().filter(|lane| lane.receivers.contains(receiver));
    let queue = |id| config.exporters.get(id).and_then(config::Exporter::queue);
    let is_asked_for = |id| queue(id).is_some_and(|queue: &config::Queue| queue.wait_for_result);
    let is_on_disk = |id| queue(id).is_some_and(|queue: &config::Queue| queue.storage.is_some());
    fed().flat_map(|lane| &lane.exporters).any(is_asked_for)
        || fed().all(|lane| lane.processors.is_empty() && lane.exporters.iter().all(is_on_disk))
}

const fn signal(signal: config::Signal) -> Signal {
    match signal {
        config::Signal::Traces => Signal::Traces,
        config::Signal::Metrics => Signal::Metrics,
        config::Signal::Logs => Signal::Logs,
    }
}

fn batching(batch: &config::Batch) -> batcher::Config {
    batcher::Config {
        min_items: batch.send_batch_size as u64,
        max_items: batch.send_batch_max_size.and_then(|max| (max.get() as u64).try_into().ok()),
        timeout: batch.timeout,
        ..batcher::Config::default()
    }
}

/// `sending_queue.batch`
fn merging(batch: &config::QueueBatch) -> batcher::Config {
    let default = batcher::Config { timeout: batch.flush_timeout, ..batcher::Config::default() };
    let (min, max) = (batch.min_size as u64, batch.max_size);
    let least_max_bytes = default.max_bytes.max(batch.min_size);
    match batch.sizer {
        config::Sizer::Requests | config::Sizer::Items => batcher::Config {
            min_items: min,
            max_items: max.and_then(|max| max.try_into().ok()),
            ..default
        },
        config::Sizer::Bytes => batcher::Config {
            // Zero sends what comes.
            min_items: if batch.min_size == 0 { 0 } else { u64::MAX },
            min_bytes: NonZeroUsize::new(batch.min_size),
            max_bytes: max.map_or(least_max_bytes, NonZeroUsize::get),
            ..default
        },
    }
}

/// An exporter as the pipeline takes it.
struct Made {
    exporter: AnyExporter,
    queue: QueueConfig,
    store: Option<Arc<SqliteStore>>,
    watched: Watched,
}

fn exporter(
    name: &str,
    component: &config::Exporter,
    auth: &Authenticators<'_>,
    open: Open<'_>,
) -> anyhow::Result<Made> {
    let (mut opened, mut watched) = (None, Watched::default());
    let (exporter, queue) = match component {
        config::Exporter::Debug(debug) => {
            let exporter = match debug.verbosity {
                config::Verbosity::Basic => AnyExporter::new(Counts),
                config::Verbosity::Normal | config::Verbosity::Detailed => {
                    AnyExporter::new(Console::new(talk::out()))
                }
            };
            (exporter, QueueConfig { num_consumers: NonZeroUsize::MIN, ..QueueConfig::default() })
        }
        config::Exporter::Failover(failover) => {
            (sending::failover(name, failover, auth, &mut watched)?, queue(failover.queue.as_ref()))
        }
        config::Exporter::LoadBalancing(balance) => {
            (sending::balance(name, balance, auth, &mut watched)?, queue(balance.queue.as_ref()))
        }
        config::Exporter::OtlpGrpc(otlp) => {
            (sending::grpc(name, otlp, auth, &mut watched)?, queue(otlp.queue.as_ref()))
        }
        config::Exporter::OtlpHttp(otlp) => {
            (sending::http(name, otlp, auth, &mut watched)?, queue(otlp.queue.as_ref()))
        }
        config::Exporter::Sqlite(sqlite) => {
            let (store, is_open) = open(store::Config {
                path: sqlite.path.clone(),
                max_bytes: sqlite.max_bytes,
                ..store::Config::default()
            })?;
            opened = is_open;
            // A file system that is full for a while is waited for, as a server would be.
            let retrying = Retry::new(watched.pulse(store), RetryConfig::default())?;
            let retrying = watched.over(retrying);
            (AnyExporter::new(retrying), queue(sqlite.queue.as_ref()))
        }
    };
    Ok(Made { exporter, queue, store: opened, watched })
}

/// Without a queue one request is sent at a time and the next one waits.
fn queue(queue: Option<&config::Queue>) -> QueueConfig {
    let on_full = |on_full| match on_full {
        config::OnFull::Refuse => exporter::OnFull::Reject,
        config::OnFull::Wait => exporter::OnFull::Wait,
    };
    match queue {
        Some(queue) => {
            let config = QueueConfig {
                num_consumers: queue.num_consumers,
                on_full: on_full(queue.on_full),
                ..QueueConfig::default()
            };
            let max_requests = NonZeroUsize::MAX;
            match (queue.queue_size, queue.sizer) {
                (None, _) => QueueConfig { max_requests, ..config },
                (Some(size), config::Sizer::Requests) => {
                    QueueConfig { max_requests: size, ..config }
                }
                (Some(size), config::Sizer::Items) => {
                    let max_items = NonZeroU64::try_from(size).ok();
                    QueueConfig { max_requests, max_items, ..config }
                }
                (Some(size), config::Sizer::Bytes) => {
                    QueueConfig { max_requests, max_bytes: size, ..config }
                }
            }
        }
        None => QueueConfig {
            max_requests: NonZeroUsize::MIN,
            num_consumers: NonZeroUsize::MIN,
            on_full: exporter::OnFull::Wait,
            ..QueueConfig::default()
        },
    }
}

/// The `debug` exporter's `basic` verbosity: how much there is in each request.
#[derive(Debug)]
struct Counts;

impl Exporter for Counts {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let (items, bytes) = (payload.items(), payload.bytes());
        say!("{}: {items} {}, {bytes} bytes", payload.signal(), payload.signal().items_name());
        Ok(Delivered::ALL)
    }
}
