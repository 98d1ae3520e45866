//! One lane: the task that carries payloads of one signal from the receivers to the queues.
//!
//! The sampler and the batcher are plain functions of their input and `now`. This file is the thin
//! shell around them: it waits for payloads and deadlines, and hands batches to the queues.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::{FutureExt as _, poll};
use teleflow_batcher::Batcher;
use teleflow_exporter::Refused;
use teleflow_otlp::Payload;
use teleflow_sampler::{Output, TailSampler};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::books::{FAILED, Ledger, QUEUE_FULL, SHUTDOWN, Step, TOO_LARGE};
use crate::outlet::Outlet;

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
    /// Of each destination that has one of its own.
    pub(crate) batchers: Vec<Option<Batcher>>,
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) stages: Arc<Stages>,
    pub(crate) ledger: Ledger,
    pub(crate) outlets: Vec<Arc<Outlet>>,
    /// Set while the one outlet has no room, where senders are to be refused for that.
    pub(crate) is_full: Option<Arc<AtomicBool>>,
    /// Cancelled when nothing new is taken in any more. Where senders wait for results the lane then
    /// holds nothing back: they are to be answered before they are cut off.
    pub(crate) hurry: Option<CancellationToken>,
    /// Cancelled when the time to shut down has passed.
    pub(crate) give_up: CancellationToken,
    /// Set where a panic ended the lane.
    pub(crate) has_failed: Arc<AtomicBool>,
}

/// What is on its way between the stages; its memory serves again.
#[derive(Debug, Default)]
struct Work {
    out: Output,
    /// For all destinations.
    batches: Vec<Payload>,
    /// For one.
    full: Vec<Payload>,
    ready: Vec<(usize, Payload)>,
}

// === impl Stages ===

