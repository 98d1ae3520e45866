//! How a tail sampler is to work.

use std::time::Duration;

use thiserror::Error;

use crate::policy::Rule;

/// How a [`TailSampler`](crate::TailSampler) works.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is kept: a trace that any of these keeps. Without a rule nothing is.
    pub rules: Vec<Rule>,
    /// How long to wait for a trace's spans, from the first on. Zero decides at the next poll, and
    /// more than a year is a year.
    pub decision_wait: Duration,
    /// The most bytes that undecided traces may take, requests and bookkeeping together. Beyond it
    /// the oldest traces are decided early, until a sixteenth is free. While one request is read,
    /// what is held may go over the bound by that request and its bookkeeping, at most some times
    /// its bytes.
    pub max_bytes: usize,
    /// The most undecided traces; beyond it the oldest are decided early, until a sixteenth is free.
    pub max_traces: usize,
    /// How many decisions to remember for late spans, at least; at most twice as many are. Takes 10
    /// to 21 bytes each. Zero forgets at once: a late span then starts a trace of its own.
    pub remembered_decisions: usize,
    /// Kept spans are handed out in payloads of about this many bytes.
    pub payload_bytes: usize,
    /// A secret that senders do not know, so that they cannot choose trace ids that slow the table
    /// down.
    pub hash_seed: u64,
}

/// Why a configuration does not work.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// `max_traces` is zero: there is no place for any trace.
    #[error("the number of traces must not be zero")]
    NoTraces,
    /// `max_bytes` is too small to hold a request.
    #[error("{0} bytes are too few to hold traces in: give at least {MIN_BYTES}")]
    TooFewBytes(usize),
}

/// The least that [`Config::max_bytes`] may be.
pub const MIN_BYTES: usize = 64 * 1024;

/// The longest wait: further ahead the clock may have no time to name.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

// === impl Config ===

impl Default for Config {
    /// The Collector's waiting time (30 s) and number of traces (50 000), 256 MiB, no rule.
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            decision_wait: Duration::from_secs(30),
            max_bytes: 256 * 1024 * 1024,
            max_traces: 50_000,
            remembered_decisions: 100_000,
            payload_bytes: 1024 * 1024,
            hash_seed: 0,
        }
    }
}
