//! What a spool counted.

/// Records and the items in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Records.
    pub records: u64,
    /// Items, as the caller counted them.
    pub items: u64,
}

/// What a spool did since it was opened, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// What was there at the start.
    pub found: Count,
    /// What was committed.
    pub accepted: Count,
    /// What was refused for want of room.
    pub refused: Count,
    /// What could not be written or made durable; the caller was told.
    pub failed: Count,
    /// What was dropped for want of room before every reader had acknowledged it.
    pub dropped_size: Count,
    /// What was dropped for its age before every reader had acknowledged it.
    pub dropped_age: Count,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// Appends and progress that could not be made durable.
    pub sync_failures: u64,
}

/// The books of one reader: `found + accepted` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// What was there for it at the start.
    pub found: Count,
    /// What was committed since.
    pub accepted: Count,
    /// What its progress has passed: acknowledged, and so was everything before, or that was dropped.
    pub delivered: Count,
    /// What was dropped for want of room.
    pub dropped_size: Count,
    /// What was dropped for its age.
    pub dropped_age: Count,
    /// What could no longer be read.
    pub damaged: Count,
    /// What it has not been given, or not acknowledged.
    pub held: Count,
    /// The sequence up to which everything is done.
    pub progress: u64,
    /// Bytes from the first record that is not acknowledged to the last one given.
    pub window: u64,
}

// === impl ReaderStats ===

impl ReaderStats {
    /// What it will never be given: dropped, or damaged.
    pub fn lost(&self) -> Count {
        let mut lost = self.dropped_size;
        lost.add(self.dropped_age);
        lost.add(self.damaged);
        lost
    }
}

// === impl Count ===

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.records += other.records;
        self.items += other.items;
    }

    pub(crate) fn take(&mut self, other: Self) {
        self.records = self.records.saturating_sub(other.records);
        self.items = self.items.saturating_sub(other.items);
    }

    pub(crate) fn without(mut self, other: Self) -> Self {
        self.take(other);
        self
    }

    pub(crate) fn one(items: u32) -> Self {
        Self { records: 1, items: items.into() }
    }
}
