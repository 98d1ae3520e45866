//! Counts of the last while, in eight parts of it that are used in turn.
//!
//! A slot is one word: which part of which era it counts, and the count. Who finds an older part in
//! the slot puts his own in its place, in one step.

use std::array;
use std::sync::atomic::AtomicU64 as Counter;
use std::time::Duration;

use crate::sharded::{Padded, SHARDS, shard};
use crate::sync::{AtomicU64, Ordering};

/// A power of two: which slot a part has must be known at once.
const PARTS: usize = 8;

/// From the high end: era (10 bits), part (26 bits), count (28 bits). A slot is taken for the
/// present one by mistake if it lay untouched for exactly 2^26 parts, or 2^10 eras.
const COUNT_BITS: u32 = 28;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Counts go no further, with room for those who add at the same time.
const COUNT_MAX: u64 = COUNT_MASK - (1 << 16);
const PART_BITS: u32 = 26;
const PART_MASK: u64 = (1 << PART_BITS) - 1;
const ERA_MASK: u64 = (1 << 10) - 1;

/// Divides time into parts.
#[derive(Debug)]
pub(super) struct Window {
    /// 2^64 / the nanoseconds of a part: a multiplication instead of a division.
    reciprocal: u64,
}

/// A part of an era.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    tag: u64,
    slot: usize,
}

/// Failures, which all threads count together.
pub(super) struct Failures(Slots);

/// Successes, which each thread counts for itself.
pub(super) struct Successes([Padded<Slots>; SHARDS]);

#[derive(Default)]
struct Slots {
    slots: [AtomicU64; PARTS],
    /// What slots counted that are used for something else now.
    retired: Counter,
}

// === impl Window ===

impl Window {
    pub(super) fn new(window: Duration) -> Self {
        let part = (window.as_nanos() / PARTS as u128).max(1);
        Self { reciprocal: u64::try_from((1 << 64) / part).unwrap_or(u64::MAX) }
    }

    #[inline]
    pub(super) fn at(&self, era: u64, nanos: u64) -> At {
        let part = ((u128::from(nanos) * u128::from(self.reciprocal)) >> 64) as u64;
        At {
            tag: (era & ERA_MASK) << PART_BITS | part & PART_MASK,
            slot: (part % PARTS as u64) as usize,
        }
    }
}

// === impl At ===

impl At {
    /// How many parts `slot` is older than this; below 0 where it is newer. `None`: another era.
    fn age_of(self, slot: u64) -> Option<i64> {
        let tag = slot >> COUNT_BITS;
        if tag >> PART_BITS != self.tag >> PART_BITS {
            return None;
        }
        Some(signed(self.tag.wrapping_sub(tag) & PART_MASK, PART_BITS))
    }

    /// Whether `slot` is of a later era.
    fn is_before(self, slot: u64) -> bool {
        let eras = (slot >> COUNT_BITS >> PART_BITS).wrapping_sub(self.tag >> PART_BITS);
        signed(eras & ERA_MASK, 10) > 0
    }
}

/// The number of so many bits, of which the highest one is the sign.
fn signed(value: u64, bits: u32) -> i64 {
    ((value << (64 - bits)) as i64) >> (64 - bits)
}

// === impl Failures ===

impl Failures {
    pub(super) fn new() -> Self {
        Self(Slots::default())
    }

    pub(super) fn add(&self, at: At) {
        self.0.add(at);
    }

    pub(super) fn within(&self, at: At) -> u64 {
        self.0.within(at)
    }

    pub(super) fn total(&self) -> u64 {
        self.0.total()
    }
}

// === impl Successes ===

impl Successes {
    pub(super) fn new() -> Self {
        Self(array::from_fn(|_| Padded::default()))
    }

    #[inline]
    pub(super) fn add(&self, at: At) {
        self.0[shard()].0.add(at);
    }

    pub(super) fn within(&self, at: At) -> u64 {
        self.0.iter().map(|shard| shard.0.within(at)).sum()
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.total()).sum()
    }
}

// === impl Slots ===

impl Slots {
    #[inline]
    fn add(&self, at: At) {
        let slot = &self.slots[at.slot];
        let seen = slot.load(Ordering::Relaxed);
        if seen >> COUNT_BITS == at.tag && seen & COUNT_MASK < COUNT_MAX {
            // Where the slot is given to a newer part right now, this counts there.
            slot.fetch_add(1, Ordering::Relaxed);
        } else {
            self.add_slowly(at, seen);
        }
    }

    #[cold]
    fn add_slowly(&self, at: At, mut seen: u64) {
        let slot = &self.slots[at.slot];
        loop {
            // An era that is over counts for nobody.
            if at.is_before(seen) && seen & COUNT_MASK > 0 {
                return;
            }
            let next = if at.age_of(seen).is_some_and(|age| age <= 0) {
                // This part, or a newer one that a clock ahead of ours began.
                if seen & COUNT_MASK >= COUNT_MAX {
                    return;
                }
                seen + 1
            } else {
                at.tag << COUNT_BITS | 1
            };
            match slot.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    if next != seen + 1 {
                        self.retired.fetch_add(seen & COUNT_MASK, Ordering::Relaxed);
                    }
                    return;
                }
                Err(other) => seen = other,
            }
        }
    }

    /// What was counted in the window that ends with `at`, and after it.
    fn within(&self, at: At) -> u64 {
        let slots = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
        slots
            .filter(|&slot| at.age_of(slot).is_some_and(|age| age < PARTS as i64))
            .map(|slot| slot & COUNT_MASK)
            .sum()
    }

    /// What was ever counted.
    fn total(&self) -> u64 {
        let slots = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed) & COUNT_MASK);
        self.retired.load(Ordering::Relaxed) + slots.sum::<u64>()
    }
}
