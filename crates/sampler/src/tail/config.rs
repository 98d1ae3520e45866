//! How a tail sampler is to work.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::Sharing;
use super::eviction::Eviction;
use super::ingest::{self, Strategy};
use super::storage::Storage;
use crate::rules::Rules;
use crate::tail::{Counts, Notes, Relief};

/// How a [`TailSampler`](crate::TailSampler) works.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What is kept. Without a rule nothing is.
    pub rules: Rules,
    /// When it is decided.
    pub strategy: Strategy,
    /// How long to wait for a trace's spans, from the first on. Zero decides at the next poll, and
    /// more than a year is a year.
    pub decision_wait: Duration,
    /// How long to wait at most once the root span is there. `None`: as long as without.
    pub decision_wait_after_root: Option<Duration>,
    /// Which spans are roots for that, and only for that: those that meet this condition, in OTTL
    /// and about spans. `None`: those without a parent. One that it cannot be evaluated of is none,
    /// and is counted in [`Stats::root_errors`](crate::Stats::root_errors). Spans are looked at one
    /// by one as they come, until one of their trace met it.
    pub root_condition: Option<String>,
    /// The most bytes that undecided traces may take, requests and bookkeeping together. Beyond it
    /// traces are decided early, until a sixteenth is free: those first that take the most bytes for
    /// the time they still have to wait. While one request is read, what is held may go over the
    /// bound by that request and its bookkeeping, at most some times its bytes.
    ///
    /// Requests that are in a [`storage`](Self::storage) do not count: their bookkeeping does.
    pub max_bytes: usize,
    /// Where the bytes of requests are while spans of theirs are held. `None`, or where it has no
    /// room: in memory.
    pub storage: Option<Arc<dyn Storage>>,
    /// The most undecided traces; beyond it the oldest are decided early, until a sixteenth is free.
    pub max_traces: usize,
    /// Decides no trace early for the number of traces: it is for the caller to offer nothing while
    /// the sampler [is full](crate::TailSampler::is_full).
    pub blocks_when_full: bool,
    /// A trace that has so many spans is decided at once; those that come later follow.
    pub max_trace_spans: Option<u64>,
    /// A trace whose spans take more bytes is left out at once.
    pub max_trace_bytes: Option<u64>,
    /// How many decisions are remembered for late spans.
    pub remembered: Remembered,
    /// Kept spans are handed out in payloads of about this many bytes.
    pub payload_bytes: usize,
    /// Writes how likely it was to be kept into the trace state of what is: `ot=th`.
    pub writes_threshold: bool,
    /// Writes which policy kept a trace into the attributes of its scopes: `tailsampling.policy`,
    /// `tailsampling.composite_policy`, `tailsampling.cached_decision`.
    pub records_policy: bool,
    /// Writes into the attributes of a kept trace's root span how much came of it.
    pub counts: Counts,
    /// Writes how a trace was decided into the attributes of each of its spans.
    pub notes: Notes,
    /// Who decides, written into the attributes of the scopes of what is kept: `tailsampling.host`.
    pub host: Option<String>,
    /// Keeps everything, and writes into the attributes of scopes what would have been kept:
    /// `tailsampling.dry_run.kept`. No trace state changes; with
    /// [`writes_threshold`](Self::writes_threshold) spans that would have been kept have
    /// `tailsampling.dry_run.threshold`. Figures are those of the decisions.
    pub dry_run: bool,
    /// What decides about a trace that has to go early for want of room.
    pub eviction: Eviction,
    /// Leaves out what is undecided when the sampler is drained, in place of deciding about it.
    pub drops_at_end: bool,
    /// Decides about traces as they begin, while there is little room. `None`: traces are held then,
    /// too, and decided early.
    pub relief: Option<Relief>,
    /// Has log records that are offered wait for the decision about their trace, and follow it. They
    /// count for the bound of bytes; no policy sees them.
    pub holds_logs: bool,
    /// Makes decisions together with other samplers, to which other spans of the same traces come:
    /// by [proposals](crate::Output::proposals) and their [answers](crate::TailSampler::learn).
    /// `None`: alone. Who waits for others takes up to 200 bytes a trace beside `max_bytes`.
    pub sharing: Option<Sharing>,
    /// A secret that senders do not know, so that they cannot choose trace ids that slow the table
    /// down.
    pub hash_seed: u64,
}

