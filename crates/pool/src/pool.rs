//! Objects used again.

mod ceiling;
mod lease;
mod shelves;

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

pub(crate) use self::shelves::Entry;
use self::shelves::Shelves;
use crate::recycle::Recycle;
use crate::stats::Stats;
use crate::sync::{Mutex, lock};
use crate::thread::index;

pub use ceiling::Ceiling;
pub use lease::{Lease, OwnedLease};

/// How long the pool watches before it gives back what was not needed, unless asked otherwise.
const PERIOD: Duration = Duration::from_secs(60);

/// Keeps objects that are expensive to make, reset and ready to be used again.
///
/// A [`Lease`] is the object until it is dropped; then the object is reset and kept, whichever
/// thread drops it and also while that thread panics. What was not reset is never handed out: an
/// object whose reset panics is dropped.
///
/// The pool keeps `capacity` objects that no one uses; one that comes back when there is no room is
/// dropped, and an empty pool makes a new one: it never waits and never fails. See
/// [`Bounded`](crate::Bounded) for a limit on the objects in use.
///
/// A thread works on objects of its own, of which there are at most 32, and exchanges them in
/// batches with a store that all threads share. An object that one thread returned is found by
/// every other. While another thread looks through a shelf at the same instant, an object may be
/// missed: one is made, or dropped, though there was an object, or room, for it.
///
/// ```
/// use teleflow_pool::Pool;
///
/// let pool = Pool::builder(|| Vec::with_capacity(4096)).reset(Vec::clear).capacity(100).build();
/// {
///     let mut buffer = pool.acquire();
///     buffer.extend_from_slice(b"some bytes");
/// }
/// let buffer = pool.acquire();
/// assert!(buffer.is_empty() && 4096 <= buffer.capacity());
/// assert_eq!(pool.stats().created, 1);
/// # drop::<teleflow_pool::Lease<'_, Vec<u8>>>(buffer);
/// ```
pub struct Pool<T> {
    shelves: Shelves<T>,
    rules: Rules<T>,
    capacity: usize,
    name: &'static str,
    period: Duration,
    tally: CachePadded<Tally>,
    /// When [`Pool::maintain`] last looked.
    looked: Mutex<Option<Instant>>,
}

/// What is decided before a [`Pool`] is built.
///
/// Made by [`Pool::builder`].
pub struct Builder<T> {
    rules: Rules<T>,
    capacity: usize,
    ceiling: Option<Ceiling>,
    name: &'static str,
    period: Duration,
    threads: Option<NonZeroUsize>,
}

/// The user's code.
struct Rules<T> {
    create: Box<dyn Fn() -> T + Send + Sync>,
    reset: Box<dyn Fn(&mut T) + Send + Sync>,
    keep: Option<Look<T, bool>>,
    weigh: Option<Look<T, usize>>,
}

/// What the user's code finds in an object.
type Look<T, A> = Box<dyn Fn(&T) -> A + Send + Sync>;

/// Counted away from the way that most gets and returns take.
#[derive(Debug, Default)]
struct Tally {
    created: AtomicU64,
    /// Made ahead, of `created`.
    filled: AtomicU64,
    dropped: AtomicU64,
    /// Came back and were not kept, of `dropped`.
    refused: AtomicU64,
}

/// Counts an object as refused unless it is told that it was kept.
struct Arrival<'a>(&'a Tally);

// === impl Builder ===

impl<T> Builder<T> {
    /// How an object that comes back is made as new; nothing by default.
    ///
    /// It runs where the lease is dropped. A panic in it drops the object and goes on to the one who
    /// dropped the lease, unless that thread panics already: then it ends here.
    #[must_use]
    pub fn reset(mut self, reset: impl Fn(&mut T) + Send + Sync + 'static) -> Self {
        self.rules.reset = Box::new(reset);
        self
    }

    /// Whether an object that was reset is worth keeping; every one is by default.
    #[must_use]
    pub fn keep_if(mut self, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.rules.keep = Some(Box::new(keep));
        self
    }

