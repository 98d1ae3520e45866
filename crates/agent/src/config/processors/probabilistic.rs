//! `processors.probabilistic_sampler`

use super::super::later;
use super::super::read::At;

/// Keeps a share of spans, by trace, or of log records, as they come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ProbabilisticSampler {
    /// `sampling_percentage`, from 0 to 100. Has to be written.
    pub(crate) percentage: f64,
    /// `mode`: what becomes of those that were sampled before. Default `proportional`.
    pub(crate) mode: Mode,
    /// `sampling_precision`: digits of the threshold that is written. Default 4, from 1 to 14.
    pub(crate) precision: u8,
}

/// What becomes of what was sampled before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Mode {
    /// The share of what comes is kept.
    #[default]
    Proportional,
    /// All leave with the same probability, as far as that is possible.
    Equalizing,
}

const MODES: [(&str, Mode); 2] =
    [("equalizing", Mode::Equalizing), ("proportional", Mode::Proportional)];

/// As many as the specification advises.
const PRECISION: u8 = 4;

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> ProbabilisticSampler {
    at.section(later::PROBABILISTIC_SAMPLER, |keys| {
        let percentage = keys.require("sampling_percentage").and_then(|at| at.number(0.0..=100.0));
        let mode = keys.value("mode").and_then(|at| at.one_of(&MODES, later::PROBABILISTIC_MODES));
        let precision = keys.value("sampling_precision").and_then(|at| at.whole(1..=14));
        ProbabilisticSampler {
            percentage: percentage.unwrap_or_default(),
            mode: mode.unwrap_or_default(),
            precision: precision.and_then(|digits| u8::try_from(digits).ok()).unwrap_or(PRECISION),
        }
    })
}
