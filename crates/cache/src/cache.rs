//! The levels put together.

use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::codec::{Codec, NoCodec};
use crate::counters::Counters;
use crate::first::{ConfigError, FirstLevel, FirstLevelConfig, FirstLevelStats};
use crate::flight::{Flight, FlightStats, LoadError, OnFailure};
use crate::second::{GuardConfig, Guarded, NoSecondLevel, SecondLevel, SecondLevelStats, Stored};
use crate::warm::MissWatch;

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

/// How a [`Cache`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// The first level.
    pub first: FirstLevelConfig,
    /// How long the second level keeps an entry. Default 24 hours.
    ///
    /// What comes from there is kept in the first level for what is left of that time, if that is
    /// shorter than the first level's own.
    pub second_ttl: Duration,
    /// How the second level is kept from slowing anyone.
    pub guard: GuardConfig,
    /// How long it is remembered, in the first level only, that there is no value. Default 30 s;
    /// zero turns it off. Keep it short: something that is created elsewhere stays unseen that
    /// long.
    pub negative_ttl: Duration,
    /// What those who wait for a load get when it fails. Default: the same error.
    pub on_failure: OnFailure,
    /// How many keys one request to the second level asks for. Default 100; 0 is refused.
    pub batch: usize,
    /// How many loads one batch, or one warm-up, has under way at a time. Default 16; 0 is refused.
    pub load_concurrency: usize,
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

/// What a warm-up found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmUp {
    /// Keys that the first level had already.
    pub held: u64,
    /// Keys that came from the second level.
    pub from_second: u64,
    /// Keys that were loaded, or that another was loading.
    pub loaded: u64,
    /// The loaded ones that have no value.
    pub absent: u64,
    /// Keys whose load failed.
    pub failed: u64,
}

/// How far a removal reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// No level has the key.
    Everywhere,
    /// The second level could not be asked.
    FirstLevelOnly,
}

/// Which level had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    First,
    Second,
    Loader,
}

/// What comes with a value.
#[derive(Clone, Copy, Debug)]
struct Origin {
    source: Source,
    /// How long the first level may keep it.
    ttl: Duration,
}

type Found<V, E> = Result<(Option<V>, Source), LoadError<E>>;

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

