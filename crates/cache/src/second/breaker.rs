//! Leaves a server alone that does not answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Closed until so many calls in a row have failed; then open for a while; then a single call at a
/// time tries, until one succeeds or fails.
pub(crate) struct Breaker {
    failures: u32,
    open: Duration,
    state: Mutex<State>,
}

enum State {
    Closed { failed: u32 },
    Open { until: Instant },
    Trying,
}

/// A call that is under way. Dropped without a verdict, it says nothing about the server.
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    trying: bool,
    judged: bool,
}

// === impl Breaker ===

impl Breaker {
    pub(crate) fn new(failures: u32, open: Duration) -> Self {
        Self { failures: failures.max(1), open, state: Mutex::new(State::Closed { failed: 0 }) }
    }

    pub(crate) fn try_pass(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.state();
        let trying = match *state {
            State::Closed { .. } => false,
            State::Open { until } if until <= now => {
                *state = State::Trying;
                true
            }
            State::Open { .. } | State::Trying => return None,
        };
        drop(state);
        Some(Pass { breaker: self, trying, judged: false })
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(*self.state(), State::Closed { .. })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self, now: Instant) -> State {
        State::Open { until: now.checked_add(self.open).unwrap_or(now) }
    }
}

// === impl Pass ===

impl Pass<'_> {
    pub(crate) fn succeeded(mut self) {
        self.judged = true;
        let mut state = self.breaker.state();
        // A call from before the breaker opened does not close it: the one that tries does.
        if self.trying || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { failed: 0 };
        }
    }

    pub(crate) fn failed(mut self, now: Instant) {
        self.judged = true;
        let mut state = self.breaker.state();
        match &mut *state {
            State::Closed { failed } => {
                *failed += 1;
                if self.breaker.failures <= *failed {
                    *state = self.breaker.opened(now);
                }
            }
            State::Trying if self.trying => *state = self.breaker.opened(now),
            State::Open { .. } | State::Trying => {}
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.trying && !self.judged {
            let mut state = self.breaker.state();
            if let State::Trying = *state {
                // The next call tries; only a verdict buys more time.
                *state = State::Closed { failed: self.breaker.failures - 1 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(1);

    fn open(now: Instant) -> Breaker {
        let breaker = Breaker::new(2, OPEN);
        breaker.try_pass(now).unwrap().failed(now);
        assert!(!breaker.is_open());
        breaker.try_pass(now).unwrap().failed(now);
        assert!(breaker.is_open());
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let breaker = Breaker::new(2, OPEN);
        for _ in 0..10 {
            breaker.try_pass(now).unwrap().failed(now);
            breaker.try_pass(now).unwrap().succeeded();
        }
        assert!(!breaker.is_open());
    }

    #[test]
    fn one_call_tries_when_the_time_is_over() {
        let now = Instant::now();
        let breaker = open(now);
        assert!(breaker.try_pass(now + OPEN - Duration::from_nanos(1)).is_none());
        let pass = breaker.try_pass(now + OPEN).unwrap();
        assert!(breaker.try_pass(now + OPEN).is_none(), "a second one");
        pass.failed(now + OPEN);
        assert!(breaker.try_pass(now + OPEN).is_none());
        breaker.try_pass(now + 2 * OPEN).unwrap().succeeded();
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_call_that_is_cancelled_lets_the_next_one_try() {
        let now = Instant::now();
        let breaker = open(now);
        drop(breaker.try_pass(now + OPEN).unwrap());
        breaker.try_pass(now + OPEN).unwrap().failed(now + OPEN);
        assert!(breaker.is_open());
    }

    #[test]
    fn a_late_success_does_not_close_it() {
        let now = Instant::now();
        let breaker = Breaker::new(1, OPEN);
        let late = breaker.try_pass(now).unwrap();
        breaker.try_pass(now).unwrap().failed(now);
        late.succeeded();
        assert!(breaker.is_open());
    }
}
