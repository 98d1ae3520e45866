//! When a breaker opens and how it closes.

use std::num::NonZeroU16;
use std::time::Duration;

use thiserror::Error;

#[cfg(doc)]
use super::{Breaker, Call};

/// When a [`Breaker`] opens and how it closes again.
///
/// ```
/// use std::time::{Duration, Instant};
/// use teleflow_concurrency::{Breaker, BreakerConfig, BreakerState, FailureRate};
///
/// // Only by the share: half of ten calls.
/// let config = BreakerConfig {
///     failures: None,
///     failure_rate: Some(FailureRate { share: 0.5, min_calls: 10 }),
///     open_for: Duration::from_secs(5),
///     ..BreakerConfig::default()
/// };
/// let breaker = Breaker::new(config)?;
/// let now = Instant::now();
/// for call in 0..9 {
///     let admitted = breaker.check(now)?;
///     if call < 5 { admitted.success(now) } else { admitted.failure(now) }
/// }
/// assert_eq!(breaker.state(), BreakerState::Closed);
/// breaker.check(now)?.failure(now);
/// assert_eq!(breaker.state(), BreakerState::Open);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BreakerConfig {
    /// So many failures within [`window`](Self::window) open it: 5. `None`: their number alone does
    /// not.
    pub failures: Option<u32>,
    /// Such a share of failures within [`window`](Self::window) opens it: half, of 20 calls at
    /// least. `None`: their share alone does not.
    pub failure_rate: Option<FailureRate>,
    /// How far back outcomes count: 10 s, at least 10 ms. Kept in eighths: what is older than seven
    /// eighths of it may be forgotten.
    pub window: Duration,
    /// How long it refuses everything: 30 s. Counted in whole milliseconds, rounded up.
    pub open_for: Duration,
    /// How many calls at a time may try whether things are well again: 1.
    pub probes: NonZeroU16,
    /// So many probes that succeed, of the same half-open time, close it: 1. One that fails opens it
    /// again.
    pub successes: NonZeroU16,
    /// What a call counts as whose outcome was never told: a failure.
    pub unfinished: Unfinished,
}

/// A share of failures that opens a [`Breaker`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureRate {
    /// Failures among the calls, above 0 and at most 1.
    pub share: f64,
    /// With fewer calls than that in the window, the share says nothing.
    pub min_calls: u32,
}

/// What a [`Call`] counts as that was dropped without an outcome: its future was cancelled, or it
/// panicked.
///
/// ```
/// use std::time::Instant;
/// use teleflow_concurrency::{Breaker, BreakerConfig, BreakerState, Unfinished};
///
/// let state_after_a_drop = |unfinished| {
///     let config = BreakerConfig { failures: Some(1), unfinished, ..BreakerConfig::default() };
///     let breaker = Breaker::new(config).unwrap();
///     drop(breaker.check(Instant::now()));
///     breaker.state()
/// };
/// assert_eq!(state_after_a_drop(Unfinished::Failure), BreakerState::Open);
/// assert_eq!(state_after_a_drop(Unfinished::Ignore), BreakerState::Closed);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unfinished {
    /// A failure at the time at which the call was admitted. The safe choice where a caller gives up
    /// because the other side hangs.
    #[default]
    Failure,
    /// Nothing: a probe's place becomes free.
    Ignore,
}

/// A configuration that makes no sense.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum BreakerConfigError {
    /// A threshold of no failures would open it before anything fails.
    #[error("a threshold of zero failures")]
    NoFailures,
    /// The share is not above 0 and at most 1.
    #[error("the failure rate is not above 0 and at most 1")]
    Rate,
    /// The window is shorter than 10 ms or longer than a year.
    #[error("the window is shorter than 10 ms or longer than a year")]
    Window,
}

// === impl BreakerConfig ===

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: Some(5),
            failure_rate: Some(FailureRate { share: 0.5, min_calls: 20 }),
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(30),
            probes: NonZeroU16::MIN,
            successes: NonZeroU16::MIN,
            unfinished: Unfinished::Failure,
        }
    }
}
