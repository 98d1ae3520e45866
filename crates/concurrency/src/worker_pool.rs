//! Workers that take tasks from a bounded queue.

mod config;
mod queue;
mod span;
mod stats;
mod task;
mod worker;

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::config::{Overflow, WorkerPoolConfig, WorkerPoolConfigError};
use self::queue::{NoPlace, Queue};
pub use self::stats::WorkerPoolStats;
use self::task::{Job, Run};
pub use self::task::{Results, TaskError, TaskHandle};
use self::worker::Worker;
use crate::latency::Latency;
use crate::panic::{self, Payload, caught, drop_quietly};
use crate::scale::ScaleLimits;
use crate::sharded::Padded;

/// Why a task was not taken. It was dropped, and has not begun.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Rejected {
    /// The queue is full, and so is what is beside it.
    #[error("the queue is full")]
    Full,
    /// The pool takes no more tasks.
    #[error("the pool is closed")]
    Closed,
}

/// Runs tasks on a bounded number of workers, each with a deadline.
///
/// A task that panics ends with [`TaskError::Panicked`] and is told to the handler of
/// [`on_panic`](Self::with_panic_handler); no worker ends of it. Clones share everything.
///
/// Workers are tokio tasks, started when there is something to do or ahead of it. With a
/// [`max_workers`](WorkerPoolConfig::max_workers) their number grows while more than nine of ten are
/// busy and the queue is longer than twice their number, and shrinks while they find nothing to do.
///
/// ```
/// use teleflow_concurrency::{WorkerPool, WorkerPoolConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let pool = WorkerPool::new(WorkerPoolConfig::default())?;
/// let answer = pool.submit(async { 6 * 7 }).await?;
/// assert_eq!(answer.await, Ok(42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// When the last clone is dropped the pool is closed: what was taken is still done, and its workers
/// end.
#[derive(Clone)]
pub struct WorkerPool(Arc<Handle>);

type PanicHandler = Box<dyn Fn(&(dyn Any + Send)) + Send + Sync>;

struct Inner {
    config: WorkerPoolConfig,
    queue: Queue<Job>,
    limits: ScaleLimits,
    tracker: TaskTracker,
    next_worker: AtomicU64,
    beside: AtomicUsize,
    core: Arc<Core>,
}

/// What tasks need of their pool while they run.
struct Core {
    name: &'static str,
    /// The pool's own, below the parent's.
    cancelled: CancellationToken,
    on_panic: Option<PanicHandler>,
    /// Apart from each other: who submits and who works count at the same time.
    intake: Padded<Intake>,
    tally: Padded<Tally>,
    latency: Latency,
}

/// The pool for those who submit: closes the queue when none of them is left. Workers hold the
/// pool without it.
struct Handle(Arc<Inner>);

#[derive(Debug, Default)]
struct Intake {
    submitted: AtomicU64,
    rejected: AtomicU64,
    ran_in_caller: AtomicU64,
    ran_beside: AtomicU64,
}

#[derive(Debug, Default)]
struct Tally {
    completed: AtomicU64,
    panicked: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
}

/// A place in the queue that was promised, or the wish for one.
struct Place<'a> {
    queue: &'a Queue<Job>,
    key: Option<u64>,
    is_promised: bool,
}

/// One of those beside the workers.
struct Beside(Arc<Inner>);

// === impl WorkerPool ===

impl WorkerPool {
    /// Creates a pool without workers: they start with the first tasks.
    ///
    /// # Errors
    ///
    /// If the numbers contradict each other.
    pub fn new(config: WorkerPoolConfig) -> Result<Self, WorkerPoolConfigError> {
        Self::build(config, None)
    }

    /// Like [`new`](Self::new); `on_panic` is told what each task panicked with. A panic of its own
    /// goes no further.
    ///
    /// # Errors
    ///
    /// If the numbers contradict each other.
    pub fn with_panic_handler(
        config: WorkerPoolConfig,
        on_panic: impl Fn(&(dyn Any + Send)) + Send + Sync + 'static,
    ) -> Result<Self, WorkerPoolConfigError> {
        Self::build(config, Some(Box::new(on_panic)))
    }

