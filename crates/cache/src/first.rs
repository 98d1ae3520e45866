//! The first level: a bounded map in this process, with a time to live.
//!
//! The map and its eviction (S3-FIFO in the form of Clock-PRO: a key that is read once does not
//! push out those that are read often) are quick_cache's. This file adds what it lacks: a time to
//! live, a bound on bytes beside the one on entries, and statistics that do not slow a hit.
//!
//! quick_cache bounds one weight. Two bounds become one in this way: an entry weighs its bytes, but
//! at least its share, `max_bytes / max_entries`. As no shard ever holds more than its part of
//! `max_bytes` in weight, neither bound is ever passed. The price: a cache with many small entries
//! and a few large ones can be full before either bound is reached; it always holds at least half
//! of one of the two.

mod config;
mod entry;

use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Equivalent, OptionsBuilder};

use self::config::MIN_SHARD_ENTRIES;
pub use self::config::{ConfigError, FirstLevelConfig};
pub use self::entry::TooLarge;
use self::entry::{Entry, Released, Weight};
pub(crate) use self::entry::{Out, Refused, Weighed};
use crate::counters::Counters;

/// A map that forgets: bounded in entries and in bytes, each entry for its time to live.
///
/// Every decision takes `now`, so a test and a running program take the same path; the forms
/// without it read the clock. All methods take `&self` and may be called from any thread. Values
/// are cloned when read: a value that is dear to clone goes into an `Arc`.
///
/// When full, an entry that was not read lately is evicted to make place for the new one; where all
/// others were, that is the new one itself. An expired entry is never returned; it leaves when it is
/// looked up, when it is evicted, or in [`purge_expired`](Self::purge_expired).
///
/// `Hash` and `Eq` of the key run under a lock and must not panic, nor must the drop of a value.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
/// use teleflow_cache::{FirstLevel, FirstLevelConfig};
///
/// let config = FirstLevelConfig { ttl: Duration::from_secs(60), ..FirstLevelConfig::default() };
/// let cache = FirstLevel::<String, u64>::new(config, |key, _| key.len())?;
/// let now = Instant::now();
/// cache.insert_at(now, "a".to_owned(), 1)?;
/// assert_eq!(cache.get_at(now, "a"), Some(1));
/// assert_eq!(cache.get_at(now + Duration::from_secs(60), "a"), None);
/// assert_eq!(cache.stats().expired, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FirstLevel<K, V> {
    map: Cache<K, Entry<V>, Weight, DefaultHashBuilder, Released>,
    weigh: Box<Weigh<K, V>>,
    ttl: Duration,
    max_entry: u64,
    counters: Counters<COUNTERS>,
}

type Weigh<K, V> = dyn Fn(&K, &V) -> usize + Send + Sync;

/// What a [`FirstLevel`] did and holds.
///
/// Every lookup is one hit or one miss. The books balance when nothing runs: inserts = entries +
/// replaced + evictions + removed, where an expired entry is among the removed once it has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstLevelStats {
    /// Lookups that found a value.
    pub hits: u64,
    /// Lookups that found none, or an expired one.
    pub misses: u64,
    /// The misses that found an expired entry.
    pub expired: u64,
    /// Entries put in, replacing ones included.
    pub inserts: u64,
    /// Entries that took the place of one with the same key.
    pub replaced: u64,
    /// Entries pushed out to make place.
    pub evictions: u64,
    /// Entries taken out by name or because they had expired.
    pub removed: u64,
    /// Entries refused because they are larger than a part of the cache.
    pub too_large: u64,
    /// Entries held now, expired ones that have not left included.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

const HITS: usize = 0;
const MISSES: usize = 1;
const EXPIRED: usize = 2;
const INSERTS: usize = 3;
const REPLACED: usize = 4;
const EVICTIONS: usize = 5;
const REMOVED: usize = 6;
const TOO_LARGE: usize = 7;
const BYTES: usize = 8;
const COUNTERS: usize = 9;

/// What part of the space may be taken by entries that were read more than once; quick_cache admits
/// no entry larger than that.
const HOT: f64 = 0.97;

/// Stands in for a time to live that reaches past the clock's end.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

// === impl FirstLevel ===

