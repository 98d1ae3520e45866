//! The partitions: found by key, and in the order of their last use.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{Index, IndexMut};
use std::time::Instant;

use teleflow_otlp::Signal;

use super::Rank;
use crate::pending::Pending;

/// No slot.
const NONE: usize = usize::MAX;

/// Slots that keep their number as long as they are used, in a list from the one that was used least
/// recently to the one that was used last. The slot of the rest is in neither map nor list.
///
/// The map's hash is keyed by chance: the keys come from outside.
#[derive(Debug)]
pub(super) struct Slots<K> {
    signal: Signal,
    places: HashMap<K, usize>,
    slots: Vec<Slot<K>>,
    free: Vec<usize>,
    oldest: usize,
    newest: usize,
}

#[derive(Debug)]
pub(super) struct Slot<K> {
    pub(super) key: Option<K>,
    pub(super) pending: Pending,
    /// As what its batch is entered among those that are due.
    pub(super) rank: Option<Rank>,
    /// When something came for it the last time; never for the rest, which does not expire.
    pub(super) used: Option<Instant>,
    older: usize,
    newer: usize,
}

// === impl Slots ===

impl<K: Clone + Eq + Hash> Slots<K> {
    /// The slot of those keys that have none of their own.
    pub(super) const REST: usize = 0;

    pub(super) fn new(signal: Signal) -> Self {
        let rest = Slot::new(None, signal, None);
        Self {
            signal,
            places: HashMap::new(),
            slots: vec![rest],
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }

    /// How many keys have a slot.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn find(&self, key: &K) -> Option<usize> {
        self.places.get(key).copied()
    }

    /// The one that was used least recently.
    pub(super) const fn oldest(&self) -> Option<usize> {
        if self.oldest == NONE { None } else { Some(self.oldest) }
    }

    /// Gives a key that has none a slot.
    pub(super) fn insert(&mut self, key: K, now: Instant) -> usize {
        let new = Slot::new(Some(key.clone()), self.signal, Some(now));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = new;
                slot
            }
            None => {
                self.slots.push(new);
                self.slots.len() - 1
            }
        };
        self.places.insert(key, slot);
        self.link(slot);
        slot
    }

    /// Frees a slot whose batch was taken out.
    pub(super) fn remove(&mut self, slot: usize) {
        self.unlink(slot);
        if let Some(key) = self.slots[slot].key.take() {
            self.places.remove(&key);
        }
        self.free.push(slot);
    }

    /// Makes a slot the one that was used last.
    pub(super) fn touch(&mut self, slot: usize, now: Instant) {
        if slot == Self::REST {
            return;
        }
        // Where a caller's clock steps back, some live a little longer: only the oldest is looked at.
        self.slots[slot].used = Some(now);
        if slot != self.newest {
            self.unlink(slot);
            self.link(slot);
        }
    }

    fn link(&mut self, slot: usize) {
        let older = std::mem::replace(&mut self.newest, slot);
        self.slots[slot].older = older;
        self.slots[slot].newer = NONE;
        match self.slots.get_mut(older) {
            Some(older) => older.newer = slot,
            None => self.oldest = slot,
        }
    }

    fn unlink(&mut self, slot: usize) {
        let Slot { older, newer, .. } = self.slots[slot];
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }
}

impl<K> Index<usize> for Slots<K> {
    type Output = Slot<K>;

    fn index(&self, slot: usize) -> &Slot<K> {
        &self.slots[slot]
    }
}

impl<K> IndexMut<usize> for Slots<K> {
    fn index_mut(&mut self, slot: usize) -> &mut Slot<K> {
        &mut self.slots[slot]
    }
}

// === impl Slot ===

impl<K> Slot<K> {
    const fn new(key: Option<K>, signal: Signal, used: Option<Instant>) -> Self {
        Self { key, pending: Pending::new(signal), rank: None, used, older: NONE, newer: NONE }
    }
}
