//! `processors.probabilistic_sampler`

use super::super::later;
use super::super::read::{At, Keys};

/// Keeps a share of spans, by trace, or of log records, as they come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProbabilisticSampler {
    /// `sampling_percentage`, from 0 to 100. Has to be written.
    pub(crate) percentage: f64,
    /// `mode`: what becomes of those that were sampled before. Default `proportional`, and
    /// `hash_seed` where keys are written that only that has.
    pub(crate) mode: Mode,
    /// `hash_seed`: what the hash begins with. Default 0.
    pub(crate) hash_seed: u32,
    /// `attribute_source`: whether log records go by their attribute even where they have a trace.
    /// Default `traceID`: they do not.
    pub(crate) by_record: bool,
    /// `from_attribute`: of log records, the attribute that is hashed.
    pub(crate) from_attribute: Option<String>,
    /// `fail_closed`: whether what cannot be decided about is left out, or kept. Default `None`: a
    /// hash of its content decides. The Collector leaves it out.
    pub(crate) fail_closed: Option<bool>,
    /// `sampling_priority`: of log records, the attribute that says which percentage of them is kept.
    pub(crate) priority: Option<String>,
    /// `sampling_precision`: digits of the threshold that is written. Default 4, from 1 to 14.
    pub(crate) precision: u8,
}

/// How is decided, and what becomes of what was sampled before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Mode {
    /// The share of what comes is kept.
    #[default]
    Proportional,
    /// All leave with the same probability, as far as that is possible.
    Equalizing,
    /// By a hash with a seed.
    HashSeed,
}

const MODES: [(&str, Mode); 3] = [
    ("equalizing", Mode::Equalizing),
    ("hash_seed", Mode::HashSeed),
    ("proportional", Mode::Proportional),
];

const SOURCES: [(&str, bool); 2] = [("record", true), ("traceID", false)];

/// As many as the specification advises.
const PRECISION: u8 = 4;

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> ProbabilisticSampler {
    at.section(later::NONE, |keys| {
        let percentage = keys.require("sampling_percentage").and_then(|at| at.number(0.0..=100.0));
        let mode = keys.value("mode").and_then(|at| at.one_of(&MODES, later::NONE));
        let precision = keys.value("sampling_precision").and_then(|at| at.whole(1..=14));
        // What only a hash goes by, in the order in which it is written about.
        let seed = keys.value("hash_seed");
        let source = keys.value("attribute_source");
        let attribute = keys.value("from_attribute");
        let hash_seed = seed.as_ref().and_then(|at| at.whole(0..=u64::from(u32::MAX)));
        let by_record = source.as_ref().and_then(|at| at.one_of(&SOURCES, later::NONE));
        let from_attribute = attribute.as_ref().and_then(|at| at.text_that_is_not_empty());
        if let Some(source) = &source
            && by_record == Some(true)
            && attribute.is_none()
        {
            let why = "be `traceID` without a `from_attribute`";
            source.refuse(why, None);
        }
        let of_hash = [seed, source, attribute];
        let mode = mode.unwrap_or_else(|| match of_hash.iter().any(Option::is_some) {
            true => Mode::HashSeed,
            false => Mode::default(),
        });
        if mode != Mode::HashSeed {
            for at in of_hash.iter().flatten() {
                let message = format!("{} has an effect with mode `hash_seed` only", at.path());
                at.report.warn(at.name_at(), message);
            }
        }
        ProbabilisticSampler {
            percentage: percentage.unwrap_or_default(),
            mode,
            hash_seed: hash_seed.and_then(|seed| u32::try_from(seed).ok()).unwrap_or_default(),
            by_record: by_record.unwrap_or_default(),
            from_attribute: from_attribute.map(str::to_owned),
            fail_closed: keys.value("fail_closed").and_then(|at| at.truth()),
            priority: text(keys, "sampling_priority"),
            precision: precision.and_then(|digits| u8::try_from(digits).ok()).unwrap_or(PRECISION),
        }
    })
}

fn text(keys: &mut Keys<'_>, name: &'static str) -> Option<String> {
    keys.value(name).and_then(|at| at.text_that_is_not_empty().map(str::to_owned))
}
