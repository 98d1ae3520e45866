//! Dropped traces: fingerprints of their hashes, in two filters.

use std::mem;

use super::cuckoo::{Filter, Search};

/// Dropped traces in two generations, of which each is a filter.
///
/// A filter may have no place for one more before it is full. With hashes that nobody chose that
/// did not happen once in a hundred thousand fillings; where hashes meet it does. The filter is then
/// taken as full, so that fewer than `capacity` are remembered until the next is full: what is in the
/// two, and the latest four in any case.
#[derive(Debug)]
pub(super) struct Dropped {
    capacity: usize,
    young: Filter,
    old: Filter,
    search: Search,
    forgotten_early: u64,
}

/// More count as so many; they would take 9 GB.
const MOST: usize = 1 << 30;

// === impl Dropped ===

impl Dropped {
    pub(super) const fn new(capacity: usize) -> Self {
        let capacity = if capacity > MOST { MOST } else { capacity };
        Self {
            capacity,
            young: Filter::EMPTY,
            old: Filter::EMPTY,
            search: Search::EMPTY,
            forgotten_early: 0,
        }
    }

    pub(super) fn insert(&mut self, hash: u64) {
        // One that is there needs no second place; in the old generation it would be forgotten soon.
        if self.capacity == 0 || self.young.contains(hash) {
            return;
        }
        if self.young.capacity() == 0 {
            self.young = Filter::new(self.capacity);
        }
        if self.young.len() >= self.young.capacity().min(self.capacity) {
            self.rotate();
        }
        if !self.young.insert(hash, &mut self.search) {
            self.forgotten_early += 1;
            self.rotate();
            // An empty filter has a place for anything.
            self.young.insert(hash, &mut self.search);
        }
    }

    #[inline]
    pub(super) fn contains(&self, hash: u64) -> bool {
        // Both are looked at, whatever the first says: so memory is waited for once.
        self.young.contains(hash) | self.old.contains(hash)
    }

    /// Looks at where a hash would be, for nothing but to have that at hand soon.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u32 {
        self.young.touch(hash) ^ self.old.touch(hash)
    }

    pub(super) fn resize(&mut self, capacity: usize) {
        self.capacity = capacity.min(MOST);
        if self.young.len() >= self.capacity {
            self.old = mem::replace(&mut self.young, Filter::EMPTY);
        }
        if capacity == 0 {
            *self = Self { forgotten_early: self.forgotten_early, ..Self::new(0) };
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn false_positive_rate(&self) -> f64 {
        self.young.false_positive_rate() + self.old.false_positive_rate()
    }

    pub(super) const fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    pub(super) const fn bytes(&self) -> usize {
        self.young.bytes() + self.old.bytes() + self.search.bytes()
    }

    /// Forgets the old generation; the young one becomes the old one.
    fn rotate(&mut self) {
        mem::swap(&mut self.young, &mut self.old);
        if self.young.capacity() == self.capacity {
            self.young.clear();
        } else {
            // The first time, and when the capacity was changed.
            self.young = Filter::new(self.capacity);
        }
    }
}
