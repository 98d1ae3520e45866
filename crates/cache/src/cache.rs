//! The levels put together.

mod config;
mod levels;
mod warm_up;
mod writes;

use std::fmt;
use std::hash::Hash;
use std::time::Instant;

pub use self::config::CacheConfig;
pub use self::warm_up::WarmUp;
use self::writes::{Claim, Writes};
use crate::codec::{Codec, NoCodec};
use crate::counters::Counters;
use crate::first::{ConfigError, FirstLevel, FirstLevelStats};
use crate::flight::{Flight, FlightStats, LoadError};
use crate::second::{Guarded, NoSecondLevel, SecondLevel, SecondLevelStats};

/// Where a value comes from when no level has it.
///
/// Any `Fn(K) -> impl Future<Output = Result<Option<V>, E>>` is one; `None` says that there is no
/// such thing, which is remembered for [`CacheConfig::negative_ttl`].
pub trait Loader<K, V>: Send + Sync {
    /// Why a load failed.
    type Error: Send + Sync;

    /// Loads the value of a key.
    fn load(&self, key: &K) -> impl Future<Output = Result<Option<V>, Self::Error>> + Send;
}

/// A first level, a second one if there is one, and a loader behind both.
///
/// A lookup asks the first level, then the second one, then the loader; what it finds is kept in
/// the levels before. Those who miss the same key at the same time wait for one of them
/// ([`Flight`]). When the second level fails or is slow, the rest goes on without it: that is
/// counted, and after a few failures it is not asked for a while.
///
/// Nothing is spawned: all work is done by those who ask. The forms that end in `_at` take `now`;
/// the others read the clock. Where there is a second level, the methods need a tokio runtime with
/// time.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::io;
/// use teleflow_cache::{Cache, CacheConfig};
///
/// let load = |key: String| async move { Ok::<_, io::Error>(Some(key.len())) };
/// let cache = Cache::new(CacheConfig::default(), |key: &String, _| key.capacity(), load)?;
/// assert_eq!(cache.get(&"four".to_owned()).await?, Some(4));
/// assert_eq!(cache.get(&"four".to_owned()).await?, Some(4));
/// assert_eq!(cache.stats().first.hits, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Cache<K, V, L: Loader<K, V>, S = NoSecondLevel, C = NoCodec> {
    first: FirstLevel<K, Option<V>>,
    flight: Flight<K, Option<V>, L::Error>,
    second: Guarded<S>,
    writes: Writes<K>,
    codec: C,
    loader: L,
    config: CacheConfig,
    counters: Counters<COUNTERS>,
}

/// What a [`Cache`] did and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// The first level. Its hits include the negative ones.
    pub first: FirstLevelStats,
    /// The second level; all 0 where there is none.
    pub second: SecondLevelStats,
    /// The loads and those who waited for them. A load here is a miss of the first level that was
    /// followed up, whether the second level or the loader answered.
    pub flight: FlightStats,
    /// Calls of the loader.
    pub loaded: u64,
    /// The calls of the loader that found that there is no value.
    pub absent: u64,
}

/// How far a removal reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// No level has the key.
    Everywhere,
    /// The second level could not be asked.
    FirstLevelOnly,
}

const LOADED: usize = 0;
const ABSENT: usize = 1;
const COUNTERS: usize = 2;

// === impl Loader ===

impl<K, V, E, F, Loading> Loader<K, V> for F
where
    K: Clone + Sync,
    E: Send + Sync,
    F: Fn(K) -> Loading + Send + Sync,
    Loading: Future<Output = Result<Option<V>, E>> + Send,
{
    type Error = E;

    async fn load(&self, key: &K) -> Result<Option<V>, E> {
        self(key.clone()).await
    }
}

// === impl Cache ===

