//! A call that was admitted.

use std::fmt;
use std::mem;

use super::state::{CLOSED, HALF_OPEN, State};
use super::{Breaker, BreakerTime, Unfinished};

/// A call that was admitted, until its outcome is told.
///
/// ```
/// use std::time::{Duration, Instant};
/// use teleflow_concurrency::{Breaker, BreakerConfig};
///
/// let breaker = Breaker::new(BreakerConfig { failures: Some(1), ..BreakerConfig::default() })?;
/// let now = Instant::now();
/// let call = breaker.check(now)?;
/// assert!(!call.is_probe());
/// call.failure(now);
///
/// let later = now + Duration::from_secs(31);
/// let call = breaker.check(later)?;
/// assert!(call.is_probe());
/// assert!(breaker.check(later).is_err(), "one probe at a time");
/// call.success(later);
/// assert_eq!(breaker.stats().closed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped, it counts as Unfinished says"]
pub struct Call<'a> {
    pub(super) breaker: &'a Breaker,
    pub(super) word: State,
    /// When it was admitted, in nanoseconds.
    pub(super) at: u64,
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
