//! The queue between those who submit and the workers: who may push, who pops, who comes, who goes.
//!
//! All of it is decided under one lock, which is why no task is lost while the pool shrinks: a
//! worker goes in the same section in which it sees that nothing waits. It knows no runtime and
//! runs under shuttle as it is.

#[cfg(all(test, not(any(teleflow_loom, teleflow_shuttle))))]
mod model;
#[cfg(all(test, teleflow_shuttle))]
mod scenes;

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use crate::scale::{Scale, ScaleLimits, ScaleSample};
use crate::sync::{Mutex, lock};
use crate::wake::wake_all;

/// A bounded queue of jobs and the book of its workers.
#[derive(Debug)]
pub(crate) struct Queue<J> {
    state: Mutex<State<J>>,
    limits: ScaleLimits,
    capacity: usize,
}

#[derive(Debug)]
struct State<J> {
    jobs: VecDeque<J>,
    /// Places that were promised and not filled yet: `jobs.len() + reserved <= capacity`.
    reserved: usize,
    /// Who waits for a place, by rising key. The first `granted` of them were promised theirs.
    waiters: VecDeque<Waiter>,
    granted: usize,
    next_key: u64,
    /// Workers that found nothing; the one that has waited the shortest is last, and is woken first,
    /// so that those who are not needed stay idle.
    idle: Vec<(u64, Waker)>,
    /// Workers that were woken for a job and have not come for one yet. While anyone is idle there
    /// are as many as there are jobs: a job that comes while all of these have one of their own
    /// wakes one more.
    called: Vec<u64>,
    book: Book,
    closed: bool,
}

#[derive(Debug)]
struct Waiter {
    key: u64,
    /// Taken when it is woken.
    waker: Option<Waker>,
}

/// What the queue counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Book {
    pub(crate) queued: usize,
    pub(crate) workers: usize,
    pub(crate) active: usize,
    pub(crate) grown: u64,
    pub(crate) shrunk: u64,
    pub(crate) waiting: usize,
}

/// No more jobs are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Closed;

/// Why no place was promised at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoPlace {
    Full,
    Closed,
}

// === impl Queue ===

impl<J> Queue<J> {
    pub(crate) fn new(capacity: usize, limits: ScaleLimits) -> Self {
        let state = State {
            jobs: VecDeque::with_capacity(capacity.min(1024)),
            reserved: 0,
            waiters: VecDeque::new(),
            granted: 0,
            next_key: 0,
            idle: Vec::new(),
            called: Vec::new(),
            book: Book::default(),
            closed: false,
        };
        Self { state: Mutex::new(state), limits, capacity }
    }

