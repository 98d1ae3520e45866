//! Why batches went, counted.

/// Why a batch was handed on.
///
/// [`name`](Self::name) is what a metric calls it: `batches{trigger="items"}`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Trigger {
    /// It had enough items.
    Items,
    /// It had enough bytes.
    Bytes,
    /// It had enough requests.
    Requests,
    /// What came next would have made it pass the limit of items or bytes.
    Limit,
    /// It was old enough.
    Age,
    /// A caller's deadline was near.
    Deadline,
    /// All partitions together held too much, or it was in the way of a new one, or nothing came
    /// for it any more.
    Pressure,
    /// It was asked for.
    Flush,
    /// The batcher was closed.
    Close,
}

/// What a batcher did so far.
///
/// What it holds now is told by [`Batcher::items`](crate::Batcher::items) and its neighbours; the
/// books balance: `items` offered are those in batches and those held.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Payloads offered that held anything.
    pub payloads: u64,
    /// Items in them.
    pub items: u64,
    /// Batches handed on, whatever made them go.
    pub batches: u64,
    /// Batches that were large enough or would have passed a limit: the next four together.
    pub full: u64,
    /// Batches that had enough items.
    pub by_items: u64,
    /// Batches that had enough bytes.
    pub by_bytes: u64,
    /// Batches that had enough requests.
    pub by_requests: u64,
    /// Batches that the next payload would have made too large.
    pub by_limit: u64,
    /// Batches that were old enough.
    pub timed_out: u64,
    /// Batches that left early for the deadline of a caller.
    pub for_deadline: u64,
    /// Batches of partitions that made room for others.
    pub for_pressure: u64,
    /// Batches that were asked for.
    pub flushed: u64,
    /// Batches that went because the batcher was closed.
    pub closed: u64,
    /// Payloads that were cut.
    pub split: u64,
    /// What they were cut into.
    pub pieces: u64,
    /// Payloads that were cut into larger pieces than the limits say, for pieces of that size would
    /// have been too many or repeated too much.
    pub loosened: u64,
}

// === impl Trigger ===

impl Trigger {
    /// Every trigger, in the order in which reports list them.
    pub const ALL: [Self; 9] = [
        Self::Items,
        Self::Bytes,
        Self::Requests,
        Self::Limit,
        Self::Age,
        Self::Deadline,
        Self::Pressure,
        Self::Flush,
        Self::Close,
    ];

    /// The lower-case name that metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Items => "items",
            Self::Bytes => "bytes",
            Self::Requests => "requests",
            Self::Limit => "limit",
            Self::Age => "age",
            Self::Deadline => "deadline",
            Self::Pressure => "pressure",
            Self::Flush => "flush",
            Self::Close => "close",
        }
    }
}

// === impl Stats ===

impl Stats {
    /// How many batches went for this reason.
    pub const fn batches_by(&self, trigger: Trigger) -> u64 {
        match trigger {
            Trigger::Items => self.by_items,
            Trigger::Bytes => self.by_bytes,
            Trigger::Requests => self.by_requests,
            Trigger::Limit => self.by_limit,
            Trigger::Age => self.timed_out,
            Trigger::Deadline => self.for_deadline,
            Trigger::Pressure => self.for_pressure,
            Trigger::Flush => self.flushed,
            Trigger::Close => self.closed,
        }
    }

    pub(crate) const fn count(&mut self, trigger: Trigger) {
        self.batches += 1;
        if matches!(trigger, Trigger::Items | Trigger::Bytes | Trigger::Requests | Trigger::Limit) {
            self.full += 1;
        }
        let counter = match trigger {
            Trigger::Items => &mut self.by_items,
            Trigger::Bytes => &mut self.by_bytes,
            Trigger::Requests => &mut self.by_requests,
            Trigger::Limit => &mut self.by_limit,
            Trigger::Age => &mut self.timed_out,
            Trigger::Deadline => &mut self.for_deadline,
            Trigger::Pressure => &mut self.for_pressure,
            Trigger::Flush => &mut self.flushed,
            Trigger::Close => &mut self.closed,
        };
        *counter += 1;
    }
}
