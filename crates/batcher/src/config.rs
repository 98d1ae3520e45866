//! When a batch is handed on, and whether that makes sense.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use thiserror::Error;

use crate::guard::Guard;
use crate::wait::{AdaptiveWait, WaitRange};

/// When a batch is handed on.
///
/// Items, bytes and requests hold at once: a batch goes when any of them has reached its least, and
/// never has more than the most of each. [`simple`](Self::simple),
/// [`size_based`](Self::size_based), [`time_based`](Self::time_based) and
/// [`hybrid`](Self::hybrid) are the usual choices; the default is the Collector's hybrid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// A batch of so many items goes at once: 8192. The Collector's `send_batch_size`; zero sends
    /// every payload as it comes, and `u64::MAX` is none.
    pub min_items: u64,
    /// No batch has more items; a payload that would make it larger is cut. `None`, the default,
    /// sets no limit. Below an envelope of over 64 KiB there may be more ([`Limits::items`] says
    /// when), and where cutting would cost more than [`max_split_overhead`].
    ///
    /// [`Limits::items`]: teleflow_otlp::Limits::items
    /// [`max_split_overhead`]: Self::max_split_overhead
    pub max_items: Option<NonZeroU64>,
    /// A batch of so many bytes goes at once. `None`, the default: bytes alone never make a batch
    /// complete before [`max_bytes`](Self::max_bytes).
    pub min_bytes: Option<NonZeroUsize>,
    /// No batch is longer, in bytes, unless a single item or its envelope is: 4 000 000, which is
    /// under the 4 MiB that a gRPC server takes where nobody raised its limit.
    pub max_bytes: usize,
    /// A batch of so many requests goes at once. `None`, the default, never looks at them.
    pub min_requests: Option<NonZeroU64>,
    /// No batch has more requests. A payload counts as one, and so does each piece of one that was
    /// cut. `None`, the default, sets no limit.
    pub max_requests: Option<NonZeroU64>,
    /// A batch goes when its first item has waited this long: 200 ms. Zero sends every payload as
    /// it comes, `Duration::MAX` never for its age. A batch keeps the wait that it began with.
    pub timeout: Duration,
    /// Lets the wait follow the time that exports take, between these two; `timeout` is where it
    /// begins then. `None`, the default: the wait is `timeout`. See [`AdaptiveWait`].
    pub adaptive: Option<WaitRange>,
    /// How long before the deadline of a caller a batch leaves while no export was timed yet: 100
    /// ms. Afterwards [`ExportTime::margin`](crate::ExportTime::margin) says.
    pub margin: Duration,
    /// No payload is cut into more pieces, about: 65 536. Where the limits of items and bytes ask for
    /// more they are exceeded, and that is counted: a small request must not become a huge one.
    /// Less than 64 counts as 64.
    pub max_pieces: u64,
    /// The most bytes that cutting one payload for the sake of `max_items` adds to it, as the
    /// resource and the scope are repeated in each piece: 8 MiB. Where it would be more, pieces have
    /// more items than `max_items`, and that is counted.
    pub max_split_overhead: usize,
}

