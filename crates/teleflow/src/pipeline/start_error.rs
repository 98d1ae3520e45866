//! Why a pipeline does not start.

use std::num::NonZeroUsize;

use teleflow_receiver::BindError;
use thiserror::Error;

use crate::outlet::StorageError;

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
    /// A lane cannot follow the decisions of another.
    #[error("lane `{lane}` cannot follow lane `{followed}`: {problem}")]
    Follow {
        /// The lane.
        lane: String,
        /// The other.
        followed: String,
        /// What is in the way.
        problem: String,
    },
    /// A lane cannot have as many shards.
    #[error("lane `{lane}` cannot have {shards} shards: {problem}")]
    Shards {
        /// The lane.
        lane: String,
        /// How many it was to have.
        shards: NonZeroUsize,
        /// What is in the way.
        problem: String,
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
