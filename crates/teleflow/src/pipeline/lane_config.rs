//! What a lane is made of.

use std::num::NonZeroUsize;

use teleflow_otlp::Signal;
use teleflow_sampler::head::HeadConfig;

use crate::exchange::SharedDecisions;

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
    /// Keeps some spans or records and leaves out others, one by one as they come, before anything
    /// else is done with them; metrics pass by. Not where records follow another lane.
    pub head: Option<HeadConfig>,
    /// Keeps some traces and leaves out others; only for [`Signal::Traces`].
    pub sampler: Option<teleflow_sampler::Config>,
    /// Has the sampler decide together with those of other gateways, to which other spans of the
    /// same traces come. It takes the place of the sampler's own
    /// [`sharing`](teleflow_sampler::Config::sharing), and changes only at the next start.
    pub shared: Option<SharedDecisions>,
    /// How many tasks share the sampler's work: each has a share of the traces, and of the bounds,
    /// so that these are the whole lane's. More than one lets the lane use more than one core. One
    /// if nothing is said; at most [`MAX_SHARDS`](Self::MAX_SHARDS).
    pub shards: NonZeroUsize,
    /// The lane whose decisions its records follow, by name; only for [`Signal::Logs`], and only one
    /// lane may follow another.
    ///
    /// A record with a trace id shares the fate of its trace in that lane, and waits for it there,
    /// within that lane's bounds; others go on at once. What holds up the one lane then holds up the
    /// other, and both end where a bug ends one.
    pub follows: Option<String>,
    /// Makes larger requests of smaller ones.
    pub batcher: Option<teleflow_batcher::Config>,
    /// The exporters that it hands everything to, by name.
    pub exporters: Vec<String>,
}

// === impl LaneConfig ===

impl LaneConfig {
    /// The most shards, as many as the Collector allows.
    pub const MAX_SHARDS: usize = teleflow_sampler::MAX_SHARDS;

    /// A lane from nowhere to nowhere.
    pub fn new(name: impl Into<String>, signal: Signal) -> Self {
        Self {
            name: name.into(),
            signal,
            receivers: Vec::new(),
            head: None,
            sampler: None,
            shared: None,
            shards: NonZeroUsize::MIN,
            follows: None,
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

    /// Samples spans or records as they come.
    #[must_use]
    pub fn sample_at_once(mut self, config: HeadConfig) -> Self {
        self.head = Some(config);
        self
    }

    /// Samples.
    #[must_use]
    pub fn sample(mut self, config: teleflow_sampler::Config) -> Self {
        self.sampler = Some(config);
        self
    }

    /// Samples together with other gateways.
    #[must_use]
    pub fn share(mut self, shared: SharedDecisions) -> Self {
        self.shared = Some(shared);
        self
    }

    /// Samples in so many tasks, each with the traces that belong to it.
    #[must_use]
    pub const fn sample_in(mut self, shards: NonZeroUsize) -> Self {
        self.shards = shards;
        self
    }

    /// Has records follow their traces in a lane that samples.
    #[must_use]
    pub fn follow(mut self, lane: impl Into<String>) -> Self {
        self.follows = Some(lane.into());
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
