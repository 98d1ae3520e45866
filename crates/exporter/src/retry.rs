//! Sending again what may be sent again: exponential back-off with jitter.
//!
//! [`Backoff`] decides and [`Retry`] waits. The rules are the specification's and the Collector's:
//! only what [`ExportError::is_retryable`] says is tried again; the wait grows by a factor up to a
//! maximum and is spread at random, so that many clients do not come back at once; where the
//! destination names a delay, the wait is at least that, and further waits grow from there; and when
//! the next attempt would come too late, there is none. A [`RetryBudget`] bounds how much all of them
//! together may send again.

mod budget;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use teleflow_otlp::Payload;
use tokio::sync::watch;

pub use self::budget::{RetryBudget, RetryBudgetConfig};
use crate::{ConfigError, Delivered, ExportError, Exporter, Left, Outgoing, Undelivered};

/// The longest delay that a destination can impose: one hour.
///
/// Where [`RetryConfig::max_elapsed_time`] is set, what remains of it is the limit.
pub const MAX_SERVER_DELAY: Duration = Duration::from_secs(3600);

/// The shortest wait, before jitter.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Whether and when to try again. The defaults are the Collector's.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryConfig {
    /// Whether to try again at all. On by default; off where something behind the exporter retries.
    pub enabled: bool,
    /// The wait after the first failure, before jitter: 5 s.
    ///
    /// Lower it where the destination is near and the queue short. Zero counts as 10 ms, so that
    /// no setting makes a loop that never rests.
    pub initial_interval: Duration,
    /// How far a wait may be off at random, as a part of it: 0.5, for half to one and a half times.
    ///
    /// From 0, which makes all clients come back together, to 1.
    pub randomization_factor: f64,
    /// What each wait is multiplied with to get the next: 1.5. At least 1, for constant waits.
    pub multiplier: f64,
    /// The longest wait, before jitter: 30 s. Zero counts as 10 ms.
    pub max_interval: Duration,
    /// How long after the first attempt the last may start: 300 s. Zero means without end.
    ///
    /// Raise it to survive longer outages, together with the queue that holds the data meanwhile.
    pub max_elapsed_time: Duration,
}

/// Tells how long to wait before the next attempt with one payload. Reads no clock.
///
/// ```
/// use std::time::{Duration, Instant};
/// use teleflow_exporter::{Backoff, RetryConfig};
///
/// let start = Instant::now();
/// let mut backoff = Backoff::new(&RetryConfig::default(), start)?;
/// // 0.5 is the middle of the jitter; the destination asks for nothing.
/// assert_eq!(backoff.next(start, None, 0.5), Some(Duration::from_secs(5)));
/// assert_eq!(backoff.next(start, None, 0.5), Some(Duration::from_millis(7500)));
/// // Too late for another attempt.
/// assert_eq!(backoff.next(start + Duration::from_secs(299), None, 0.5), None);
/// # Ok::<(), teleflow_exporter::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    /// The next wait, before jitter.
    interval: Duration,
    randomization_factor: f64,
    multiplier: f64,
    max_interval: Duration,
    /// When the last attempt may start; `None` for without end.
    deadline: Option<Instant>,
}

/// Sends again what `inner` could not deliver and may be sent again.
///
/// Sleeps between attempts and so holds its caller up: give it concurrency, as [`Queue`] does.
/// When it gives up, the last error is the answer; its [`is_retryable`](ExportError::is_retryable)
/// is true then, which tells giving up from a refusal.
///
/// What arrived is never sent again: neither after a partial success, nor where an exporter inside
/// could deliver a part ([`ExportError::Undelivered`]); then the retryable rest alone goes again.
/// The wire form of a payload is made once for all attempts.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use teleflow_exporter::{Console, Retry, RetryBudget, RetryBudgetConfig, RetryConfig};
///
/// let budget = RetryBudget::new(RetryBudgetConfig::default(), Instant::now())?;
/// let retry = Retry::new(Console::stdout(), RetryConfig::default())?.with_budget(Arc::new(budget));
/// assert_eq!(retry.stats().retries, 0);
/// # Ok::<(), teleflow_exporter::ConfigError>(())
/// ```
///
/// [`Queue`]: crate::Queue
#[derive(Debug)]
pub struct Retry<E> {
    inner: E,
    enabled: bool,
    /// Cloned for each payload, with its deadline set.
    backoff: Backoff,
    max_elapsed_time: Duration,
    budget: Option<Arc<RetryBudget>>,
    /// Waits are over, and there are no more.
    interrupted: watch::Sender<bool>,
    attempts: AtomicU64,
    retries: AtomicU64,
    put_off: AtomicU64,
    gave_up: AtomicU64,
    given_back: AtomicU64,
}

