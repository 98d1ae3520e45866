//! What a first level may hold, and how it is cut into parts.

use std::time::Duration;

#[cfg(doc)]
use super::{FirstLevel, FirstLevelStats};

/// What a [`FirstLevel`] may hold, and for how long.
///
/// ```
/// use std::time::Duration;
/// use teleflow_cache::{ConfigError, FirstLevel, FirstLevelConfig};
///
/// let config = FirstLevelConfig { ttl: Duration::ZERO, ..FirstLevelConfig::default() };
/// let error = FirstLevel::<u32, u32>::new(config, |_, _| 0).unwrap_err();
/// assert_eq!(error, ConfigError::NoTime);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstLevelConfig {
    /// The most entries held. Default 100 000; at least 1.
    ///
    /// Raise it when [`FirstLevelStats::evictions`] grows while [`FirstLevelStats::bytes`] is far
    /// below `max_bytes`.
    pub max_entries: usize,
    /// The most bytes held: what the weigher says of each entry and what the table itself needs for
    /// it ([`FirstLevel::ENTRY_BYTES`]). Default 64 MiB; at least 1.
    pub max_bytes: usize,
    /// How long an entry is served. Default 24 hours; zero is refused, as nothing would ever be
    /// served.
    pub ttl: Duration,
    /// Into how many parts, each with its own lock, the cache is cut: the next power of two.
    /// Default 0: four for each processor.
    ///
    /// Fewer are made where a part would hold less than 32 entries or 64 KiB: parts do not lend
    /// each other space, and an entry must fit into one.
    pub shards: usize,
}

/// A [`FirstLevel`] cannot be made of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `max_entries` or `max_bytes` is 0.
    #[error("a cache that may hold nothing")]
    NoSpace,
    /// The time to live is 0.
    #[error("a time to live of zero")]
    NoTime,
    /// The number of keys in one batch, or of loads at a time, is 0.
    #[error("a concurrency or batch size of zero")]
    NoConcurrency,
}

/// Parts smaller than this are not made.
pub(super) const MIN_SHARD_ENTRIES: usize = 32;
const MIN_SHARD_BYTES: usize = 64 << 10;

// === impl FirstLevelConfig ===

impl Default for FirstLevelConfig {
    fn default() -> Self {
        Self {
            max_entries: 100_000,
            max_bytes: 64 << 20,
            ttl: Duration::from_secs(24 * 3600),
            shards: 0,
        }
    }
}

impl FirstLevelConfig {
    pub(super) fn shard_count(&self) -> usize {
        let wanted = match self.shards {
            0 => 4 * std::thread::available_parallelism().map_or(1, usize::from),
            shards => shards,
        };
        let mut shards = wanted.min(1 << 16).next_power_of_two();
        while 1 < shards
            && (self.max_entries / shards < MIN_SHARD_ENTRIES
                || self.max_bytes / shards < MIN_SHARD_BYTES)
        {
            shards /= 2;
        }
        shards
    }
}
