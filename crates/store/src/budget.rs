//! How a byte bound is shared out among the files of a database.
//!
//! A database in WAL mode is three files: the pages, the write-ahead log with the newer versions of
//! some of them, and that log's index (`-shm`). Each gets a share. A transaction can make both the
//! pages and the log grow, by no more than its own share, so the oldest items are evicted when less
//! than that is left of the pages' share, and the log is emptied when less is left of its own.

use crate::OpenError;
use crate::store::MIN_MAX_BYTES;

/// SQLite's default. Larger ones measured no faster.
pub(crate) const PAGE: u64 = 4096;
/// What a page takes in the log: its number and checksums go before it.
const FRAME: u64 = PAGE + 24;
/// How many pages an index has for a stretch of ids, those with the same `id >> 15`.
const STRETCH_PAGES: u64 = 64 * (1 << 15) / (PAGE / 2);

/// The shares, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// The pages never take more.
    pub(crate) database: u64,
    /// The oldest items go when the pages in use take more.
    pub(crate) full: u64,
    /// The write-ahead log takes no more.
    pub(crate) log: u64,
    /// What one transaction may write, by a pessimistic estimate.
    pub(crate) transaction: u64,
}

/// How an index takes the entries of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Indexes {
    /// Short entries, which go to the end of the index or near it: so many.
    Clustered(u64),
    /// Entries that may go anywhere or take more than a few bytes: so many.
    Scattered(u64),
}

/// What a transaction may write, by a pessimistic estimate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Of rows and of what indexes repeat of them.
    bytes: u64,
    /// Entries in clustered indexes.
    entries: u64,
    /// Pages of scattered ones.
    pages: u64,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(max_bytes: u64) -> Result<Self, OpenError> {
        if max_bytes < MIN_MAX_BYTES {
            return Err(OpenError::TooSmall { given: max_bytes, least: MIN_MAX_BYTES });
        }
        // SQLite counts in signed integers.
        let max_bytes = max_bytes.min(i64::MAX as u64);
        let log = (max_bytes / 8).min(128 << 20);
        let transaction = log / 2;
        // 32 KiB of index for every 4096 frames of the log, one such piece always, and a header.
        let log_index = log / 512 + (64 << 10);
        let database = max_bytes - log - log_index;
        Ok(Self { database, full: database - transaction, log, transaction })
    }

    /// After so many pages in the log a commit copies them into the database.
    pub(crate) const fn checkpoint_pages(&self) -> u64 {
        self.log / 4 / FRAME
    }

    /// How much of the database SQLite keeps in memory: enough for the pages of an index that most
    /// transactions touch, so that these are not written several times each.
    pub(crate) fn cache_kib(&self) -> u64 {
        (self.log / 4 / 1024).max(2048)
    }

    /// A transaction may start when the log holds no more bytes than this.
    pub(crate) const fn log_before_transaction(&self) -> u64 {
        self.log - self.transaction
    }

    /// How many frames that is.
    pub(crate) const fn frames_before_transaction(&self) -> u64 {
        self.log_before_transaction() / FRAME
    }

    /// How many rows one transaction may delete: each writes a page in up to two indexes, and what
    /// it takes to free its own.
    pub(crate) const fn rows_per_eviction(&self) -> u64 {
        self.transaction / (3 * FRAME)
    }

    /// How many pages one transaction may move to make the file shorter.
    pub(crate) const fn pages_per_vacuum(&self) -> u64 {
        self.transaction / (4 * FRAME)
    }
}

// === impl Cost ===

impl Cost {
    /// What inserting a row may write: itself, and a page in each of so many `indexes`.
    pub(crate) const fn row(bytes: usize, indexes: Indexes) -> Self {
        match indexes {
            Indexes::Clustered(entries) => Self { bytes: bytes as u64, entries, pages: 0 },
            Indexes::Scattered(pages) => Self { bytes: bytes as u64, entries: 0, pages },
        }
    }

    /// What a payload may write, guessed before it is read.
    pub(crate) const fn payload(bytes: usize, items: u64) -> Self {
        Self { bytes: bytes as u64, entries: 2 * items, pages: 0 }
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            entries: self.entries + other.entries,
            pages: self.pages + other.pages,
        }
    }

    /// In bytes.
    pub(crate) const fn total(self) -> u64 {
        // However its entries fall, a transaction cannot write more pages of an index than the
        // stretches that it touches have, and these are two and what it adds: entries of less than
        // 64 bytes, on pages that are half full at least.
        let pages = 4 * STRETCH_PAGES + self.entries / 32;
        let pages = if pages < self.entries { pages } else { self.entries };
        // Pages of rows are not filled to the last byte, so a row may open one.
        2 * self.bytes + (pages + self.pages) * FRAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_add_up_and_each_step_of_work_fits_its_share() {
        for max_bytes in [MIN_MAX_BYTES, 10_000_001, 1 << 30, 1 << 40, i64::MAX as u64] {
            let budget = Budget::new(max_bytes).unwrap();
            assert!(budget.database + budget.log < max_bytes);
            assert!(budget.full + budget.transaction == budget.database);
            assert!(budget.full > max_bytes / 2);
            assert!(budget.checkpoint_pages() > 10);
            assert!(budget.rows_per_eviction() > 10 && budget.pages_per_vacuum() > 10);
        }
        assert!(Budget::new(u64::MAX).is_ok());
        assert!(Budget::new(MIN_MAX_BYTES - 1).is_err());
    }
}