    /// How many objects are kept that no one uses, 1024 by default; 0 keeps none.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Bounds also the bytes of the objects that are kept, as `weigh` finds them once they were
    /// reset; not bounded by default.
    #[must_use]
    pub fn max_bytes(
        self,
        max_bytes: usize,
        weigh: impl Fn(&T) -> usize + Send + Sync + 'static,
    ) -> Self {
        self.ceiling(Ceiling::new(max_bytes), weigh)
    }

    /// Like [`max_bytes`](Self::max_bytes), with a ceiling that other pools may share.
    #[must_use]
    pub fn ceiling(
        mut self,
        ceiling: Ceiling,
        weigh: impl Fn(&T) -> usize + Send + Sync + 'static,
    ) -> Self {
        self.ceiling = Some(ceiling);
        self.rules.weigh = Some(Box::new(weigh));
        self
    }

    /// What [`Stats`] call the pool; `"pool"` by default.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// How long [`Pool::maintain`] watches before it drops what was not needed; a minute by
    /// default. With zero it looks at every call.
    #[must_use]
    pub fn idle_period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// How many threads can use the pool and not meet; twice the number of processors by default.
    ///
    /// More than these share, which is slower and no less right.
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Builds the pool, empty.
    pub fn build(self) -> Pool<T> {
        let threads = self.threads.map_or_else(default_threads, NonZeroUsize::get);
        Pool {
            shelves: Shelves::new(threads, self.capacity, self.ceiling),
            rules: self.rules,
            capacity: self.capacity,
            name: self.name,
            period: self.period,
            tally: CachePadded::default(),
            looked: Mutex::new(None),
        }
    }
}

impl<T> fmt::Debug for Builder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .field("ceiling", &self.ceiling)
            .finish_non_exhaustive()
    }
}

fn default_threads() -> usize {
    // A machine that does not tell is taken for a small one.
    2 * available_parallelism().map_or(4, NonZeroUsize::get)
}

// === impl Pool ===

impl<T> Pool<T> {
    /// Starts to describe a pool of what `create` makes.
    pub fn builder(create: impl Fn() -> T + Send + Sync + 'static) -> Builder<T> {
        Builder {
            rules: Rules {
                create: Box::new(create),
                reset: Box::new(|_| {}),
                keep: None,
                weigh: None,
            },
            capacity: 1024,
            ceiling: None,
            name: "pool",
            period: PERIOD,
            threads: None,
        }
    }

    /// A pool of objects that know how to be reset.
    ///
    /// ```
    /// use teleflow_pool::Pool;
    ///
    /// let pool = Pool::<String>::of(10);
    /// pool.acquire().push_str("text");
    /// assert_eq!(*pool.acquire(), "");
    /// ```
    pub fn of(capacity: usize) -> Self
    where
        T: Recycle + Default + 'static,
    {
        Self::builder(T::default).reset(T::recycle).capacity(capacity).build()
    }

