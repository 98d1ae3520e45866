//! One lane: the tasks that carry payloads of one signal from the receivers to the queues.
//!
//! The sampler and the batcher are plain functions of their input and `now`. This file is the thin
//! shell around them: it waits for payloads and deadlines, and hands batches to the queues.
//!
//! A lane is one task. With shards it is several: one for each shard, which alone owns the sampler of
//! its traces, and one for the rest of the way, which takes what they keep. Between them is a channel
//! that is bounded: a full destination holds up the last task, that the shards, those the door. All
//! of them end together: what is given up is entered when the last shard has ended.
//!
//! A lane of log records may follow one that samples. Its records go into the tasks of that lane,
//! which hold them with their traces, and its own task is the rest of their way.

mod stages;
#[cfg(test)]
mod tests;
mod waiting;

use std::future;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::{FutureExt as _, poll};
use teleflow_exporter::Refused;
use teleflow_otlp::Payload;
use teleflow_sampler::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::stages::Work;
pub(crate) use self::stages::{Stages, State};
use crate::books::{FAILED, Ledger, QUEUE_FULL, SHUTDOWN, Step, TOO_LARGE};
use crate::exchange::Desk;
use crate::intake::MAX_PAYLOADS;
use crate::outlet::Outlet;

/// A payload on its way into a task, perhaps read, and the bytes it takes there.
pub(crate) type Taken = (Digest, OwnedSemaphorePermit);

/// The most payloads taken in at a time.
const AT_ONCE: usize = 64;

/// How many payloads may be between the shards and the rest of their lane, and how many bytes they
/// may take.
const HANDED_PAYLOADS: usize = 256;
const HANDED_BYTES: usize = 16 * 1024 * 1024;

/// One task of a lane.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) part: Part,
    /// The lane whose records follow what is decided here.
    pub(crate) follower: Option<Follower>,
    pub(crate) stages: Arc<Stages>,
    pub(crate) ledger: Ledger,
    pub(crate) outlets: Vec<Arc<Outlet>>,
    /// Set while the one outlet has no room, where senders are to be refused for that.
    pub(crate) is_full: Option<Arc<AtomicBool>>,
    /// Cancelled when nothing new is taken in any more.
    pub(crate) stop_intake: CancellationToken,
    /// Where senders wait for results the lane then holds nothing back: they are to be answered
    /// before they are cut off.
    pub(crate) is_waited_for: bool,
    /// The lane's own, cancelled when the time to shut down has passed, or a bug ends the lane.
    pub(crate) give_up: CancellationToken,
    /// Set where a panic ended the lane.
    pub(crate) has_failed: Arc<AtomicBool>,
}

/// Which part of a lane's way a task goes.
#[derive(Debug)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// From the door to where the sampler of one shard has decided.
    Shard(Handover),
    /// From there on, for all shards.
    Rest,
}

/// A lane whose records follow the decisions of another.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    pub(crate) ledger: Ledger,
    pub(crate) rest: Handover,
}

/// Where shards put what they keep. The rest of the lane ends with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct Handover {
    sender: mpsc::Sender<Taken>,
    bytes: Arc<Semaphore>,
}

// === impl Lane ===

impl Lane {
    /// Starts the tasks of a lane that is whole so far: one, or one for each shard and one for the
    /// rest. Returns where what comes in goes, in the order of the shards.
    pub(crate) fn spawn(
        self,
        shards: &[Arc<Stages>],
        tasks: &mut JoinSet<()>,
    ) -> Vec<mpsc::Sender<Taken>> {
        if shards.is_empty() {
            let (sender, intake) = mpsc::channel(MAX_PAYLOADS);
            tasks.spawn(self.run(intake));
            return vec![sender];
        }
        let (rest, handed) = Handover::channel();
        let senders = shards.iter().map(|stages| {
            let (sender, intake) = mpsc::channel(MAX_PAYLOADS);
            let shard = Self {
                part: Part::Shard(rest.clone()),
                follower: self.follower.clone(),
                stages: Arc::clone(stages),
                ledger: self.ledger.clone(),
                outlets: Vec::new(),
                is_full: None,
                stop_intake: self.stop_intake.clone(),
                is_waited_for: self.is_waited_for,
                give_up: self.give_up.clone(),
                has_failed: Arc::clone(&self.has_failed),
            };
            tasks.spawn(shard.run(intake));
            sender
        });
        let senders = senders.collect();
        tasks.spawn(Self { part: Part::Rest, follower: None, ..self }.run(handed));
        senders
    }

    /// Starts the task of a lane that follows another, with what that hands over.
    pub(crate) fn spawn_behind(self, handed: mpsc::Receiver<Taken>, tasks: &mut JoinSet<()>) {
        tasks.spawn(Self { part: Part::Rest, ..self }.run(handed));
    }

    /// Works until the intake is closed and everything is handed on, or until it has to give up.
    ///
    /// A panic ends it too, and the other tasks of the lane with it. That is a bug of ours, and still
    /// nothing is lost unseen: what they held is entered as dropped, and receivers refuse what would
    /// come after.
    async fn run(self, mut intake: mpsc::Receiver<Taken>) {
        let carried = AssertUnwindSafe(self.carry(&mut intake)).catch_unwind().await;
        if carried.is_err() {
            self.has_failed.store(true, Ordering::Release);
            self.give_up.cancel();
        }
        if !matches!(carried, Ok(true)) {
            self.abandon(&mut intake).await;
        }
    }

