//! How the table puts requests into a storage.

use bytes::Bytes;

use super::Table;
use crate::tail::config::Config;
use crate::tail::stats::StorageStats;
use crate::tail::storage::Whereabouts;

impl Table {
    /// Has a request that was read go into the storage, if there is one and spans of it are held. What
    /// goes on at once does not pay for the way.
    pub(super) fn put_away(&mut self, index: u32) {
        let chunk = self.chunks.get_mut(index);
        // One is for whoever reads it.
        if !self.stored.is_on() || chunk.live <= chunk.leaving + 1 {
            return;
        }
        let bytes = chunk.bytes.len();
        if self.stored.is_enough(bytes) {
            let bytes = chunk.bytes.clone();
            if let Some(stored) = self.stored.store(&bytes, 1) {
                self.is_stored(index, stored);
            }
            return;
        }
        chunk.whereabouts = Whereabouts::Waits;
        let all = self.stored.wait(index, bytes);
        if !all.is_empty() {
            self.store(&all);
        }
    }

    /// Puts requests into the storage, all or none.
    fn store(&mut self, indices: &[u32]) {
        let mut together = Vec::new();
        for index in indices {
            let chunk = self.chunks.get_mut(*index);
            chunk.whereabouts = Whereabouts::Memory;
            together.extend_from_slice(&chunk.bytes);
        }
        let Some(mut stored) = self.stored.store(&together, indices.len() as u64) else { return };
        for index in indices {
            let own = stored.split_to(self.chunks.get(*index).bytes.len());
            self.is_stored(*index, own);
        }
    }

    fn is_stored(&mut self, index: u32, stored: Bytes) {
        let chunk = self.chunks.get_mut(index);
        let (size, needed) = (chunk.size(), chunk.needed());
        (chunk.bytes, chunk.whereabouts) = (stored, Whereabouts::Stored);
        self.chunk_bytes = self.chunk_bytes - size + chunk.size();
        self.needed -= needed;
    }

    /// Works by another configuration.
    pub(in crate::tail) fn change_storage(&mut self, before: &Config, config: &Config) {
        self.stored.change(Some(before), config);
    }

    /// How much of what a trace takes is freed of memory with it; `None` without a storage: all.
    pub(in crate::tail) fn share_in_memory(&self) -> Option<f64> {
        let (in_memory, stored) = (self.used_bytes() as f64, self.stored.bytes as f64);
        (self.stored.bytes > 0).then(|| in_memory / (in_memory + stored))
    }

    /// How many bytes of requests that are held are in the storage.
    pub(in crate::tail) const fn stored_bytes(&self) -> u64 {
        self.stored.bytes
    }

    /// What the storage takes for them.
    pub(in crate::tail) fn storage_bytes(&self) -> u64 {
        self.stored.used_bytes()
    }

    /// What went into the storage.
    pub(in crate::tail) const fn storage_stats(&self) -> StorageStats {
        self.stored.stats
    }
}
