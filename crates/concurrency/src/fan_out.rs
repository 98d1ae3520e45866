//! Many jobs at once, but not more than allowed, and their results in one place.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use thiserror::Error;
use tokio::task::JoinSet;

/// Runs jobs on tokio's workers, so many at a time.
///
/// As many tasks as may run at a time take one job after the other; there is no task for each job.
/// The jobs' iterator is asked for the next one when there is someone to run it, so it may be
/// endless in memory's sense: only its running jobs and their results are held.
///
/// A job that panics ends the whole: the others are dropped, and the panic goes on in the caller.
///
/// ```
/// use std::num::NonZeroUsize;
/// use teleflow_concurrency::{FanOut, Order};
///
/// # tokio::runtime::Builder::new_multi_thread().build()?.block_on(async {
/// let fan_out = FanOut::new(NonZeroUsize::new(4).unwrap(), Order::Input);
/// let squares = fan_out.run((0..10u32).map(|n| async move { n * n })).await;
/// assert_eq!(squares[3], 9);
/// let halves = fan_out.try_run((1..4u32).map(|n| async move {
///     if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
/// }));
/// assert!(halves.await.unwrap_err().ends_with("is odd"));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FanOut {
    at_once: NonZeroUsize,
    order: Order,
}

/// In which order results are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// In that of the jobs.
    Input,
    /// As they come, more or less: those of one task one after the other. Spares the sorting.
    Any,
}

/// Everything that failed, in the order of the results.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub struct Errors<E>(pub Vec<E>);

/// What all tasks of one run share.
struct Shared<I> {
    jobs: Mutex<(usize, I)>,
    /// No job is begun any more.
    is_over: AtomicBool,
}

/// What one task did: its results, each with its job's number.
type Done<T> = Result<Vec<(usize, T)>, Box<dyn Any + Send>>;

// === impl FanOut ===

impl FanOut {
    /// Runs at most `at_once` jobs at a time.
    pub const fn new(at_once: NonZeroUsize, order: Order) -> Self {
        Self { at_once, order }
    }

    /// Runs all jobs.
    ///
    /// # Panics
    ///
    /// Where a job does, or its iterator; and outside of a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it drops every job at its next await; no job is begun any more.
    pub async fn run<I>(self, jobs: I) -> Vec<<I::Item as Future>::Output>
    where
        I: IntoIterator<IntoIter: Send + 'static, Item: Future<Output: Send> + Send + 'static>,
    {
        let mut results = Vec::new();
        self.run_into(jobs, &mut results).await;
        results
    }

    /// Like [`run`](Self::run), with a vector that is used again: results go behind what is in it.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run); `results` is as it was then.
    pub async fn run_into<I>(self, jobs: I, results: &mut Vec<<I::Item as Future>::Output>)
    where
        I: IntoIterator<IntoIter: Send + 'static, Item: Future<Output: Send> + Send + 'static>,
    {
        let mut done = self.start(jobs, |_| false).await;
        self.sort(&mut done);
        results.reserve(done.len());
        results.extend(done.into_iter().map(|(_, result)| result));
    }

    /// Runs jobs until one fails: no other is begun then, those that run are dropped, and the
    /// failure is the result. Of several at a time it is that of the job that came first.
    ///
    /// # Errors
    ///
    /// What a job failed with.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn try_run<I, T, E>(self, jobs: I) -> Result<Vec<T>, E>
    where
        I: IntoIterator<
                IntoIter: Send + 'static,
                Item: Future<Output = Result<T, E>> + Send + 'static,
            >,
        T: Send + 'static,
        E: Send + 'static,
    {
        let mut done = self.start(jobs, Result::is_err).await;
        done.sort_unstable_by_key(|(number, result)| (result.is_ok(), *number));
        if let Some((_, Err(_))) = done.first() {
            let failed = done.swap_remove(0).1;
            return failed.map(|_| Vec::new());
        }
        done.into_iter().map(|(_, result)| result).collect()
    }

