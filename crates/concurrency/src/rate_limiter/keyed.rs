//! One limit for each key, and a bounded number of keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use tokio::time::Instant;

use super::{Counters, Governor, Limited, Rate, RateError, RateLimiterStats, TokioClock, not_yet};
use crate::Semaphore;

/// What happens with a key for which there is no room.
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
    turn: Turns,
    counters: Counters,
}

/// Lines of those who wait, shared by keys of the same hash: their number is bounded too.
struct Turns(Vec<Semaphore>);

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
            inner: governor::RateLimiter::new(quota, keys.clone(), TokioClock),
            rest: governor::RateLimiter::new(quota, InMemoryState::default(), TokioClock),
            on_many_keys,
            keys,
            turn: Turns((0..16).map(|_| Semaphore::new("turn", 1)).collect()),
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
        self.counters.count(self.pass(key))
    }

    /// Waits until one unit of `key` may pass, but not beyond `deadline`. Keys whose hashes agree in
    /// four bits wait in one line.
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
        let turn = self.turn.of(self.keys.hash(key));
        self.counters.wait(turn, Some(deadline), || self.pass(key)).await
    }

    /// What it did so far, for all keys together.
    pub fn stats(&self) -> RateLimiterStats {
        self.counters.stats()
    }

    fn pass(&self, key: &K) -> Result<(), Limited> {
        // Between the two the place may be lost to another key; then this one starts anew, as it
        // would have done a moment earlier.
        if self.keys.lock(|known| known.has_place(key)) {
            return self.inner.check_key(key).map_err(not_yet);
        }
        match self.on_many_keys {
            OnManyKeys::ShareOne => self.rest.check().map_err(not_yet),
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

// === impl Turns ===

impl Turns {
    fn of(&self, hash: u64) -> &Semaphore {
        &self.0[hash as usize % self.0.len()]
    }
}

// === impl Keys ===

impl<K: Hash + Eq> Keys<K> {
    fn lock<T>(&self, work: impl FnOnce(&mut Known<K>) -> T) -> T {
        // A key whose `Hash` or `Eq` panics leaves the map as it was.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hash(&self, key: &K) -> u64 {
        self.lock(|known| std::hash::BuildHasher::hash_one(known.times.hasher(), key))
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
    fn has_place(&mut self, key: &K) -> bool {
        if self.times.contains_key(key) || self.times.len() < self.max {
            return true;
        }
        let now = self.start.elapsed();
        // One whose burst is whole again is as one that was never seen.
        self.times.retain(|_, time| now < (*time).into());
        self.times.len() < self.max
    }
}
