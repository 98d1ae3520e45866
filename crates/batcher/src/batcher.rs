//! The batcher of one stream of payloads.

use std::time::{Duration, Instant};

use teleflow_otlp::{Payload, Signal};

use crate::config::{Config, ConfigError, Rules};
use crate::pending::{Moment, Pending};
use crate::stats::{Stats, Trigger};
use crate::wait::AdaptiveWait;

/// Collects payloads of one signal into batches.
///
/// Between calls it holds less than the least of a batch, in items, bytes and requests. Payloads come
/// out in the order in which they went in.
#[derive(Debug)]
pub struct Batcher {
    rules: Rules,
    wait: AdaptiveWait,
    pending: Pending,
    stats: Stats,
}

// === impl Batcher ===

impl Batcher {
    /// Creates a batcher that holds nothing.
    ///
    /// # Errors
    ///
    /// If the limits contradict each other.
    pub fn new(signal: Signal, config: Config) -> Result<Self, ConfigError> {
        Ok(Self {
            rules: config.rules()?,
            wait: config.wait()?,
            pending: Pending::new(signal),
            stats: Stats::default(),
        })
    }

    /// Takes a payload; batches that are complete by it are appended to `full`, in order. A payload
    /// without items is dropped: the protocol forbids to send it.
    ///
    /// # Panics
    ///
    /// If the payload is of another signal.
    #[inline]
    pub fn offer(&mut self, now: Instant, payload: Payload, full: &mut Vec<Payload>) {
        self.offer_by(now, payload, None, full);
    }

    /// As [`offer`](Self::offer), for a caller who waits until `deadline`: the batch leaves early
    /// enough for the first of its callers' deadlines, as far as [`margin`](Self::margin) knows,
    /// and at once where that is too late already. A deadline that has passed is not looked at.
    ///
    /// # Panics
    ///
    /// If the payload is of another signal.
    #[inline]
    pub fn offer_by(
        &mut self,
        now: Instant,
        payload: Payload,
        deadline: Option<Instant>,
        full: &mut Vec<Payload>,
    ) {
        let Self { rules, wait, pending, stats } = self;
        pending.offer(rules, wait, Moment { now, deadline }, payload, stats, full);
    }

    /// Takes the batch out, if it is old enough or a caller's deadline is near.
    pub fn poll(&mut self, now: Instant) -> Option<Payload> {
        self.pending.poll(now, &mut self.stats)
    }

    /// When [`poll`](Self::poll) has something to take; `None` while nothing is pending, or where
    /// the timeout is endless.
    pub const fn next_deadline(&self) -> Option<Instant> {
        self.pending.due()
    }

    /// Takes out what is pending, however little.
    pub fn flush(&mut self) -> Option<Payload> {
        self.pending.take(Trigger::Flush, &mut self.stats)
    }

    /// As [`flush`](Self::flush), at the end: it is counted as such.
    pub fn close(&mut self) -> Option<Payload> {
        self.pending.take(Trigger::Close, &mut self.stats)
    }

    /// Counts an export that took so long, from when a batch was handed on to the answer. The margin
    /// of deadlines follows from it, and the wait where it is adaptive: for batches that begin
    /// afterwards.
    pub fn exported(&mut self, took: Duration) {
        self.wait.record(took);
    }

    /// How long a batch that begins now waits.
    pub const fn wait(&self) -> Duration {
        self.wait.wait()
    }

    /// How long before a caller's deadline a batch leaves.
    pub fn margin(&self) -> Duration {
        self.wait.margin()
    }

    /// How many items are pending.
    pub const fn items(&self) -> u64 {
        self.pending.items()
    }

    /// How many bytes are pending.
    pub const fn bytes(&self) -> usize {
        self.pending.bytes()
    }

    /// How many payloads are pending, and pieces of such.
    pub const fn requests(&self) -> u64 {
        self.pending.requests()
    }

    /// What was done so far.
    pub const fn stats(&self) -> Stats {
        self.stats
    }
}
