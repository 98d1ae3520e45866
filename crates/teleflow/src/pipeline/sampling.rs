//! The samplers of a running pipeline: their shards, what they did, and how their rules change.

use std::num::NonZeroUsize;
use std::slice;
use std::sync::Arc;

use teleflow_sampler::head::{HeadSampler, HeadStats};
use teleflow_sampler::{Config, ConfigError, Held, MIN_BYTES, RouterStats, Stats, TailSampler};
use thiserror::Error;

use super::{LaneConfig, Pipeline, RunningLane};
use crate::lane::Stages;

/// Why a lane goes on by the rules it had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// There is no such lane.
    #[error("there is no lane `{0}`")]
    NoLane(String),
    /// The lane samples nothing, and no sampler can be put into it while it runs.
    #[error("lane `{0}` has no sampler, and gets one only at the next start")]
    NoSampler(String),
    /// The lane has ended, or given up what it held.
    #[error("lane `{0}` has ended")]
    Ended(String),
    /// The configuration does not work.
    #[error("the sampler of lane `{lane}` cannot work so")]
    Sampler {
        /// The lane.
        lane: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// The configuration does not work with the shards that the lane has, and their number changes
    /// only at the next start.
    #[error("lane `{lane}` has {shards} shards: {problem}")]
    Shards {
        /// The lane.
        lane: String,
        /// How many it has.
        shards: NonZeroUsize,
        /// What is in the way.
        problem: String,
    },
}

/// What is wrong with a lane's sampler.
pub(super) enum Unfit {
    Config(ConfigError),
    Shards(String),
}

// === impl Pipeline ===

impl Pipeline {
    /// Has a lane sample by other rules from now on.
    ///
    /// All is checked before anything changes, and all shards change at one moment. Nothing that is
    /// held is lost: a trace is decided by the rules in force when it is decided, and waits as long
    /// as those said that were in force when it began. Late spans follow the decision about their
    /// trace, whatever the rules are by then. The secret [`Config::hash_seed`] stays the one that
    /// the lane started with; so do [`Config::storage`], the number of shards, and whether there is
    /// a sampler at all.
    ///
    /// Waits, without yielding, for what the lane's tasks work on at the moment, and holds them up
    /// while each shard reads the rules.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]: the lane goes on as before.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    ///
    /// use teleflow::exporter::{Console, QueueConfig};
    /// use teleflow::sampler::{Config, Policy, Rule};
    /// use teleflow::{LaneConfig, Pipeline, Signal};
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let rules = |policy| vec![Rule::new("rule", policy)].into();
    /// let all = Config { rules: rules(Policy::Always), ..Config::default() };
    /// let lane = LaneConfig::new("traces", Signal::Traces).from("app").to("console");
    /// let pipeline = Pipeline::builder()
    ///     .inlet("app")
    ///     .exporter("console", Console::stdout(), QueueConfig::default())
    ///     .lane(lane.sample(all.clone()).sample_in(NonZeroUsize::new(4).ok_or("it is four")?))
    ///     .start()
    ///     .await?;
    ///
    /// let errors = Config { rules: rules(Policy::errors()), ..all.clone() };
    /// pipeline.change_sampler("traces", errors)?;
    /// let refused = pipeline.change_sampler("traces", Config { max_traces: 0, ..all });
    /// assert!(refused.is_err(), "errors are kept as before");
    /// # assert!(pipeline.shutdown(Instant::now()).await.balance());
    /// # Ok(())
    /// # }
    /// ```
    pub fn change_sampler(&self, lane: &str, config: Config) -> Result<(), ChangeError> {
        let Some(running) = self.lanes.iter().find(|known| known.name == lane) else {
            return Err(ChangeError::NoLane(lane.to_owned()));
        };
        let name = || running.name.clone();
        let Some(hash_seed) = running.hash_seed else {
            return Err(ChangeError::NoSampler(name()));
        };
        let stages = running.sampling();
        let shards = NonZeroUsize::new(stages.len()).unwrap_or(NonZeroUsize::MIN);
        let holds_logs = stages.iter().any(|stages| stages.lock().is_followed);
        let (sharing, storage) = (running.sharing, running.storage.clone());
        let config = Config { hash_seed, holds_logs, sharing, storage, ..config };
        // In full, before anybody is held up.
        samplers(Some(&config), shards).map_err(|unfit| match unfit {
            Unfit::Config(source) => ChangeError::Sampler { lane: name(), source },
            Unfit::Shards(problem) => ChangeError::Shards { lane: name(), shards, problem },
        })?;
        let mut states: Vec<_> = stages.iter().map(|stages| stages.lock()).collect();
        if states.iter().any(|state| state.sampler.is_none()) {
            return Err(ChangeError::Ended(name()));
        }
        for (state, part) in states.iter_mut().zip(config.divided(shards)) {
            let blocks_when_full = part.blocks_when_full;
            if let Some(sampler) = &mut state.sampler {
                // What the first one takes all take: they differ in their shares, which were checked.
                let changed = sampler.reconfigure(part);
                changed.map_err(|source| ChangeError::Sampler { lane: name(), source })?;
            }
            state.blocks_when_full = blocks_when_full;
        }
        drop(states);
        stages.iter().for_each(|stages| stages.changed.notify_one());
        Ok(())
    }

