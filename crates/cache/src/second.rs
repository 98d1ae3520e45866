//! The second level: what it must be able to do, and how it is kept from doing harm.

use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_concurrency::{Breaker, BreakerConfig, BreakerState, Unfinished};

use crate::counters::Counters;

/// A store of bytes that several processes share: slower than the first level and faster than a
/// load.
///
/// An implementation need not guard itself: the [`Cache`](crate::Cache) puts a deadline and a
/// circuit breaker around each call, and drops a future whose time is over.
///
/// # Examples
///
/// One that writes nothing and finds the same for every key:
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use teleflow_cache::{SecondLevel, SecondLevelError, Stored};
///
/// struct Same(Bytes);
///
/// impl SecondLevel for Same {
///     async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Stored>>, SecondLevelError> {
///         let stored = Stored { value: self.0.clone(), remaining: None };
///         Ok(vec![Some(stored); keys.len()])
///     }
///     async fn set_many(
///         &self,
///         _: &[(Bytes, Bytes)],
///         _: Duration,
///     ) -> Result<usize, SecondLevelError> {
///         Ok(0)
///     }
///     async fn remove_many(&self, _: &[Bytes]) -> Result<usize, SecondLevelError> {
///         Err(SecondLevelError::Refused)
///     }
/// }
/// ```
pub trait SecondLevel: Send + Sync {
    /// Whether there is a second level at all.
    fn is_present(&self) -> bool {
        true
    }

    /// Reads the values of all keys, in their order, in as few round trips as possible.
    fn get_many(
        &self,
        keys: &[Bytes],
    ) -> impl Future<Output = Result<Vec<Option<Stored>>, SecondLevelError>> + Send;

    /// Writes all entries, each for `ttl`, in as few round trips as possible, and returns how many
    /// were written.
    fn set_many(
        &self,
        entries: &[(Bytes, Bytes)],
        ttl: Duration,
    ) -> impl Future<Output = Result<usize, SecondLevelError>> + Send;

    /// Removes all keys, and returns how many are certainly not there now.
    fn remove_many(
        &self,
        keys: &[Bytes],
    ) -> impl Future<Output = Result<usize, SecondLevelError>> + Send;
}

/// A value in the second level.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// What was written.
    pub value: Bytes,
    /// How long it will still be there: the first level keeps it no longer than that. `None` where
    /// it has no end.
    pub remaining: Option<Duration>,
}

/// The second level did not do what it was asked.
///
/// The server's words are not among it: they can repeat what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecondLevelError {
    /// No connection, or it broke.
    #[error("the second level cannot be reached")]
    Unreachable,
    /// It took too long.
    #[error("the second level did not answer in time")]
    Timeout,
    /// The server refused: credentials, memory, a replica that cannot be written to.
    #[error("the second level refused")]
    Refused,
    /// The answer is not what the question asks for.
    #[error("the second level gave an answer that makes no sense")]
    Malformed,
}

/// No second level: the first one is all there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecondLevel;

/// How a second level is kept from slowing anyone.
///
/// ```
/// use std::time::Duration;
/// use teleflow_cache::{CacheConfig, GuardConfig};
///
/// // Nobody waits longer than 20 ms for it, and three failures are enough.
/// let deadline = Duration::from_millis(20);
/// let guard = GuardConfig { deadline, failures: 3, ..GuardConfig::default() };
/// let config = CacheConfig { guard, ..CacheConfig::default() };
/// assert_eq!(config.guard.open, Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// How long a call may take, connecting included. Default 100 ms. With zero each call fails.
    pub deadline: Duration,
    /// After how many failures within 10 s no call is made for a while. Default 5; 0 counts as 1.
    ///
    /// Where as many deadlines take longer than that, the time is four times as long as they take:
    /// a server that answers nothing is found out however few ask it.
    pub failures: u32,
    /// How long that while is. After it a single call tries again, and its outcome decides. Default
    /// 1 s.
    pub open: Duration,
}

/// What came of the calls to the second level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecondLevelStats {
    /// Keys that were found.
    pub hits: u64,
    /// Keys that were not.
    pub misses: u64,
    /// Values found that the codec could not read; they count as misses as well.
    pub undecodable: u64,
    /// Entries written.
    pub written: u64,
    /// Calls made.
    pub calls: u64,
    /// The calls that failed; those that took too long are not among them.
    pub failures: u64,
    /// The calls that took too long.
    pub timeouts: u64,
    /// Calls not made because the breaker was open.
    pub skipped: u64,
    /// Whether the breaker is open, or trying.
    pub is_open: bool,
}

/// A second level with a deadline and a breaker around each call: what goes wrong is counted and
/// becomes `None`.
pub(crate) struct Guarded<S> {
    level: S,
    deadline: Duration,
    breaker: Breaker,
    counters: Counters<COUNTERS>,
}

const HITS: usize = 0;
const MISSES: usize = 1;
const UNDECODABLE: usize = 2;
const WRITTEN: usize = 3;
const CALLS: usize = 4;
const FAILURES: usize = 5;
const TIMEOUTS: usize = 6;
const SKIPPED: usize = 7;
const COUNTERS: usize = 8;

