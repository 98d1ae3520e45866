//! When a pool of workers grows, and when it shrinks.

use std::time::Duration;

use tokio::time::Instant;

/// Between how many workers a pool moves, and how long one is idle before it may go.
///
/// ```
/// use std::time::Duration;
/// use teleflow_concurrency::{Scale, ScaleLimits, ScaleSample};
/// use tokio::time::Instant;
///
/// let limits = ScaleLimits { min: 2, max: 8, idle_after: Duration::from_secs(30) };
/// let now = Instant::now();
/// let busy = ScaleSample { workers: 2, active: 2, queued: 100, idle_since: None };
/// assert_eq!(limits.decide(now, &busy), Scale::Grow);
/// let idle = ScaleSample { workers: 3, active: 0, queued: 0, idle_since: Some(now) };
/// assert_eq!(limits.decide(now + Duration::from_secs(30), &idle), Scale::Shrink);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScaleLimits {
    /// Never fewer, once started.
    pub min: usize,
    /// Never more.
    pub max: usize,
    /// How long a worker finds nothing to do before it goes.
    pub idle_after: Duration,
}

/// What a pool looks like at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScaleSample {
    /// Workers that were started and have not gone.
    pub workers: usize,
    /// Those of them that run a task.
    pub active: usize,
    /// Tasks that wait for a worker.
    pub queued: usize,
    /// Since when the worker that asks has had nothing to do; `None` when a new task asks.
    pub idle_since: Option<Instant>,
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scale {
    /// Start one worker.
    Grow,
    /// The worker that asks goes.
    Shrink,
    /// Nothing.
    Stay,
}

// === impl ScaleLimits ===

impl ScaleLimits {
    /// Decides for one moment.
    ///
    /// Grows below `min`, and below `max` while more than nine workers of ten are busy and the
    /// queue is longer than twice the workers. Shrinks, above `min`, when the queue is empty and
    /// the worker that asks has been idle for `idle_after`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use teleflow_concurrency::{Scale, ScaleLimits, ScaleSample};
    /// use tokio::time::Instant;
    ///
    /// let limits = ScaleLimits { min: 1, max: 4, idle_after: Duration::from_secs(30) };
    /// let busy = ScaleSample { workers: 2, active: 2, queued: 5, idle_since: None };
    /// assert_eq!(limits.decide(Instant::now(), &busy), Scale::Grow);
    /// assert_eq!(limits.decide(Instant::now(), &ScaleSample { queued: 4, ..busy }), Scale::Stay);
    /// ```
    pub fn decide(&self, now: Instant, sample: &ScaleSample) -> Scale {
        let &ScaleSample { workers, active, queued, idle_since } = sample;
        let idle_for = idle_since.map(|since| now.saturating_duration_since(since));
        if let Some(idle_for) = idle_for {
            let may_go = workers > self.min && queued == 0 && idle_for >= self.idle_after;
            return if may_go { Scale::Shrink } else { Scale::Stay };
        }
        // active / workers > 0.9, without a division.
        let busy = active.saturating_mul(10) > workers.saturating_mul(9);
        let behind = queued > workers.saturating_mul(2);
        if workers < self.min || (workers < self.max && busy && behind) {
            Scale::Grow
        } else {
            Scale::Stay
        }
    }
}