    pub(crate) fn book(&self) -> Book {
        let state = lock(&self.state);
        Book { queued: state.jobs.len(), waiting: state.waiters.len(), ..state.book }
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Promises a place. Whoever waits goes first.
    pub(crate) fn try_reserve(&self) -> Result<(), NoPlace> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(NoPlace::Closed);
        }
        // A free place is promised to nobody: whoever waits for one longer has been promised theirs.
        if self.room(&state) == 0 {
            return Err(NoPlace::Full);
        }
        state.reserved += 1;
        Ok(())
    }

    /// Promises one place, or has `cx` woken when there is one: first come, first served.
    ///
    /// `key` starts as `None` and belongs to the caller, who calls [`forget`](Self::forget) with it
    /// when it gives up.
    pub(crate) fn poll_reserve(
        &self,
        key: &mut Option<u64>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        // Cloned and dropped outside of the lock: both may run code of the executor.
        let mut waker = Some(cx.waker().clone());
        let mut state = lock(&self.state);
        if state.closed {
            // Closing cleared the waiters; a promise that was not taken up went with them.
            *key = None;
            return Poll::Ready(Err(Closed));
        }
        let Some(mine) = *key else {
            if self.room(&state) > 0 {
                state.reserved += 1;
                return Poll::Ready(Ok(()));
            }
            let mine = state.next_key;
            state.next_key += 1;
            state.waiters.push_back(Waiter { key: mine, waker: waker.take() });
            *key = Some(mine);
            return Poll::Pending;
        };
        let Ok(index) = state.waiters.binary_search_by_key(&mine, |waiter| waiter.key) else {
            debug_assert!(false, "a waiter stays until it is served, forgotten or turned away");
            *key = None;
            return Poll::Ready(Err(Closed));
        };
        if index < state.granted {
            state.waiters.remove(index);
            state.granted -= 1;
            *key = None;
            return Poll::Ready(Ok(()));
        }
        std::mem::swap(&mut state.waiters[index].waker, &mut waker);
        drop(state);
        Poll::Pending
    }

    /// Waits no longer; a promise that was made meanwhile goes to the next one.
    pub(crate) fn forget(&self, key: &mut Option<u64>) {
        let Some(mine) = key.take() else { return };
        let mut state = lock(&self.state);
        let Ok(index) = state.waiters.binary_search_by_key(&mine, |waiter| waiter.key) else {
            return;
        };
        let left = state.waiters.remove(index);
        let mut wake = Vec::new();
        if index < state.granted {
            state.granted -= 1;
            state.reserved -= 1;
            wake = self.grant(&mut state);
        }
        drop(state);
        wake_all(wake);
        // Last, as a waker's drop is code of the executor.
        drop(left);
    }

    /// Gives back a place that was promised.
    pub(crate) fn unreserve(&self) {
        let mut state = lock(&self.state);
        state.reserved -= 1;
        let wake = self.grant(&mut state);
        drop(state);
        wake_all(wake);
    }

    /// Fills a promised place, and tells whether to start a worker for it: it is in the book
    /// already. After closing the job comes back.
    pub(crate) fn push(&self, now: Instant, job: J) -> Result<bool, J> {
        let mut state = lock(&self.state);
        state.reserved -= 1;
        if state.closed {
            return Err(job);
        }
        state.jobs.push_back(job);
        let wake = state.call();
        let start = wake.is_none()
            && state.called.len() < state.jobs.len()
            && self.limits.decide(now, &sample(&state, None)) == Scale::Grow;
        if start {
            state.book.grown += u64::from(state.book.workers >= self.limits.min);
            state.book.workers += 1;
        }
        drop(state);
        wake_all(wake);
        Ok(start)
    }

    /// Enters as many workers as are missing to the minimum into the book.
    pub(crate) fn start_ahead(&self) -> usize {
        let mut state = lock(&self.state);
        let missing = self.limits.min.saturating_sub(state.book.workers);
        state.book.workers += missing;
        missing
    }

    /// Takes the next job for a worker; `None` when the queue is closed and empty.
    ///
    /// `active` tells, in the book, whether the worker is at work: it is the worker's own and is
    /// changed here, in the same section.
    pub(crate) fn poll_pop(
        &self,
        worker: u64,
        active: &mut bool,
        cx: &Context<'_>,
    ) -> Poll<Option<J>> {
        let mut state = lock(&self.state);
        state.came(worker);
        if let Some(job) = state.jobs.pop_front() {
            if !*active {
                // It may look without having been called, and must not be called while at work.
                state.idle.retain(|(id, _)| *id != worker);
                state.book.active += 1;
                *active = true;
            }
            let wake = self.grant(&mut state);
            drop(state);
            wake_all(wake);
            return Poll::Ready(Some(job));
        }
        state.book.active -= usize::from(*active);
        *active = false;
        if state.closed {
            return Poll::Ready(None);
        }
        match state.idle.iter_mut().find(|(id, _)| *id == worker) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => state.idle.push((worker, cx.waker().clone())),
        }
        Poll::Pending
    }

    /// Lets an idle worker go if there are enough others and nothing waits. It is out of the book
    /// when this is true.
    pub(crate) fn retire(&self, worker: u64, now: Instant, idle_since: Instant) -> bool {
        let mut state = lock(&self.state);
        if self.limits.decide(now, &sample(&state, Some(idle_since))) != Scale::Shrink {
            return false;
        }
        state.idle.retain(|(id, _)| *id != worker);
        state.came(worker);
        state.book.workers -= 1;
        state.book.shrunk += 1;
        true
    }

    /// Takes a worker that ends for whatever reason out of the book.
    pub(crate) fn leave(&self, worker: u64, active: bool) {
        let mut state = lock(&self.state);
        state.book.workers -= 1;
        state.book.active -= usize::from(active);
        state.idle.retain(|(id, _)| *id != worker);
        // It may have been called for a job that it will not take now.
        state.came(worker);
        let heir = state.call();
        drop(state);
        wake_all(heir);
    }

    /// Takes no more jobs; what waits is still done. Who waits for a place is turned away.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        let wake = state.close();
        drop(state);
        wake_all(wake);
    }

    /// Closes, and hands back what waits.
    pub(crate) fn abort(&self) -> VecDeque<J> {
        let mut state = lock(&self.state);
        let wake = state.close();
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        wake_all(wake);
        jobs
    }

    fn room(&self, state: &State<J>) -> usize {
        self.capacity - state.jobs.len() - state.reserved
    }

    /// Promises free places to those who wait.
    fn grant(&self, state: &mut State<J>) -> Vec<Waker> {
        // Most often nobody waits: an empty Vec allocates nothing.
        let mut wake = Vec::new();
        while state.granted < state.waiters.len() && self.room(state) > 0 {
            wake.extend(state.waiters[state.granted].waker.take());
            state.granted += 1;
            state.reserved += 1;
        }
        wake
    }
}

// === impl State ===

impl<J> State<J> {
    /// Whom to wake, if there are more jobs than workers on their way.
    fn call(&mut self) -> Option<Waker> {
        if self.called.len() >= self.jobs.len() {
            return None;
        }
        let (worker, waker) = self.idle.pop()?;
        self.called.push(worker);
        Some(waker)
    }

    /// Somebody who may have been called is here.
    fn came(&mut self, worker: u64) {
        if let Some(index) = self.called.iter().position(|&called| called == worker) {
            self.called.swap_remove(index);
        }
    }

    fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        self.reserved -= self.granted;
        self.granted = 0;
        let waiters = self.waiters.drain(..).filter_map(|waiter| waiter.waker);
        waiters.chain(self.idle.drain(..).map(|(_, waker)| waker)).collect()
    }
}

fn sample<J>(state: &State<J>, idle_since: Option<Instant>) -> ScaleSample {
    ScaleSample {
        workers: state.book.workers,
        active: state.book.active,
        queued: state.jobs.len(),
        idle_since,
    }
}
