//! Many keys at once, before they are asked for.

use std::hash::Hash;
use std::time::Instant;

use super::levels::{Found, Source};
use super::{Cache, Loader, present};
use crate::codec::Codec;
use crate::second::SecondLevel;
use crate::warm::MissWatch;

/// What a warm-up found.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use teleflow_cache::{Cache, CacheConfig};
///
/// let load = |n: u32| async move { if n == 13 { Err("unlucky") } else { Ok(Some(n)) } };
/// let cache = Cache::new(CacheConfig::default(), |_: &u32, _| 0, load)?;
/// let now = std::time::Instant::now();
/// let warm = cache.warm_at(now, [1, 2, 13]).await;
/// assert_eq!((warm.loaded, warm.failed), (2, 1));
/// assert_eq!(cache.warm_at(now, [1, 2]).await.held, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
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

// === impl Cache ===

impl<K, V, L, S, C> Cache<K, V, L, S, C>
where
    K: Clone + Eq + Hash + Send + Sync,
    V: Clone + Send + Sync,
    L: Loader<K, V>,
    S: SecondLevel,
    C: Codec<K, V>,
{
    /// Fetches all these keys into the first level: at start, or when many lookups miss.
    ///
    /// It takes [`batch`](crate::CacheConfig::batch) keys at a time, asks the second level for them in one
    /// round trip, and loads the rest, [`load_concurrency`](crate::CacheConfig::load_concurrency) at a
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
