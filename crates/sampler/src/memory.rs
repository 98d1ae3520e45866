//! What was decided about traces that are gone, for the spans that come late.

use hashbrown::HashTable;

/// Remembers decisions by a trace's keyed hash, in two generations: a new decision goes into the
/// young one; when that is full, the old one is forgotten and the young one takes its place. So at
/// least `capacity` and at most twice as many of the latest decisions are known.
///
/// A hash stands for its trace. With 63 bits and a million decisions remembered, the chance that a
/// new trace meets the decision of another is 1 in 10^13.
#[derive(Debug)]
pub(crate) struct Decided {
    capacity: usize,
    young: HashTable<Entry>,
    old: HashTable<Entry>,
}

/// A hash whose lowest bit is the decision.
#[derive(Clone, Copy, Debug)]
struct Entry(u64);

// === impl Decided ===

impl Decided {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, young: HashTable::new(), old: HashTable::new() }
    }

    /// Remembers a decision.
    pub(crate) fn insert(&mut self, hash: u64, kept: bool) {
        if self.capacity == 0 {
            return;
        }
        if self.young.len() >= self.capacity {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        let entry = Entry(hash & !1 | u64::from(kept));
        self.young.insert_unique(hash | 1, entry, |entry| entry.0 | 1);
    }

    /// Whether the trace was kept, if its decision is still known.
    pub(crate) fn find(&self, hash: u64) -> Option<bool> {
        let find = |table: &HashTable<Entry>| {
            table.find(hash | 1, |entry| entry.0 | 1 == hash | 1).map(|entry| entry.0 & 1 == 1)
        };
        find(&self.young).or_else(|| find(&self.old))
    }

    /// What the tables take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.young.allocation_size() + self.old.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_decisions_are_known_and_older_ones_are_forgotten() {
        let mut decided = Decided::new(100);
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for n in 0..1000 {
            decided.insert(hash(n), n % 3 == 0);
            for m in n.saturating_sub(99)..=n {
                assert_eq!(decided.find(hash(m)), Some(m % 3 == 0), "{m} after {n}");
            }
        }
        let known = (0..1000).filter(|&n| decided.find(hash(n)).is_some()).count();
        assert!((100..=200).contains(&known), "{known}");
        assert_eq!(decided.find(hash(5000)), None);
    }

    #[test]
    fn without_capacity_nothing_is_remembered() {
        let mut decided = Decided::new(0);
        decided.insert(1, true);
        assert_eq!(decided.find(1), None);
    }
}