    /// Whether all that came was handed on.
    async fn carry(&self, intake: &mut mpsc::Receiver<Taken>) -> bool {
        let mut received = Vec::with_capacity(AT_ONCE);
        let mut work = Work::default();
        let mut timer = pin!(tokio::time::sleep_until(Instant::now()));
        let mut in_hurry = false;
        loop {
            let (deadline, takes, desk) = {
                let stages = self.stages.lock();
                (stages.next_deadline(), stages.takes(), stages.desk.clone())
            };
            if let Some(deadline) = deadline.map(Instant::from_std)
                && timer.deadline() != deadline
            {
                timer.as_mut().reset(deadline);
            }
            // Who waits for room in a full sampler would not see that it ends.
            let heeds_end = self.is_waited_for || takes == 0;
            tokio::select! {
                biased;
                () = self.give_up.cancelled() => return false,
                () = self.end_begins(), if heeds_end && !in_hurry => in_hurry = true,
                () = &mut timer, if deadline.is_some() => {}
                () = self.rules_change(), if takes == 0 => {}
                () = answers_come(desk.as_deref()), if desk.is_some() => {}
                taken = intake.recv_many(&mut received, takes), if takes > 0 => {
                    if taken == 0 {
                        break;
                    }
                }
            }
            let (step, relief) = {
                let mut stages = self.stages.lock();
                stages.note_waiting(&received, intake);
                let digests = received.drain(..).map(|(digest, _permit)| digest);
                let step = stages.work(Instant::now().into_std(), digests, &mut work);
                (step, stages.relief_change())
            };
            if let Some(relief) = relief {
                waiting::log(&self.ledger.lane(), relief);
            }
            self.enter(step, &mut work);
            let goes_on = self.dispatch(&mut work, false).await;
            if !goes_on || (in_hurry && !self.empty(&mut work).await) {
                return false;
            }
        }
        self.empty(&mut work).await
    }

    /// Hands on everything that is held; `false` where the time ran out before all was.
    async fn empty(&self, work: &mut Work) -> bool {
        loop {
            let now = Instant::now().into_std();
            let (step, is_all) = self.stages.lock().close(now, work);
            self.enter(step, work);
            if !self.dispatch(work, is_all).await {
                return false;
            }
            if is_all {
                return true;
            }
        }
    }

    async fn end_begins(&self) {
        self.stop_intake.cancelled().await;
    }

    async fn rules_change(&self) {
        self.stages.changed.notified().await;
    }

    /// What shards have done is entered by them.
    fn enter(&self, step: Step, work: &mut Work) {
        if !matches!(self.part, Part::Rest) {
            self.ledger.step(step);
        }
        if let Some(follower) = &self.follower {
            follower.ledger.step(mem::take(&mut work.followed));
        }
    }

    /// Hands batches on; `false` where the time ran out before all were.
    async fn dispatch(&self, work: &mut Work, is_last: bool) -> bool {
        if let Some(follower) = &self.follower {
            self.hand_over(&follower.rest, &mut work.records).await;
        }
        if let Part::Shard(rest) = &self.part {
            self.hand_over(rest, &mut work.batches).await;
        } else {
            self.feed_outlets(work, is_last).await;
        }
        !self.give_up.is_cancelled()
    }

    /// What is left where the time ran out is still in the books, for the rest of the lane to enter.
    async fn hand_over(&self, rest: &Handover, kept: &mut Vec<Payload>) {
        for payload in kept.drain(..) {
            tokio::select! {
                biased;
                () = rest.put(payload) => {}
                () = self.give_up.cancelled() => return,
            }
        }
    }

    /// Hands batches to every destination.
    async fn feed_outlets(&self, work: &mut Work, is_last: bool) {
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
                Some(Err(Refused::Closed(_))) | None => self.why(),
            };
            self.ledger.drop_queued(destination, items, reason);
        }
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
    async fn abandon(&self, intake: &mut mpsc::Receiver<Taken>) {
        // A receiver that has a place reserved still fills it, and accepts: nothing may come after
        // the entry. It awaits nothing in between, so this ends at once. Shards end by themselves,
        // and until they have there may be more from them.
        if !matches!(self.part, Part::Rest) {
            intake.close();
        }
        while intake.recv().await.is_some() {}
        let reason = self.why();
        if !matches!(self.part, Part::Shard(_)) {
            self.ledger.abandon(reason);
        }
        let mut stages = self.stages.lock();
        (stages.sampler, stages.batcher) = (None, None);
        for (destination, batcher) in stages.batchers.iter_mut().enumerate() {
            if let Some(batcher) = batcher.take() {
                self.ledger.drop_queued(destination, batcher.items(), reason);
            }
        }
    }

    /// Why the lane gave up.
    fn why(&self) -> &'static str {
        if self.has_failed.load(Ordering::Acquire) { FAILED } else { SHUTDOWN }
    }
}

async fn answers_come(desk: Option<&Desk>) {
    match desk {
        Some(desk) => desk.answers_come().await,
        None => future::pending().await,
    }
}

// === impl Handover ===

impl Handover {
    /// The way from shards to the rest of their lane.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Taken>) {
        let (sender, receiver) = mpsc::channel(HANDED_PAYLOADS);
        (Self { sender, bytes: Arc::new(Semaphore::new(HANDED_BYTES)) }, receiver)
    }

    /// Waits for room, and hands a payload on. There is somebody to take it as long as there is a
    /// shard.
    async fn put(&self, payload: Payload) {
        let bytes = payload.bytes().min(HANDED_BYTES) as u32;
        let permit = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        if let (Ok(permit), Ok(place)) = (permit, self.sender.reserve().await) {
            place.send((Digest::unread(payload), permit));
        }
    }
}
