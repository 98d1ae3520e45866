//! The semaphore.

mod permit;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Instant, timeout_at};

pub use self::permit::{OwnedSemaphorePermit, Permit, SemaphorePermit};
use crate::account::{Account, Denied, MAX_UNITS};
use crate::latency::{Latency, LatencySnapshot};
use crate::sharded::Sharded;

/// A weighted semaphore with a name that counts what passes through it.
///
/// Who waits is served in the order of arrival, so a request for many permits is not starved by
/// requests for few; meanwhile [`try_acquire`](Self::try_acquire) gets nothing either. The counters
/// lie apart for each thread, and the clock is read by those who wait only.
///
/// ```
/// use teleflow_concurrency::{Denied, Semaphore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Denied> {
/// let exports = Semaphore::new("exports", 4);
/// let two = exports.acquire(2).await?;
/// let answer = exports.with_permits(2, async { "sent" }).await?;
/// assert_eq!(answer, "sent");
/// assert_eq!(exports.try_acquire(3).unwrap_err(), Denied::Full);
/// drop(two);
///
/// let stats = exports.stats();
/// assert_eq!((stats.acquired, stats.released, stats.refused), (4, 4, 1));
/// # Ok(())
/// # }
/// ```
pub struct Semaphore {
    name: Cow<'static, str>,
    permits: u64,
    account: Account,
    acquired: Sharded,
    refused: Sharded,
    timed_out: AtomicU64,
    wait: Latency,
}

/// What a [`Semaphore`] did so far.
///
/// Calls that go on meanwhile are in it or not, each figure for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SemaphoreStats {
    /// Permits there are altogether.
    pub permits: u64,
    /// Permits that are free.
    pub available: u64,
    /// Acquirers that wait.
    pub waiting: usize,
    /// Permits given out, since the beginning: an acquire of three counts as three.
    pub acquired: u64,
    /// Permits given back, since the beginning.
    pub released: u64,
    /// Calls that did not get their permits at once and did not want to wait, and calls for more
    /// than there are.
    pub refused: u64,
    /// Waits that a deadline ended.
    pub timed_out: u64,
    /// How long those waited who got their permits after a wait. Who got them at once is not in it.
    pub wait: LatencySnapshot,
}

// === impl Semaphore ===

impl Semaphore {
    /// The most permits that a semaphore can have: 2^62 - 1.
    pub const MAX_PERMITS: u64 = MAX_UNITS;

    /// Creates a semaphore whose permits are all free. One without permits serves nobody.
    ///
    /// # Panics
    ///
    /// When `permits` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    pub fn new(name: impl Into<Cow<'static, str>>, permits: u64) -> Self {
        Self {
            name: name.into(),
            permits,
            account: Account::new(permits),
            acquired: Sharded::new(),
            refused: Sharded::new(),
            timed_out: AtomicU64::new(0),
            wait: Latency::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Permits that are free. It may be out of date at once.
    pub fn available(&self) -> u64 {
        self.account.free()
    }

    /// Takes `n` permits, all at once, if they are free and nobody waits for any.
    ///
    /// # Errors
    ///
    /// [`Denied::Full`], [`Denied::TooLarge`] or [`Denied::Closed`].
    #[inline]
    pub fn try_acquire(&self, n: u64) -> Result<SemaphorePermit<'_>, Denied> {
        self.try_take(n).map(|()| Permit::new(self, n))
    }