/// How many decisions are remembered, at least; at most twice as many are. Zero forgets at once: a
/// late span then starts a trace of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Remembered {
    /// Of kept traces, each with threshold and policy. Takes 21 to 41 bytes each: a table of 18 bytes
    /// a place has places for a power of two, of which at most seven of eight are taken.
    pub kept: usize,
    /// Of traces that were left out. Takes 4.3 bytes each; more than 2^30 count as so many.
    pub dropped: usize,
}

/// Why a configuration does not work.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// `max_traces` is zero: there is no place for any trace.
    #[error("the number of traces must not be zero")]
    NoTraces,
    /// `max_bytes` is too small to hold a request.
    #[error("{0} bytes are too few to hold traces in: give at least {MIN_BYTES}")]
    TooFewBytes(usize),
    /// Relief would begin and end at levels that make no sense.
    #[error(
        "relief begins at a level of at most 100 and ends below one that is not above that, and not at \
         {activation} and below {deactivation}"
    )]
    Relief {
        /// [`Relief::activation`].
        activation: u8,
        /// [`Relief::deactivation`].
        deactivation: u8,
    },
    /// [`Config::root_condition`] is none, and why.
    #[error("the condition of root spans does not work: {0}")]
    RootCondition(String),
    /// [`Eviction::Ratio`] of such a share.
    #[error("the share of what has to go early is {0}: it has to be above 0 and at most 1")]
    Eviction(String),
    /// [`Strategy::SpanIngest`] with rules of which the first decides.
    #[error("rules of which the first decides are asked about whole traces, not as spans come")]
    RulesOnIngest,
    /// A rule makes no sense.
    #[error("{rule}: {problem}")]
    Rule {
        /// Its name; of a part, after those it is part of: `outer/inner`.
        rule: String,
        /// What is wrong with it, and where.
        problem: String,
    },
}

/// The least that [`Config::max_bytes`] may be.
pub const MIN_BYTES: usize = 64 * 1024;

/// The longest wait: further ahead the clock may have no time to name.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

// === impl Config ===

impl Config {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.max_traces == 0 {
            return Err(ConfigError::NoTraces);
        }
        if self.max_bytes < MIN_BYTES {
            return Err(ConfigError::TooFewBytes(self.max_bytes));
        }
        if self.strategy == Strategy::SpanIngest {
            ingest::check(&self.rules)?;
        }
        match self.relief {
            Some(relief) => relief.check(),
            None => Ok(()),
        }
    }
}

impl Default for Config {
    /// The Collector's waiting time (30 s) and number of traces (50 000), 256 MiB, no rule.
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            strategy: Strategy::default(),
            decision_wait: Duration::from_secs(30),
            decision_wait_after_root: None,
            root_condition: None,
            max_bytes: 256 * 1024 * 1024,
            storage: None,
            max_traces: 50_000,
            max_trace_spans: None,
            max_trace_bytes: None,
            remembered: Remembered::default(),
            payload_bytes: 1024 * 1024,
            writes_threshold: true,
            records_policy: false,
            counts: Counts::None,
            notes: Notes::default(),
            host: None,
            dry_run: false,
            eviction: Eviction::Rules,
            drops_at_end: false,
            blocks_when_full: false,
            relief: None,
            holds_logs: false,
            sharing: None,
            hash_seed: 0,
        }
    }
}

// === impl Remembered ===

impl Default for Remembered {
    /// 100 000 each.
    fn default() -> Self {
        Self { kept: 100_000, dropped: 100_000 }
    }
}
