//! What the map stores, and what comes out of it.

use std::fmt;
use std::mem;
use std::time::Instant;

use quick_cache::{Lifecycle, Weighter};

/// The entry is larger than a part of the cache; nothing was kept.
///
/// An older value of the same key is gone, so that it is not served in place of this one.
///
/// ```
/// use teleflow_cache::{FirstLevel, FirstLevelConfig};
///
/// let config = FirstLevelConfig { max_bytes: 1000, ..FirstLevelConfig::default() };
/// let cache = FirstLevel::new(config, |_: &u32, value: &Vec<u8>| value.capacity())?;
/// let refused = cache.insert(1, vec![0; 5000]).unwrap_err();
/// assert_eq!((refused.key, refused.value.len()), (1, 5000));
/// assert!(refused.max_bytes <= 1000 && 5000 <= refused.bytes);
/// # Ok::<(), teleflow_cache::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("an entry of {bytes} bytes in a cache whose parts hold {max_bytes}")]
pub struct TooLarge<K, V> {
    /// The key that was given.
    pub key: K,
    /// The value that was given.
    pub value: V,
    /// What the entry weighs.
    pub bytes: usize,
    /// What an entry may weigh here.
    pub max_bytes: usize,
}

/// What the map stores: the weight is asked once, so that it can never change while the entry is
/// in the map.
#[derive(Clone)]
pub(super) struct Entry<V> {
    pub(super) value: V,
    pub(super) expires: Instant,
    pub(super) bytes: u64,
}

/// An entry that is about to be put in, weighed outside of any lock.
pub(crate) struct Weighed<K, V> {
    pub(super) key: K,
    pub(super) entry: Entry<V>,
}

/// What could not be put in, and the older value that was taken out in its stead.
pub(crate) struct Refused<K, V> {
    pub(super) weighed: Weighed<K, V>,
    pub(super) _older: Option<V>,
}

#[derive(Clone)]
pub(super) struct Weight {
    /// The least that an entry weighs.
    pub(super) share: u64,
}

#[derive(Clone)]
pub(super) struct Released;

/// What one call took out of the map. It is dropped after the lock is released, so that the drop of
/// a value holds up nobody.
pub(crate) struct Out<K, V> {
    /// Typically one entry makes place for one.
    first: Option<(K, V)>,
    rest: Vec<(K, V)>,
    pub(super) entries: u64,
    pub(super) evicted: u64,
    pub(super) bytes: u64,
}

// === impl Weight ===

impl<K, V> Weighter<K, Entry<V>> for Weight {
    fn weight(&self, _: &K, entry: &Entry<V>) -> u64 {
        entry.bytes.max(self.share)
    }
}

// === impl Released ===

impl<K, V> Lifecycle<K, Entry<V>> for Released {
    type RequestState = Out<K, V>;

    /// Called for what is pushed out; not for what is replaced.
    fn before_evict(&self, out: &mut Out<K, V>, _: &K, _: &mut Entry<V>) {
        out.evicted += 1;
    }

    /// Called for both.
    fn on_evict(&self, out: &mut Out<K, V>, key: K, entry: Entry<V>) {
        out.entries += 1;
        out.bytes += entry.bytes;
        if !mem::needs_drop::<(K, V)>() {
            return;
        }
        if out.first.is_none() {
            out.first = Some((key, entry.value));
        } else {
            out.rest.push((key, entry.value));
        }
    }
}

// === impl Out ===

impl<K, V> Default for Out<K, V> {
    fn default() -> Self {
        Self { first: None, rest: Vec::new(), entries: 0, evicted: 0, bytes: 0 }
    }
}

// === impl TooLarge ===

impl<K, V> fmt::Debug for TooLarge<K, V> {
    /// Names neither the key nor the value: either may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TooLarge")
            .field("bytes", &self.bytes)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}