    /// How the payloads of a lane were parted among its shards; `None` where it has but one.
    pub fn routed(&self, lane: &str) -> Option<RouterStats> {
        let lane = self.lanes.iter().find(|known| known.name == lane)?;
        lane.routing.as_ref().map(|routing| routing.stats())
    }
}

// === impl RunningLane ===

impl RunningLane {
    /// What has the samplers, where there are any.
    pub(super) fn sampling(&self) -> &[Arc<Stages>] {
        if self.shards.is_empty() { slice::from_ref(&self.stages) } else { &self.shards }
    }

    /// What the head samplers of all shards did.
    pub(super) fn sampled_at_once(&self) -> Option<HeadStats> {
        let of_one = |stages: &Arc<Stages>| stages.lock().head.as_ref().map(HeadSampler::stats);
        self.sampling().iter().filter_map(of_one).reduce(|mut stats, more| {
            stats.add(&more);
            stats
        })
    }

    /// What the samplers of all shards did, and what they hold.
    pub(super) fn sampled(&self) -> Option<(Stats, Held)> {
        let of_one = |stages: &Arc<Stages>| {
            let state = stages.lock();
            state.sampler.as_ref().map(|sampler| (sampler.stats(), sampler.held()))
        };
        self.sampling().iter().filter_map(of_one).reduce(|(mut stats, mut held), (more, and)| {
            stats.add(&more);
            held.add(&and);
            (stats, held)
        })
    }
}

/// The samplers of so many shards, and whether they block when full.
pub(super) fn samplers(
    config: Option<&Config>,
    shards: NonZeroUsize,
) -> Result<Vec<(bool, TailSampler)>, Unfit> {
    let count = shards.get();
    if count > LaneConfig::MAX_SHARDS {
        let most = LaneConfig::MAX_SHARDS;
        return Err(Unfit::Shards(format!("at most {most} are possible")));
    }
    let Some(config) = config else {
        return match count {
            1 => Ok(Vec::new()),
            _ => Err(Unfit::Shards("it has no sampler".into())),
        };
    };
    let least = MIN_BYTES.saturating_mul(count);
    if count > 1 && config.max_bytes < least {
        let bytes = config.max_bytes;
        let problem = format!("{bytes} bytes are too few for all of them: give at least {least}");
        return Err(Unfit::Shards(problem));
    }
    let sampler = |part: Config| Ok((part.blocks_when_full, TailSampler::new(part)?));
    config.divided(shards).into_iter().map(sampler).collect::<Result<_, _>>().map_err(Unfit::Config)
}
