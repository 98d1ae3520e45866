//! Samplers without a state.

use std::time::Instant;

use super::{Candidate, HeadConfigError, Sampler, within};
use crate::{Intent, InvalidProbability, Threshold};

/// Keeps everything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Always;

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Never;

/// Keeps a fixed share of all traces: the specification's `TraceIdRatioBased`, consistent
/// probability sampling.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ratio(Threshold);

/// Keeps a fixed share of all traces by the test that SDKs used before there were thresholds: the
/// lower eight bytes of the trace id, without their lowest bit, are below the share of 2^63. So did
/// those for Go and Rust; others did it differently, which is why it was replaced.
///
/// It keeps low ids, where thresholds keep high ones. So what it keeps has no threshold: another
/// sampler could not follow it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClassicRatio(u64);

// === impl Always ===

impl Sampler for Always {
    fn intent(&self, _: Instant, _: &Candidate) -> Intent {
        Intent::Sample(Threshold::ALL)
    }
}

// === impl Never ===

impl Sampler for Never {
    fn intent(&self, _: Instant, _: &Candidate) -> Intent {
        Intent::Drop
    }
}

// === impl Ratio ===

impl Ratio {
    /// Keeps the share of a probability, with four digits of precision.
    ///
    /// # Errors
    ///
    /// If it is not within 2^-56 and 1; to keep nothing, use [`Never`].
    pub fn new(probability: f64) -> Result<Self, InvalidProbability> {
        Threshold::from_probability(probability).map(Self)
    }

    /// Keeps the share of a threshold.
    pub const fn of(threshold: Threshold) -> Self {
        Self(threshold)
    }
}

impl Sampler for Ratio {
    fn intent(&self, _: Instant, _: &Candidate) -> Intent {
        Intent::Sample(self.0)
    }
}

// === impl ClassicRatio ===

impl ClassicRatio {
    /// Keeps a share, above 0 and at most 1.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn new(share: f64) -> Result<Self, HeadConfigError> {
        let share = within("the share", share, 1.0)?;
        Ok(Self((share * 63f64.exp2()) as u64))
    }
}

impl Sampler for ClassicRatio {
    fn intent(&self, _: Instant, candidate: &Candidate) -> Intent {
        let low = u128::from_be_bytes(candidate.trace_id) as u64;
        if low >> 1 < self.0 { Intent::Keep } else { Intent::Drop }
    }
}