    /// Takes an object out of the pool, or makes one.
    ///
    /// # Panics
    ///
    /// Where the factory does; nothing was taken then.
    #[inline]
    pub fn acquire(&self) -> Lease<'_, T> {
        Lease::new(self, self.take())
    }

    /// Takes an object out of the pool for someone who outlives the borrow.
    ///
    /// Costs two counts on the `Arc`, which threads share; [`acquire`](Self::acquire) does not.
    ///
    /// # Panics
    ///
    /// Where the factory does; nothing was taken then.
    pub fn acquire_owned(self: &Arc<Self>) -> OwnedLease<T> {
        OwnedLease::new(Arc::clone(self), self.take())
    }

    /// Takes an object out of the pool if one is there.
    #[inline]
    pub fn try_acquire(&self) -> Option<Lease<'_, T>> {
        Some(Lease::new(self, self.shelves.take(index())?))
    }

    /// Makes objects ahead until `count` are available or there is no more room.
    ///
    /// # Panics
    ///
    /// Where the factory or the code that weighs does.
    pub fn fill(&self, count: usize) {
        let missing = count.min(self.capacity).saturating_sub(self.shelves.counts().available);
        for _ in 0..missing {
            let entry = self.create();
            self.tally.filled.fetch_add(1, Ordering::Relaxed);
            let arrival = Arrival(&self.tally);
            if self.store(entry).is_ok() {
                arrival.kept();
            }
        }
    }

    /// Drops every object that no one uses, and says how many those were.
    ///
    /// # Panics
    ///
    /// Where the objects' own drop does.
    pub fn clear(&self) -> usize {
        self.discard(self.shelves.clear())
    }

    /// Drops what was not needed for the idle period, and says how many objects those were.
    ///
    /// Does nothing until the period has passed since it last did something. Then it drops the
    /// objects that lay in the store all the while, and those of threads that did not use the pool.
    /// The pool has no clock and no thread of its own: call it now and then.
    ///
    /// # Panics
    ///
    /// Where the objects' own drop does.
    pub fn maintain(&self, now: Instant) -> usize {
        {
            let mut looked = lock(&self.looked);
            if looked.is_some_and(|last| now.saturating_duration_since(last) < self.period) {
                return 0;
            }
            let first = looked.replace(now).is_none();
            if first {
                // Starts the watch: nothing is known of the time before.
                drop(looked);
                self.shelves.watch();
                return 0;
            }
        }
        self.discard(self.shelves.unused())
    }

    /// What the pool did and has.
    ///
    /// Cheap enough for every scrape: it reads a few counters a thread. Exact when no one uses the
    /// pool meanwhile.
    pub fn stats(&self) -> Stats {
        let counts = self.shelves.counts();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let created = read(&self.tally.created);
        let filled = read(&self.tally.filled);
        Stats {
            name: self.name,
            gets: counts.taken + (created - filled),
            hits: counts.taken,
            puts: (counts.put + read(&self.tally.refused)).saturating_sub(filled),
            created,
            dropped: read(&self.tally.dropped),
            available: counts.available,
        }
    }

    /// How many objects are kept at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline]
    pub(crate) fn take(&self) -> Box<Entry<T>> {
        match self.shelves.take(index()) {
            Some(entry) => entry,
            None => self.create(),
        }
    }

    #[cold]
    fn create(&self) -> Box<Entry<T>> {
        let entry = Box::new(Entry { object: (self.rules.create)(), bytes: 0 });
        self.tally.created.fetch_add(1, Ordering::Relaxed);
        entry
    }

    /// Resets the object of a lease and keeps it, or drops it.
    #[inline]
    pub(crate) fn put(&self, mut entry: Box<Entry<T>>) {
        if thread::panicking() {
            return self.put_in_panic(entry);
        }
        let arrival = Arrival(&self.tally);
        (self.rules.reset)(&mut entry.object);
        if self.store(entry).is_ok() {
            arrival.kept();
        }
    }

    /// A second panic would end the program, so it stops here.
    #[cold]
    fn put_in_panic(&self, mut entry: Box<Entry<T>>) {
        let arrival = Arrival(&self.tally);
        let put = AssertUnwindSafe(|| {
            (self.rules.reset)(&mut entry.object);
            self.store(entry).is_ok()
        });
        if panic::catch_unwind(put).unwrap_or(false) {
            arrival.kept();
        }
    }

    #[inline]
    fn store(&self, mut entry: Box<Entry<T>>) -> Result<(), Box<Entry<T>>> {
        if let Some(keep) = &self.rules.keep
            && !keep(&entry.object)
        {
            return Err(entry);
        }
        if let Some(weigh) = &self.rules.weigh {
            entry.bytes = weigh(&entry.object);
        }
        self.shelves.put(index(), entry)
    }

    fn discard(&self, entries: Vec<Box<Entry<T>>>) -> usize {
        let count = entries.len();
        self.tally.dropped.fetch_add(count as u64, Ordering::Relaxed);
        drop(entries);
        count
    }

    /// Counts an object that its lease let go for good.
    fn count_detached(&self) {
        Arrival(&self.tally).refused();
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("capacity", &self.capacity)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

// === impl Arrival ===

impl Arrival<'_> {
    #[inline]
    fn kept(self) {
        std::mem::forget(self);
    }

    fn refused(self) {}
}

impl Drop for Arrival<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}