/// What a [`Retry`] has done so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RetryStats {
    /// Exports started, first ones and retries.
    pub attempts: u64,
    /// Exports started that were not a payload's first.
    pub retries: u64,
    /// Waits that were longer because the [`RetryBudget`] was spent.
    pub put_off: u64,
    /// Payloads that could have been sent again, but not in time.
    pub gave_up: u64,
    /// Payloads that were given back for [`Exporter::interrupt`].
    pub given_back: u64,
}

// === impl RetryConfig ===

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_secs(300),
        }
    }
}

// === impl Backoff ===

impl Backoff {
    /// Starts at the first attempt, which is at `now`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Retry`] where a field is outside of its range.
    pub fn new(config: &RetryConfig, now: Instant) -> Result<Self, ConfigError> {
        if !(0.0..=1.0).contains(&config.randomization_factor) {
            return Err(ConfigError::Retry("the randomization factor is not from 0 to 1"));
        }
        if !(config.multiplier.is_finite() && config.multiplier >= 1.0) {
            return Err(ConfigError::Retry("the multiplier is not a number from 1"));
        }
        let max_interval = config.max_interval.max(MIN_INTERVAL);
        Ok(Self {
            interval: config.initial_interval.clamp(MIN_INTERVAL, max_interval),
            randomization_factor: config.randomization_factor,
            multiplier: config.multiplier,
            max_interval,
            deadline: deadline(now, config.max_elapsed_time),
        })
    }

    /// How long to wait after a failure at `now`, or `None` to give up.
    ///
    /// The wait is the back-off with jitter, or `server_delay` where that is longer, and then a
    /// little more: up to half of the randomization factor of it, at random, so that the clients that
    /// a server told the same do not all come back at once. `server_delay` counts for at most what is left of `max_elapsed_time`, so that an absurd one costs the
    /// payload its other attempts and not the last, or for [`MAX_SERVER_DELAY`] where there is no
    /// such limit. `random` is uniform, from 0 up to but not 1.
    pub fn next(
        &mut self,
        now: Instant,
        server_delay: Option<Duration>,
        random: f64,
    ) -> Option<Duration> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(now));
        let server_delay = server_delay.unwrap_or_default().min(left.unwrap_or(MAX_SERVER_DELAY));

        let factor = self.randomization_factor;
        let backoff = scaled(self.interval, 1.0 - factor + 2.0 * factor * random);
        let asked_for = scaled(server_delay, 1.0 + 0.5 * factor * random);
        let wait = backoff.max(asked_for.min(left.unwrap_or(asked_for)));

        let grown = scaled(self.interval.max(server_delay), self.multiplier);
        self.interval = grown.min(self.max_interval);
        left.is_none_or(|left| wait <= left && !left.is_zero()).then_some(wait)
    }
}

// === impl Retry ===

impl<E> Retry<E> {
    /// Wraps `inner`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Retry`] where a field is outside of its range.
    pub fn new(inner: E, config: RetryConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            inner,
            enabled: config.enabled,
            backoff: Backoff::new(&config, now())?,
            max_elapsed_time: config.max_elapsed_time,
            budget: None,
            interrupted: watch::Sender::new(false),
            attempts: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            put_off: AtomicU64::new(0),
            gave_up: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
        })
    }

    /// Sends again only what `budget` allows. Where it allows nothing, a payload waits as if it had
    /// failed once more.
    #[must_use]
    pub fn with_budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// What was done so far.
    pub fn stats(&self) -> RetryStats {
        RetryStats {
            attempts: self.attempts.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            put_off: self.put_off.load(Ordering::Relaxed),
            gave_up: self.gave_up.load(Ordering::Relaxed),
            given_back: self.given_back.load(Ordering::Relaxed),
        }
    }

    /// The exporter inside.
    pub fn inner(&self) -> &E {
        &self.inner
    }
}

