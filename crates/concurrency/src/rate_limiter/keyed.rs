//! One limit for each key, and a bounded number of keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use tokio::time::Instant;

use super::time::{self, Governor, at};
use super::{Counters, Limited, Rate, RateError, RateLimiterStats};
use crate::Semaphore;

/// What happens with a key for which there is no room.
///
/// ```
/// use std::num::{NonZeroU32, NonZeroUsize};
/// use std::time::Duration;
/// use teleflow_concurrency::{KeyedRateLimiter, Limited, OnManyKeys, Rate};
///
/// let one = NonZeroU32::MIN;
/// let rate = Rate { count: one, per: Duration::from_secs(60), burst: one };
/// let max_keys = NonZeroUsize::MIN;
/// let tenants = KeyedRateLimiter::new("tenants", rate, max_keys, OnManyKeys::Refuse)?;
/// assert_eq!(tenants.check(&"a"), Ok(()));
/// assert_eq!(tenants.check(&"b"), Err(Limited::TooManyKeys));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnManyKeys {
    /// All such keys together have the rate of one.
    #[default]
    ShareOne,
    /// Nothing of it passes: [`Limited::TooManyKeys`].
    Refuse,
}

/// Lets units pass at a [`Rate`] for each key.
///
/// It remembers a bounded number of keys. One that did nothing for as long as its burst takes to
/// come back is like a new one and makes room where room is needed.
pub struct KeyedRateLimiter<K: Hash + Eq + Clone> {
    name: Cow<'static, str>,
    inner: Governor<K, Keys<K>>,
    /// For the keys that have no place.
    rest: Governor<NotKeyed, InMemoryState>,
    on_many_keys: OnManyKeys,
    keys: Keys<K>,
    lines: Lines<K>,
    counters: Counters,
}

/// The lines of those who wait, one a key. There are no more of them than there are who wait.
struct Lines<K: Hash + Eq>(Mutex<HashMap<K, Weak<Semaphore>>>);

/// A place in a line, or the turn.
struct InLine<'a, K: Hash + Eq> {
    lines: &'a Lines<K>,
    key: &'a K,
    turn: Arc<Semaphore>,
}

/// When each key's burst is whole again, counted from when the limiter was made.
struct Keys<K>(Arc<Mutex<Known<K>>>);

struct Known<K> {
    times: HashMap<K, Nanos>,
    max: usize,
    start: Instant,
}

// === impl KeyedRateLimiter ===

