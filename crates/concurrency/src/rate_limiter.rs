//! The rate limiter: governor's GCRA, with a name, a line of those who wait, and counters.

mod keyed;
mod time;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;
use governor::state::{InMemoryState, NotKeyed};
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

pub use self::keyed::{KeyedRateLimiter, OnManyKeys};
use self::time::{Governor, at};
use crate::Semaphore;
use crate::latency::{Latency, LatencySnapshot};
use crate::sharded::Sharded;

/// How much passes: `count` in each `per`, and at most `burst` at once.
///
/// It comes back evenly, one each `per / count`, and not all at once when a period ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// So many units...
    pub count: NonZeroU32,
    /// ... in so long a time.
    pub per: Duration,
    /// So many at once, after a pause.
    pub burst: NonZeroU32,
}

/// Why nothing passed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Limited {
    /// Too early.
    #[error("over the rate; one fits in {retry_after:?}")]
    NotYet {
        /// When the next unit is free, if nobody else takes it.
        retry_after: Duration,
    },
    /// The deadline comes before the turn. Known at once by the first in line; the others hear it
    /// when the deadline is there.
    #[error("the deadline comes first")]
    TimedOut,
    /// There is no room for another key, and the limiter refuses those.
    #[error("too many keys")]
    TooManyKeys,
}

/// The rate is not one: less than a nanosecond a unit, or a burst that takes longer than 100 years
/// to come back.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a unit takes less than a nanosecond, or the burst longer than 100 years")]
pub struct RateError;

/// Lets units pass at a [`Rate`].
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use teleflow_concurrency::{Rate, RateLimiter};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let two = NonZeroU32::new(2).expect("it is not zero");
/// let rate = Rate { count: two, per: Duration::from_millis(20), burst: two };
/// let limiter = RateLimiter::new("answers", rate)?;
/// limiter.check()?;
/// limiter.check()?;
/// assert!(limiter.check().is_err());
/// limiter.wait().await;
/// assert_eq!((limiter.stats().passed, limiter.stats().refused), (3, 1));
/// # Ok(())
/// # }
/// ```
///
/// A decision takes the time as an argument, so that it can be tested, and asked for without
/// reading the clock:
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use teleflow_concurrency::{Limited, Rate, RateLimiter};
/// use tokio::time::Instant;
///
/// let one = NonZeroU32::MIN;
/// let rate = Rate { count: one, per: Duration::from_secs(60), burst: one };
/// let limiter = RateLimiter::new("mails", rate)?;
/// let now = Instant::now();
/// assert_eq!(limiter.check_at(now), Ok(()));
/// let retry_after = Duration::from_secs(45);
/// assert_eq!(limiter.check_at(now + rate.per / 4), Err(Limited::NotYet { retry_after }));
/// assert_eq!(limiter.check_at(now + rate.per), Ok(()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RateLimiter {
    name: Cow<'static, str>,
    inner: Governor<NotKeyed, InMemoryState>,
    /// Who waits holds it while it is the first, so that units go out in the order of arrival.
    turn: Semaphore,
    counters: Counters,
}

/// What a limiter did so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateLimiterStats {
    /// Units that passed.
    pub passed: u64,
    /// Checks that were refused, and waits whose deadline came first.
    pub refused: u64,
    /// How long those waited who passed after a wait.
    pub wait: LatencySnapshot,
}

struct Counters {
    passed: Sharded,
    refused: Sharded,
    wait: Latency,
}

// === impl Rate ===

impl Rate {
    fn quota(self) -> Result<Quota, RateError> {
        const AGE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let unit = self.per / self.count.get();
        match unit.checked_mul(self.burst.get()) {
            Some(whole) if whole <= AGE && !unit.is_zero() => {
                let quota = Quota::with_period(unit).ok_or(RateError)?;
                Ok(quota.allow_burst(self.burst))
            }
            _ => Err(RateError),
        }
    }
}