    /// Runs all jobs, and gives all results or all failures.
    ///
    /// # Errors
    ///
    /// What jobs failed with, if any did.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    ///
    /// ```
    /// use std::num::NonZeroUsize;
    /// use teleflow_concurrency::{FanOut, Order};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let fan_out = FanOut::new(NonZeroUsize::new(2).unwrap(), Order::Input);
    /// let jobs = (1..=4u32).map(|n| async move { if n % 2 == 0 { Ok(n) } else { Err(n) } });
    /// let errors = fan_out.run_all(jobs).await.unwrap_err();
    /// assert_eq!(errors.0, [1, 3]);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn run_all<I, T, E>(self, jobs: I) -> Result<Vec<T>, Errors<E>>
    where
        I: IntoIterator<
                IntoIter: Send + 'static,
                Item: Future<Output = Result<T, E>> + Send + 'static,
            >,
        T: Send + 'static,
        E: Send + 'static,
    {
        let results = self.run(jobs).await;
        let mut errors = Vec::new();
        let mut fine = Vec::with_capacity(results.len());
        for result in results {
            match result {
                Ok(value) => fine.push(value),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(fine) } else { Err(Errors(errors)) }
    }

    /// Runs jobs until one ends the run.
    async fn start<I>(
        self,
        jobs: I,
        ends: fn(&<I::Item as Future>::Output) -> bool,
    ) -> Vec<(usize, <I::Item as Future>::Output)>
    where
        I: IntoIterator<IntoIter: Send + 'static, Item: Future<Output: Send> + Send + 'static>,
    {
        let jobs = jobs.into_iter();
        let (least, most) = jobs.size_hint();
        let tasks = self.at_once.get().min(most.unwrap_or(usize::MAX));
        let each = least / tasks.max(1) + 1;
        let shared =
            Arc::new(Shared { jobs: Mutex::new((0, jobs)), is_over: AtomicBool::new(false) });
        // Dropping the set drops the tasks.
        let mut running = JoinSet::new();
        for _ in 0..tasks {
            running.spawn(work(Arc::clone(&shared), ends, each));
        }
        let mut all: Vec<(usize, _)> = Vec::with_capacity(least);
        while let Some(done) = running.join_next().await {
            match done {
                Ok(Ok(mut results)) => {
                    let is_last = results.last().is_some_and(|(_, result)| ends(result));
                    all.append(&mut results);
                    if is_last {
                        running.abort_all();
                    }
                }
                Ok(Err(panic)) => resume_unwind(panic),
                // Else aborted, as the run is over.
                Err(error) => {
                    if let Ok(panic) = error.try_into_panic() {
                        resume_unwind(panic);
                    }
                }
            }
        }
        all
    }

    fn sort<T>(self, done: &mut [(usize, T)]) {
        if self.order == Order::Input {
            done.sort_unstable_by_key(|(number, _)| *number);
        }
    }
}

/// Does one job after the other.
async fn work<I>(
    shared: Arc<Shared<I>>,
    ends: fn(&<I::Item as Future>::Output) -> bool,
    expected: usize,
) -> Done<<I::Item as Future>::Output>
where
    I: Iterator<Item: Future>,
{
    let mut results = Vec::with_capacity(expected);
    let all = async {
        while !shared.is_over.load(Ordering::Acquire) {
            let Some((number, job)) = shared.next() else { return };
            let result = job.await;
            let is_end = ends(&result);
            results.push((number, result));
            if is_end {
                shared.is_over.store(true, Ordering::Release);
            }
            // A job that never waits would keep its worker from everyone else.
            tokio::task::coop::consume_budget().await;
        }
    };
    let ended = AssertUnwindSafe(all).catch_unwind().await;
    match ended {
        Ok(()) => Ok(results),
        Err(panic) => {
            shared.is_over.store(true, Ordering::Release);
            Err(panic)
        }
    }
}

// === impl Shared ===

impl<I: Iterator> Shared<I> {
    fn next(&self) -> Option<(usize, I::Item)> {
        // A lock that is poisoned belongs to an iterator that panicked: the run is over.
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_over.load(Ordering::Acquire) {
            return None;
        }
        let (number, jobs) = &mut *jobs;
        let job = jobs.next()?;
        *number += 1;
        Some((*number - 1, job))
    }
}

// === impl Errors ===

impl<E: fmt::Display> fmt::Display for Errors<E> {
    /// One line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut errors = self.0.iter();
        if let Some(first) = errors.next() {
            write!(f, "{first}")?;
        }
        errors.try_for_each(|error| write!(f, "\n{error}"))
    }
}
