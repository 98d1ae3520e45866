//! How a cache behaves.

use std::time::Duration;

use crate::first::FirstLevelConfig;
use crate::flight::OnFailure;
use crate::second::GuardConfig;

#[cfg(doc)]
use super::Cache;

/// How a [`Cache`] behaves.
///
/// ```
/// use std::time::Duration;
/// use teleflow_cache::{CacheConfig, FirstLevelConfig, OnFailure};
///
/// let config = CacheConfig {
///     first: FirstLevelConfig { max_entries: 10_000, ..FirstLevelConfig::default() },
///     negative_ttl: Duration::from_secs(5),
///     on_failure: OnFailure::TakeOver,
///     ..CacheConfig::default()
/// };
/// assert_eq!((config.batch, config.load_concurrency), (100, 16));
/// ```
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
