//! A batcher for each key, within bounds that hold for all of them together.

mod slots;

use std::collections::BTreeSet;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use teleflow_otlp::{Payload, Signal};

use self::slots::Slots;
use crate::config::{Config, ConfigError, Rules};
use crate::pending::Moment;
use crate::stats::{Stats, Trigger};
use crate::wait::AdaptiveWait;

/// How many partitions there are, and how long.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartitionConfig {
    /// The most partitions, without the one for the rest: 1000.
    pub max_partitions: NonZeroUsize,
    /// What becomes of a key for which there is no place.
    pub on_full: OnFull,
    /// A partition that nothing came for so long is given up. `None`, the default, is 10 times the
    /// timeout of a batch, and a second at least.
    pub idle: Option<Duration>,
    /// The most bytes in all partitions together: 64 MiB. What is over it leaves before its time,
    /// the batch that is due first before the others. Not less than a batch may have.
    pub max_bytes: usize,
}

/// What a [`Partitioned`] does with a key that is new, where there are enough partitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnFull {
    /// The partition that was used least recently sends what it has and makes room. Batches get
    /// smaller, and no two keys meet in one.
    Evict,
    /// The new key shares one partition with all others that found no place, until one is given up.
    /// Batches stay large, and no longer belong to one key: not for keys that stand for a tenant's
    /// credentials.
    ShareRest,
}

/// A batch of one key.
#[derive(Clone, Debug)]
pub struct Batch<K> {
    /// Whose it is; `None` is the rest, of several keys ([`OnFull::ShareRest`]).
    pub key: Option<K>,
    /// What is in it.
    pub payload: Payload,
}

/// What a [`Partitioned`] did so far, and what it holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PartitionStats {
    /// Of all partitions together.
    pub batches: Stats,
    /// Partitions now, without the one for the rest.
    pub partitions: usize,
    /// Items pending.
    pub items_held: u64,
    /// Bytes pending.
    pub bytes_held: usize,
    /// Partitions made, since the beginning.
    pub created: u64,
    /// Partitions given up because nothing came for them.
    pub expired: u64,
    /// Partitions given up because a new key needed the place.
    pub evicted: u64,
    /// Payloads that went to the partition for the rest.
    pub shared: u64,
}

/// When a batch has to go, among others; a batch that only its size ends comes last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Rank {
    At(Instant),
    Never,
}

/// Batches payloads of one signal apart by a key, such as a tenant or the metadata of a request.
///
/// Everything is bounded: the number of partitions, how long one stays that nothing comes for, and
/// the bytes in all of them. The order is kept within a key, as long as its payloads do not go to the
/// rest in between. Offering and polling cost `O(log n)` of the number of partitions. All learn
/// the same export time: they go to the same backend.
///
/// ```
/// use std::time::Instant;
/// use teleflow_batcher::{Config, PartitionConfig, Partitioned};
/// use teleflow_otlp::{Payload, Signal};
///
/// let mut batchers: Partitioned<&str> =
///     Partitioned::new(Signal::Traces, Config::default(), PartitionConfig::default())?;
/// let one = Payload::parse(Signal::Traces, b"\x0a\x04\x12\x02\x12\x00".as_slice().into())?;
/// let (now, mut batches) = (Instant::now(), Vec::new());
/// for tenant in ["a", "b", "a"] {
///     batchers.offer(now, &tenant, one.clone(), None, &mut batches);
/// }
/// batchers.close(&mut batches);
/// let sizes: Vec<_> = batches.iter().map(|batch| (batch.key, batch.payload.items())).collect();
/// assert_eq!(sizes, [(Some("a"), 2), (Some("b"), 1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Partitioned<K> {
    rules: Rules,
    wait: AdaptiveWait,
    slots: Slots<K>,
    /// Every partition that holds something, by when that has to go.
    due: BTreeSet<(Rank, usize)>,
    config: PartitionConfig,
    idle: Duration,
    stats: PartitionStats,
    /// Used again by each call.
    full: Vec<Payload>,
}

// === impl PartitionConfig ===

impl Default for PartitionConfig {
    /// 1000 partitions that share no batch, 64 MiB.
    fn default() -> Self {
        Self {
            max_partitions: NonZeroUsize::MIN.saturating_add(999),
            on_full: OnFull::Evict,
            idle: None,
            max_bytes: 64 << 20,
        }
    }
}

// === impl Partitioned ===

impl<K: Clone + Eq + Hash> Partitioned<K> {
    /// Creates one that has no partition yet.
    ///
    /// # Errors
    ///
    /// If the limits contradict each other.
    pub fn new(signal: Signal, each: Config, config: PartitionConfig) -> Result<Self, ConfigError> {
        let rules = each.rules()?;
        if config.max_bytes < rules.max_bytes {
            let (one, all) = (rules.max_bytes, config.max_bytes);
            return Err(ConfigError::PartitionBytes { one, all });
        }
        let default = || each.timeout.saturating_mul(10).max(Duration::from_secs(1));
        Ok(Self {
            wait: each.wait()?,
            slots: Slots::new(signal),
            due: BTreeSet::new(),
            idle: config.idle.unwrap_or_else(default),
            stats: PartitionStats::default(),
            full: Vec::new(),
            rules,
            config,
        })
    }

