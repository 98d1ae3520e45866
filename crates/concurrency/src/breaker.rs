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

mod window;

use std::fmt;
use std::future::Future;
use std::mem;
use std::num::NonZeroU16;
use std::sync::atomic::AtomicU64 as Counter;
use std::time::{Duration, Instant};

use thiserror::Error;

use self::window::{Failures, Successes, Window};
use crate::sharded::Sharded;
use crate::sync::{AtomicU64, Ordering};

/// When a [`Breaker`] opens and how it closes again.
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

/// A call that was admitted, until its outcome is told.
#[must_use = "dropped, it counts as Unfinished says"]
pub struct Call<'a> {
    breaker: &'a Breaker,
    word: State,
    /// When it was admitted, in nanoseconds.
    at: u64,
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

/// The word, from the low end: kind (2 bits), era (22 bits), the rest (40 bits).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State(u64);

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

const ERA_SHIFT: u32 = 2;
/// An era takes a millisecond at least where it is open, so an outcome would have to be an hour
/// late, to the very era, to be taken for a present one.
const ERA_MASK: u64 = (1 << 22) - 1;
const REST_SHIFT: u32 = 24;
const REST_MAX: u64 = (1 << 40) - 1;

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

// === impl Call ===

impl Call<'_> {
    /// Whether it is one of those that decide if the breaker closes.
    pub fn is_probe(&self) -> bool {
        self.word.kind() == HALF_OPEN
    }

    /// It went well.
    #[inline]
    pub fn success(self, now: impl BreakerTime) {
        if self.word.kind() == CLOSED {
            let breaker = self.breaker;
            breaker.successes.add(breaker.window.at(self.word.era(), now.since(breaker.base)));
        } else {
            let enough = self.breaker.config.successes.get();
            self.breaker.settle(self.word, |seen| {
                let well = seen.well().saturating_add(1);
                if well >= enough {
                    State::new(CLOSED, seen.era() + 1, 0)
                } else {
                    State::half_open(seen.era(), seen.out() - 1, well)
                }
            });
        }
        mem::forget(self);
    }

    /// It failed.
    pub fn failure(self, now: impl BreakerTime) {
        self.fail(now.since(self.breaker.base));
        mem::forget(self);
    }

    fn fail(&self, now: u64) {
        if self.is_probe() {
            self.breaker.settle(self.word, |seen| self.breaker.open(seen, now));
        } else {
            self.breaker.failed(self.word, now);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        match self.breaker.config.unfinished {
            Unfinished::Failure => self.fail(self.at),
            Unfinished::Ignore if self.is_probe() => self.breaker.settle(self.word, |seen| {
                State::half_open(seen.era(), seen.out() - 1, seen.well())
            }),
            Unfinished::Ignore => {}
        }
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("is_probe", &self.is_probe()).finish_non_exhaustive()
    }
}

// === impl State ===

impl State {
    fn new(kind: u64, era: u64, rest: u64) -> Self {
        Self(kind | (era & ERA_MASK) << ERA_SHIFT | rest << REST_SHIFT)
    }

    fn half_open(era: u64, out: u16, well: u16) -> Self {
        Self::new(HALF_OPEN, era, u64::from(out) << 16 | u64::from(well))
    }

    fn kind(self) -> u64 {
        self.0 & 3
    }

    fn era(self) -> u64 {
        self.0 >> ERA_SHIFT & ERA_MASK
    }

    fn rest(self) -> u64 {
        self.0 >> REST_SHIFT
    }

    /// Probes that are out.
    fn out(self) -> u16 {
        (self.rest() >> 16) as u16
    }

    /// Probes that came back well.
    fn well(self) -> u16 {
        self.rest() as u16
    }
}
