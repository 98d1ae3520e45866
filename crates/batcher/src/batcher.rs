//! The batcher: what is pending, and when it goes.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use teleflow_otlp::{Limits, Payload, Signal, split};
use thiserror::Error;

/// When a batch is handed on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// A batch of so many items goes at once. The Collector's `send_batch_size`; zero sends every
    /// payload as it comes.
    pub min_items: u64,
    /// No batch has more items; a payload that would make it larger is cut. `None` sets no limit.
    /// Below an envelope of over 64 KiB there may be more: [`Limits::items`] says when.
    pub max_items: Option<NonZeroU64>,
    /// No batch is longer, in bytes, unless a single item or its envelope is. The default is under
    /// the 4 MiB that a gRPC server takes where nobody raised its limit.
    pub max_bytes: usize,
    /// A batch goes when its first item has waited this long. Zero sends every payload as it comes.
    pub timeout: Duration,
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
    /// The byte limit is zero.
    #[error("the most bytes of a batch must not be zero")]
    NoBytes,
}

/// What a batcher did so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Batches that were large enough or would have passed a limit.
    pub full: u64,
    /// Batches that were old enough.
    pub timed_out: u64,
    /// Batches that went because the batcher was closed.
    pub closed: u64,
    /// Payloads that were cut.
    pub split: u64,
}

/// Collects payloads of one signal into batches.
///
/// Holds less than `min_items` items and at most `max_bytes` bytes between calls.
#[derive(Debug)]
pub struct Batcher {
    config: Config,
    limits: Limits,
    pending: Payload,
    /// When the first item came.
    since: Option<Instant>,
    stats: Stats,
}

// === impl Config ===

impl Default for Config {
    /// The Collector's 8192 items and 200 ms, no limit of items, 4 000 000 bytes.
    fn default() -> Self {
        Self {
            min_items: 8192,
            max_items: None,
            max_bytes: 4_000_000,
            timeout: Duration::from_millis(200),
        }
    }
}

// === impl Batcher ===

impl Batcher {
    /// Creates a batcher that holds nothing.
    ///
    /// # Errors
    ///
    /// If the limits contradict each other.
    pub fn new(signal: Signal, config: Config) -> Result<Self, ConfigError> {
        let max = config.max_items.map_or(u64::MAX, NonZeroU64::get);
        if max < config.min_items {
            return Err(ConfigError::MaxBelowMin { min: config.min_items, max });
        }
        if config.max_bytes == 0 {
            return Err(ConfigError::NoBytes);
        }
        Ok(Self {
            limits: Limits { items: max, bytes: config.max_bytes },
            pending: Payload::empty(signal),
            since: None,
            stats: Stats::default(),
            config,
        })
    }

    /// Takes a payload; batches that are complete by it are appended to `full`, in order.
    ///
    /// # Panics
    ///
    /// If the payload is of another signal.
    pub fn offer(&mut self, now: Instant, payload: Payload, full: &mut Vec<Payload>) {
        // The byte limit is met by sending early: cutting would copy. The item limit is exact.
        if self.pending.bytes() + payload.bytes() > self.limits.bytes {
            self.flush(full);
        }
        let room = Limits { items: self.limits.items - self.pending.items(), ..self.limits };
        if room.allow(&payload) {
            self.add(now, payload, full);
        } else {
            self.stats.split += 1;
            for piece in split(payload, room, self.limits) {
                self.add(now, piece, full);
            }
        }
    }

    /// Takes the batch out, if it is old enough.
    pub fn poll(&mut self, now: Instant) -> Option<Payload> {
        if self.next_deadline()? > now {
            return None;
        }
        self.stats.timed_out += 1;
        self.take()
    }

    /// When [`poll`](Self::poll) has something to take; `None` while nothing is pending, or where
    /// the timeout is endless.
    pub fn next_deadline(&self) -> Option<Instant> {
        // A time that the clock cannot name never comes.
        self.since?.checked_add(self.config.timeout)
    }

    /// Takes out what is pending, however little.
    pub fn close(&mut self) -> Option<Payload> {
        let batch = self.take();
        self.stats.closed += u64::from(batch.is_some());
        batch
    }

    /// How many items are pending.
    pub const fn items(&self) -> u64 {
        self.pending.items()
    }

    /// How many bytes are pending.
    pub const fn bytes(&self) -> usize {
        self.pending.bytes()
    }

    /// What was done so far.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Adds what is known to fit, and flushes if that makes the batch large enough.
    fn add(&mut self, now: Instant, payload: Payload, full: &mut Vec<Payload>) {
        if payload.is_empty() {
            // Envelopes without items are not worth sending: the protocol forbids it.
            return;
        }
        if self.pending.bytes() + payload.bytes() > self.limits.bytes {
            self.flush(full);
        }
        self.pending.append(payload);
        self.since.get_or_insert(now);
        let enough = self.pending.items() >= self.config.min_items
            || self.pending.bytes() >= self.limits.bytes;
        if enough || self.config.timeout.is_zero() {
            self.flush(full);
        }
    }

    fn flush(&mut self, full: &mut Vec<Payload>) {
        if let Some(batch) = self.take() {
            self.stats.full += 1;
            full.push(batch);
        }
    }

    fn take(&mut self) -> Option<Payload> {
        self.since.take()?;
        let signal = self.pending.signal();
        Some(std::mem::replace(&mut self.pending, Payload::empty(signal)))
    }
}
