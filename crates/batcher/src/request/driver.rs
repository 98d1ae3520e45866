//! The task that fills batches, and the task that each of them is.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use teleflow_concurrency::OwnedSemaphorePermit;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::stats::Shared;
use super::{RequestConfig, RequestError};
use crate::Trigger;

/// What the user does with a batch.
pub(super) type Call<Q, A, E> =
    Arc<dyn Fn(Vec<Q>) -> BoxFuture<'static, Result<Vec<A>, E>> + Send + Sync>;

type Answer<A, E> = oneshot::Sender<Result<A, RequestError<E>>>;

pub(super) enum Message<Q, A, E> {
    Request(Entry<Q, A, E>),
    Flush,
    Close,
}

/// A request, and where its caller waits.
pub(super) struct Entry<Q, A, E> {
    pub(super) request: Q,
    pub(super) answer: Answer<A, E>,
    pub(super) came: Instant,
    pub(super) deadline: Option<Instant>,
}

pub(super) struct Driver<Q, A, E> {
    config: RequestConfig,
    call: Call<Q, A, E>,
    messages: mpsc::Receiver<Message<Q, A, E>>,
    shared: Arc<Shared>,
    /// Dropped at the end, which is what [`close`](super::RequestBatcher::close) waits for.
    _alive: watch::Sender<()>,
    /// The batch that is being filled; never more than one may have.
    pending: Vec<Entry<Q, A, E>>,
    /// When it has to go, and why then.
    due: Option<(Instant, Trigger)>,
    is_asked_for: bool,
    is_closed: bool,
}

// === impl Driver ===

impl<Q, A, E> Driver<Q, A, E>
where
    Q: Send + 'static,
    A: Send + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn new(
        config: RequestConfig,
        call: Call<Q, A, E>,
        messages: mpsc::Receiver<Message<Q, A, E>>,
        shared: Arc<Shared>,
        alive: watch::Sender<()>,
    ) -> Self {
        Self {
            config,
            call,
            messages,
            shared,
            _alive: alive,
            pending: Vec::new(),
            due: None,
            is_asked_for: false,
            is_closed: false,
        }
    }

    /// Works until nobody can hand in anything any more, and every batch has ended.
    pub(super) async fn run(mut self) {
        while !(self.is_closed && self.pending.is_empty()) {
            let goes = self.goes(Instant::now());
            let due = self.due.map(|(at, _)| at);
            tokio::select! {
                biased;
                // Only this task draws on the slots: giving up the place in line costs nothing.
                slot = self.shared.slots.acquire_owned(1), if goes.is_some() => {
                    let (Ok(slot), Some(trigger)) = (slot, goes) else { return };
                    self.begin(slot, trigger);
                }
                message = self.messages.recv(),
                    if !self.is_closed && self.pending.len() < self.config.max_requests =>
                {
                    self.take(message);
                    // What is there already need not wait for the next turn.
                    while !self.is_closed
                        && self.pending.len() < self.config.max_requests
                        && let Ok(message) = self.messages.try_recv()
                    {
                        self.take(Some(message));
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)),
                    if due.is_some() && goes.is_none() => {}
            }
        }
        // All slots are free once all batches have told their callers.
        let _ = self.shared.slots.acquire(self.config.in_flight as u64).await;
    }

    /// Why the batch goes as soon as it may, if it does.
    fn goes(&self, now: Instant) -> Option<Trigger> {
        if self.pending.is_empty() {
            return None;
        }
        if self.pending.len() >= self.config.min_requests {
            return Some(Trigger::Requests);
        }
        if self.is_closed {
            return Some(Trigger::Close);
        }
        if self.is_asked_for {
            return Some(Trigger::Flush);
        }
        self.due.filter(|&(at, _)| at <= now).map(|(_, trigger)| trigger)
    }

    fn take(&mut self, message: Option<Message<Q, A, E>>) {
        match message {
            Some(Message::Request(entry)) => self.add(entry),
            Some(Message::Flush) => self.is_asked_for = !self.pending.is_empty(),
            // What is in the queue still comes out of it, and the end after it.
            Some(Message::Close) => self.messages.close(),
            None => self.is_closed = true,
        }
    }

    fn add(&mut self, entry: Entry<Q, A, E>) {
        let wait = *self.shared.wait.lock().unwrap_or_else(PoisonError::into_inner);
        let age = entry.came.checked_add(wait.wait()).map(|at| (at, Trigger::Age));
        let leave = entry.deadline.map(|deadline| {
            let at = deadline.checked_sub(wait.margin()).unwrap_or(entry.came);
            (at, Trigger::Deadline)
        });
        let all = [self.due, age, leave].into_iter().flatten();
        self.due = all.min_by_key(|&(at, _)| at);
        self.pending.push(entry);
    }

    /// Begins a batch with all who still wait for it.
    fn begin(&mut self, slot: OwnedSemaphorePermit, trigger: Trigger) {
        (self.due, self.is_asked_for) = (None, false);
        let mut requests = Vec::with_capacity(self.pending.len());
        let mut callers = Vec::with_capacity(self.pending.len());
        for entry in self.pending.drain(..) {
            if entry.answer.is_closed() {
                self.shared.taken_out.fetch_add(1, Ordering::Relaxed);
                drop_quietly(entry.request);
            } else {
                requests.push(entry.request);
                callers.push(entry.answer);
            }
        }
        if callers.is_empty() {
            return;
        }
        self.shared.count(trigger);
        tokio::spawn(batch(
            Arc::clone(&self.call),
            Arc::clone(&self.shared),
            requests,
            callers,
            slot,
        ));
    }
}

