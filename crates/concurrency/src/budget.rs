//! The byte budget.

mod permit;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Instant, timeout_at};

pub use self::permit::Permit;
use crate::account::{Account, Denied, MAX_UNITS, Share, Taken};
use crate::latency::{Latency, LatencySnapshot};
use crate::sharded::Sharded;

/// A number of bytes that a whole program, or a part of one, may hold at a time.
///
/// Whoever holds data holds a [`Permit`] for it, which splits and merges as the data does and gives
/// its bytes back when it is dropped; so memory is bounded by construction. Clones are handles of
/// the same budget.
///
/// A [`child`](Self::child) has bytes of its own that nobody else can take. What it needs beyond
/// them it borrows from the common part, that is, from what no child was guaranteed; the budget
/// itself takes from the common part only. Where several wait, those who need common bytes get them
/// in the order in which they came.
///
/// ```
/// use teleflow_concurrency::{Budget, Denied};
///
/// let memory = Budget::new("memory", 1_000);
/// let traces = memory.child("traces", 300)?;
///
/// let rest = memory.try_take(700)?;
/// assert_eq!(memory.try_take(1).unwrap_err(), Denied::Full);
/// let mut payload = traces.try_take(300)?; // Its own, whatever the others do.
/// let part = payload.split(100).expect("there are 300");
///
/// drop((rest, payload, part));
/// assert_eq!(memory.stats().available, 700);
/// assert_eq!(traces.stats().available, 1_000);
/// # Ok::<(), Denied>(())
/// ```
#[derive(Clone)]
pub struct Budget {
    inner: Arc<Inner>,
}

struct Inner {
    name: Cow<'static, str>,
    account: Arc<Account>,
    share: Option<Share>,
    taken: Sharded,
    returned: Sharded,
    refused: Sharded,
    timed_out: AtomicU64,
    wait: Latency,
}

/// What a [`Budget`] did so far; of a child, what was done through it.
///
/// Calls that go on meanwhile are in it or not, each figure for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BudgetStats {
    /// The most bytes that could be taken here if nobody else held any.
    pub whole: u64,
    /// The bytes that nobody else can take; 0 of a budget that is no child.
    pub guaranteed: u64,
    /// Bytes that are free for this one: its own and the common ones.
    pub available: u64,
    /// Bytes that permits hold which were taken here.
    pub held: u64,
    /// Those who wait, here and at all budgets that share the common part with this one.
    pub waiting: usize,
    /// Bytes taken since the beginning.
    pub taken: u64,
    /// Bytes given back since the beginning.
    pub returned: u64,
    /// Calls that did not get their bytes at once and did not want to wait, and calls for more than
    /// there are.
    pub refused: u64,
    /// Waits that a deadline ended.
    pub timed_out: u64,
    /// How long those waited who got their bytes after a wait. Who got them at once is not in it.
    pub wait: LatencySnapshot,
}

// === impl Budget ===

impl Budget {
    /// The most bytes that a budget can have: 2^62 - 1.
    pub const MAX_BYTES: u64 = MAX_UNITS;

    /// Creates a budget of which all bytes are free.
    ///
    /// # Panics
    ///
    /// When `bytes` is more than [`MAX_BYTES`](Self::MAX_BYTES).
    pub fn new(name: impl Into<Cow<'static, str>>, bytes: u64) -> Self {
        Self::with(name.into(), Arc::new(Account::new(bytes)), None)
    }

    /// Sets `guaranteed` bytes aside for a child. They must be free in the common part now, and go
    /// back to it when the child, all its clones and permits are gone.
    ///
    /// A child's child is its sibling: its bytes come out of the common part too.
    ///
    /// # Errors
    ///
    /// [`Denied::Full`] while others hold or wait for the bytes, [`Denied::TooLarge`] when the common
    /// part never has so many, and [`Denied::Closed`].
    pub fn child(
        &self,
        name: impl Into<Cow<'static, str>>,
        guaranteed: u64,
    ) -> Result<Self, Denied> {
        let share = self.inner.account.share(guaranteed)?;
        Ok(Self::with(name.into(), Arc::clone(&self.inner.account), Some(share)))
    }