impl<K: Eq + Hash, V: Clone> FirstLevel<K, V> {
    /// What the table itself needs for an entry, in bytes; it counts against `max_bytes`.
    pub const ENTRY_BYTES: usize = size_of::<K>() + size_of::<Entry<V>>() + 21;

    /// Creates an empty cache.
    ///
    /// `weigh` tells how many bytes a key and its value hold on the heap, beside their own size. It
    /// is asked once for each entry, outside of any lock.
    ///
    /// # Errors
    ///
    /// A bound or the time to live is 0.
    pub fn new(
        config: FirstLevelConfig,
        weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        if config.max_entries == 0 || config.max_bytes == 0 {
            return Err(ConfigError::NoSpace);
        }
        if config.ttl.is_zero() {
            return Err(ConfigError::NoTime);
        }
        let shards = config.shard_count();
        let shard_entries = config.max_entries / shards;
        let shard_bytes = (config.max_bytes / shards) as u64;
        // Rounded up, so that `shard_entries` of them fill the shard.
        let share = shard_bytes.div_ceil(shard_entries as u64);
        // A single entry weighs its whole shard.
        let hot = if shard_entries == 1 { 1.0 } else { HOT };
        let options = OptionsBuilder::new()
            .shards(shards)
            // quick_cache makes fewer shards where one would hold less than 32.
            .estimated_items_capacity(shards * shard_entries.max(MIN_SHARD_ENTRIES))
            .weight_capacity(shard_bytes * shards as u64)
            .hot_allocation(hot)
            .build()
            .expect("both capacities are set");
        Ok(Self {
            map: Cache::with_options(
                options,
                Weight { share },
                DefaultHashBuilder::default(),
                Released,
            ),
            weigh: Box::new(weigh),
            ttl: config.ttl,
            max_entry: ((shard_bytes as f64 * hot) as u64).max(1),
            counters: Counters::new(),
        })
    }

    /// The value of `key`, unless its time to live is over at `now`.
    #[inline]
    pub fn get_at<Q>(&self, now: Instant, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match self.map.get(key) {
            Some(entry) if now < entry.expires => {
                self.counters.add(HITS, 1);
                Some(entry.value)
            }
            Some(_) => {
                self.miss_expired(now, key);
                None
            }
            None => {
                self.counters.add(MISSES, 1);
                None
            }
        }
    }

