//! How much may be sent again: a share of what is sent at all.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::ConfigError;

/// What a [`RetryBudget`] allows. The defaults let everyday failures be retried at once and keep an
/// outage from multiplying the load on what comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudgetConfig {
    /// Retries for each first attempt: 0.2. From 0; above 1 it limits nothing that matters.
    pub share: f64,
    /// Retries each second that are allowed whatever is sent, so that what waits is tried again also
    /// when nothing new comes: 1. From 0, where retries may have to wait for ever.
    pub per_second: f64,
    /// The most retries that are saved up: 100. At least 1.
    pub burst: f64,
}

/// Allows retries as a share of first attempts: a bucket that every first attempt fills a little and
/// every retry empties by one.
///
/// One budget may be shared by all that send to the same place. It reads no clock.
///
/// ```
/// use std::time::Instant;
/// use teleflow_exporter::{RetryBudget, RetryBudgetConfig};
///
/// let now = Instant::now();
/// let config = RetryBudgetConfig { share: 0.5, per_second: 0.0, burst: 1.0 };
/// let budget = RetryBudget::new(config, now)?;
/// assert!(budget.withdraw(now));
/// assert!(!budget.withdraw(now));
/// budget.deposit(now);
/// budget.deposit(now);
/// assert!(budget.withdraw(now));
/// # Ok::<(), teleflow_exporter::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct RetryBudget {
    config: RetryBudgetConfig,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    saved: f64,
    at: Instant,
}

// === impl RetryBudgetConfig ===

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { share: 0.2, per_second: 1.0, burst: 100.0 }
    }
}

// === impl RetryBudget ===

impl RetryBudget {
    /// Starts full.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Retry`] where a field is outside of its range.
    pub fn new(config: RetryBudgetConfig, now: Instant) -> Result<Self, ConfigError> {
        let is_amount = |amount: f64| amount.is_finite() && amount >= 0.0;
        if !is_amount(config.share) || !is_amount(config.per_second) {
            return Err(ConfigError::Retry("the retry budget is not a number from 0"));
        }
        if !(config.burst.is_finite() && config.burst >= 1.0) {
            return Err(ConfigError::Retry("the retry budget's burst is not a number from 1"));
        }
        Ok(Self { config, state: Mutex::new(State { saved: config.burst, at: now }) })
    }

    /// Something is sent for the first time.
    pub fn deposit(&self, now: Instant) {
        let mut state = self.state(now);
        state.saved = (state.saved + self.config.share).min(self.config.burst);
    }

    /// Takes one retry, if there is one.
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut state = self.state(now);
        let is_there = state.saved >= 1.0;
        if is_there {
            state.saved -= 1.0;
        }
        is_there
    }

    fn state(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().expect("no code panics while it holds this lock");
        // A clock that steps back brings nothing and takes nothing.
        let since: Duration = now.saturating_duration_since(state.at);
        state.at = state.at.max(now);
        state.saved += since.as_secs_f64() * self.config.per_second;
        state.saved = state.saved.min(self.config.burst);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(share: f64, per_second: f64, burst: f64) -> (RetryBudget, Instant) {
        let now = Instant::now();
        (RetryBudget::new(RetryBudgetConfig { share, per_second, burst }, now).unwrap(), now)
    }

    #[test]
    fn retries_are_a_share_of_what_is_sent() {
        let (budget, now) = budget(0.25, 0.0, 10.0);
        let retries = (0..1000)
            .filter(|_| {
                budget.deposit(now);
                budget.withdraw(now)
            })
            .count();
        // What was saved up, and a quarter of a thousand.
        assert!((250..=260).contains(&retries), "{retries}");
    }

    #[test]
    fn some_are_allowed_each_second_whatever_is_sent_and_not_saved_for_ever() {
        let (budget, start) = budget(0.0, 2.0, 3.0);
        while budget.withdraw(start) {}
        let after = |millis| start + Duration::from_millis(millis);
        assert!(!budget.withdraw(after(499)));
        assert!(budget.withdraw(after(500)));
        assert!(!budget.withdraw(after(100)), "the clock stepped back");
        let in_an_hour = after(3_600_000);
        assert_eq!((0..100).filter(|_| budget.withdraw(in_an_hour)).count(), 3);
    }

    #[test]
    fn what_is_no_budget_is_refused() {
        for (share, per_second, burst) in
            [(-0.1, 0.0, 1.0), (f64::NAN, 0.0, 1.0), (0.1, f64::INFINITY, 1.0), (0.1, 1.0, 0.5)]
        {
            let config = RetryBudgetConfig { share, per_second, burst };
            assert!(RetryBudget::new(config, Instant::now()).is_err(), "{config:?}");
        }
    }
}
