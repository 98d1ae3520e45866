//! The votes about traces that are still held.

use hashbrown::HashTable;

use super::SharingStats;
use crate::engine::{By, Verdict};
use crate::tail::Trigger;

/// The votes that are out.
#[derive(Debug, Default)]
pub(in crate::tail) struct Votes {
    by_id: HashTable<Vote>,
    pub(super) stats: SharingStats,
}

/// A vote about a trace that is still held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vote {
    pub(super) id: [u8; 16],
    pub(super) hash: u64,
    pub(super) verdict: Verdict,
    /// Why there was a vote.
    pub(super) trigger: Trigger,
    /// Whether what becomes of the trace was proposed; before that it waits for others.
    pub(super) is_proposed: bool,
}

// === impl Votes ===

impl Votes {
    pub(in crate::tail) fn stats(&self) -> SharingStats {
        SharingStats { waiting: self.by_id.len() as u64, ..self.stats }
    }

    /// What they take, in bytes.
    pub(in crate::tail) fn bytes(&self) -> usize {
        self.by_id.allocation_size()
    }

    /// The vote about a trace that is decided now: it is not asked about twice.
    #[inline]
    pub(in crate::tail) fn take(&mut self, id: &[u8; 16], hash: u64) -> Option<Verdict> {
        if self.by_id.is_empty() {
            return None;
        }
        let entry = self.by_id.find_entry(hash, |vote| vote.id == *id).ok()?;
        let (vote, _) = entry.remove();
        if self.by_id.is_empty() {
            // A quiet moment gives the memory of a busy one back.
            self.by_id = HashTable::new();
        }
        Some(vote.verdict)
    }

    /// Gives what keeps traces its new place, when the configuration has changed.
    pub(in crate::tail) fn rename(&mut self, new: impl Fn(By) -> Option<By>) {
        self.by_id.iter_mut().for_each(|vote| vote.verdict.by = vote.verdict.by.and_then(&new));
    }

    pub(super) fn find(&self, id: &[u8; 16], hash: u64) -> Option<Vote> {
        self.by_id.find(hash, |vote| vote.id == *id).copied()
    }

    pub(super) fn put(&mut self, vote: Vote) {
        match self.by_id.find_mut(vote.hash, |known| known.id == vote.id) {
            Some(known) => *known = vote,
            None => _ = self.by_id.insert_unique(vote.hash, vote, |vote| vote.hash),
        }
    }
}
