//! How the table puts requests into a storage.

use super::{Storage, Table};
use crate::tail::stats::StorageStats;

impl Table {
    /// Puts a request that was read into the storage, if there is one and spans of it are held. What
    /// goes on at once does not pay for the way.
    pub(super) fn put_away(&mut self, index: u32) {
        let chunk = self.chunks.get_mut(index);
        // One is for whoever reads it.
        if chunk.live <= chunk.leaving + 1 {
            return;
        }
        let (size, needed) = (chunk.size(), chunk.needed());
        if self.stored.take(&mut chunk.bytes) {
            chunk.is_stored = true;
            self.chunk_bytes = self.chunk_bytes - size + chunk.size();
            self.needed -= needed;
        }
    }

    /// Stores from now on there.
    pub(in crate::tail) fn store_in(&mut self, storage: Option<&dyn Storage>) {
        self.stored.change(storage);
    }

    /// How much of what a trace takes is freed of memory with it; `None` without a storage: all.
    pub(in crate::tail) fn share_in_memory(&self) -> Option<f64> {
        let in_memory = self.used_bytes() as f64;
        self.stored.is_used().then(|| in_memory / (in_memory + self.stored.bytes as f64).max(1.0))
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
