//! One request on its way from the socket to the consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use teleflow_otlp::{Payload, Signal};

use crate::budget::Lease;
use crate::rejection::{Cause, Rejection};
use crate::serve::Core;
use crate::stats::RequestCounters;
use crate::{Consumer, Transport};

/// Holds what a request has drawn from the budget, and sees to it that it is counted once,
/// however it ends.
#[derive(Debug)]
pub(crate) struct InFlight {
    core: Arc<Core>,
    transport: Transport,
    signal: Signal,
    pub(crate) lease: Lease,
    pub(crate) received: AtomicU64,
    ended: AtomicBool,
}

// === impl InFlight ===

impl InFlight {
    pub(crate) fn new(core: &Arc<Core>, transport: Transport, signal: Signal) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(core),
            transport,
            signal,
            lease: core.budget.lease(),
            received: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        })
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn signal(&self) -> Signal {
        self.signal
    }

    /// Draws `bytes` from the budget.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Rejection> {
        if self.lease.try_grow(bytes) {
            return Ok(());
        }
        Err(Rejection::over_budget(self.core.limits.retry_after))
    }

    /// Counts how the request ended: with so many items taken, or not.
    pub(crate) fn end(&self, outcome: &Result<u64, Rejection>) {
        self.ended.store(true, Relaxed);
        match outcome {
            Ok(items) => self.counters().accept(*items),
            Err(rejection) => self.counters().reject(rejection.cause, rejection.items),
        }
    }

    fn counters(&self) -> &RequestCounters {
        self.core.counters.of(self.transport, self.signal)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counters().bytes.fetch_add(self.received.load(Relaxed), Relaxed);
        if !self.ended.load(Relaxed) {
            self.counters().reject(Cause::Incomplete, 0);
        }
    }
}

/// Hands the payload over and returns how many items were taken.
pub(crate) async fn deliver<C: Consumer>(consumer: &C, payload: Payload) -> Result<u64, Rejection> {
    let items = payload.items();
    if payload.bytes() > 0 {
        consumer
            .consume(payload)
            .await
            .map_err(|refused| Rejection { items, ..Rejection::refused(refused) })?;
    }
    Ok(items)
}