// === impl CacheConfig ===

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            first: FirstLevelConfig::default(),
            second_ttl: Duration::from_secs(24 * 3600),
            guard: GuardConfig::default(),
            negative_ttl: Duration::from_secs(30),
            on_failure: OnFailure::default(),
            batch: 100,
            load_concurrency: 16,
        }
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
        let (value, stored) = self.fill(now, key, true).await?;
        if let (Some(value), Some(Source::Loader)) = (&value, stored) {
            self.write(now, [(key, value)]).await;
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
    pub async fn insert_at(&self, now: Instant, key: K, value: V) {
        self.flight.detach(&key, || {
            self.keep(now, &key, &Some(value.clone()), self.first.ttl());
        });
        self.write(now, [(&key, &value)]).await;
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
        self.flight.detach(key, || drop(self.first.remove(key)));
        let everywhere =
            !self.second.is_present() || self.second.remove_many(now, &[self.key(key)]).await;
        if everywhere { Removed::Everywhere } else { Removed::FirstLevelOnly }
    }

    /// [`remove_at`](Self::remove_at) the present.
    pub async fn remove(&self, key: &K) -> Removed {
        self.remove_at(present(), key).await
    }

    /// Fetches all these keys into the first level: at start, or when many lookups miss.
    ///
    /// It takes [`batch`](CacheConfig::batch) keys at a time, asks the second level for them in one
    /// round trip, and loads the rest, [`load_concurrency`](CacheConfig::load_concurrency) at a
    /// time. Keys that fail are counted and left out. Its lookups are not counted as hits or
    /// misses of the first level.
    ///
    /// # Panics
    ///
    /// Where the loader does.
    ///
    /// # Cancel safety
    ///
    /// What was fetched until the future is dropped is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # use teleflow_cache::{Cache, CacheConfig};
    /// let load = |n: u32| async move { Ok::<_, std::io::Error>((n < 90).then_some(n)) };
    /// let cache = Cache::new(CacheConfig::default(), |_: &u32, _| 0, load)?;
    /// let warm = cache.warm_at(std::time::Instant::now(), 0..100).await;
    /// assert_eq!((warm.loaded, warm.absent, warm.failed), (100, 10, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn warm_at(&self, now: Instant, keys: impl IntoIterator<Item = K>) -> WarmUp {
        let mut warm = WarmUp::default();
        let mut keys = keys.into_iter();
        loop {
            let batch: Vec<K> = keys.by_ref().take(self.config.batch).collect();
            if batch.is_empty() {
                return warm;
            }
            let found = self.find_many(now, &batch, |key| self.first.peek_at(now, key)).await;
            found.iter().for_each(|found| warm.count(found));
        }
    }

    /// [`warm_at`](Self::warm_at) the present.
    ///
    /// # Panics
    ///
    /// As there, and the same about cancelling.
    pub async fn warm(&self, keys: impl IntoIterator<Item = K>) -> WarmUp {
        self.warm_at(present(), keys).await
    }

    /// Warms up with these keys whenever `watch` says that too many lookups miss, for as long as the
    /// future is polled. `keys` is asked anew each time.
    ///
    /// Run it beside what uses the cache, for instance in a task of its own.
    ///
    /// # Panics
    ///
    /// Where the loader or `keys` does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is how it ends; what was fetched until then is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// # use teleflow_cache::{Cache, CacheConfig, MissWatch, MissWatchConfig};
    /// # async fn example(serve: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
    /// let load = |n: u32| async move { Ok::<_, std::io::Error>(Some(n)) };
    /// let cache = Cache::new(CacheConfig::default(), |_: &u32, _| 0, load)?;
    /// cache.warm(0..100).await;
    /// let watch = MissWatch::new(MissWatchConfig::default());
    /// tokio::select! {
    ///     () = serve => {}
    ///     () = cache.keep_warm(watch, async || 0..100, |_| ()) => {}
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn keep_warm<I: IntoIterator<Item = K>>(
        &self,
        mut watch: MissWatch,
        mut keys: impl AsyncFnMut() -> I,
        mut warmed: impl FnMut(WarmUp),
    ) {
        watch.observe(present(), &self.first.stats());
        loop {
            tokio::time::sleep(watch.interval()).await;
            if watch.observe(present(), &self.first.stats()) {
                let keys = keys().await;
                warmed(self.warm(keys).await);
            }
        }
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

    /// Fetches a key that the first level lacks, once for all who ask. Who fetched it learns from
    /// where.
    async fn fill(
        &self,
        now: Instant,
        key: &K,
        ask_second: bool,
    ) -> Result<(Option<V>, Option<Source>), LoadError<L::Error>> {
        let fetch = || self.fetch(now, key, ask_second);
        let store = |value: &Option<V>, origin: &Origin| {
            if origin.source != Source::First {
                self.keep(now, key, value, origin.ttl);
            }
        };
        let (value, origin) = self.flight.run_then(key, fetch, store).await?;
        Ok((value, origin.map(|origin| origin.source)))
    }

    async fn fetch(
        &self,
        now: Instant,
        key: &K,
        ask_second: bool,
    ) -> Result<(Option<V>, Origin), L::Error> {
        // Between the miss and the lead, another's load may have ended.
        if let Some(value) = self.first.peek_at(now, key) {
            return Ok((value, Origin { source: Source::First, ttl: Duration::ZERO }));
        }
        if ask_second && self.second.is_present() {
            let values = self.second.get_many(now, &[self.key(key)]).await;
            if let Some((value, ttl)) =
                values.into_iter().flatten().flatten().find_map(|stored| self.read(stored))
            {
                return Ok((Some(value), Origin { source: Source::Second, ttl }));
            }
        }
        let value = self.loader.load(key).await?;
        self.counters.add(LOADED, 1);
        let ttl = if value.is_some() {
            self.first.ttl()
        } else {
            self.counters.add(ABSENT, 1);
            self.config.negative_ttl
        };
        Ok((value, Origin { source: Source::Loader, ttl }))
    }

    async fn find_many(
        &self,
        now: Instant,
        keys: &[K],
        look: impl Fn(&K) -> Option<Option<V>>,
    ) -> Vec<Found<V, L::Error>> {
        let mut found: Vec<Option<Found<V, L::Error>>> =
            keys.iter().map(|key| look(key).map(|value| Ok((value, Source::First)))).collect();
        if self.second.is_present() {
            let missing: Vec<usize> = missing(&found);
            for batch in missing.chunks(self.config.batch) {
                self.find_in_second(now, keys, batch, &mut found).await;
            }
        }

        let missing = missing(&found);
        let fills = missing
            .into_iter()
            .map(|index| async move { (index, self.fill(now, &keys[index], false).await) });
        let mut fills = stream::iter(fills).buffer_unordered(self.config.load_concurrency);
        let mut loaded = Vec::new();
        while let Some((index, filled)) = fills.next().await {
            if let Ok((Some(value), Some(Source::Loader))) = &filled {
                loaded.push((&keys[index], value.clone()));
            }
            found[index] =
                Some(filled.map(|(value, source)| (value, source.unwrap_or(Source::Loader))));
        }
        for batch in loaded.chunks(self.config.batch) {
            self.write(now, batch.iter().map(|(key, value)| (*key, value))).await;
        }
        found.into_iter().map(|found| found.expect("what was missing has been filled")).collect()
    }

    /// Asks the second level for the keys with these indices, in one request.
    async fn find_in_second(
        &self,
        now: Instant,
        keys: &[K],
        indices: &[usize],
        found: &mut [Option<Found<V, L::Error>>],
    ) {
        let epochs: Vec<u64> =
            indices.iter().map(|&index| self.flight.epoch(&keys[index])).collect();
        let asked: Vec<Bytes> = indices.iter().map(|&index| self.key(&keys[index])).collect();
        let Some(values) = self.second.get_many(now, &asked).await else { return };
        for ((&index, epoch), stored) in indices.iter().zip(epochs).zip(values) {
            let Some((value, ttl)) = stored.and_then(|stored| self.read(stored)) else { continue };
            let value = Some(value);
            // Not when someone has removed or replaced it since.
            self.flight.store_since(&keys[index], epoch, || {
                self.keep(now, &keys[index], &value, ttl);
            });
            found[index] = Some(Ok((value, Source::Second)));
        }
    }

    /// Writes to the second level, if there is one.
    async fn write<'a>(&self, now: Instant, entries: impl IntoIterator<Item = (&'a K, &'a V)>)
    where
        K: 'a,
        V: 'a,
    {
        if !self.second.is_present() {
            return;
        }
        let encode = |(key, value)| {
            let mut bytes = Vec::new();
            self.codec.encode(value, &mut bytes);
            (self.key(key), Bytes::from(bytes))
        };
        let entries: Vec<(Bytes, Bytes)> = entries.into_iter().map(encode).collect();
        self.second.set_many(now, &entries, self.config.second_ttl).await;
    }

    fn keep(&self, now: Instant, key: &K, value: &Option<V>, ttl: Duration) {
        if ttl.is_zero() {
            return;
        }
        // Too large to keep is counted there, and served all the same.
        let _ = self.first.insert_for_at(now, key.clone(), value.clone(), ttl);
    }

    /// A value, and how long the first level may keep it.
    fn read(&self, stored: Stored) -> Option<(V, Duration)> {
        let ttl = stored.remaining.unwrap_or(Duration::MAX).min(self.first.ttl());
        match self.codec.decode(stored.value) {
            Ok(value) => Some((value, ttl)),
            Err(_) => {
                self.second.count_undecodable();
                None
            }
        }
    }

    fn key(&self, key: &K) -> Bytes {
        let mut bytes = Vec::new();
        self.codec.key(key, &mut bytes);
        Bytes::from(bytes)
    }
}

/// Tokio's clock, so that paused time holds for all.
fn present() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn missing<T>(found: &[Option<T>]) -> Vec<usize> {
    (0..found.len()).filter(|&index| found[index].is_none()).collect()
}

impl<K, V, L: Loader<K, V>, S, C> fmt::Debug for Cache<K, V, L, S, C> {
    /// Names no key and no value: either may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("config", &self.config).finish_non_exhaustive()
    }
}

// === impl WarmUp ===

impl WarmUp {
    fn count<V, E>(&mut self, found: &Found<V, E>) {
        match found {
            Ok((_, Source::First)) => self.held += 1,
            Ok((_, Source::Second)) => self.from_second += 1,
            Ok((value, Source::Loader)) => {
                self.loaded += 1;
                self.absent += u64::from(value.is_none());
            }
            Err(_) => self.failed += 1,
        }
    }
}