/// Calls, and tells each caller what came of it. Whatever panics in between, a caller whose end of
/// the channel is dropped knows.
async fn batch<Q, A, E>(
    call: Call<Q, A, E>,
    shared: Arc<Shared>,
    requests: Vec<Q>,
    callers: Vec<Answer<A, E>>,
    slot: OwnedSemaphorePermit,
) {
    let began = Instant::now();
    let expected = requests.len();
    let outcome = AssertUnwindSafe(async move { call(requests).await }).catch_unwind().await;
    let took = began.elapsed();
    shared.call.record(took);
    shared.wait.lock().unwrap_or_else(PoisonError::into_inner).record(took);
    match outcome {
        Ok(Ok(answers)) if answers.len() == expected => {
            for (caller, answer) in callers.into_iter().zip(answers) {
                tell(&shared, caller, Ok(answer));
            }
        }
        Ok(Ok(answers)) => {
            let answers = answers.len();
            fail(&shared, callers, &RequestError::WrongAnswers { requests: expected, answers });
        }
        Ok(Err(error)) => fail(&shared, callers, &RequestError::Failed(Arc::new(error))),
        Err(panic) => {
            let text = text(panic.as_ref()).into();
            drop_quietly(panic);
            fail(&shared, callers, &RequestError::Panicked(text));
        }
    }
    // Only now: who waits for all slots may rely on every caller having been told.
    drop(slot);
}

fn fail<A, E>(shared: &Shared, callers: Vec<Answer<A, E>>, error: &RequestError<E>) {
    shared.failed_batches.fetch_add(1, Ordering::Relaxed);
    for caller in callers {
        tell(shared, caller, Err(error.clone()));
    }
}

fn tell<A, E>(shared: &Shared, caller: Answer<A, E>, answer: Result<A, RequestError<E>>) {
    let told = if answer.is_ok() { &shared.answered } else { &shared.failed };
    match caller.send(answer) {
        Ok(()) => told.fetch_add(1, Ordering::Relaxed),
        Err(answer) => {
            drop_quietly(answer);
            shared.discarded.fetch_add(1, Ordering::Relaxed)
        }
    };
}

/// The text that a panic carries, or that it carries none.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "not with a text".into())
}

/// Drops what belongs to a user; a panic of it goes no further, or nobody else would be served.
fn drop_quietly<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // What it panicked with might panic as well.
        mem::forget(panic);
    }
}
