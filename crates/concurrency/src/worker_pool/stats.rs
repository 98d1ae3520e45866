//! What a worker pool tells of itself.

use crate::latency::LatencySnapshot;

/// What a [`WorkerPool`](crate::WorkerPool) did and has.
///
/// ```
/// use teleflow_concurrency::{WorkerPool, WorkerPoolConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let pool = WorkerPool::new(WorkerPoolConfig::default())?;
/// assert_eq!(pool.submit(async { 6 * 7 }).await?.await, Ok(42));
/// assert!(pool.submit(async { assert_eq!(6 * 9, 42) }).await?.await.is_err());
/// pool.shut_down().await;
///
/// let stats = pool.stats();
/// assert_eq!((stats.submitted, stats.completed, stats.failed()), (2, 1, 1));
/// assert_eq!((stats.workers, stats.queued, stats.latency.count), (0, 0, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct WorkerPoolStats {
    /// The pool's name.
    pub name: &'static str,
    /// Workers that are there.
    pub workers: usize,
    /// Those of them that run a task.
    pub active: usize,
    /// Tasks that wait for a worker.
    pub queued: usize,
    /// Callers that wait for a place in the queue.
    pub waiting: usize,
    /// Tasks that run beside the workers.
    pub beside: usize,
    /// Tasks that were taken.
    pub submitted: u64,
    /// Tasks that were refused.
    pub rejected: u64,
    /// Tasks that came to their end.
    pub completed: u64,
    /// Tasks that panicked; in being dropped, too.
    pub panicked: u64,
    /// Tasks whose deadline came first.
    pub timed_out: u64,
    /// Tasks that were cancelled with the pool, or whose runtime ended.
    pub cancelled: u64,
    /// Tasks that ran in their caller, of `submitted`.
    pub ran_in_caller: u64,
    /// Tasks that ran beside the workers, of `submitted`.
    pub ran_beside: u64,
    /// Workers that were added to those that are always there.
    pub grown: u64,
    /// Workers that went, as there was nothing to do.
    pub shrunk: u64,
    /// How long tasks took from when they were submitted.
    pub latency: LatencySnapshot,
}

// === impl WorkerPoolStats ===

impl WorkerPoolStats {
    /// Tasks that were taken and ended without a result.
    pub const fn failed(&self) -> u64 {
        self.panicked + self.timed_out + self.cancelled
    }
}
