//! How a worker pool works, and whether that can be.

use std::num::NonZeroUsize;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::scale::ScaleLimits;

/// How many workers there are where nobody says, or says zero.
const DEFAULT_WORKERS: usize = 10;

/// How a [`WorkerPool`](crate::WorkerPool) works.
#[derive(Clone, Debug)]
pub struct WorkerPoolConfig {
    /// What statistics and spans call it: `"workers"`.
    pub name: &'static str,
    /// How many workers there are, or, with [`max_workers`](Self::max_workers), how many at least:
    /// 10, which zero stands for.
    pub workers: usize,
    /// How many workers there may be. `None`: always as many as `workers`. Less than `workers` is an
    /// error.
    pub max_workers: Option<usize>,
    /// How many tasks wait at most; `None` is twice the most workers. Zero is an error, and so is a
    /// queue too short for the pool ever to grow: it grows while more wait than twice its workers.
    pub queue: Option<usize>,
    /// How long a task may take from when it was submitted, waiting included, unless its caller says
    /// otherwise: 5 s.
    pub deadline: Duration,
    /// How long a worker above `workers` finds nothing to do before it goes: 30 s.
    pub idle_after: Duration,
    /// What happens to a task that finds the queue full: it waits.
    pub overflow: Overflow,
    /// Cancels every task when it is cancelled; one of its own.
    pub parent: CancellationToken,
}

/// What happens to a task that finds the queue full.
///
/// ```
/// use teleflow_concurrency::{Overflow, Rejected, WorkerPool, WorkerPoolConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let config = WorkerPoolConfig {
///     workers: 1,
///     queue: Some(1),
///     overflow: Overflow::Reject,
///     ..WorkerPoolConfig::default()
/// };
/// let pool = WorkerPool::new(config)?;
/// // Nobody has run yet: the first fills the queue.
/// let kept = pool.submit(async { "kept" }).await?;
/// assert_eq!(pool.submit(async { "refused" }).await.err(), Some(Rejected::Full));
/// assert_eq!(kept.await, Ok("kept"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Overflow {
    /// It is refused.
    Reject,
    /// Whoever submits it waits for a place, first come first served.
    Block,
    /// Whoever submits it runs it.
    RunInCaller,
    /// It runs beside the workers. With so many there already it is refused.
    SpawnBeside(NonZeroUsize),
}

/// Why a configuration does not work.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum WorkerPoolConfigError {
    /// There may be fewer workers than there must be.
    #[error("at most {max} workers are fewer than at least {min}")]
    MaxBelowMin {
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// No task may wait.
    #[error("a queue of no place takes no task")]
    NoQueue,
    /// There may be more workers, and there never would be.
    #[error("with {places} places in the queue the pool never grows: give more than {least}")]
    QueueTooShort {
        /// The queue's places.
        places: usize,
        /// Twice the least workers.
        least: usize,
    },
}

// === impl WorkerPoolConfig ===

impl Default for WorkerPoolConfig {
    fn default() -> Self {
        Self {
            name: "workers",
            workers: DEFAULT_WORKERS,
            max_workers: None,
            queue: None,
            deadline: Duration::from_secs(5),
            idle_after: Duration::from_secs(30),
            overflow: Overflow::Block,
            parent: CancellationToken::new(),
        }
    }
}

impl WorkerPoolConfig {
    /// Between how many workers the pool moves, and how long its queue is.
    pub(super) fn sizes(&self) -> Result<(ScaleLimits, usize), WorkerPoolConfigError> {
        let min = if self.workers == 0 { DEFAULT_WORKERS } else { self.workers };
        let max = self.max_workers.unwrap_or(min);
        if max < min {
            return Err(WorkerPoolConfigError::MaxBelowMin { min, max });
        }
        let places = self.queue.unwrap_or_else(|| max.saturating_mul(2));
        if places == 0 {
            return Err(WorkerPoolConfigError::NoQueue);
        }
        let least = min.saturating_mul(2);
        if max > min && places <= least {
            return Err(WorkerPoolConfigError::QueueTooShort { places, least });
        }
        Ok((ScaleLimits { min, max, idle_after: self.idle_after }, places))
    }
}