    /// [`get_at`](Self::get_at) the present.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.get_at(Instant::now(), key)
    }

    /// Looks without counting and without making the entry seem used.
    pub fn peek_at<Q>(&self, now: Instant, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.map.peek(key).filter(|entry| now < entry.expires).map(|entry| entry.value)
    }

    /// Puts an entry in for the configured time to live, in place of an older one.
    ///
    /// # Errors
    ///
    /// The entry is larger than a part of the cache; it comes back.
    pub fn insert_at(&self, now: Instant, key: K, value: V) -> Result<(), TooLarge<K, V>> {
        self.insert_for_at(now, key, value, self.ttl)
    }

    /// [`insert_at`](Self::insert_at) the present.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn insert(&self, key: K, value: V) -> Result<(), TooLarge<K, V>> {
        self.insert_at(Instant::now(), key, value)
    }

    /// Puts an entry in for a time to live of its own. With zero it is never served.
    ///
    /// # Errors
    ///
    /// As in [`insert_at`](Self::insert_at).
    pub fn insert_for_at(
        &self,
        now: Instant,
        key: K,
        value: V,
        ttl: Duration,
    ) -> Result<(), TooLarge<K, V>> {
        match self.put(self.weighed(now, key, value, ttl)) {
            Ok(_) => Ok(()),
            Err(Refused { weighed: Weighed { key, entry }, .. }) => Err(TooLarge {
                key,
                value: entry.value,
                bytes: usize::try_from(entry.bytes).unwrap_or(usize::MAX),
                max_bytes: self.max_entry as usize,
            }),
        }
    }

    /// Asks the weigher, which is not ours, so that [`put`](Self::put) need not.
    pub(crate) fn weighed(&self, now: Instant, key: K, value: V, ttl: Duration) -> Weighed<K, V> {
        let bytes = ((self.weigh)(&key, &value)).saturating_add(Self::ENTRY_BYTES) as u64;
        let expires = now.checked_add(ttl).unwrap_or_else(|| now + FOR_EVER);
        Weighed { key, entry: Entry { value, expires, bytes } }
    }

    /// Puts an entry in. The caller drops what comes out, which may run code that is not ours, where
    /// it holds no lock.
    pub(crate) fn put(&self, weighed: Weighed<K, V>) -> Result<Out<K, V>, Refused<K, V>> {
        let bytes = weighed.entry.bytes;
        if self.max_entry < bytes {
            self.counters.add(TOO_LARGE, 1);
            return Err(Refused { _older: self.remove(&weighed.key), weighed });
        }
        let Weighed { key, entry } = weighed;
        let mut out = Out::default();
        self.map.insert_with_lifecycle(key, entry, &mut out);
        self.counters.add(INSERTS, 1);
        // Wrapping: the sum over all cells is what counts, and one of them may go below zero.
        self.counters.add(BYTES, bytes.wrapping_sub(out.bytes));
        if out.entries != 0 {
            self.counters.add(EVICTIONS, out.evicted);
            self.counters.add(REPLACED, out.entries - out.evicted);
        }
        Ok(out)
    }

    /// Takes an entry out, whether or not it has expired.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (_, entry) = self.map.remove(key)?;
        self.count_removed(entry.bytes);
        Some(entry.value)
    }

    /// Takes out what has expired at `now` and returns how many entries that were.
    ///
    /// It visits every entry, one shard at a time under its lock: call it now and then where expired
    /// values should not occupy memory until they are evicted.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use teleflow_cache::{FirstLevel, FirstLevelConfig};
    /// let cache = FirstLevel::new(FirstLevelConfig::default(), |_: &u32, _: &u32| 0)?;
    /// let now = Instant::now();
    /// cache.insert_for_at(now, 1, 1, Duration::from_secs(1))?;
    /// cache.insert_at(now, 2, 2)?;
    /// assert_eq!(cache.purge_expired(now + Duration::from_secs(1)), 1);
    /// assert_eq!(cache.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn purge_expired(&self, now: Instant) -> usize {
        self.retain(|entry| now < entry.expires)
    }

    /// Takes everything out.
    pub fn clear(&self) {
        self.retain(|_| false);
    }

    /// Entries held, expired ones that have not left included.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// How long an entry is served unless it was put in for a time of its own.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// What has happened so far, and what is held.
    ///
    /// It takes each shard's lock for an instant. While others work, the figures need not fit
    /// each other.
    pub fn stats(&self) -> FirstLevelStats {
        let sum = |index| self.counters.sum(index);
        FirstLevelStats {
            hits: sum(HITS),
            misses: sum(MISSES),
            expired: sum(EXPIRED),
            inserts: sum(INSERTS),
            replaced: sum(REPLACED),
            evictions: sum(EVICTIONS),
            removed: sum(REMOVED),
            too_large: sum(TOO_LARGE),
            entries: self.map.len() as u64,
            // A racing reader may see bytes leave before it sees them come.
            bytes: (sum(BYTES) as i64).max(0) as u64,
        }
    }

    /// An entry was found, too late. It leaves, unless someone has just replaced it.
    #[cold]
    fn miss_expired<Q>(&self, now: Instant, key: &Q)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.counters.add(MISSES, 1);
        self.counters.add(EXPIRED, 1);
        if let Some((_, entry)) = self.map.remove_if(key, |entry| entry.expires <= now) {
            self.count_removed(entry.bytes);
        }
    }

    fn retain(&self, keep: impl Fn(&Entry<V>) -> bool) -> usize {
        let removed = std::cell::Cell::new(0);
        self.map.retain(|_, entry| {
            let kept = keep(entry);
            if !kept {
                removed.set(removed.get() + 1);
                self.count_removed(entry.bytes);
            }
            kept
        });
        removed.get()
    }

    fn count_removed(&self, bytes: u64) {
        self.counters.add(REMOVED, 1);
        self.counters.add(BYTES, bytes.wrapping_neg());
    }
}

impl<K, V> fmt::Debug for FirstLevel<K, V> {
    /// Names no key and no value: either may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstLevel").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}
