//! A bounded cache with an optional Redis second level, single flight and warm-up.
//!
//! - [`FirstLevel`] is a map in this process, bounded in entries and bytes, with a time to live. It
//!   reads no clock where it is given `now`, and works without a runtime.
//! - [`Flight`] runs one load for all who want the same key at the same time.
//! - [`SecondLevel`] is what several processes share; `Redis` (feature `redis`) is one, on a single
//!   server or a cluster.
//! - [`Cache`] puts them together in front of a [`Loader`]: single keys, batches, what is absent,
//!   warm-up.
//! - [`Settle`] is what several processes decide something by together; `Redis` can do it.
//! - [`MissWatch`] says when to warm up again.
//!
//! It is no store: everything in it may be gone at the next lookup, and a value may be as old as its
//! time to live.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use std::time::{Duration, Instant};
//! use teleflow_cache::{Cache, CacheConfig};
//!
//! let load = |user: u64| async move { Ok::<_, std::io::Error>((user < 100).then_some("someone")) };
//! let cache = Cache::new(CacheConfig::default(), |_: &u64, _| 0, load)?;
//! let now = Instant::now();
//!
//! assert_eq!(cache.get_at(now, &7).await?, Some("someone"));
//! // There is no such user, and nobody asks again for 30 seconds.
//! assert_eq!(cache.get_at(now, &700).await?, None);
//! assert_eq!(cache.get_at(now + Duration::from_secs(29), &700).await?, None);
//! assert_eq!(cache.stats().loaded, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Features
//!
//! - `redis`: the second level in Redis. Off by default; without it there is no network code.
//! - `redis-tls`: the same over TLS, with rustls. Off by default.

#![forbid(unsafe_code)]

mod cache;
mod codec;
mod counters;
mod first;
mod flight;
#[cfg(feature = "redis")]
mod redis;
mod second;
mod settle;
mod warm;

pub use quick_cache::Equivalent;

pub use cache::{Cache, CacheConfig, CacheStats, Loader, Removed, WarmUp};
pub use codec::{Codec, NoCodec, Raw, Undecodable};
pub use first::{ConfigError, FirstLevel, FirstLevelConfig, FirstLevelStats, TooLarge};
pub use flight::{Flight, FlightStats, LoadError, OnFailure};
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisConfig, RedisConfigError, RedisStats};
#[cfg(feature = "redis-tls")]
pub use redis::{RedisIdentity, RedisTls};
pub use second::{
    GuardConfig, NoSecondLevel, SecondLevel, SecondLevelError, SecondLevelStats, Stored,
};
pub use settle::{Claim, Settle};
pub use warm::{MissWatch, MissWatchConfig};

/// What the README shows, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