impl<E: Exporter> Retry<E> {
    /// Waits for the next attempt; false where there is none any more.
    async fn wait(&self, wait: Duration) -> bool {
        let mut interrupted = self.interrupted.subscribe();
        // The sender is ours, and so there.
        tokio::time::timeout(wait, interrupted.wait_for(|is| *is)).await.is_err()
    }

    /// Waits until there may be another attempt.
    async fn rest(&self, backoff: &mut Backoff, error: &ExportError) -> Rest {
        let mut server_delay = error.retry_after();
        loop {
            let Some(wait) = backoff.next(now(), server_delay, fastrand::f64()) else {
                self.gave_up.fetch_add(1, Ordering::Relaxed);
                return Rest::TooLate;
            };
            if !self.wait(wait).await {
                self.given_back.fetch_add(1, Ordering::Relaxed);
                return Rest::Interrupted;
            }
            if self.budget.as_ref().is_none_or(|budget| budget.withdraw(now())) {
                return Rest::Over;
            }
            self.put_off.fetch_add(1, Ordering::Relaxed);
            // The server's was waited for.
            server_delay = None;
        }
    }
}

/// How a wait ended.
enum Rest {
    /// Another attempt may be made.
    Over,
    TooLate,
    Interrupted,
}

impl<E: Exporter> Exporter for Retry<E> {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    /// # Cancel safety
    ///
    /// As with every exporter: dropping the future leaves it open whether the payload was
    /// delivered. Dropped while it waits, the payload is not sent again. To have it back instead,
    /// [`interrupt`](Exporter::interrupt).
    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if !self.enabled {
            return self.inner.send(outgoing).await;
        }
        if let Some(budget) = &self.budget {
            budget.deposit(now());
        }
        let mut backoff = self.backoff.clone();
        backoff.deadline = deadline(now(), self.max_elapsed_time);
        let mut outgoing = outgoing;
        // What became of parts, where an attempt delivered one.
        let mut parts: Option<Undelivered> = None;
        loop {
            let error = match self.inner.send(outgoing.clone()).await {
                Err(error) if error.is_retryable() => error,
                Err(ExportError::Undelivered(part)) => match part.divided() {
                    (settled, Some(left)) => {
                        let parts = parts.get_or_insert_default();
                        parts.merge(settled);
                        outgoing = Outgoing::new(left.payload);
                        left.error
                    }
                    (settled, None) => {
                        let mut all = parts.unwrap_or_default();
                        all.merge(settled);
                        return all.into_result();
                    }
                },
                result => return finished(parts, outgoing, result),
            };
            match self.rest(&mut backoff, &error).await {
                Rest::Over => {}
                Rest::TooLate => return finished(parts, outgoing, Err(error)),
                Rest::Interrupted => {
                    let mut all = parts.unwrap_or_default();
                    all.leave(Left { payload: outgoing.into_payload(), error });
                    return Err(ExportError::Undelivered(Box::new(all)));
                }
            }
            self.attempts.fetch_add(1, Ordering::Relaxed);
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn flush(&self) -> Result<(), ExportError> {
        self.inner.flush().await
    }

    fn interrupt(&self) {
        self.interrupted.send_replace(true);
        self.inner.interrupt();
    }

    /// Also [interrupts](Exporter::interrupt).
    async fn shutdown(&self) -> Result<(), ExportError> {
        self.interrupt();
        self.inner.shutdown().await
    }
}

/// The answer, with what became of parts before.
fn finished(
    parts: Option<Undelivered>,
    outgoing: Outgoing,
    result: Result<Delivered, ExportError>,
) -> Result<Delivered, ExportError> {
    match parts {
        None => result,
        Some(mut parts) => {
            parts.add(outgoing.into_payload(), result);
            parts.into_result()
        }
    }
}

/// tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// When a limit is over; never, where it is zero or beyond what the clock can tell.
fn deadline(start: Instant, limit: Duration) -> Option<Instant> {
    if limit.is_zero() { None } else { start.checked_add(limit) }
}

/// `duration * factor`, and the longest duration where that is none.
fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn backoff(change: impl FnOnce(&mut RetryConfig)) -> (Backoff, Instant) {
        let mut config = RetryConfig::default();
        change(&mut config);
        let start = Instant::now();
        (Backoff::new(&config, start).unwrap(), start)
    }