/// Why a configuration does not work.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The most is less than the least: a batch would never be complete.
    #[error("the most items of a batch, {max}, are fewer than the least, {min}")]
    MaxBelowMin {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The same of bytes.
    #[error("the most bytes of a batch, {max}, are fewer than the least, {min}")]
    MaxBytesBelowMin {
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// The same of requests.
    #[error("the most requests of a batch, {max}, are fewer than the least, {min}")]
    MaxRequestsBelowMin {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The byte limit is zero.
    #[error("the most bytes of a batch must not be zero")]
    NoBytes,
    /// The longest adaptive wait is shorter than the shortest, or that is zero.
    #[error("an adaptive wait goes from {least:?}, which must not be zero, up to {most:?}")]
    Wait {
        /// The shortest.
        least: Duration,
        /// The longest.
        most: Duration,
    },
    /// All partitions together may hold less than one of them.
    #[error("all partitions together may hold {all} bytes, one of them {one}")]
    PartitionBytes {
        /// What one may hold.
        one: usize,
        /// What all may hold.
        all: usize,
    },
    /// A number of a request batcher that must not be zero is.
    #[error("`{0}` must not be zero")]
    Zero(&'static str),
}

/// A configuration that was checked, in the form that [`Pending`](crate::pending::Pending) asks.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// So much makes a batch complete.
    pub(crate) enough_items: u64,
    pub(crate) enough_bytes: usize,
    pub(crate) enough_requests: u64,
    /// No batch has more.
    pub(crate) max_items: u64,
    pub(crate) max_bytes: usize,
    pub(crate) guard: Guard,
}

// === impl Config ===

impl Default for Config {
    /// The Collector's 8192 items and 200 ms, no limit of items, 4 000 000 bytes.
    fn default() -> Self {
        Self {
            min_items: 8192,
            max_items: None,
            min_bytes: None,
            max_bytes: 4_000_000,
            min_requests: None,
            max_requests: None,
            timeout: Duration::from_millis(200),
            adaptive: None,
            margin: Duration::from_millis(100),
            max_pieces: 65_536,
            max_split_overhead: 8 << 20,
        }
    }
}

impl Config {
    /// Every payload goes as it comes, cut where it is over the byte limit. For development: what a
    /// program says is seen at once, and each payload pays for an export of its own.
    pub fn simple() -> Self {
        Self { min_items: 0, timeout: Duration::ZERO, ..Self::default() }
    }

    /// A batch goes when it has so many items or reaches so many bytes, however long that takes.
    /// Less than that stays until [`flush`](crate::Batcher::flush).
    pub fn size_based(items: u64, bytes: NonZeroUsize) -> Self {
        let default = Self::default();
        Self {
            min_items: items,
            min_bytes: Some(bytes),
            max_bytes: default.max_bytes.max(bytes.get()),
            timeout: Duration::MAX,
            ..default
        }
    }

    /// A batch goes when it is so old, however little it is; and before it passes the byte limit.
    pub fn time_based(every: Duration) -> Self {
        Self { min_items: u64::MAX, timeout: every, ..Self::default() }
    }

    /// A batch goes when it has so many items or is so old, whichever comes first.
    pub fn hybrid(items: u64, every: Duration) -> Self {
        Self { min_items: items, timeout: every, ..Self::default() }
    }

    pub(crate) fn rules(&self) -> Result<Rules, ConfigError> {
        let max_items = self.max_items.map_or(u64::MAX, NonZeroU64::get);
        // `u64::MAX` of them is no trigger, so that it goes with any limit.
        if max_items < self.min_items && self.min_items < u64::MAX {
            return Err(ConfigError::MaxBelowMin { min: self.min_items, max: max_items });
        }
        let max_bytes = self.max_bytes;
        if max_bytes == 0 {
            return Err(ConfigError::NoBytes);
        }
        let min_bytes = self.min_bytes.map_or(usize::MAX, NonZeroUsize::get);
        if max_bytes < min_bytes && self.min_bytes.is_some() {
            return Err(ConfigError::MaxBytesBelowMin { min: min_bytes, max: max_bytes });
        }
        let max_requests = self.max_requests.map_or(u64::MAX, NonZeroU64::get);
        let min_requests = self.min_requests.map_or(u64::MAX, NonZeroU64::get);
        if max_requests < min_requests && self.min_requests.is_some() {
            return Err(ConfigError::MaxRequestsBelowMin { min: min_requests, max: max_requests });
        }
        Ok(Rules {
            enough_items: self.min_items.min(max_items),
            enough_bytes: min_bytes.min(max_bytes),
            enough_requests: min_requests.min(max_requests),
            max_items,
            max_bytes,
            guard: Guard { pieces: self.max_pieces, overhead: self.max_split_overhead },
        })
    }

    pub(crate) fn wait(&self) -> Result<AdaptiveWait, ConfigError> {
        match self.adaptive {
            Some(range) => AdaptiveWait::new(self.timeout, range, self.margin),
            None => Ok(AdaptiveWait::fixed(self.timeout, self.margin)),
        }
    }
}