    fn with(name: Cow<'static, str>, account: Arc<Account>, share: Option<Share>) -> Self {
        Self {
            inner: Arc::new(Inner {
                name,
                account,
                share,
                taken: Sharded::new(),
                returned: Sharded::new(),
                refused: Sharded::new(),
                timed_out: AtomicU64::new(0),
                wait: Latency::new(),
            }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Takes `bytes` if they are free and nobody waits for them. Bytes of a child's own are there
    /// for it whoever waits elsewhere.
    ///
    /// # Errors
    ///
    /// [`Denied::Full`], [`Denied::TooLarge`] for more than there are altogether, [`Denied::Closed`].
    pub fn try_take(&self, bytes: u64) -> Result<Permit, Denied> {
        let inner = &self.inner;
        match inner.account.try_take(inner.share.as_ref(), bytes) {
            Ok(taken) => Ok(self.permit(taken)),
            Err(denied) => Err(self.refuse(bytes, denied)),
        }
    }

    /// Waits for `bytes`, all at once.
    ///
    /// # Errors
    ///
    /// [`Denied::TooLarge`] for more than there are altogether, at once. [`Denied::Closed`], also in
    /// the middle of the wait.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in line and nothing else.
    pub async fn take(&self, bytes: u64) -> Result<Permit, Denied> {
        self.take_by(bytes, None).await
    }

    /// Waits for `bytes` until `deadline`. What is free at once is had even after it.
    ///
    /// # Errors
    ///
    /// [`Denied::TimedOut`], and those of [`take`](Self::take).
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
    /// use teleflow_concurrency::{Budget, Denied};
    /// use tokio::time::Instant;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
    /// let budget = Budget::new("memory", 100);
    /// let all = budget.take(100).await?;
    /// let deadline = Instant::now() + Duration::from_secs(1);
    /// assert_eq!(budget.take_until(1, deadline).await.unwrap_err(), Denied::TimedOut);
    /// drop(all);
    /// assert_eq!(budget.take_until(1, deadline).await?.bytes(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn take_until(&self, bytes: u64, deadline: Instant) -> Result<Permit, Denied> {
        self.take_by(bytes, Some(deadline)).await
    }

    /// Gives out nothing any more, here and at all budgets that share the common part with this
    /// one, and sends those away who wait. Permits that are out stay good.
    pub fn close(&self) {
        self.inner.account.close();
    }

    /// Whether it was closed, or one that shares the common part with it.
    pub fn is_closed(&self) -> bool {
        self.inner.account.is_closed()
    }

    /// What it did so far.
    pub fn stats(&self) -> BudgetStats {
        let Inner { account, share, .. } = &*self.inner;
        // What came back is read first: it was taken before.
        let returned = self.inner.returned.sum();
        let taken = self.inner.taken.sum();
        BudgetStats {
            whole: account.whole(share.as_ref()),
            guaranteed: share.as_ref().map_or(0, Share::guaranteed),
            available: account.free() + share.as_ref().map_or(0, Share::free),
            held: taken.saturating_sub(returned),
            waiting: account.waiting(),
            taken,
            returned,
            refused: self.inner.refused.sum(),
            timed_out: self.inner.timed_out.load(Ordering::Relaxed),
            wait: self.inner.wait.snapshot(),
        }
    }

    fn permit(&self, taken: Taken) -> Permit {
        self.inner.taken.add(taken.own + taken.common);
        Permit::new(self.clone(), taken)
    }

    #[cold]
    fn refuse(&self, bytes: u64, denied: Denied) -> Denied {
        self.inner.refused.add(1);
        self.inner.account.name(self.inner.share.as_ref(), bytes, denied)
    }

    async fn take_by(&self, bytes: u64, deadline: Option<Instant>) -> Result<Permit, Denied> {
        let Inner { account, share, .. } = &*self.inner;
        match account.try_take(share.as_ref(), bytes) {
            Err(Denied::Full) if bytes > account.whole(share.as_ref()) => {
                Err(self.refuse(bytes, Denied::Full))
            }
            Err(Denied::Full) => {
                let wait = self.wait(bytes, deadline);
                #[cfg(feature = "tracing")]
                let wait = {
                    let span = tracing::debug_span!("budget.wait", budget = self.name(), bytes);
                    tracing::Instrument::instrument(wait, span)
                };
                wait.await
            }
            Err(denied) => Err(denied),
            Ok(taken) => Ok(self.permit(taken)),
        }
    }

    async fn wait(&self, bytes: u64, deadline: Option<Instant>) -> Result<Permit, Denied> {
        let start = Instant::now();
        let take = self.inner.account.take(self.inner.share.as_ref(), bytes);
        let taken = match deadline {
            None => take.await?,
            Some(deadline) => match timeout_at(deadline, take).await {
                Ok(taken) => taken?,
                Err(_) => {
                    self.inner.timed_out.fetch_add(1, Ordering::Relaxed);
                    return Err(Denied::TimedOut);
                }
            },
        };
        self.inner.wait.record(start.elapsed());
        Ok(self.permit(taken))
    }

    fn give_back(&self, taken: Taken) {
        // Counted first: who takes the bytes next counts them after that.
        self.inner.returned.add(taken.own + taken.common);
        self.inner.account.give_back(self.inner.share.as_ref(), taken);
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("name", &self.inner.name)
            .field("account", &self.inner.account)
            .field("share", &self.inner.share)
            .finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Drop for Inner {
    fn drop(&mut self) {
        // Permits and those who wait hold on to this, so there are none.
        if let Some(share) = &self.share {
            self.account.end_share(share);
        }
    }
}