impl<K: Hash + Eq + Clone> KeyedRateLimiter<K> {
    /// Creates a limiter that knows no key yet and will remember `max_keys` at most.
    ///
    /// # Errors
    ///
    /// [`RateError`] for what is no rate.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        rate: Rate,
        max_keys: NonZeroUsize,
        on_many_keys: OnManyKeys,
    ) -> Result<Self, RateError> {
        let quota = rate.quota()?;
        let known = Known { times: HashMap::new(), max: max_keys.get(), start: Instant::now() };
        let keys = Keys(Arc::new(Mutex::new(known)));
        Ok(Self {
            name: name.into(),
            inner: time::governor(quota, keys.clone()),
            rest: time::governor(quota, InMemoryState::default()),
            on_many_keys,
            keys,
            lines: Lines(Mutex::default()),
            counters: Counters::new(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Keys that it remembers.
    pub fn keys(&self) -> usize {
        self.keys.lock(|known| known.times.len())
    }

    /// Lets one unit of `key` pass now, or not.
    ///
    /// # Errors
    ///
    /// [`Limited::NotYet`] or [`Limited::TooManyKeys`].
    pub fn check(&self, key: &K) -> Result<(), Limited> {
        self.check_at(key, Instant::now())
    }

    /// Lets one unit of `key` pass at `now`, or not.
    ///
    /// # Errors
    ///
    /// [`Limited::NotYet`] or [`Limited::TooManyKeys`].
    pub fn check_at(&self, key: &K, now: Instant) -> Result<(), Limited> {
        self.counters.count(self.pass(key, now))
    }

    /// Waits until one unit of `key` may pass. Those who wait for the same key are served in the
    /// order of arrival, and do not wait for those of another.
    ///
    /// # Errors
    ///
    /// [`Limited::TooManyKeys`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in line and spends nothing.
    ///
    /// # Panics
    ///
    /// When it must wait outside of a tokio runtime that has time.
    pub async fn wait(&self, key: &K) -> Result<(), Limited> {
        self.wait_for(key, None).await
    }

    /// Waits until one unit of `key` may pass, but not beyond `deadline`.
    ///
    /// # Errors
    ///
    /// [`Limited::TimedOut`] or [`Limited::TooManyKeys`]; nothing was spent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in line and spends nothing.
    ///
    /// # Panics
    ///
    /// When it must wait outside of a tokio runtime that has time.
    pub async fn wait_until(&self, key: &K, deadline: Instant) -> Result<(), Limited> {
        self.wait_for(key, Some(deadline)).await
    }

    /// What it did so far, for all keys together.
    pub fn stats(&self) -> RateLimiterStats {
        self.counters.stats()
    }

    async fn wait_for(&self, key: &K, deadline: Option<Instant>) -> Result<(), Limited> {
        let line = self.lines.join(key);
        self.counters.wait(&line.turn, deadline, |now| self.pass(key, now)).await
    }

    fn pass(&self, key: &K, now: Instant) -> Result<(), Limited> {
        // Between the two the place may be lost to another key; then this one starts anew, as it
        // would have done a moment earlier.
        if self.keys.lock(|known| known.has_place(key, now)) {
            return at(now, || self.inner.check_key(key));
        }
        match self.on_many_keys {
            OnManyKeys::ShareOne => at(now, || self.rest.check()),
            OnManyKeys::Refuse => Err(Limited::TooManyKeys),
        }
    }
}

impl<K: Hash + Eq + Clone> fmt::Debug for KeyedRateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiter")
            .field("name", &self.name)
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}

// === impl Lines ===

impl<K: Hash + Eq + Clone> Lines<K> {
    fn join<'a>(&'a self, key: &'a K) -> InLine<'a, K> {
        let mut lines = self.lock();
        let turn = lines.get(key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let turn = Arc::new(Semaphore::new("turn", 1));
            lines.insert(key.clone(), Arc::downgrade(&turn));
            turn
        });
        InLine { lines: self, key, turn }
    }
}

impl<K: Hash + Eq> Lines<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Weak<Semaphore>>> {
        // A key whose `Hash` or `Eq` panics leaves the map as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl InLine ===

impl<K: Hash + Eq> Drop for InLine<'_, K> {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        // Nobody joins while the lines are locked.
        let is_last = Arc::strong_count(&self.turn) == 1;
        let line = if is_last { lines.remove_entry(self.key) } else { None };
        drop(lines);
        // The key is the user's.
        drop(line);
    }
}

// === impl Keys ===

impl<K: Hash + Eq> Keys<K> {
    fn lock<T>(&self, work: impl FnOnce(&mut Known<K>) -> T) -> T {
        // A key whose `Hash` or `Eq` panics leaves the map as it was.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K> Clone for Keys<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Hash + Eq + Clone> StateStore for Keys<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.lock(|known| {
            let (decided, time) = decide(known.times.get(key).copied())?;
            if let Some(known) = known.times.get_mut(key) {
                *known = time;
            } else if known.times.len() < known.max {
                known.times.insert(key.clone(), time);
            }
            Ok(decided)
        })
    }
}

// === impl Known ===

impl<K: Hash + Eq> Known<K> {
    /// Whether `key` is known, or there is room for it. Forgets keys if that makes room.
    fn has_place(&mut self, key: &K, now: Instant) -> bool {
        if self.times.contains_key(key) || self.times.len() < self.max {
            return true;
        }
        let now = now.saturating_duration_since(self.start);
        // One whose burst is whole again is as one that was never seen.
        self.times.retain(|_, time| now < (*time).into());
        self.times.len() < self.max
    }
}