    /// As [`try_acquire`](Self::try_acquire); the permits hold on to the semaphore.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn try_acquire_owned(self: &Arc<Self>, n: u64) -> Result<OwnedSemaphorePermit, Denied> {
        self.try_take(n).map(|()| Permit::new(Arc::clone(self), n))
    }

    /// Waits for `n` permits, all at once.
    ///
    /// # Errors
    ///
    /// [`Denied::TooLarge`] at once, and [`Denied::Closed`] also in the middle of the wait.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in line and nothing else.
    pub async fn acquire(&self, n: u64) -> Result<SemaphorePermit<'_>, Denied> {
        self.take(n, None).await?;
        Ok(Permit::new(self, n))
    }

    /// As [`acquire`](Self::acquire); the permits hold on to the semaphore.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// # Cancel safety
    ///
    /// The same.
    pub async fn acquire_owned(self: &Arc<Self>, n: u64) -> Result<OwnedSemaphorePermit, Denied> {
        self.take(n, None).await?;
        Ok(Permit::new(Arc::clone(self), n))
    }

    /// Waits for `n` permits until `deadline`. What is free at once is had even after it.
    ///
    /// # Errors
    ///
    /// [`Denied::TimedOut`], and those of [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in line and nothing else.
    ///
    /// # Panics
    ///
    /// When it must wait outside of a tokio runtime that has time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use teleflow_concurrency::{Denied, Semaphore};
    /// use tokio::time::Instant;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
    /// let semaphore = Semaphore::new("connections", 1);
    /// let _held = semaphore.acquire(1).await?;
    /// let deadline = Instant::now() + Duration::from_millis(10);
    /// assert_eq!(semaphore.acquire_until(1, deadline).await.unwrap_err(), Denied::TimedOut);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn acquire_until(
        &self,
        n: u64,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, Denied> {
        self.take(n, Some(deadline)).await?;
        Ok(Permit::new(self, n))
    }

    /// As [`acquire_until`](Self::acquire_until); the permits hold on to the semaphore.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// # Cancel safety
    ///
    /// The same.
    ///
    /// # Panics
    ///
    /// The same.
    pub async fn acquire_owned_until(
        self: &Arc<Self>,
        n: u64,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Denied> {
        self.take(n, Some(deadline)).await?;
        Ok(Permit::new(Arc::clone(self), n))
    }

    /// Waits for `n` permits, then runs `future` and gives them back.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire); the future has not begun then.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its turn, it loses the place in line. Dropped later, it drops `future` and
    /// then gives the permits back. A panic of `future` gives them back too.
    ///
    /// ```
    /// use teleflow_concurrency::Semaphore;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let semaphore = Semaphore::new("connections", 1);
    /// let free_inside = semaphore.with_permits(1, async { semaphore.available() }).await?;
    /// assert_eq!((free_inside, semaphore.available()), (0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn with_permits<F: Future>(&self, n: u64, future: F) -> Result<F::Output, Denied> {
        let _permits = self.acquire(n).await?;
        #[cfg(feature = "tracing")]
        let future = {
            let span = tracing::debug_span!("semaphore.run", semaphore = self.name(), permits = n);
            tracing::Instrument::instrument(future, span)
        };
        // The permits are the older local: the future is gone before they go back.
        let future = future;
        Ok(future.await)
    }

    /// Gives out no permits any more, and sends those away who wait. Permits that are out may
    /// still be used.
    pub fn close(&self) {
        self.account.close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.account.is_closed()
    }

    /// What it did so far.
    pub fn stats(&self) -> SemaphoreStats {
        let available = self.account.free();
        let acquired = self.acquired.sum();
        SemaphoreStats {
            permits: self.permits,
            available,
            waiting: self.account.waiting(),
            acquired,
            // Not counted, for it follows: what is not out came back.
            released: acquired.saturating_sub(self.permits - available),
            refused: self.refused.sum(),
            timed_out: self.timed_out.load(Ordering::Relaxed),
            wait: self.wait.snapshot(),
        }
    }

    #[inline]
    fn try_take(&self, n: u64) -> Result<(), Denied> {
        match self.account.try_take(None, n) {
            Ok(_) => {
                self.acquired.add(n);
                Ok(())
            }
            Err(denied) => Err(self.refuse(n, denied)),
        }
    }

    #[cold]
    fn refuse(&self, n: u64, denied: Denied) -> Denied {
        self.refused.add(1);
        self.account.name(None, n, denied)
    }

    async fn take(&self, n: u64, deadline: Option<Instant>) -> Result<(), Denied> {
        match self.account.try_take(None, n) {
            Err(Denied::Full) if n > self.permits => Err(self.refuse(n, Denied::Full)),
            Err(Denied::Full) => {
                let wait = self.wait(n, deadline);
                #[cfg(feature = "tracing")]
                let wait = {
                    let span = tracing::debug_span!(
                        "semaphore.wait",
                        semaphore = self.name(),
                        permits = n
                    );
                    tracing::Instrument::instrument(wait, span)
                };
                wait.await
            }
            Err(denied) => Err(denied),
            Ok(_) => {
                self.acquired.add(n);
                Ok(())
            }
        }
    }

    async fn wait(&self, n: u64, deadline: Option<Instant>) -> Result<(), Denied> {
        let start = Instant::now();
        let take = self.account.take(None, n);
        match deadline {
            None => take.await?,
            Some(deadline) => match timeout_at(deadline, take).await {
                Ok(taken) => taken?,
                Err(_) => {
                    self.timed_out.fetch_add(1, Ordering::Relaxed);
                    return Err(Denied::TimedOut);
                }
            },
        };
        self.acquired.add(n);
        self.wait.record(start.elapsed());
        Ok(())
    }

    #[inline]
    fn give_back(&self, n: u64) {
        self.account.give_back(None, crate::account::Taken { own: 0, common: n });
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("name", &self.name)
            .field("permits", &self.permits)
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}
