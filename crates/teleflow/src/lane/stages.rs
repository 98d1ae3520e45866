//! What works on a lane's payloads: plain functions of their input and `now`.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use teleflow_batcher::Batcher;
use teleflow_otlp::{Payload, Signal};
use teleflow_sampler::head::HeadSampler;
use teleflow_sampler::{Digest, Output, TailSampler};
use tokio::sync::Notify;

use super::AT_ONCE;
use crate::books::Step;
use crate::exchange::Desk;
use crate::outlet::Outlet;

/// What works on the payloads of a lane, or of one of its shards. Shared with readers of statistics
/// and with who changes the rules; the task itself is the only one to use it, and never across an
/// await.
#[derive(Debug)]
pub(crate) struct Stages {
    state: Mutex<State>,
    /// The rules have changed: what is full by the old ones may not be so by the new.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Samples what comes before anything else.
    pub(crate) head: Option<HeadSampler>,
    pub(crate) sampler: Option<TailSampler>,
    /// Where it decides together with others.
    pub(crate) desk: Option<Arc<Desk>>,
    /// Takes nothing in while the sampler is full.
    pub(crate) blocks_when_full: bool,
    /// Whether the sampler's relief was active when that was last said.
    pub(crate) was_relieving: bool,
    /// Whether log records follow the sampler's decisions: they are another lane's.
    pub(crate) is_followed: bool,
    pub(crate) batcher: Option<Batcher>,
    /// Of each destination that has one of its own.
    pub(crate) batchers: Vec<Option<Batcher>>,
}

/// What is on its way between the stages; its memory serves again.
#[derive(Debug, Default)]
pub(super) struct Work {
    out: Output,
    /// What the head sampler let through.
    heads: Output,
    /// For all destinations.
    pub(super) batches: Vec<Payload>,
    /// For one.
    pub(super) full: Vec<Payload>,
    pub(super) ready: Vec<(usize, Payload)>,
    /// For the lane that follows, and what became of its records.
    pub(super) records: Vec<Payload>,
    pub(super) followed: Step,
}

// === impl Stages ===

impl Stages {
    pub(crate) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Tells the batchers how long exports take.
    pub(super) fn learn(&mut self, outlets: &[Arc<Outlet>]) {
        for (outlet, batcher) in outlets.iter().zip(&mut self.batchers) {
            for took in outlet.take_export_times() {
                let batchers = self.batcher.iter_mut().chain(&mut *batcher);
                batchers.for_each(|batcher| batcher.exported(took));
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<std::time::Instant> {
        let sampler = self.sampler.as_ref().and_then(TailSampler::next_deadline);
        let batchers = self.batcher.iter().chain(self.batchers.iter().flatten());
        sampler.into_iter().chain(batchers.filter_map(Batcher::next_deadline)).min()
    }

    /// How many payloads may come in at a time. One may bring more traces than there is room for;
    /// where that counts no second one comes before it was seen.
    pub(super) fn takes(&self) -> usize {
        match &self.sampler {
            Some(sampler) if self.blocks_when_full => {
                // Nobody waits for a decision that nothing is waiting for.
                usize::from(!sampler.is_full() || sampler.next_deadline().is_none())
            }
            _ => AT_ONCE,
        }
    }

    /// Lets the stages work on what came in, and on what is due.
    pub(super) fn work(
        &mut self,
        now: std::time::Instant,
        digests: impl Iterator<Item = Digest>,
        work: &mut Work,
    ) -> Step {
        let mut step = Step::default();
        self.hear(now, work, &mut step);
        for mut digest in digests {
            if digest.is_read()
                && let (None, Some(sampler)) = (&self.head, &mut self.sampler)
            {
                step.taken += digest.items();
                sampler.offer_digest(now, &mut digest, &mut work.out);
                self.collect(now, work, &mut step);
                continue;
            }
            for payload in digest.into_payloads() {
                self.work_on(now, payload, work, &mut step);
            }
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

    fn work_on(
        &mut self,
        now: std::time::Instant,
        payload: Payload,
        work: &mut Work,
        step: &mut Step,
    ) {
        let step_of = if self.is_of_follower(&payload) { &mut work.followed } else { &mut *step };
        step_of.taken += payload.items();
        if self.head.is_some() && !self.is_of_follower(&payload) {
            return self.sample_at_once(now, payload, work, step);
        }
        self.take(now, payload, work);
        self.collect(now, work, step);
    }

    /// Hands on what the head sampler keeps of a payload.
    fn sample_at_once(
        &mut self,
        now: std::time::Instant,
        payload: Payload,
        work: &mut Work,
        step: &mut Step,
    ) {
        let mut heads = mem::take(&mut work.heads);
        match &mut self.head {
            Some(head) => head.sample(now, payload, &mut heads),
            None => heads.kept.push(payload),
        }
        step.sampled_out += mem::take(&mut heads.sampled_out);
        for payload in heads.kept.drain(..) {
            self.take(now, payload, work);
            self.collect(now, work, step);
        }
        work.heads = heads;
    }

    fn take(&mut self, now: std::time::Instant, payload: Payload, work: &mut Work) {
        match &mut self.sampler {
            Some(sampler) => sampler.offer(now, payload, &mut work.out),
            None => work.out.kept.push(payload),
        }
    }

    /// Hands on what is held, and tells whether that was all: there may be more than should leave
    /// at once.
    pub(super) fn close(&mut self, now: std::time::Instant, work: &mut Work) -> (Step, bool) {
        let mut step = Step::default();
        self.hear(now, work, &mut step);
        let is_all = self.sampler.as_mut().is_none_or(|sampler| sampler.drain(now, &mut work.out));
        self.collect(now, work, &mut step);
        if is_all && let Some(batcher) = &mut self.batcher {
            work.batches.extend(batcher.close());
        }
        (step, is_all)
    }

    /// Lets the sampler learn what others say.
    fn hear(&mut self, now: std::time::Instant, work: &mut Work, step: &mut Step) {
        let (Some(desk), Some(sampler)) = (&self.desk, &mut self.sampler) else { return };
        let answers = desk.take_answers();
        if !answers.is_empty() {
            sampler.learn(now, answers, &mut work.out);
            self.collect(now, work, step);
        }
    }

    /// Hands in what the sampler proposes to others. Where there is no room it decides alone.
    fn propose(&mut self, now: std::time::Instant, out: &mut Output) {
        if out.proposals.is_empty() {
            return;
        }
        let (Some(desk), Some(sampler)) = (&self.desk, &mut self.sampler) else {
            return out.proposals.clear();
        };
        let refused = desk.propose(out.proposals.drain(..));
        if !refused.is_empty() {
            // It proposes nothing more for that.
            sampler.learn(now, refused, out);
        }
    }

    /// Moves what the sampler let through to the batcher.
    fn collect(&mut self, now: std::time::Instant, work: &mut Work, step: &mut Step) {
        self.propose(now, &mut work.out);
        step.sampled_out += mem::take(&mut work.out.sampled_out);
        work.followed.sampled_out += mem::take(&mut work.out.logs_sampled_out);
        for payload in work.out.kept.drain(..) {
            if self.is_of_follower(&payload) {
                work.followed.kept += payload.items();
                work.records.push(payload);
                continue;
            }
            step.kept += payload.items();
            match &mut self.batcher {
                Some(batcher) => batcher.offer(now, payload, &mut work.batches),
                None if payload.is_empty() => {}
                None => work.batches.push(payload),
            }
        }
    }

    fn is_of_follower(&self, payload: &Payload) -> bool {
        self.is_followed && payload.signal() == Signal::Logs
    }
}
