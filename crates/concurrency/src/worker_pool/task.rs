//! One task: from its submission to its result.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use pin_project_lite::pin_project;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::span::Span;
use super::{Core, Rejected};
use crate::panic::{caught, drop_quietly};

/// Why a task gave no result.
///
/// ```
/// use std::time::Duration;
/// use teleflow_concurrency::{TaskError, WorkerPool, WorkerPoolConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let pool = WorkerPool::new(WorkerPoolConfig::default())?;
/// let never = pool.submit_within(Duration::from_secs(1), std::future::pending::<()>()).await?;
/// assert_eq!(never.await, Err(TaskError::TimedOut));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
///
/// ```
/// use teleflow_concurrency::{WorkerPool, WorkerPoolConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let pool = WorkerPool::new(WorkerPoolConfig::default())?;
/// let mut results = pool.run_all((1..=3u32).map(|n| async move { n * n }));
/// let mut sum = 0;
/// while let Some(square) = results.next().await {
///     sum += square?;
/// }
/// assert_eq!(sum, 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Results<T>(mpsc::Receiver<Result<T, TaskError>>);

/// A task whose result has somebody to go to.
pub(super) trait Work: Send {
    /// Goes on with it: the first time it begins, unless it should have ended by `now`.
    ///
    /// When it has ended it is counted, its future is gone, and the time is told.
    fn poll_run(
        self: Pin<&mut Self>,
        core: &Core,
        worker: Option<u64>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Instant>;
}

pub(super) type Job = Pin<Box<dyn Work>>;

/// One job from its beginning to its end; dropped before that, it counts as cancelled.
pub(super) struct Run<C: Deref<Target = Core>> {
    core: C,
    /// `None` once it has ended.
    job: Option<Job>,
    /// `None` beside the workers and in the caller.
    worker: Option<u64>,
    now: Instant,
}

pin_project! {
    struct Task<F: Future> {
        // None: it has ended.
        #[pin]
        future: Option<F>,
        number: u64,
        submitted: Instant,
        // None: a time that the clock cannot name never comes.
        deadline: Option<Instant>,
        begun: Option<Instant>,
        sender: Option<oneshot::Sender<Result<F::Output, TaskError>>>,
        interruption: Option<Pin<Box<dyn Future<Output = TaskError> + Send>>>,
        span: Span,
    }
}

/// The future as a job, and the handle to its result. `number` is what its span says.
pub(super) fn task<F>(
    number: u64,
    submitted: Instant,
    deadline: Duration,
    future: F,
) -> (Job, TaskHandle<F::Output>)
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let job = Box::pin(Task {
        future: Some(future),
        number,
        submitted,
        deadline: submitted.checked_add(deadline),
        begun: None,
        sender: Some(sender),
        interruption: None,
        span: Span::none(),
    });
    (job, TaskHandle(receiver))
}

// === impl Task ===

impl<F> Work for Task<F>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn poll_run(
        mut self: Pin<&mut Self>,
        core: &Core,
        worker: Option<u64>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Instant> {
        let result = if self.begun.is_none() && self.as_mut().begin(core, worker, now) {
            Err(TaskError::TimedOut)
        } else {
            ready!(self.as_mut().poll_result(core, cx))
        };
        Poll::Ready(self.end(core, result))
    }
}

impl<F: Future> Task<F> {
    /// Begins, and tells whether it is too late for that.
    fn begin(self: Pin<&mut Self>, core: &Core, worker: Option<u64>, now: Instant) -> bool {
        let this = self.project();
        *this.begun = Some(now);
        this.span.begin(core.name, *this.number, worker);
        this.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn poll_result(
        self: Pin<&mut Self>,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Poll<Result<F::Output, TaskError>> {
        let mut this = self.project();
        if core.cancelled.is_cancelled() {
            return Poll::Ready(Err(TaskError::Cancelled));
        }
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            debug_assert!(false, "who runs it lets go of it when it has ended");
            return Poll::Ready(Err(TaskError::Cancelled));
        };
        match caught(|| this.span.in_scope(|| future.poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {
                // Most tasks of most pools never wait: only those that do need a timer.
                let interruption = this.interruption.get_or_insert_with(|| {
                    let interrupted = interrupted(core.cancelled.clone(), *this.deadline);
                    // The task's own appetite must not keep its end from being seen.
                    Box::pin(unconstrained(interrupted))
                });
                interruption.as_mut().poll(cx).map(Err)
            }
            Err(panic) => Poll::Ready(Err(core.panicked(panic))),
        }
    }

    /// Drops the future, counts, and hands the result on.
    fn end(self: Pin<&mut Self>, core: &Core, mut result: Result<F::Output, TaskError>) -> Instant {
        let mut this = self.project();
        if let Err(panic) = caught(|| this.future.set(None)) {
            // The place is empty all the same.
            let panicked = core.panicked(panic);
            drop_quietly(std::mem::replace(&mut result, Err(panicked)));
        }
        *this.interruption = None;
        let tally = &core.tally.0;
        let counter = match &result {
            Ok(_) => &tally.completed,
            Err(TaskError::TimedOut) => &tally.timed_out,
            Err(TaskError::Panicked(_)) => &tally.panicked,
            Err(TaskError::Cancelled | TaskError::Rejected(_)) => &tally.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        core.latency.record(now.saturating_duration_since(*this.submitted));
        this.span.end(now.saturating_duration_since(this.begun.unwrap_or(now)));
        if let Some(sender) = this.sender.take() {
            // Nobody may want it any more, and what wakes those who do is theirs.
            drop_quietly(caught(|| sender.send(result)));
        }
        now
    }
}

/// Why a task that waits ends all the same.
async fn interrupted(cancelled: CancellationToken, deadline: Option<Instant>) -> TaskError {
    let late = async {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    match cancelled.run_until_cancelled_owned(late).await {
        Some(()) => TaskError::TimedOut,
        None => TaskError::Cancelled,
    }
}

// === impl Run ===

impl<C: Deref<Target = Core>> Run<C> {
    pub(super) const fn new(core: C, job: Job, worker: Option<u64>, now: Instant) -> Self {
        Self { core, job: Some(job), worker, now }
    }
}

impl<C: Deref<Target = Core> + Unpin> Future for Run<C> {
    /// When it ended.
    type Output = Instant;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        let Self { core, job, worker, now } = &mut *self;
        let Some(running) = job else { return Poll::Ready(*now) };
        let ended = ready!(running.as_mut().poll_run(core, *worker, *now, cx));
        *job = None;
        Poll::Ready(ended)
    }
}

impl<C: Deref<Target = Core>> Drop for Run<C> {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            self.core.cancel(job);
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
