//! Kept traces: each by its hash, with what its late spans need.

use std::collections::BTreeMap;
use std::mem;

use hashbrown::HashTable;

use crate::Threshold;
use crate::engine::By;

/// Kept traces in two generations.
#[derive(Debug)]
pub(super) struct Kept {
    capacity: usize,
    young: HashTable<Entry>,
    old: HashTable<Entry>,
    reasons: Reasons,
}

/// A hash in 8 bytes, the bits of a threshold in 7, and in 2 the number of a reason; of those the
/// highest bit is set where there is a threshold. As bytes, for they need no alignment.
#[derive(Clone, Copy, Debug)]
struct Entry([u8; 17]);

/// What keeps traces, by a number: few policies keep many traces, and whole they take 6 bytes each.
/// Number 0 is for nothing, and `n` for the entry at `n - 1`.
#[derive(Debug)]
struct Reasons {
    list: Vec<Option<By>>,
    numbers: BTreeMap<(u16, Option<u16>), u16>,
}

const HAS_THRESHOLD: u16 = 1 << 15;

/// The most reasons; with more, the next are not remembered.
const MOST_REASONS: usize = HAS_THRESHOLD as usize - 1;

// === impl Kept ===

impl Kept {
    pub(super) const fn new(capacity: usize) -> Self {
        let reasons = Reasons { list: Vec::new(), numbers: BTreeMap::new() };
        Self { capacity, young: HashTable::new(), old: HashTable::new(), reasons }
    }

    pub(super) fn insert(&mut self, hash: u64, threshold: Option<Threshold>, by: Option<By>) {
        if self.capacity == 0 {
            return;
        }
        let entry = Entry::new(hash, threshold, self.reasons.number(by));
        if let Some(before) = self.young.find_mut(hash, |entry| entry.hash() == hash) {
            *before = entry;
            return;
        }
        if self.young.len() >= self.capacity {
            mem::swap(&mut self.young, &mut self.old);
            // Its memory serves again.
            self.young.clear();
        }
        self.young.insert_unique(hash, entry, Entry::hash);
    }

    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<(Option<Threshold>, Option<By>)> {
        let find =
            |table: &HashTable<Entry>| table.find(hash, |entry| entry.hash() == hash).copied();
        let entry = find(&self.young).or_else(|| find(&self.old))?;
        Some((entry.threshold(), self.reasons.by(entry.reason())))
    }

    pub(super) fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        if self.young.len() >= capacity {
            self.old = mem::take(&mut self.young);
        }
        if capacity == 0 {
            *self = Self::new(0);
        }
    }

    pub(super) fn rename(&mut self, new: impl Fn(By) -> Option<By>) {
        self.reasons.rename(new);
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn bytes(&self) -> usize {
        self.young.allocation_size() + self.old.allocation_size() + self.reasons.bytes()
    }
}

// === impl Entry ===

impl Entry {
    fn new(hash: u64, threshold: Option<Threshold>, reason: u16) -> Self {
        let mut bytes = [0; 17];
        bytes[..8].copy_from_slice(&hash.to_le_bytes());
        let bits = threshold.map_or(0, Threshold::bits);
        bytes[8..15].copy_from_slice(&bits.to_le_bytes()[..7]);
        let has_threshold = if threshold.is_some() { HAS_THRESHOLD } else { 0 };
        bytes[15..].copy_from_slice(&(reason | has_threshold).to_le_bytes());
        Self(bytes)
    }

    #[inline]
    fn hash(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    fn threshold(&self) -> Option<Threshold> {
        let [.., a, b, c, d, e, f, g, _, _] = self.0;
        let bits = u64::from_le_bytes([a, b, c, d, e, f, g, 0]);
        if self.word() & HAS_THRESHOLD == 0 { None } else { Threshold::from_bits(bits) }
    }

    const fn reason(&self) -> u16 {
        self.word() & !HAS_THRESHOLD
    }

    const fn word(&self) -> u16 {
        let [.., a, b] = self.0;
        u16::from_le_bytes([a, b])
    }
}

// === impl Reasons ===

impl Reasons {
    /// The number of a reason; it gets one if it has none.
    fn number(&mut self, by: Option<By>) -> u16 {
        let Some(by) = by else { return 0 };
        let key = (by.rule, by.part);
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        if self.list.len() >= MOST_REASONS {
            return 0;
        }
        self.list.push(Some(by));
        let number = self.list.len() as u16;
        self.numbers.insert(key, number);
        number
    }

    fn by(&self, number: u16) -> Option<By> {
        let at = usize::from(number).checked_sub(1)?;
        *self.list.get(at)?
    }

    fn rename(&mut self, new: impl Fn(By) -> Option<By>) {
        self.numbers.clear();
        for (at, reason) in self.list.iter_mut().enumerate() {
            *reason = reason.and_then(&new);
            if let Some(by) = reason {
                self.numbers.insert((by.rule, by.part), at as u16 + 1);
            }
        }
    }

    /// About: what a map takes is not known exactly.
    fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Option<By>>() + self.numbers.len() * 16
    }
}