// === impl GuardConfig ===

impl Default for GuardConfig {
    fn default() -> Self {
        Self { deadline: Duration::from_millis(100), failures: 5, open: Duration::from_secs(1) }
    }
}

// === impl NoSecondLevel ===

impl SecondLevel for NoSecondLevel {
    fn is_present(&self) -> bool {
        false
    }

    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Stored>>, SecondLevelError> {
        Ok(vec![None; keys.len()])
    }

    async fn set_many(&self, _: &[(Bytes, Bytes)], _: Duration) -> Result<usize, SecondLevelError> {
        Ok(0)
    }

    async fn remove_many(&self, keys: &[Bytes]) -> Result<usize, SecondLevelError> {
        Ok(keys.len())
    }
}

// === impl Guarded ===

impl<S: SecondLevel> Guarded<S> {
    pub(crate) fn new(level: S, config: GuardConfig) -> Self {
        Self {
            level,
            deadline: config.deadline,
            breaker: breaker(config.failures, config.deadline, config.open),
            counters: Counters::new(),
        }
    }

    pub(crate) fn is_present(&self) -> bool {
        self.level.is_present()
    }

    /// As many values as keys, or `None` when there was no answer.
    pub(crate) async fn get_many(
        &self,
        now: Instant,
        keys: &[Bytes],
    ) -> Option<Vec<Option<Stored>>> {
        let read = async {
            let values = self.level.get_many(keys).await?;
            if values.len() == keys.len() { Ok(values) } else { Err(SecondLevelError::Malformed) }
        };
        let values = self.call(now, read).await?;
        let hits = values.iter().flatten().count() as u64;
        self.counters.add(HITS, hits);
        self.counters.add(MISSES, keys.len() as u64 - hits);
        Some(values)
    }

    pub(crate) async fn set_many(&self, now: Instant, entries: &[(Bytes, Bytes)], ttl: Duration) {
        if let Some(written) = self.call(now, self.level.set_many(entries, ttl)).await {
            self.counters.add(WRITTEN, written as u64);
        }
    }

    /// Whether all are gone.
    pub(crate) async fn remove_many(&self, now: Instant, keys: &[Bytes]) -> bool {
        self.call(now, self.level.remove_many(keys)).await == Some(keys.len())
    }

    /// A value that was counted as a hit is none.
    pub(crate) fn count_undecodable(&self) {
        self.counters.add(UNDECODABLE, 1);
        self.counters.add(HITS, 1_u64.wrapping_neg());
        self.counters.add(MISSES, 1);
    }

    pub(crate) fn stats(&self) -> SecondLevelStats {
        let sum = |index| self.counters.sum(index);
        SecondLevelStats {
            hits: sum(HITS),
            misses: sum(MISSES),
            undecodable: sum(UNDECODABLE),
            written: sum(WRITTEN),
            calls: sum(CALLS),
            failures: sum(FAILURES),
            timeouts: sum(TIMEOUTS),
            skipped: sum(SKIPPED),
            is_open: self.breaker.state() != BreakerState::Closed,
        }
    }

    async fn call<T>(
        &self,
        now: Instant,
        work: impl Future<Output = Result<T, SecondLevelError>>,
    ) -> Option<T> {
        let Ok(pass) = self.breaker.check(now) else {
            self.counters.add(SKIPPED, 1);
            return None;
        };
        self.counters.add(CALLS, 1);
        let started = tokio::time::Instant::now();
        let answer = tokio::time::timeout(self.deadline, work).await;
        let now = now + started.elapsed();
        match answer {
            Ok(Ok(answer)) => {
                pass.success(now);
                Some(answer)
            }
            Ok(Err(SecondLevelError::Timeout)) | Err(_) => {
                pass.failure(now);
                self.counters.add(TIMEOUTS, 1);
                None
            }
            Ok(Err(_)) => {
                pass.failure(now);
                self.counters.add(FAILURES, 1);
                None
            }
        }
    }
}

/// A breaker for a server whose calls take `deadline` at most.
///
/// It goes by the number of failures alone: a share would be slow to find out that a busy server
/// has died, as its successes of the last seconds outnumber what fails. A call that is dropped says
/// nothing: it is the caller who went away, and who takes too long has its deadline.
pub(crate) fn breaker(failures: u32, deadline: Duration, open_for: Duration) -> Breaker {
    const WINDOW: Duration = Duration::from_secs(10);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let failures = failures.max(1);
    let config = BreakerConfig {
        failures: Some(failures),
        failure_rate: None,
        window: deadline.saturating_mul(failures.saturating_mul(4)).clamp(WINDOW, YEAR),
        open_for,
        unfinished: Unfinished::Ignore,
        ..BreakerConfig::default()
    };
    Breaker::new(config).expect("both limits are within theirs")
}

// === impl Stored ===

impl std::fmt::Debug for Stored {
    /// Names the length and not the bytes, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("bytes", &self.value.len())
            .field("remaining", &self.remaining)
            .finish()
    }
}
