//! What was decided about traces that are gone, for the spans that come late.

use hashbrown::HashTable;

use crate::Threshold;
use crate::tail::Remembered;

/// What became of a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Past {
    Kept { threshold: Option<Threshold>, label: u16 },
    Dropped,
}

#[derive(Debug)]
pub(crate) struct Memory {
    remembered: Remembered,
    young: HashTable<(u64, Past)>,
    old: HashTable<(u64, Past)>,
}

impl Memory {
    pub(crate) fn new(remembered: Remembered) -> Self {
        Self { remembered, young: HashTable::new(), old: HashTable::new() }
    }
    pub(crate) fn resize(&mut self, remembered: Remembered) {
        self.remembered = remembered;
    }
    fn insert(&mut self, hash: u64, past: Past, capacity: usize) {
        if capacity == 0 {
            return;
        }
        if self.young.len() >= capacity {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert_unique(hash, (hash, past), |entry| entry.0);
    }
    pub(crate) fn remember_kept(&mut self, hash: u64, threshold: Option<Threshold>, label: u16) {
        self.insert(hash, Past::Kept { threshold, label }, self.remembered.kept);
    }
    pub(crate) fn remember_dropped(&mut self, hash: u64) {
        self.insert(hash, Past::Dropped, self.remembered.dropped);
    }
    pub(crate) fn find(&self, hash: u64) -> Option<Past> {
        let find = |table: &HashTable<(u64, Past)>| table.find(hash, |e| e.0 == hash).map(|e| e.1);
        find(&self.young).or_else(|| find(&self.old))
    }
    pub(crate) fn bytes(&self) -> usize {
        self.young.allocation_size() + self.old.allocation_size()
    }
}
