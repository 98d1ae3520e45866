//! What a head sampler did to payloads.

use std::fmt;

/// What a [`HeadSampler`](super::HeadSampler) did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadStats {
    /// Spans and records that were kept.
    pub kept: u64,
    /// Spans and records that were left out.
    pub sampled_out: u64,
    /// How many those stand for that were kept with a known threshold.
    pub adjusted_count: f64,
    /// Those that were kept without one: how many they stand for nobody knows.
    pub unknown: u64,
    /// Those that came with a threshold by which they would have been left out.
    pub inconsistent: u64,
    /// Those that there was no room to write the threshold to: in their trace state, or because a
    /// payload of next to nothing would have become more than twice as long.
    pub without_room: u64,
    /// Spans and records without a trace id that can be used.
    pub without_trace: u64,
    /// Those whose trace id was taken for random though nobody said so.
    pub presumed_random: u64,
}

/// Trace ids were taken for random though nobody said that they are.
///
/// Who makes them says so by the random flag of W3C Trace Context Level 2, or gives traces a
/// randomness of their own. Where ids are not random, the shares that are kept are not those that
/// were asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Warning;

// === impl HeadStats ===

impl HeadStats {
    /// Adds what another sampler did.
    pub fn add(&mut self, other: &Self) {
        let Self {
            kept,
            sampled_out,
            adjusted_count,
            unknown,
            inconsistent,
            without_room,
            without_trace,
            presumed_random,
        } = other;
        self.kept += kept;
        self.sampled_out += sampled_out;
        self.adjusted_count += adjusted_count;
        self.unknown += unknown;
        self.inconsistent += inconsistent;
        self.without_room += without_room;
        self.without_trace += without_trace;
        self.presumed_random += presumed_random;
    }
}

// === impl Warning ===

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "sampling presumes that trace ids are random, but spans come without the random trace \
             flag that would confirm it: upgrade who sends them to W3C Trace Context Level 2",
        )
    }
}
