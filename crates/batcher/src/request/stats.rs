//! What a request batcher did, counted by callers, driver and batches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use teleflow_concurrency::{Latency, LatencySnapshot, Semaphore, SemaphoreStats};

use crate::Trigger;
use crate::wait::AdaptiveWait;

/// What a [`RequestBatcher`](super::RequestBatcher) did so far.
///
/// At rest `accepted` is `answered + failed + taken_out + discarded + held`; while calls go on, each
/// figure is read for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestStats {
    /// Requests that came into the queue.
    pub accepted: u64,
    /// Requests that were turned away: the queue was full, or the batcher closed.
    pub refused: u64,
    /// Requests whose caller was handed an answer.
    pub answered: u64,
    /// Requests whose caller was handed an error of the call.
    pub failed: u64,
    /// Requests that were not sent, as their caller was gone.
    pub taken_out: u64,
    /// Requests that were sent, and whose caller was gone when the answer came.
    pub discarded: u64,
    /// Requests that wait or are in flight.
    pub held: u64,
    /// Calls whose deadline passed. Their requests are counted above as well.
    pub expired: u64,
    /// Batches begun, whatever made them go.
    pub batches: u64,
    /// Batches that had enough requests.
    pub by_requests: u64,
    /// Batches whose first request had waited long enough.
    pub by_age: u64,
    /// Batches that left early for the deadline of a caller.
    pub by_deadline: u64,
    /// Batches that were asked for.
    pub by_flush: u64,
    /// Batches that went because the batcher was closed.
    pub by_close: u64,
    /// Calls that ended in an error, a panic, or with another number of answers.
    pub failed_batches: u64,
    /// How long calls took.
    pub call: LatencySnapshot,
    /// The slots of calls in flight; `acquired - released` are used.
    pub slots: SemaphoreStats,
}

/// What callers, driver and batches share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) taken_out: AtomicU64,
    pub(super) discarded: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) failed_batches: AtomicU64,
    batches: [AtomicU64; TRIGGERS.len()],
    pub(super) call: Latency,
    pub(super) slots: Arc<Semaphore>,
    pub(super) wait: Mutex<AdaptiveWait>,
}

/// What can make a batch of requests go.
const TRIGGERS: [Trigger; 5] =
    [Trigger::Requests, Trigger::Age, Trigger::Deadline, Trigger::Flush, Trigger::Close];

// === impl Shared ===

impl Shared {
    pub(super) fn new(in_flight: u64, wait: AdaptiveWait) -> Self {
        let slots = Semaphore::new("batches in flight", in_flight.min(Semaphore::MAX_PERMITS));
        Self {
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            taken_out: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            failed_batches: AtomicU64::new(0),
            batches: Default::default(),
            call: Latency::new(),
            slots: Arc::new(slots),
            wait: Mutex::new(wait),
        }
    }

    pub(super) fn count(&self, trigger: Trigger) {
        for (counter, its) in self.batches.iter().zip(TRIGGERS) {
            counter.fetch_add(u64::from(its == trigger), Ordering::Relaxed);
        }
    }

    pub(super) fn stats(&self) -> RequestStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let done = [&self.answered, &self.failed, &self.taken_out, &self.discarded].map(load);
        let [answered, failed, taken_out, discarded] = done;
        let accepted = load(&self.accepted);
        let batches = self.batches.each_ref().map(load);
        let [by_requests, by_age, by_deadline, by_flush, by_close] = batches;
        RequestStats {
            accepted,
            refused: load(&self.refused),
            answered,
            failed,
            taken_out,
            discarded,
            held: accepted.saturating_sub(done.iter().sum()),
            expired: load(&self.expired),
            batches: batches.iter().sum(),
            by_requests,
            by_age,
            by_deadline,
            by_flush,
            by_close,
            failed_batches: load(&self.failed_batches),
            call: self.call.snapshot(),
            slots: self.slots.stats(),
        }
    }
}
