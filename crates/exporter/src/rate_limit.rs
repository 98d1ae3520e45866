//! A limit to how much is exported in a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use teleflow_concurrency::{Rate, Semaphore};
use teleflow_otlp::Payload;

use crate::{ConfigError, Delivered, ExportError, Exporter, Outgoing};

/// What a rate counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum RateUnit {
    /// Requests.
    #[default]
    Requests,
    /// Spans, data points and log records.
    Items,
    /// Bytes before compression.
    Bytes,
}

/// Lets exports start at a rate; those that come too early wait, and are served in the order in which
/// they came.
///
/// Goes inside of [`Retry`](crate::Retry), so that retries count too. It holds its caller up and
/// drops nothing: what waits is bounded by the [`Queue`](crate::Queue) in front.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use teleflow_concurrency::Rate;
/// use teleflow_exporter::{Console, Exporter, RateLimit, RateUnit};
/// use teleflow_otlp::{Payload, Signal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let thousand = NonZeroU32::new(1000).expect("it is not zero");
/// let rate = Rate { count: thousand, per: Duration::from_secs(1), burst: thousand };
/// let exporter = RateLimit::new(Console::stdout(), RateUnit::Items, rate)?;
/// exporter.export(Payload::empty(Signal::Traces)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RateLimit<E> {
    inner: E,
    unit: RateUnit,
    pace: Pace,
    /// Held by the first in line.
    turn: Semaphore,
    waited: AtomicU64,
}

/// Decides when so many units may start. Reads no clock.
///
/// The generic cell rate algorithm, with a debt: what is larger than the burst starts once all of
/// that is back, and those behind it wait the longer.
#[derive(Debug)]
struct Pace {
    /// The time that one unit takes.
    interval: Duration,
    /// How far `next` may run ahead of the present.
    slack: Duration,
    /// When the bucket is full again.
    next: Mutex<Option<Instant>>,
}

// === impl RateLimit ===

impl<E> RateLimit<E> {
    /// Wraps `inner`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wrapper`] where a unit takes less than a nanosecond, or the burst longer than
    /// 100 years to come back.
    pub fn new(inner: E, unit: RateUnit, rate: Rate) -> Result<Self, ConfigError> {
        let (pace, turn) = (Pace::new(rate)?, Semaphore::new("turn", 1));
        Ok(Self { inner, unit, pace, turn, waited: AtomicU64::new(0) })
    }

    /// How many exports had to wait.
    pub fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// The exporter inside.
    pub fn inner(&self) -> &E {
        &self.inner
    }

    async fn pass(&self, units: u64) {
        let _turn = self.turn.acquire(1).await;
        let mut has_waited = false;
        while let Err(wait) = self.pace.take(units, tokio::time::Instant::now().into_std()) {
            if !std::mem::replace(&mut has_waited, true) {
                self.waited.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(wait).await;
        }
    }
}

impl<E: Exporter> Exporter for RateLimit<E> {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    /// # Cancel safety
    ///
    /// Dropped while it waits, it takes nothing of the rate and loses its place in line.
    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        let payload = outgoing.payload();
        let units = match self.unit {
            RateUnit::Requests => 1,
            RateUnit::Items => payload.items(),
            RateUnit::Bytes => payload.bytes() as u64,
        };
        self.pass(units).await;
        self.inner.send(outgoing).await
    }

    async fn flush(&self) -> Result<(), ExportError> {
        self.inner.flush().await
    }

    fn interrupt(&self) {
        self.inner.interrupt();
    }

    async fn shutdown(&self) -> Result<(), ExportError> {
        self.inner.shutdown().await
    }
}

// === impl Pace ===

impl Pace {
    fn new(rate: Rate) -> Result<Self, ConfigError> {
        const AGE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        let interval = rate.per / rate.count.get();
        match interval.checked_mul(rate.burst.get()) {
            Some(whole) if whole <= AGE && !interval.is_zero() => {
                Ok(Self { interval, slack: whole - interval, next: Mutex::new(None) })
            }
            _ => Err(ConfigError::Wrapper(
                "a unit of the rate takes less than a nanosecond, or its burst over 100 years",
            )),
        }
    }

    /// Takes so many units at `now`, or says how long to wait before asking again.
    fn take(&self, units: u64, now: Instant) -> Result<(), Duration> {
        let mut next = self.next();
        let at = next.unwrap_or(now).max(now);
        let fits = u32::try_from(units.max(1) - 1)
            .ok()
            .and_then(|more| self.interval.checked_mul(more))
            .map_or(Duration::ZERO, |more| self.slack.saturating_sub(more));
        let wait = at.duration_since(now).saturating_sub(fits);
        if !wait.is_zero() {
            return Err(wait);
        }
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let cost = self.interval.saturating_mul(units);
        *next = Some(at.checked_add(cost).unwrap_or(at));
        Ok(())
    }

    fn next(&self) -> MutexGuard<'_, Option<Instant>> {
        self.next.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn pace(count: u32, burst: u32) -> Pace {
        let nonzero = |n| NonZeroU32::new(n).unwrap();
        let per = Duration::from_secs(1);
        Pace::new(Rate { count: nonzero(count), per, burst: nonzero(burst) }).unwrap()
    }

    #[test]
    fn a_refused_payload_starts_when_promised_and_not_before() {
        let pace = pace(10, 5);
        let now = Instant::now();
        assert_eq!(pace.take(5, now), Ok(()));
        let wait = pace.take(2, now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(200));
        assert!(pace.take(2, now + wait - Duration::from_nanos(1)).is_err());
        assert_eq!(pace.take(2, now + wait), Ok(()));
    }

    #[test]
    fn what_is_larger_than_the_burst_passes_and_the_next_one_pays() {
        let pace = pace(10, 5);
        let now = Instant::now();
        assert_eq!(pace.take(100, now), Ok(()));
        assert_eq!(pace.take(1, now), Err(Duration::from_millis(9600)));
        assert_eq!(pace.take(100, now + Duration::from_secs(10)), Ok(()));
    }

    #[test]
    fn over_a_long_time_the_rate_is_kept() {
        let pace = pace(1000, 10);
        let start = Instant::now();
        let mut now = start;
        for units in (0..1000).map(|n| n % 7 + 1) {
            while let Err(wait) = pace.take(units, now) {
                now += wait;
            }
        }
        // Without the burst, which comes for nothing.
        let units: u64 = (0..1000).map(|n| n % 7 + 1).sum();
        let took = (now - start).as_secs_f64() * 1000.0;
        assert!((took - units as f64).abs() < 20.0, "{took} {units}");
    }

    #[test]
    fn a_clock_that_steps_back_makes_the_wait_longer_and_no_more() {
        let pace = pace(10, 1);
        let now = Instant::now() + Duration::from_secs(60);
        assert_eq!(pace.take(1, now), Ok(()));
        let back = pace.take(1, now - Duration::from_secs(1)).unwrap_err();
        assert_eq!(back, Duration::from_millis(1100));
    }
}
