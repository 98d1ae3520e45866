//! What a tail sampler holds, and what it did.

use super::waits::Waits;
use crate::engine::RuleStats;
use crate::memory::MemoryStats;
use crate::tail::{ReliefStats, SharingStats};

/// What the sampler holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// Undecided spans.
    pub spans: u64,
    /// Undecided traces.
    pub traces: u64,
    /// What they take of memory, in bytes, with the memory of decisions.
    pub bytes: u64,
    /// How many bytes of requests are in the storage, and not in memory.
    pub stored_bytes: u64,
    /// How many bytes the storage takes for them, with what nobody needs any more and what is not
    /// written yet.
    pub storage_bytes: u64,
}

/// What went into the storage.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StorageStats {
    /// Requests that were put there.
    pub requests: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// Requests that stayed in memory, for there was no room for them.
    pub full: u64,
    /// Requests that stayed in memory, for storing them failed.
    pub failed: u64,
}

/// Why a trace was decided when it was.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Trigger {
    /// It had waited long enough.
    Wait,
    /// It had waited long enough since its root span came.
    AfterRoot,
    /// It had as many spans as a trace may have.
    Spans,
    /// Its spans took more bytes than those of a trace may: it was left out.
    TooLarge,
    /// The byte bound was reached.
    Bytes,
    /// The bound on the number of traces was reached.
    Count,
    /// The sampler was drained.
    Drain,
    /// It began under pressure: chance decided at once. See [`Relief`](crate::Relief).
    Relief,
    /// A policy kept or dropped it as it came: [`Strategy::SpanIngest`](crate::Strategy::SpanIngest).
    Ingest,
    /// Others decided otherwise: see [`Sharing`](crate::Sharing).
    Learned,
}

/// What the sampler did so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Traces that came.
    pub traces: u64,
    /// Traces that were kept.
    pub traces_kept: u64,
    /// Traces that were sampled out.
    pub traces_sampled_out: u64,
    /// Of those, traces that a policy had dropped.
    pub traces_dropped: u64,
    /// Decisions by what caused them, in the order of [`Trigger::ALL`].
    pub decisions: [u64; Trigger::ALL.len()],
    /// How long the traces that were decided had waited, all together, in milliseconds.
    pub waited_millis: u64,
    /// How many of them had waited how long.
    pub waits: Waits,
    /// Spans that were kept, those that came late too.
    pub spans_kept: u64,
    /// Spans that were sampled out, by what caused the decision, in the order of [`Trigger::ALL`];
    /// without those that came late.
    pub spans_sampled_out: [u64; Trigger::ALL.len()],
    /// How many spans those stand for that were kept by known odds: an estimate, free of bias, of
    /// how many came. Where policies keep by unknown odds only, it is too low by what they keep.
    pub spans_estimated: f64,
    /// Spans that were kept by unknown odds: how many they stand for nobody knows.
    pub spans_unknown: u64,
    /// Spans that came after their trace was decided, and were kept.
    pub late_kept: u64,
    /// Spans that came after their trace was decided, and were sampled out.
    pub late_sampled_out: u64,
    /// Spans without a usable trace id, decided by themselves.
    pub without_trace: u64,
    /// Spans below a resource or scope that is longer than [`Config::payload_bytes`], decided by
    /// themselves.
    ///
    /// [`Config::payload_bytes`]: crate::Config::payload_bytes
    pub below_large_envelope: u64,
    /// Spans whose threshold could not be written: there was no room in their trace state.
    pub without_room: u64,
    /// Spans that came with a threshold by which they would have been left out.
    pub inconsistent: u64,
    /// Times that spans were copied out of requests of which little else was needed, and how many
    /// bytes that freed.
    pub copied_out: u64,
    /// Bytes that copying out freed.
    pub copied_out_bytes: u64,
    /// Traces that no rule matched, of [`Rules::FirstMatch`](crate::Rules::FirstMatch).
    pub unmatched: u64,
    /// Spans that [`Config::root_condition`](crate::Config::root_condition) could not be evaluated of.
    pub root_errors: u64,
    /// What went into the storage.
    pub storage: StorageStats,
    /// What is remembered of decisions.
    pub memory: MemoryStats,
    /// What came of decisions with others.
    pub sharing: SharingStats,
    /// What [`Relief`](crate::Relief) did.
    pub relief: ReliefStats,
    /// By policy or rule, in the order of the configuration; and after them `_eviction`, with
    /// [`Eviction::Ratio`](crate::Eviction::Ratio).
    pub rules: Vec<RuleStats>,
}

// === impl Trigger ===

impl Trigger {
    /// All, in their order.
    pub const ALL: [Self; 10] = [
        Self::Wait,
        Self::AfterRoot,
        Self::Spans,
        Self::TooLarge,
        Self::Bytes,
        Self::Count,
        Self::Drain,
        Self::Relief,
        Self::Ingest,
        Self::Learned,
    ];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::AfterRoot => "after_root",
            Self::Spans => "span_limit",
            Self::TooLarge => "too_large",
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::Drain => "drain",
            Self::Relief => "relief",
            Self::Ingest => "ingest",
            Self::Learned => "learned",
        }
    }
}
