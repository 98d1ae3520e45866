//! A bounded cache with an optional Redis second level, single flight and warm-up.

#![forbid(unsafe_code)]

mod counters;
mod first;

pub use quick_cache::Equivalent;

pub use first::{ConfigError, FirstLevel, FirstLevelConfig, FirstLevelStats, TooLarge};
