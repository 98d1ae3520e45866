//! A bounded cache with an optional Redis second level, single flight and warm-up.

#![forbid(unsafe_code)]

mod cache;
mod codec;
mod counters;
mod first;
mod flight;
#[cfg(feature = "redis")]
mod redis;
mod second;
mod warm;

pub use quick_cache::Equivalent;

pub use cache::{Cache, CacheConfig, CacheStats, Loader, Removed, WarmUp};
pub use codec::{Codec, NoCodec, Raw, Undecodable};
pub use first::{ConfigError, FirstLevel, FirstLevelConfig, FirstLevelStats, TooLarge};
pub use flight::{Flight, FlightStats, LoadError, OnFailure};
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisConfig, RedisConfigError, RedisStats};
pub use second::{
    GuardConfig, NoSecondLevel, SecondLevel, SecondLevelError, SecondLevelStats, Stored,
};
pub use warm::{MissWatch, MissWatchConfig};
