//! The circuit breaker.
//!
//! The whole state is one word: what it is, the era (how many states there were before), and what
//! goes with it: until when it is open, or how many probes are out and came back well. So each
//! transition is one compare-and-swap, of which one thread wins; and who comes back with an outcome
//! from an earlier era is recognised and not counted.
//!
//! The closed state is never written by those who pass through it. A failure is counted in a window
//! that all threads share, a success in one of the thread's own: failures are few, and successes
//! only matter beside them.

mod call;
mod config;
mod state;
mod window;

use std::fmt;
use std::future::Future;
use std::sync::atomic::AtomicU64 as Counter;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use self::call::Call;
pub use self::config::{BreakerConfig, BreakerConfigError, FailureRate, Unfinished};
use self::state::{CLOSED, HALF_OPEN, OPEN, REST_MAX, State};
use self::window::{Failures, Successes, Window};
use crate::sharded::Sharded;
use crate::sync::{AtomicU64, Ordering};

/// Stops calls to something that fails, and tries carefully whether it works again.
///
/// It reads no clock: `now` is an argument, and may step back without harm. [`call`](Self::call) is
/// the form for futures that reads tokio's.
///
/// ```
/// use std::time::{Duration, Instant};
/// use teleflow_concurrency::{Breaker, BreakerConfig, BreakerState};
///
/// let breaker = Breaker::new(BreakerConfig { failures: Some(2), ..Default::default() })?;
/// let now = Instant::now();
/// breaker.check(now)?.failure(now);
/// breaker.check(now)?.failure(now);
/// let refused = breaker.check(now).unwrap_err();
/// assert!(refused.retry_after >= Duration::from_secs(30));
///
/// let later = now + refused.retry_after;
/// breaker.check(later)?.success(later);
/// assert_eq!(breaker.state(), BreakerState::Closed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Breaker {
    word: AtomicU64,
    base: Instant,
    window: Window,
    failures: Failures,
    successes: Successes,
    config: BreakerConfig,
    opened: Counter,
    closed: Counter,
    probes: Counter,
    refused: Sharded,
}

/// A moment, as a [`Breaker`] is told it: an [`Instant`], or, where each nanosecond counts, the
/// [`Duration`] since a moment of the caller's choice. One breaker must be told all its moments in
/// the same way.
///
/// ```
/// use std::time::{Duration, Instant};
/// use teleflow_concurrency::{Breaker, BreakerConfig};
///
/// let breaker = Breaker::new(BreakerConfig::default())?;
/// let start = Instant::now();
/// // A caller who has the time already, as a number, spares the conversion.
/// let now: Duration = start.elapsed();
/// breaker.check(now)?.success(now);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait BreakerTime: Copy {
    /// Nanoseconds since `base`, or since the caller's own; zero for what comes before it.
    fn since(self, base: Instant) -> u64;
}

/// What a [`Breaker`] does with calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BreakerState {
    /// It lets all through.
    Closed,
    /// It refuses all, until its time is over and somebody asks.
    Open,
    /// It lets some through, to see.
    HalfOpen,
}

/// The call was not admitted.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the circuit breaker is open")]
pub struct Refused {
    /// When to ask again. Zero where it is half-open and all its probes are out: one of them
    /// decides, at any moment.
    pub retry_after: Duration,
}

/// Why [`Breaker::call`] has no value.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum CallError<E> {
    /// The breaker did not admit it, and the future was not run.
    #[error(transparent)]
    Refused(Refused),
    /// The future's own error, which was counted.
    #[error(transparent)]
    Failed(E),
}

/// What a [`Breaker`] did so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BreakerStats {
    /// What it does now.
    pub state: BreakerState,
    /// Calls that succeeded while it was closed.
    pub successes: u64,
    /// Calls that failed while it was closed.
    pub failures: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls that were admitted to see whether things are well again.
    pub probes: u64,
    /// How often it opened, from closed and from half-open.
    pub opened: u64,
    /// How often it closed.
    pub closed: u64,
}

// === impl BreakerTime ===

impl BreakerTime for Instant {
    fn since(self, base: Instant) -> u64 {
        self.saturating_duration_since(base).since(base)
    }
}

impl BreakerTime for Duration {
    #[inline]
    fn since(self, _base: Instant) -> u64 {
        // Wraps after 584 years.
        self.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(self.subsec_nanos()))
    }
}

// === impl Breaker ===

impl Breaker {
    /// Creates a breaker that is closed.
    ///
    /// # Errors
    ///
    /// [`BreakerConfigError`] for what makes no sense.
    pub fn new(config: BreakerConfig) -> Result<Self, BreakerConfigError> {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        if config.failures == Some(0) {
            return Err(BreakerConfigError::NoFailures);
        }
        if config.failure_rate.is_some_and(|rate| !(rate.share > 0.0 && rate.share <= 1.0)) {
            return Err(BreakerConfigError::Rate);
        }
        if config.window < Duration::from_millis(10) || config.window > YEAR {
            return Err(BreakerConfigError::Window);
        }
        Ok(Self {
            word: AtomicU64::new(State::new(CLOSED, 0, 0).0),
            base: Instant::now(),
            window: Window::new(config.window),
            failures: Failures::new(),
            successes: Successes::new(),
            config,
            opened: Counter::new(0),
            closed: Counter::new(0),
            probes: Counter::new(0),
            refused: Sharded::new(),
        })
    }