    #[test]
    fn waits_grow_to_the_maximum_and_stay_there() {
        let (mut backoff, start) = backoff(|_| ());
        let waits: Vec<_> =
            (0..8).map(|_| backoff.next(start, None, 0.5).unwrap().as_millis()).collect();
        assert_eq!(waits, [5000, 7500, 11250, 16875, 25312, 30000, 30000, 30000]);
    }

    #[test]
    fn jitter_covers_half_to_one_and_a_half_times_the_wait() {
        let (backoff, start) = backoff(|_| ());
        for (random, wait) in [(0.0, 2.5), (0.5, 5.0), (0.999_999, 7.499_99)] {
            let wait_now = backoff.clone().next(start, None, random).unwrap().as_secs_f64();
            assert!((wait_now - wait).abs() < 0.001, "{random}: {wait_now}");
        }
    }

    #[test]
    fn the_next_attempt_never_starts_after_the_limit() {
        let (backoff, start) = backoff(|_| ());
        for (at, expected) in [(295, Some(5 * SECOND)), (296, None), (300, None), (400, None)] {
            assert_eq!(backoff.clone().next(start + at * SECOND, None, 0.5), expected, "{at}");
        }
    }

    #[test]
    fn without_a_limit_it_never_gives_up() {
        let (mut backoff, start) = backoff(|config| config.max_elapsed_time = Duration::ZERO);
        let later = start + 1_000_000 * SECOND;
        assert_eq!(backoff.next(later, None, 0.5), Some(5 * SECOND));
        let absurd = Some(Duration::MAX);
        assert_eq!(backoff.next(later, absurd, 0.0), Some(MAX_SERVER_DELAY));
    }

    #[test]
    fn a_longer_delay_of_the_server_wins_and_further_waits_grow_from_there() {
        let (mut backoff, start) = backoff(|_| ());
        assert_eq!(backoff.next(start, Some(SECOND), 0.5), Some(5 * SECOND));
        assert_eq!(backoff.next(start, Some(12 * SECOND), 0.0), Some(12 * SECOND));
        assert_eq!(backoff.next(start, None, 0.5), Some(18 * SECOND));
    }

    #[test]
    fn clients_that_were_told_the_same_delay_come_back_after_it_and_not_at_once() {
        let (backoff, start) = backoff(|_| ());
        let minute = Some(60 * SECOND);
        for (random, seconds) in [(0.0, 60.0), (0.5, 67.5), (0.999_999, 74.999)] {
            let wait = backoff.clone().next(start, minute, random).unwrap().as_secs_f64();
            assert!((wait - seconds).abs() < 0.01, "{random}: {wait}");
        }
    }

    #[test]
    fn an_absurd_delay_of_the_server_leaves_one_last_attempt() {
        let (mut backoff, start) = backoff(|_| ());
        let absurd = Some(Duration::MAX);
        let now = start + 100 * SECOND;
        assert_eq!(backoff.next(now, absurd, 0.5), Some(200 * SECOND));
        assert_eq!(backoff.next(start + 300 * SECOND, absurd, 0.5), None);
    }

    #[test]
    fn no_settings_make_it_spin() {
        let (mut backoff, start) = backoff(|config| {
            config.initial_interval = Duration::ZERO;
            config.max_interval = Duration::ZERO;
        });
        assert_eq!(backoff.next(start, None, 0.5), Some(MIN_INTERVAL));
        assert_eq!(backoff.next(start, None, 0.5), Some(MIN_INTERVAL));
        assert_eq!(backoff.next(start + 300 * SECOND, None, 0.0), None);
    }

    #[test]
    fn extreme_settings_do_not_panic_and_impossible_ones_are_refused() {
        let (mut backoff, start) = backoff(|config| {
            config.initial_interval = Duration::MAX;
            config.max_interval = Duration::MAX;
            config.max_elapsed_time = Duration::MAX;
            config.multiplier = f64::MAX;
        });
        assert_eq!(backoff.next(start, None, 0.99), Some(Duration::MAX));

        for factor in [-0.1, 1.1, f64::NAN] {
            let config = RetryConfig { randomization_factor: factor, ..RetryConfig::default() };
            assert!(Backoff::new(&config, start).is_err(), "{factor}");
        }
        for multiplier in [0.9, f64::NAN, f64::INFINITY] {
            let config = RetryConfig { multiplier, ..RetryConfig::default() };
            assert!(Backoff::new(&config, start).is_err(), "{multiplier}");
        }
    }
}