    fn build(
        config: WorkerPoolConfig,
        on_panic: Option<PanicHandler>,
    ) -> Result<Self, WorkerPoolConfigError> {
        let (limits, places) = config.sizes()?;
        let core = Core {
            name: config.name,
            cancelled: config.parent.child_token(),
            on_panic,
            intake: Padded::default(),
            tally: Padded::default(),
            latency: Latency::new(),
        };
        let inner = Inner {
            queue: Queue::new(places, limits),
            limits,
            config,
            tracker: TaskTracker::new(),
            next_worker: AtomicU64::new(0),
            beside: AtomicUsize::new(0),
            core: Arc::new(core),
        };
        Ok(Self(Arc::new(Handle(Arc::new(inner)))))
    }

    /// Starts the workers that are always there, before there is anything to do.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start_ahead(&self) {
        self.start(self.0.queue.start_ahead());
    }

    /// Hands a task in, with the pool's deadline.
    ///
    /// The handle gives what came of it; the task runs also without it.
    ///
    /// # Errors
    ///
    /// If the task was not taken: [`Overflow`] says when a full queue refuses.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for a place, the task is dropped and nobody loses their turn. Dropped
    /// while it runs the task itself ([`Overflow::RunInCaller`]), the task counts as cancelled.
    pub async fn submit<F>(&self, task: F) -> Result<TaskHandle<F::Output>, Rejected>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.submit_within(self.0.config.deadline, task).await
    }

    /// Hands a task in that may take so long from now on, waiting included.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    ///
    /// # Panics
    ///
    /// As [`submit`](Self::submit).
    ///
    /// # Cancel safety
    ///
    /// As [`submit`](Self::submit).
    pub async fn submit_within<F>(
        &self,
        deadline: Duration,
        task: F,
    ) -> Result<TaskHandle<F::Output>, Rejected>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let submitted = Instant::now();
        let place = match self.0.queue.try_reserve() {
            Ok(()) => Place { queue: &self.0.queue, key: None, is_promised: true },
            Err(NoPlace::Closed) => return Err(self.reject(Rejected::Closed)),
            Err(NoPlace::Full) => match self.0.config.overflow {
                Overflow::Reject => return Err(self.reject(Rejected::Full)),
                Overflow::Block => self.wait().await?,
                Overflow::RunInCaller => {
                    self.0.core.intake.0.ran_in_caller.fetch_add(1, Ordering::Relaxed);
                    let (job, handle) = self.task(submitted, deadline, task);
                    Run::new(&*self.0.core, job, None, submitted).await;
                    return Ok(handle);
                }
                Overflow::SpawnBeside(most) => {
                    let beside = self.beside(most.get())?;
                    let (job, handle) = self.task(submitted, deadline, task);
                    let run = Run::new(Arc::clone(&self.0.core), job, None, submitted);
                    self.0.tracker.spawn(async move {
                        let _beside = beside;
                        run.await;
                    });
                    return Ok(handle);
                }
            },
        };
        let (job, handle) = self.task(submitted, deadline, task);
        place.fill(self, submitted, job);
        Ok(handle)
    }

    /// Hands in many tasks, with the pool's deadline, and gives their results as they come.
    ///
    /// The iterator is asked for the next task when there is room for its result: with as many
    /// results waiting as the queue has places, nothing more is handed in. A task that is not taken
    /// gives [`TaskError::Rejected`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time.
    pub fn run_all<I>(&self, tasks: I) -> Results<<I::Item as Future>::Output>
    where
        I: IntoIterator<
                IntoIter: Send + 'static,
                Item: Future<Output: Send + 'static> + Send + 'static,
            >,
    {
        let (sender, results) = tokio::sync::mpsc::channel(self.0.queue.capacity());
        let (pool, tasks) = (self.clone(), tasks.into_iter());
        self.0.tracker.spawn(async move {
            for task in tasks {
                // Who takes the results has gone, or a place for one is free.
                let Ok(place) = sender.clone().reserve_owned().await else { return };
                match pool.submit(task).await {
                    Ok(handle) => drop(pool.0.tracker.spawn(async move {
                        place.send(handle.await);
                    })),
                    Err(rejected) => drop(place.send(Err(TaskError::Rejected(rejected)))),
                }
            }
        });
        Results::new(results)
    }

    /// Takes no more tasks; those that were taken are done.
    pub fn close(&self) {
        self.0.queue.close();
    }

    /// Closes, and waits until every task has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the pool stays closed and goes on; another call waits again.
    pub async fn shut_down(&self) {
        self.close();
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    /// Closes, and cancels every task at its next await, waiting ones too.
    pub fn cancel(&self) {
        self.0.core.cancelled.cancel();
        self.0.discard();
    }

    /// What the pool did and has.
    pub fn stats(&self) -> WorkerPoolStats {
        let Inner { config, queue, beside, core, .. } = &***self.0;
        let Core { intake: Padded(intake), tally: Padded(tally), latency, .. } = &**core;
        let book = queue.book();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WorkerPoolStats {
            name: config.name,
            workers: book.workers,
            active: book.active,
            queued: book.queued,
            waiting: book.waiting,
            beside: beside.load(Ordering::Relaxed),
            submitted: read(&intake.submitted),
            rejected: read(&intake.rejected),
            completed: read(&tally.completed),
            panicked: read(&tally.panicked),
            timed_out: read(&tally.timed_out),
            cancelled: read(&tally.cancelled),
            ran_in_caller: read(&intake.ran_in_caller),
            ran_beside: read(&intake.ran_beside),
            grown: book.grown,
            shrunk: book.shrunk,
            latency: latency.snapshot(),
        }
    }

    fn reject(&self, rejected: Rejected) -> Rejected {
        self.0.core.intake.0.rejected.fetch_add(1, Ordering::Relaxed);
        rejected
    }

    /// Waits for a place, in turn.
    async fn wait(&self) -> Result<Place<'_>, Rejected> {
        let mut place = Place { queue: &self.0.queue, key: None, is_promised: false };
        let promised = poll_fn(|cx| place.queue.poll_reserve(&mut place.key, cx)).await;
        promised.map_err(|_| self.reject(Rejected::Closed))?;
        place.is_promised = true;
        Ok(place)
    }

    fn beside(&self, most: usize) -> Result<Beside, Rejected> {
        let more = |beside: usize| (beside < most).then_some(beside + 1);
        let taken = self.0.beside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map_err(|_| self.reject(Rejected::Full))?;
        self.0.core.intake.0.ran_beside.fetch_add(1, Ordering::Relaxed);
        Ok(Beside(Arc::clone(&**self.0)))
    }

    fn task<F>(
        &self,
        submitted: Instant,
        deadline: Duration,
        future: F,
    ) -> (Job, TaskHandle<F::Output>)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let number = self.0.core.intake.0.submitted.fetch_add(1, Ordering::Relaxed);
        task::task(number, submitted, deadline, future)
    }

    fn start(&self, workers: usize) {
        for _ in 0..workers {
            let worker = self.0.next_worker.fetch_add(1, Ordering::Relaxed);
            let pool = Arc::clone(&**self.0);
            self.0.tracker.spawn(Worker::new(pool, worker).work());
        }
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

// === impl Core ===

impl Core {
    /// Tells the handler of a panic, and what is to be said of it.
    fn panicked(&self, panic: Payload) -> TaskError {
        let text = panic::text(&*panic);
        if let Some(on_panic) = &self.on_panic {
            // What the handler panics with has nobody to go to.
            drop_quietly(caught(|| on_panic(&*panic)));
        }
        drop_quietly(panic);
        TaskError::Panicked(text)
    }

    /// Lets go of a job that has not come to its end.
    fn cancel(&self, job: Job) {
        self.tally.0.cancelled.fetch_add(1, Ordering::Relaxed);
        drop_quietly(job);
    }
}

// === impl Inner ===

impl Inner {
    /// Closes, and lets go of what waits.
    fn discard(&self) {
        for job in self.queue.abort() {
            self.core.cancel(job);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.discard();
    }
}

// === impl Handle ===

impl Deref for Handle {
    type Target = Arc<Inner>;

    fn deref(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

// === impl Place ===

impl Place<'_> {
    fn fill(mut self, pool: &WorkerPool, now: Instant, job: Job) {
        self.is_promised = false;
        match self.queue.push(now, job) {
            Ok(start) => pool.start(usize::from(start)),
            // Closed meanwhile.
            Err(job) => pool.0.core.cancel(job),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_promised {
            self.queue.unreserve();
        }
        self.queue.forget(&mut self.key);
    }
}

// === impl Beside ===

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.beside.fetch_sub(1, Ordering::Relaxed);
    }
}