    /// Admits a call or refuses it. An admitted one must be told how it went.
    ///
    /// # Errors
    ///
    /// [`Refused`] says when to ask again.
    #[inline]
    pub fn check(&self, now: impl BreakerTime) -> Result<Call<'_>, Refused> {
        let now = now.since(self.base);
        let word = State(self.word.load(Ordering::Relaxed));
        if word.kind() == CLOSED {
            return Ok(Call { breaker: self, word, at: now });
        }
        self.check_slowly(word, now)
    }

    #[cold]
    fn check_slowly(&self, mut seen: State, now: u64) -> Result<Call<'_>, Refused> {
        loop {
            let next = match seen.kind() {
                CLOSED => return Ok(Call { breaker: self, word: seen, at: now }),
                OPEN => {
                    let left = self.left(seen, now);
                    if !left.is_zero() {
                        self.refused.add(1);
                        return Err(Refused { retry_after: left });
                    }
                    State::half_open(seen.era() + 1, 1, 0)
                }
                _ if seen.out() >= self.config.probes.get() => {
                    self.refused.add(1);
                    return Err(Refused { retry_after: Duration::ZERO });
                }
                _ => State::half_open(seen.era(), seen.out() + 1, seen.well()),
            };
            match self.swap(seen, next) {
                Ok(()) => {
                    self.probes.fetch_add(1, Ordering::Relaxed);
                    return Ok(Call { breaker: self, word: next, at: now });
                }
                Err(other) => seen = other,
            }
        }
    }

    /// Runs `future` if the call is admitted, and counts an `Err` as a failure. Time is tokio's.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, or in a panic of `future`, the call counts as [`BreakerConfig::unfinished`] says.
    ///
    /// ```
    /// use teleflow_concurrency::{Breaker, BreakerConfig, CallError};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let breaker = Breaker::new(BreakerConfig { failures: Some(1), ..BreakerConfig::default() })?;
    /// let fails = || async { Err::<(), _>("connection reset") };
    /// assert_eq!(breaker.call(fails()).await, Err(CallError::Failed("connection reset")));
    /// assert!(matches!(breaker.call(fails()).await, Err(CallError::Refused(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn call<T, E>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        let now = || tokio::time::Instant::now().into_std();
        let call = self.check(now()).map_err(CallError::Refused)?;
        match future.await {
            Ok(value) => {
                call.success(now());
                Ok(value)
            }
            Err(error) => {
                call.failure(now());
                Err(CallError::Failed(error))
            }
        }
    }

    /// What it does with calls now. An open one whose time is over is open until somebody asks.
    pub fn state(&self) -> BreakerState {
        match State(self.word.load(Ordering::Relaxed)).kind() {
            CLOSED => BreakerState::Closed,
            OPEN => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// What it did so far.
    pub fn stats(&self) -> BreakerStats {
        BreakerStats {
            state: self.state(),
            successes: self.successes.total(),
            failures: self.failures.total(),
            refused: self.refused.sum(),
            probes: self.probes.load(Ordering::Relaxed),
            opened: self.opened.load(Ordering::Relaxed),
            closed: self.closed.load(Ordering::Relaxed),
        }
    }

    fn left(&self, open: State, now: u64) -> Duration {
        let until = Duration::from_millis(open.rest());
        until.saturating_sub(Duration::from_nanos(now))
    }

    /// The state after `seen` that is open from `now` on.
    fn open(&self, seen: State, now: u64) -> State {
        let until = Duration::from_nanos(now).saturating_add(self.config.open_for);
        let millis = until.as_nanos().div_ceil(1_000_000).min(u128::from(REST_MAX));
        State::new(OPEN, seen.era() + 1, millis as u64)
    }

    fn swap(&self, seen: State, next: State) -> Result<(), State> {
        // The word says all there is to know: nothing else is published with it.
        let swapped =
            self.word.compare_exchange(seen.0, next.0, Ordering::Relaxed, Ordering::Relaxed);
        swapped.map(drop).map_err(State)
    }

    fn failed(&self, word: State, now: u64) {
        let at = self.window.at(word.era(), now);
        self.failures.add(at);
        // A step on the word, not a look at it: of two that fail at once, in different parts of the
        // window, the later one sees what the earlier one counted.
        let seen = State(self.word.fetch_add(0, Ordering::AcqRel));
        if seen != word {
            return;
        }
        let failures = self.failures.within(at);
        let many = self.config.failures.is_some_and(|limit| failures >= u64::from(limit));
        let often = self.config.failure_rate.is_some_and(|rate| {
            let calls = failures + self.successes.within(at);
            calls >= u64::from(rate.min_calls) && failures as f64 >= rate.share * calls as f64
        });
        if (many || often) && self.swap(seen, self.open(seen, now)).is_ok() {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lets `outcome` turn the state that `probe` belongs to into another, if it is still there.
    fn settle(&self, probe: State, outcome: impl Fn(State) -> State) {
        let mut seen = State(self.word.load(Ordering::Relaxed));
        while seen.kind() == HALF_OPEN && seen.era() == probe.era() {
            let next = outcome(seen);
            match self.swap(seen, next) {
                Ok(()) => {
                    match next.kind() {
                        CLOSED => drop(self.closed.fetch_add(1, Ordering::Relaxed)),
                        OPEN => drop(self.opened.fetch_add(1, Ordering::Relaxed)),
                        _ => {}
                    }
                    return;
                }
                Err(other) => seen = other,
            }
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("state", &self.state())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
