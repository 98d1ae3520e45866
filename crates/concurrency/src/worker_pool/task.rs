//! One task: from its submission to its result.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::Stream;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::{Core, Rejected};
use crate::panic;

/// Why a task gave no result.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TaskError {
    /// Its deadline came first; it was dropped where it waited.
    #[error("the task took longer than it may")]
    TimedOut,
    /// It panicked.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// It was cancelled with the pool, or its runtime ended.
    #[error("the task was cancelled")]
    Cancelled,
    /// It was not taken. Only [`WorkerPool::run_all`](super::WorkerPool::run_all) says so here.
    #[error("the task was not taken: {0}")]
    Rejected(Rejected),
}

/// What came of a task, once it has ended. Dropping it leaves the task alone.
#[must_use = "the result goes with it; the task itself runs also without"]
pub struct TaskHandle<T>(oneshot::Receiver<Result<T, TaskError>>);

/// Results as they come; a [`Stream`]. Dropped, tasks that were handed in go on and no other is.
pub struct Results<T>(mpsc::Receiver<Result<T, TaskError>>);

/// Counts a task's end, whatever it is.
pub(super) struct Task {
    pool: Arc<Core>,
    number: u64,
    submitted: Instant,
    deadline: Duration,
    has_ended: bool,
}

// === impl Task ===

impl Task {
    pub(super) fn new(
        pool: Arc<Core>,
        number: u64,
        submitted: Instant,
        deadline: Duration,
    ) -> Self {
        Self { pool, number, submitted, deadline, has_ended: false }
    }

    /// The future as a task that ends by itself, and the handle to its result.
    pub(super) fn run<F>(
        mut self,
        future: F,
    ) -> (impl Future<Output = ()> + Send + use<F>, TaskHandle<F::Output>)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job = async move {
            let result = self.guarded(future).await;
            self.end(&result);
            // Nobody may want it any more.
            drop(sender.send(result));
        };
        (job, TaskHandle(receiver))
    }

    async fn guarded<F: Future>(&self, future: F) -> Result<F::Output, TaskError> {
        let run = AssertUnwindSafe(future).catch_unwind();
        #[cfg(feature = "tracing")]
        let run = {
            use tracing::Instrument as _;
            let (pool, task) = (self.pool.name, self.number);
            run.instrument(tracing::debug_span!("task", pool, task))
        };
        #[cfg(not(feature = "tracing"))]
        let _ = self.number;
        let run = self.pool.cancelled.run_until_cancelled(run);
        // A time that the clock cannot name never comes.
        let ended = match self.submitted.checked_add(self.deadline) {
            Some(deadline) if deadline <= Instant::now() => return Err(TaskError::TimedOut),
            Some(deadline) => timeout_at(deadline, run).await.map_err(|_| TaskError::TimedOut)?,
            None => run.await,
        };
        ended.ok_or(TaskError::Cancelled)?.map_err(|panic| {
            self.pool.report(&*panic);
            TaskError::Panicked(panic::text(&*panic))
        })
    }

    fn end<T>(&mut self, result: &Result<T, TaskError>) {
        self.has_ended = true;
        let tally = &self.pool.tally;
        let counter = match result {
            Ok(_) => &tally.completed,
            Err(TaskError::TimedOut) => &tally.timed_out,
            Err(TaskError::Panicked(_)) => &tally.panicked,
            Err(TaskError::Cancelled | TaskError::Rejected(_)) => &tally.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.pool.latency.record(self.submitted.elapsed());
    }
}

impl Drop for Task {
    /// Dropped before its end, or before it began: by the pool, or by the runtime's end.
    fn drop(&mut self) {
        if !self.has_ended {
            self.pool.tally.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl TaskHandle ===

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskError>;

    /// # Cancel safety
    ///
    /// The result stays until it is taken.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.unwrap_or(Err(TaskError::Cancelled)))
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").finish_non_exhaustive()
    }
}

// === impl Results ===

impl<T> Results<T> {
    pub(super) fn new(results: mpsc::Receiver<Result<T, TaskError>>) -> Self {
        Self(results)
    }

    /// The next result, in the order in which tasks end; `None` after the last.
    ///
    /// # Cancel safety
    ///
    /// Dropped, no result is lost.
    pub async fn next(&mut self) -> Option<Result<T, TaskError>> {
        self.0.recv().await
    }
}

impl<T> Stream for Results<T> {
    type Item = Result<T, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

impl<T> fmt::Debug for Results<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").finish_non_exhaustive()
    }
}
