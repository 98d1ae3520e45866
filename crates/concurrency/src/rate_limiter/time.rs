//! Governor's limiter, asked for a time that the caller gives.

use std::cell::Cell;
use std::ops::Add;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{NotUntil, Quota, RateLimiter};
use tokio::time::Instant;

use super::Limited;

/// The limiter that is below ours.
pub(super) type Governor<K, S> = RateLimiter<K, S, GivenClock, NoOpMiddleware<Moment>>;

/// Says the time that [`at`] was given on this thread. Governor asks a clock of its own, and only
/// while it decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenClock;

/// A time as governor reads it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Moment(Instant);

thread_local!(static GIVEN: Cell<Option<Instant>> = const { Cell::new(None) });

pub(super) fn governor<K, S>(quota: Quota, state: S) -> Governor<K, S>
where
    S: StateStore<Key = K>,
{
    RateLimiter::new(quota, state, GivenClock)
}

/// What is decided when it is `now`.
pub(super) fn at(
    now: Instant,
    decide: impl FnOnce() -> Result<(), NotUntil<Moment>>,
) -> Result<(), Limited> {
    GIVEN.set(Some(now));
    decide()
        .map_err(|not_until| Limited::NotYet { retry_after: not_until.wait_time_from(Moment(now)) })
}

// === impl GivenClock ===

impl Clock for GivenClock {
    type Instant = Moment;

    fn now(&self) -> Moment {
        // Also asked once when a limiter is made: then for the time that its own counts from.
        Moment(GIVEN.take().unwrap_or_else(Instant::now))
    }
}

// === impl Moment ===

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, nanos: Nanos) -> Self {
        Self(self.0 + std::time::Duration::from(nanos))
    }
}