impl<K, V, L> Cache<K, V, L>
where
    K: Clone + Eq + Hash + Send + Sync,
    V: Clone + Send + Sync,
    L: Loader<K, V>,
{
    /// Creates a cache of one level. `weigh` tells how many bytes a key and its value, where there is
    /// one, hold on the heap: see [`FirstLevel::new`].
    ///
    /// # Errors
    ///
    /// The configuration makes no sense.
    pub fn new(
        config: CacheConfig,
        weigh: impl Fn(&K, Option<&V>) -> usize + Send + Sync + 'static,
        loader: L,
    ) -> Result<Self, ConfigError> {
        Self::with_second_level(config, weigh, loader, NoSecondLevel, NoCodec)
    }
}

impl<K, V, L, S, C> Cache<K, V, L, S, C>
where
    K: Clone + Eq + Hash + Send + Sync,
    V: Clone + Send + Sync,
    L: Loader<K, V>,
    S: SecondLevel,
    C: Codec<K, V>,
{
    /// Creates a cache of two levels.
    ///
    /// # Errors
    ///
    /// The configuration makes no sense.
    pub fn with_second_level(
        config: CacheConfig,
        weigh: impl Fn(&K, Option<&V>) -> usize + Send + Sync + 'static,
        loader: L,
        second: S,
        codec: C,
    ) -> Result<Self, ConfigError> {
        if config.batch == 0 || config.load_concurrency == 0 {
            return Err(ConfigError::NoConcurrency);
        }
        if config.second_ttl.is_zero() {
            return Err(ConfigError::NoTime);
        }
        Ok(Self {
            first: FirstLevel::new(config.first, move |key, value: &Option<V>| {
                weigh(key, value.as_ref())
            })?,
            flight: Flight::new(config.on_failure),
            second: Guarded::new(second, config.guard),
            writes: Writes::new(),
            codec,
            loader,
            config,
            counters: Counters::new(),
        })
    }

    /// The value of a key, from wherever it is; `None` where there is none.
    ///
    /// A time to live starts at `now`, before the load.
    ///
    /// # Errors
    ///
    /// The load failed, or panicked in another task. Errors are not kept.
    ///
    /// # Panics
    ///
    /// Where the loader does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is safe at any point. If this caller was loading, the next in line loads.
    pub async fn get_at(&self, now: Instant, key: &K) -> Result<Option<V>, LoadError<L::Error>> {
        if let Some(value) = self.first.get_at(now, key) {
            return Ok(value);
        }
        let (value, kept) = self.fill(now, key, true).await?;
        if let (Some(value), Some(claim)) = (&value, kept.and_then(|kept| kept.claim)) {
            self.write(now, &[(claim, value)]).await;
        }
        Ok(value)
    }

    /// [`get_at`](Self::get_at) the present.
    ///
    /// # Errors
    ///
    /// As there, and the same about panics and cancelling.
    pub async fn get(&self, key: &K) -> Result<Option<V>, LoadError<L::Error>> {
        self.get_at(present(), key).await
    }

    /// The values of many keys, in their order.
    ///
    /// What the first level lacks is asked of the second one in requests of
    /// [`batch`](CacheConfig::batch) keys, each one round trip, and what that lacks is loaded,
    /// [`load_concurrency`](CacheConfig::load_concurrency) at a time, and written to the second
    /// level in requests of the same size.
    ///
    /// # Errors
    ///
    /// Each key has its own.
    ///
    /// # Panics
    ///
    /// Where the loader does, for any key.
    ///
    /// # Cancel safety
    ///
    /// As [`get_at`](Self::get_at): what was found until then is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use teleflow_cache::{Cache, CacheConfig};
    /// let double = |n: u32| async move { n.checked_mul(2).map(Some).ok_or("too large") };
    /// let cache = Cache::new(CacheConfig::default(), |_: &u32, _| 0, double)?;
    /// let found = cache.get_many_at(std::time::Instant::now(), &[1, u32::MAX, 3]).await;
    /// assert_eq!(found[0].as_ref().unwrap(), &Some(2));
    /// assert!(found[1].is_err());
    /// assert_eq!(found[2].as_ref().unwrap(), &Some(6));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn get_many_at(
        &self,
        now: Instant,
        keys: &[K],
    ) -> Vec<Result<Option<V>, LoadError<L::Error>>> {
        let found = self.find_many(now, keys, |key| self.first.get_at(now, key)).await;
        found.into_iter().map(|found| found.map(|(value, _)| value)).collect()
    }

    /// [`get_many_at`](Self::get_many_at) the present.
    ///
    /// # Panics
    ///
    /// As there, and the same about cancelling.
    pub async fn get_many(&self, keys: &[K]) -> Vec<Result<Option<V>, LoadError<L::Error>>> {
        self.get_many_at(present(), keys).await
    }

    /// Puts a value into both levels, in place of what is there or is being loaded.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the first level has the value; the second one may have the older.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use teleflow_cache::{Cache, CacheConfig, Removed};
    /// let load = |n: u32| async move { Ok::<_, std::io::Error>(Some(n)) };
    /// let cache = Cache::new(CacheConfig::default(), |_: &u32, _| 0, load)?;
    /// let now = std::time::Instant::now();
    /// cache.insert_at(now, 1, 100).await;
    /// assert_eq!(cache.get_at(now, &1).await?, Some(100));
    /// assert_eq!(cache.remove_at(now, &1).await, Removed::Everywhere);
    /// assert_eq!(cache.get_at(now, &1).await?, Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn insert_at(&self, now: Instant, key: K, value: V) {
        let weighed = self.first.weighed(now, key.clone(), Some(value.clone()), self.first.ttl());
        let change = || (self.first.put(weighed), self.claim_change(&key));
        let (displaced, claim) = self.flight.detach(&key, change);
        drop(displaced);
        if let Some(claim) = claim {
            self.write(now, &[(claim, &value)]).await;
        }
    }

    /// [`insert_at`](Self::insert_at) the present.
    pub async fn insert(&self, key: K, value: V) {
        self.insert_at(present(), key, value).await;
    }

    /// Takes a key out of both levels. A load that is under way does not bring it back.
    ///
    /// Returns whether the second level, if any, did it as well. Where it did not, the old value is
    /// there until its time is over, and may be read again.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the first level has forgotten the key; the second one may not.
    pub async fn remove_at(&self, now: Instant, key: &K) -> Removed {
        let change = || (self.first.remove(key), self.claim_change(key));
        let (older, claim) = self.flight.detach(key, change);
        drop(older);
        let Some(claim) = claim else { return Removed::Everywhere };
        let keys = [self.key(key)];
        let everywhere = {
            // What was loaded before, and is being written, is there before it is removed.
            let _turn = claim.turn().await;
            self.second.remove_many(now, &keys).await
        };
        // Someone may have read the second level meanwhile, and kept what was still there.
        drop(self.flight.detach(key, || self.first.remove(key)));
        if everywhere { Removed::Everywhere } else { Removed::FirstLevelOnly }
    }

    /// [`remove_at`](Self::remove_at) the present.
    pub async fn remove(&self, key: &K) -> Removed {
        self.remove_at(present(), key).await
    }

    /// What has happened so far.
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            first: self.first.stats(),
            second: self.second.stats(),
            flight: self.flight.stats(),
            loaded: self.counters.sum(LOADED),
            absent: self.counters.sum(ABSENT),
        }
    }

    /// The first level, to look or purge without loading.
    ///
    /// `None` within is a key that is known to have no value.
    pub fn first_level(&self) -> &FirstLevel<K, Option<V>> {
        &self.first
    }

    /// The right to change a key in the second level, if there is one; taken in the same step as
    /// what it changes in the first level.
    fn claim_change<'a>(&'a self, key: &'a K) -> Option<Claim<'a, K>> {
        self.second.is_present().then(|| self.writes.changed(key))
    }
}

/// Tokio's clock, so that paused time holds for all.
fn present() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<K, V, L: Loader<K, V>, S, C> fmt::Debug for Cache<K, V, L, S, C> {
    /// Names no key and no value: either may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("config", &self.config).finish_non_exhaustive()
    }
}