    /// Takes a payload of a key; what has to go is appended to `batches`, each key's in order.
    /// `deadline` is until when the sender waits, as of
    /// [`Batcher::offer_by`](crate::Batcher::offer_by). A payload without items is dropped.
    ///
    /// # Panics
    ///
    /// If the payload is of another signal.
    pub fn offer(
        &mut self,
        now: Instant,
        key: &K,
        payload: Payload,
        deadline: Option<Instant>,
        batches: &mut Vec<Batch<K>>,
    ) {
        if payload.is_empty() {
            return;
        }
        let slot = self.place(now, key, batches);
        self.slots.touch(slot, now);
        let pending = &mut self.slots[slot].pending;
        let before = (pending.items(), pending.bytes());
        let Self { rules, wait, stats, full, .. } = self;
        let moment = Moment { now, deadline };
        pending.offer(rules, wait, moment, payload, &mut stats.batches, full);
        stats.items_held = stats.items_held - before.0 + pending.items();
        stats.bytes_held = stats.bytes_held - before.1 + pending.bytes();
        self.hand_on(slot, batches);
        self.rank(slot);
        while self.stats.bytes_held > self.config.max_bytes
            && let Some(&(_, slot)) = self.due.first()
        {
            self.empty(slot, Trigger::Pressure, batches);
        }
    }

    /// Takes out every batch whose time has come, and gives up the partitions that nothing came for.
    pub fn poll(&mut self, now: Instant, batches: &mut Vec<Batch<K>>) {
        while let Some(&(Rank::At(due), slot)) = self.due.first()
            && due <= now
        {
            let trigger = self.slots[slot].pending.reason();
            self.empty(slot, trigger, batches);
        }
        self.expire(now, batches);
    }

    /// When [`poll`](Self::poll) has something to do; `None` where there is nothing to wait for.
    pub fn next_deadline(&self) -> Option<Instant> {
        let batch = match self.due.first() {
            Some(&(Rank::At(due), _)) => Some(due),
            _ => None,
        };
        let idle = self.slots.oldest().and_then(|slot| self.expires(slot));
        batch.into_iter().chain(idle).min()
    }

    /// Takes out what is pending of one key, if there is any.
    pub fn flush(&mut self, key: &K, batches: &mut Vec<Batch<K>>) {
        if let Some(slot) = self.slots.find(key) {
            self.empty(slot, Trigger::Flush, batches);
        }
    }

    /// Takes out everything that is pending, what is due first before the rest.
    pub fn flush_all(&mut self, batches: &mut Vec<Batch<K>>) {
        self.empty_all(Trigger::Flush, batches);
    }

    /// As [`flush_all`](Self::flush_all), at the end: it is counted as such.
    pub fn close(&mut self, batches: &mut Vec<Batch<K>>) {
        self.empty_all(Trigger::Close, batches);
    }

    /// As [`Batcher::exported`](crate::Batcher::exported), for all partitions.
    pub fn exported(&mut self, took: Duration) {
        self.wait.record(took);
    }

    /// What was done so far, and what is held.
    pub fn stats(&self) -> PartitionStats {
        PartitionStats { partitions: self.slots.len(), ..self.stats }
    }

    /// The partition of a key: its own, a new one, or that of the rest.
    fn place(&mut self, now: Instant, key: &K, batches: &mut Vec<Batch<K>>) -> usize {
        if let Some(slot) = self.slots.find(key) {
            return slot;
        }
        let max = self.config.max_partitions.get();
        if self.slots.len() >= max {
            self.expire(now, batches);
        }
        if self.slots.len() >= max {
            match (self.config.on_full, self.slots.oldest()) {
                (OnFull::Evict, Some(oldest)) => {
                    self.stats.evicted += 1;
                    self.give_up(oldest, batches);
                }
                _ => {
                    self.stats.shared += 1;
                    return Slots::<K>::REST;
                }
            }
        }
        self.stats.created += 1;
        self.slots.insert(key.clone(), now)
    }

    fn expire(&mut self, now: Instant, batches: &mut Vec<Batch<K>>) {
        while let Some(slot) = self.slots.oldest()
            && self.expires(slot).is_some_and(|expires| expires <= now)
        {
            self.stats.expired += 1;
            self.give_up(slot, batches);
        }
    }

    fn expires(&self, slot: usize) -> Option<Instant> {
        self.slots[slot].used?.checked_add(self.idle)
    }

    fn give_up(&mut self, slot: usize, batches: &mut Vec<Batch<K>>) {
        self.empty(slot, Trigger::Pressure, batches);
        self.slots.remove(slot);
    }

    fn empty_all(&mut self, trigger: Trigger, batches: &mut Vec<Batch<K>>) {
        while let Some(&(_, slot)) = self.due.first() {
            self.empty(slot, trigger, batches);
        }
    }

    /// Takes out what a partition holds.
    fn empty(&mut self, slot: usize, trigger: Trigger, batches: &mut Vec<Batch<K>>) {
        let pending = &mut self.slots[slot].pending;
        self.stats.items_held -= pending.items();
        self.stats.bytes_held -= pending.bytes();
        self.full.extend(pending.take(trigger, &mut self.stats.batches));
        self.hand_on(slot, batches);
        self.rank(slot);
    }

    /// Puts the key on what left a partition.
    fn hand_on(&mut self, slot: usize, batches: &mut Vec<Batch<K>>) {
        let key = &self.slots[slot].key;
        batches.extend(self.full.drain(..).map(|payload| Batch { key: key.clone(), payload }));
    }

    /// Enters when a partition's batch has to go, where that has changed.
    fn rank(&mut self, slot: usize) {
        let pending = &self.slots[slot].pending;
        let new = (!pending.is_empty()).then(|| pending.due().map_or(Rank::Never, Rank::At));
        let old = std::mem::replace(&mut self.slots[slot].rank, new);
        if old != new {
            old.map(|rank| self.due.remove(&(rank, slot)));
            new.map(|rank| self.due.insert((rank, slot)));
        }
    }
}
