//! One lane: the task that carries payloads of one signal from the receivers to the queues.
//!
//! The sampler and the batcher are plain functions of their input and `now`. This file is the thin
//! shell around them: it waits for payloads and deadlines, and hands batches to the queues.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use teleflow_batcher::Batcher;
use teleflow_exporter::{Queue, Refused};
use teleflow_otlp::Payload;
use teleflow_sampler::{Output, TailSampler};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::books::{Ledger, SHUTDOWN, Step};

/// A payload in the intake, and the bytes it takes there.
pub(crate) type Taken = (Payload, OwnedSemaphorePermit);

/// The most payloads taken from the intake at a time.
const AT_ONCE: usize = 64;

/// What works on a lane's payloads. Shared with readers of statistics; the lane itself is the only
/// one to change it, and never across an await.
#[derive(Debug)]
pub(crate) struct Stages(Mutex<State>);

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) sampler: Option<TailSampler>,
    pub(crate) batcher: Option<Batcher>,
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) stages: Arc<Stages>,
    pub(crate) ledger: Ledger,
    pub(crate) queues: Vec<Arc<Queue>>,
    /// Cancelled when the time to shut down has passed.
    pub(crate) give_up: CancellationToken,
}

// === impl Stages ===

impl Stages {
    pub(crate) fn new(sampler: Option<TailSampler>, batcher: Option<Batcher>) -> Self {
        Self(Mutex::new(State { sampler, batcher }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Lane ===

impl Lane {
    /// Works until the intake is closed and everything is handed on, or until it has to give up.
    pub(crate) async fn run(self, mut intake: mpsc::Receiver<Taken>) {
        let mut received = Vec::with_capacity(AT_ONCE);
        let mut batches = Vec::new();
        let mut out = Output::default();
        let mut timer = pin!(tokio::time::sleep_until(Instant::now()));
        loop {
            let deadline = self.stages.lock().next_deadline();
            if let Some(deadline) = deadline.map(Instant::from_std)
                && timer.deadline() != deadline
            {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                () = self.give_up.cancelled() => return self.abandon(intake).await,
                () = &mut timer, if deadline.is_some() => {}
                taken = intake.recv_many(&mut received, AT_ONCE) => if taken == 0 { break },
            }
            let step = self.stages.lock().work(
                Instant::now().into_std(),
                received.drain(..).map(|(payload, _permit)| payload),
                &mut out,
                &mut batches,
            );
            self.ledger.step(step);
            if !self.dispatch(&mut batches).await {
                return self.abandon(intake).await;
            }
        }
        let step = self.stages.lock().close(Instant::now().into_std(), &mut out, &mut batches);
        self.ledger.step(step);
        if !self.dispatch(&mut batches).await {
            self.abandon(intake).await;
        }
    }

    /// Hands batches to every queue; `false` where the time ran out before all were.
    async fn dispatch(&self, batches: &mut Vec<Payload>) -> bool {
        for batch in batches.drain(..) {
            let items = batch.items();
            self.ledger.dispatch(items);
            for (destination, queue) in self.queues.iter().enumerate() {
                // Room at once is the usual case.
                let pushed = tokio::select! {
                    biased;
                    pushed = queue.push(batch.clone()) => Some(pushed),
                    () = self.give_up.cancelled() => None,
                };
                let reason = match pushed {
                    Some(Ok(())) => continue,
                    Some(Err(Refused::Full(_))) => "queue_full",
                    Some(Err(Refused::TooLarge(_))) => "too_large",
                    Some(Err(Refused::Closed(_))) | None => SHUTDOWN,
                };
                self.ledger.drop_queued(destination, items, reason);
            }
        }
        !self.give_up.is_cancelled()
    }

    /// Enters everything that is still here as dropped.
    async fn abandon(&self, mut intake: mpsc::Receiver<Taken>) {
        // A receiver that has a place reserved still fills it, and accepts: nothing may come after
        // the entry. It awaits nothing in between, so this ends at once.
        intake.close();
        while intake.recv().await.is_some() {}
        self.ledger.abandon(SHUTDOWN);
        let mut stages = self.stages.lock();
        (stages.sampler, stages.batcher) = (None, None);
    }
}

// === impl State ===

impl State {
    fn next_deadline(&self) -> Option<std::time::Instant> {
        let sampler = self.sampler.as_ref().and_then(TailSampler::next_deadline);
        let batcher = self.batcher.as_ref().and_then(Batcher::next_deadline);
        sampler.into_iter().chain(batcher).min()
    }

    /// Lets the stages work on what came in, and on what is due.
    fn work(
        &mut self,
        now: std::time::Instant,
        payloads: impl Iterator<Item = Payload>,
        out: &mut Output,
        batches: &mut Vec<Payload>,
    ) -> Step {
        let mut step = Step::default();
        for payload in payloads {
            step.taken += payload.items();
            match &mut self.sampler {
                Some(sampler) => sampler.offer(now, payload, out),
                None => out.kept.push(payload),
            }
            self.collect(now, out, batches, &mut step);
        }
        if let Some(sampler) = &mut self.sampler
            && sampler.next_deadline().is_some_and(|deadline| deadline <= now)
        {
            sampler.poll(now, out);
            self.collect(now, out, batches, &mut step);
        }
        if let Some(batcher) = &mut self.batcher {
            batches.extend(batcher.poll(now));
        }
        step
    }

    /// Hands on everything that is held.
    fn close(
        &mut self,
        now: std::time::Instant,
        out: &mut Output,
        batches: &mut Vec<Payload>,
    ) -> Step {
        let mut step = Step::default();
        if let Some(sampler) = &mut self.sampler {
            sampler.drain(out);
        }
        self.collect(now, out, batches, &mut step);
        if let Some(batcher) = &mut self.batcher {
            batches.extend(batcher.close());
        }
        step
    }

    /// Moves what the sampler let through to the batcher.
    fn collect(
        &mut self,
        now: std::time::Instant,
        out: &mut Output,
        batches: &mut Vec<Payload>,
        step: &mut Step,
    ) {
        step.sampled_out += std::mem::take(&mut out.sampled_out);
        for payload in out.kept.drain(..) {
            step.kept += payload.items();
            match &mut self.batcher {
                Some(batcher) => batcher.offer(now, payload, batches),
                None if payload.is_empty() => {}
                None => batches.push(payload),
            }
        }
    }
}
