//! How a sampler's wish becomes a decision, where others have sampled before.

use crate::{Randomness, Threshold};

/// What a sampler wants for a trace. It must not depend on the trace's [`Randomness`]: else what is
/// kept would not stand for what is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Intent {
    /// To leave it out, whatever chance says.
    Drop,
    /// To keep it if chance says so.
    Sample(Threshold),
    /// To keep it, with a probability that nobody knows.
    Keep,
}

/// What becomes of a trace, or of a part of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// It is left out.
    Drop,
    /// It is kept. The threshold is to be written to it; without one, a threshold that is there has
    /// to be removed.
    Keep(Option<Threshold>),
}

/// What a threshold that a trace comes with means for a sampler.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Composition {
    /// Nothing: the sampler is the first, or decides anew for a child. It does not fit where spans
    /// have been sampled already.
    Independent,
    /// All leave with the same probability, as far as that is possible: who was sampled before is
    /// sampled the less.
    #[default]
    Equalizing,
    /// All leave in the same share of what came: the probabilities are multiplied.
    Proportional,
}

// === impl Composition ===

impl Composition {
    /// Decides about a trace that comes with a threshold, or with none: then it counts as never
    /// sampled before.
    ///
    /// Never is a threshold lowered. One that the trace itself contradicts (by it, it would have been
    /// left out) tells nothing, and what is kept of such a trace has no threshold.
    ///
    /// ```
    /// use teleflow_sampler::{Composition, Decision, Intent, Randomness, Threshold};
    ///
    /// let half = Threshold::from_probability(0.5)?;
    /// let quarter = Threshold::from_probability(0.25)?;
    /// let high: Randomness = "fedcba98765432".parse()?;
    /// assert_eq!(
    ///     Composition::Proportional.decide(Intent::Sample(half), Some(half), high),
    ///     Decision::Keep(Some(quarter)),
    /// );
    /// assert_eq!(
    ///     Composition::Equalizing.decide(Intent::Sample(half), Some(quarter), high),
    ///     Decision::Keep(Some(quarter)),
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn decide(
        self,
        intent: Intent,
        before: Option<Threshold>,
        randomness: Randomness,
    ) -> Decision {
        let own = match intent {
            Intent::Drop => return Decision::Drop,
            Intent::Keep => return Decision::Keep(None),
            Intent::Sample(own) => own,
        };
        let is_consistent = before.is_none_or(|before| before.keeps(randomness));
        let threshold = match (self, before.filter(|_| is_consistent)) {
            (Self::Independent, _) | (_, None) => Some(own),
            (Self::Equalizing, Some(before)) => Some(own.equalize(before)),
            (Self::Proportional, Some(before)) => {
                Threshold::proportional(before, own.probability())
            }
        };
        match threshold {
            Some(threshold) if threshold.keeps(randomness) => {
                let is_known = is_consistent || self == Self::Independent;
                Decision::Keep(is_known.then_some(threshold))
            }
            _ => Decision::Drop,
        }
    }
}

// === impl Decision ===

impl Decision {
    /// Whether it is kept.
    pub const fn is_kept(self) -> bool {
        matches!(self, Self::Keep(_))
    }

    /// How many items it stands for: none where it is left out or nobody knows.
    pub fn adjusted_count(self) -> f64 {
        match self {
            Self::Keep(Some(threshold)) => threshold.adjusted_count(),
            Self::Keep(None) | Self::Drop => 0.0,
        }
    }
}