// === impl RateLimiter ===

impl RateLimiter {
    /// Creates a limiter with a full burst to spend.
    ///
    /// # Errors
    ///
    /// [`RateError`] for what is no rate.
    pub fn new(name: impl Into<Cow<'static, str>>, rate: Rate) -> Result<Self, RateError> {
        Ok(Self {
            name: name.into(),
            inner: time::governor(rate.quota()?, InMemoryState::default()),
            turn: Semaphore::new("turn", 1),
            counters: Counters::new(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets one unit pass now, or not. May be faster than those who wait.
    ///
    /// # Errors
    ///
    /// [`Limited::NotYet`].
    pub fn check(&self) -> Result<(), Limited> {
        self.check_at(Instant::now())
    }

    /// Lets one unit pass at `now`, or not.
    ///
    /// # Errors
    ///
    /// [`Limited::NotYet`].
    pub fn check_at(&self, now: Instant) -> Result<(), Limited> {
        self.counters.count(self.pass(now))
    }

    /// Waits until one unit may pass. Those who wait are served in the order of arrival.
    ///
    /// Timers go by whole milliseconds: a rate above 1000 a second needs a burst of a few
    /// milliseconds' worth to be reached by waiting.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in line and spends nothing.
    ///
    /// # Panics
    ///
    /// When it must wait outside of a tokio runtime that has time.
    pub async fn wait(&self) {
        // Without a deadline, and with a key that has its place, it has no way to fail.
        let _ = self.counters.wait(&self.turn, None, |now| self.pass(now)).await;
    }

    /// Waits until one unit may pass, but not beyond `deadline`.
    ///
    /// # Errors
    ///
    /// [`Limited::TimedOut`]; nothing was spent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in line and spends nothing.
    ///
    /// # Panics
    ///
    /// When it must wait outside of a tokio runtime that has time.
    pub async fn wait_until(&self, deadline: Instant) -> Result<(), Limited> {
        self.counters.wait(&self.turn, Some(deadline), |now| self.pass(now)).await
    }

    /// What it did so far.
    pub fn stats(&self) -> RateLimiterStats {
        self.counters.stats()
    }

    fn pass(&self, now: Instant) -> Result<(), Limited> {
        at(now, || self.inner.check())
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Counters ===

impl Counters {
    fn new() -> Self {
        Self { passed: Sharded::new(), refused: Sharded::new(), wait: Latency::new() }
    }

    fn stats(&self) -> RateLimiterStats {
        RateLimiterStats {
            passed: self.passed.sum(),
            refused: self.refused.sum(),
            wait: self.wait.snapshot(),
        }
    }

    fn count(&self, checked: Result<(), Limited>) -> Result<(), Limited> {
        if checked.is_ok() { &self.passed } else { &self.refused }.add(1);
        checked
    }

    async fn wait(
        &self,
        turn: &Semaphore,
        deadline: Option<Instant>,
        check: impl Fn(Instant) -> Result<(), Limited>,
    ) -> Result<(), Limited> {
        let start = Instant::now();
        let _turn = match deadline {
            // The semaphore is never closed and has the one permit that is asked for.
            None => turn.acquire(1).await.ok(),
            Some(deadline) => match turn.acquire_until(1, deadline).await {
                Ok(turn) => Some(turn),
                Err(_) => return self.count(Err(Limited::TimedOut)),
            },
        };
        loop {
            let now = Instant::now();
            let retry_after = match check(now) {
                Err(Limited::NotYet { retry_after }) => retry_after,
                done => {
                    if done.is_ok() && now > start {
                        self.wait.record(now - start);
                    }
                    return self.count(done);
                }
            };
            let wake_up = now + retry_after;
            if deadline.is_some_and(|deadline| wake_up > deadline) {
                return self.count(Err(Limited::TimedOut));
            }
            sleep_until(wake_up).await;
        }
    }
}