impl Stages {
    pub(crate) fn new(
        sampler: Option<TailSampler>,
        batcher: Option<Batcher>,
        batchers: Vec<Option<Batcher>>,
    ) -> Self {
        Self(Mutex::new(State { sampler, batcher, batchers }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Lane ===

impl Lane {
    /// Works until the intake is closed and everything is handed on, or until it has to give up.
    ///
    /// A panic ends it too. That is a bug of ours, and still nothing is lost unseen: what it held is
    /// entered as dropped, and receivers refuse what would come after.
    pub(crate) async fn run(self, mut intake: mpsc::Receiver<Taken>) {
        if AssertUnwindSafe(self.carry(&mut intake)).catch_unwind().await.is_err() {
            self.has_failed.store(true, Ordering::Release);
            self.abandon(&mut intake, FAILED).await;
        }
    }

    async fn carry(&self, intake: &mut mpsc::Receiver<Taken>) {
        let mut received = Vec::with_capacity(AT_ONCE);
        let mut work = Work::default();
        let mut timer = pin!(tokio::time::sleep_until(Instant::now()));
        let mut in_hurry = false;
        loop {
            let deadline = self.stages.lock().next_deadline();
            if let Some(deadline) = deadline.map(Instant::from_std)
                && timer.deadline() != deadline
            {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                () = self.give_up.cancelled() => return self.abandon(intake, SHUTDOWN).await,
                () = self.hurried(), if !in_hurry => in_hurry = true,
                () = &mut timer, if deadline.is_some() => {}
                taken = intake.recv_many(&mut received, AT_ONCE) => if taken == 0 { break },
            }
            let step = self.stages.lock().work(
                Instant::now().into_std(),
                received.drain(..).map(|(payload, _permit)| payload),
                &mut work,
            );
            self.ledger.step(step);
            let goes_on = self.dispatch(&mut work, false).await;
            if !goes_on || (in_hurry && !self.empty(&mut work).await) {
                return self.abandon(intake, SHUTDOWN).await;
            }
        }
        if !self.empty(&mut work).await {
            self.abandon(intake, SHUTDOWN).await;
        }
    }

    /// Hands on everything that is held; `false` where the time ran out before all was.
    async fn empty(&self, work: &mut Work) -> bool {
        loop {
            let now = Instant::now().into_std();
            let (step, is_all) = self.stages.lock().close(now, work);
            self.ledger.step(step);
            if !self.dispatch(work, is_all).await {
                return false;
            }
            if is_all {
                return true;
            }
        }
    }

    async fn hurried(&self) {
        match &self.hurry {
            Some(hurry) => hurry.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Hands batches to every destination; `false` where the time ran out before all were.
    async fn dispatch(&self, work: &mut Work, is_last: bool) -> bool {
        self.route(work, is_last);
        for (destination, batch) in work.ready.drain(..) {
            let items = batch.items();
            let mut push = pin!(self.outlets[destination].push(batch));
            let pushed = match poll!(push.as_mut()) {
                // Room at once is the usual case.
                Poll::Ready(pushed) => Some(pushed),
                Poll::Pending => {
                    self.fills_up(true);
                    let pushed = tokio::select! {
                        biased;
                        pushed = push => Some(pushed),
                        () = self.give_up.cancelled() => None,
                    };
                    self.fills_up(false);
                    pushed
                }
            };
            let reason = match pushed {
                Some(Ok(())) => continue,
                Some(Err(Refused::Full(_))) => QUEUE_FULL,
                Some(Err(Refused::TooLarge(_))) => TOO_LARGE,
                Some(Err(Refused::Closed(_))) | None => SHUTDOWN,
            };
            self.ledger.drop_queued(destination, items, reason);
        }
        !self.give_up.is_cancelled()
    }

    /// Has senders refused as long as there is no room for what is here already.
    fn fills_up(&self, is_full: bool) {
        if let Some(flag) = &self.is_full {
            flag.store(is_full, Ordering::Relaxed);
        }
    }

    /// Gives every destination its part, and takes what is ready for its queue.
    fn route(&self, work: &mut Work, is_last: bool) {
        let now = Instant::now().into_std();
        let mut stages = self.stages.lock();
        stages.learn(&self.outlets);
        for batch in work.batches.drain(..) {
            self.ledger.dispatch(batch.items());
            let ways = batch.fan_out(self.outlets.len());
            for ((destination, batch), batcher) in ways.enumerate().zip(&mut stages.batchers) {
                match batcher {
                    Some(batcher) => batcher.offer(now, batch, &mut work.full),
                    None => work.full.push(batch),
                }
                work.ready.extend(work.full.drain(..).map(|batch| (destination, batch)));
            }
        }
        for (destination, batcher) in stages.batchers.iter_mut().enumerate() {
            let Some(batcher) = batcher else { continue };
            let due = if is_last { batcher.close() } else { batcher.poll(now) };
            work.ready.extend(due.map(|batch| (destination, batch)));
        }
    }

    /// Enters everything that is still here as dropped.
    async fn abandon(&self, intake: &mut mpsc::Receiver<Taken>, reason: &'static str) {
        // A receiver that has a place reserved still fills it, and accepts: nothing may come after
        // the entry. It awaits nothing in between, so this ends at once.
        intake.close();
        while intake.recv().await.is_some() {}
        self.ledger.abandon(reason);
        let mut stages = self.stages.lock();
        (stages.sampler, stages.batcher) = (None, None);
        for (destination, batcher) in stages.batchers.iter_mut().enumerate() {
            if let Some(batcher) = batcher.take() {
                self.ledger.drop_queued(destination, batcher.items(), reason);
            }
        }
    }
}

// === impl State ===

impl State {
    /// Tells the batchers how long exports take.
    fn learn(&mut self, outlets: &[Arc<Outlet>]) {
        for (outlet, batcher) in outlets.iter().zip(&mut self.batchers) {
            for took in outlet.take_export_times() {
                let batchers = self.batcher.iter_mut().chain(&mut *batcher);
                batchers.for_each(|batcher| batcher.exported(took));
            }
        }
    }

    fn next_deadline(&self) -> Option<std::time::Instant> {
        let sampler = self.sampler.as_ref().and_then(TailSampler::next_deadline);
        let batchers = self.batcher.iter().chain(self.batchers.iter().flatten());
        sampler.into_iter().chain(batchers.filter_map(Batcher::next_deadline)).min()
    }

    /// Lets the stages work on what came in, and on what is due.
    fn work(
        &mut self,
        now: std::time::Instant,
        payloads: impl Iterator<Item = Payload>,
        work: &mut Work,
    ) -> Step {
        let mut step = Step::default();
        for payload in payloads {
            step.taken += payload.items();
            match &mut self.sampler {
                Some(sampler) => sampler.offer(now, payload, &mut work.out),
                None => work.out.kept.push(payload),
            }
            self.collect(now, work, &mut step);
        }
        if let Some(sampler) = &mut self.sampler
            && sampler.next_deadline().is_some_and(|deadline| deadline <= now)
        {
            sampler.poll(now, &mut work.out);
            self.collect(now, work, &mut step);
        }
        if let Some(batcher) = &mut self.batcher {
            work.batches.extend(batcher.poll(now));
        }
        step
    }

    /// Hands on what is held, and tells whether that was all: there may be more than should leave
    /// at once.
    fn close(&mut self, now: std::time::Instant, work: &mut Work) -> (Step, bool) {
        let mut step = Step::default();
        let is_all = self.sampler.as_mut().is_none_or(|sampler| sampler.drain(now, &mut work.out));
        self.collect(now, work, &mut step);
        if is_all && let Some(batcher) = &mut self.batcher {
            work.batches.extend(batcher.close());
        }
        (step, is_all)
    }

    /// Moves what the sampler let through to the batcher.
    fn collect(&mut self, now: std::time::Instant, work: &mut Work, step: &mut Step) {
        step.sampled_out += std::mem::take(&mut work.out.sampled_out);
        for payload in work.out.kept.drain(..) {
            step.kept += payload.items();
            match &mut self.batcher {
                Some(batcher) => batcher.offer(now, payload, &mut work.batches),
                None if payload.is_empty() => {}
                None => work.batches.push(payload),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use teleflow_otlp::Signal;
    use teleflow_testkit::telemetry::Telemetry;
    use tokio::sync::Semaphore;

    use super::*;

    fn lane(batcher: Option<Batcher>) -> Lane {
        let destinations = ["out".to_owned()];
        Lane {
            stages: Arc::new(Stages::new(None, batcher, vec![None])),
            ledger: Ledger::new("lane", Signal::Traces, &destinations),
            outlets: Vec::new(),
            is_full: None,
            hurry: None,
            give_up: CancellationToken::new(),
            has_failed: Arc::default(),
        }
    }

    fn payload() -> Payload {
        let request = Bytes::from(Telemetry::new(1).request(Signal::Traces, 4));
        Payload::parse(Signal::Traces, request).unwrap()
    }

    async fn taken(payload: &Payload) -> Taken {
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        (payload.clone(), permit)
    }

    #[tokio::test]
    async fn what_is_let_in_while_the_lane_gives_up_is_entered_too() {
        let (lane, payload) = (lane(None), payload());
        let ledger = lane.ledger.clone();
        let (sender, intake) = mpsc::channel(2);
        let place = sender.reserve().await.unwrap();
        lane.give_up.cancel();
        let running = tokio::spawn(lane.run(intake));
        // The lane closes its intake and waits for the place that is reserved.
        sender.closed().await;
        assert!(!running.is_finished());
        ledger.accept(payload.items());
        place.send(taken(&payload).await);
        running.await.unwrap();
        let [account] = &ledger.accounts()[..] else { panic!("there is one destination") };
        assert_eq!((account.accepted, account.held), (payload.items(), 0));
        assert_eq!(account.dropped[SHUTDOWN], payload.items());
        assert!(account.balances());
    }

    #[tokio::test]
    async fn a_panic_is_seen_and_what_was_held_is_entered() {
        // A batcher for another signal panics at the first payload.
        let batcher = Batcher::new(Signal::Logs, teleflow_batcher::Config::default()).unwrap();
        let (lane, payload) = (lane(Some(batcher)), payload());
        let (ledger, has_failed) = (lane.ledger.clone(), Arc::clone(&lane.has_failed));
        let (sender, intake) = mpsc::channel(2);
        ledger.accept(payload.items());
        sender.send(taken(&payload).await).await.unwrap();
        lane.run(intake).await;
        assert!(has_failed.load(Ordering::Acquire));
        assert!(sender.is_closed(), "nothing more is taken");
        let [account] = &ledger.accounts()[..] else { panic!("there is one destination") };
        assert_eq!((account.held, account.dropped[FAILED]), (0, payload.items()));
        assert!(account.balances());
    }
}
