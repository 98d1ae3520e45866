//! A share of all traces, by chance.

use std::sync::Arc;

use crate::policy::region::Region;
use crate::policy::{Composite, Policy, Ratio, Rule};
use crate::tail::ConfigError;
use crate::{Randomness, Threshold, Trace};

/// A [`Ratio`] at work.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    /// `None` keeps nothing.
    threshold: Option<Threshold>,
    salt: Salt,
    /// Whether the set's thresholds are about its randomness: see [`first_salt`].
    counts: bool,
}

/// What makes randomness of a trace id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Salt {
    text: Arc<str>,
    /// The hash up to the end of the salt.
    hash: u64,
}

// === impl Chance ===

impl Chance {
    /// `path` names the policy where there is a problem.
    pub(crate) fn new(ratio: &Ratio, counted: &Salt, path: &str) -> Result<Self, ConfigError> {
        let Ratio { probability, salt } = ratio;
        if !(0.0..=1.0).contains(probability) {
            let problem = format!("{probability} is not within 0 and 1");
            return Err(ConfigError::Rule { rule: path.into(), problem });
        }
        let salt = Salt::new(salt);
        // A probability below 2^-56 has no threshold, and keeps nothing.
        let threshold = Threshold::from_probability(*probability).ok();
        Ok(Self { threshold, counts: salt.text == counted.text, salt })
    }

    pub(crate) fn keeps(&self, trace: &Trace<'_>) -> bool {
        self.threshold.is_some_and(|threshold| threshold.keeps(self.salt.randomness(trace)))
    }

    pub(crate) fn region(&self, trace: &Trace<'_>) -> Region {
        let is_certain = matches!(self.threshold, None | Some(Threshold::ALL));
        if is_certain || self.counts || trace.summary.has_odds {
            Region::from(self.threshold)
        } else {
            Region::Unknown
        }
    }

    /// Whether what it keeps does not depend on chance at all.
    pub(crate) fn is_certain(&self) -> bool {
        matches!(self.threshold, None | Some(Threshold::ALL))
    }

    pub(crate) fn why(&self, trace: &Trace<'_>) -> String {
        let randomness = self.salt.randomness(trace);
        let whose = match self.salt.is_own(trace) {
            true => "",
            false => "salted ",
        };
        let Some(threshold) = self.threshold else { return "nothing is kept (0 %)".into() };
        let is = if threshold.keeps(randomness) { "not below" } else { "below" };
        let percent = threshold.probability() * 100.0;
        format!(
            "{whose}randomness {randomness} is {is} the threshold {threshold} ({} %)",
            round(percent)
        )
    }
}

/// Four significant digits: as many as a threshold has.
fn round(number: f64) -> f64 {
    format!("{number:.3e}").parse().unwrap_or(number)
}

// === impl Salt ===

impl Salt {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.into(), hash: fnv(0xcbf2_9ce4_8422_2325, text.as_bytes()) }
    }

    /// Whether it leaves a trace's own randomness as it is. Where a trace says how it was sampled
    /// before, whoever did that goes by its own randomness, and so do all after.
    pub(crate) fn is_own(&self, trace: &Trace<'_>) -> bool {
        self.text.is_empty() || trace.summary.has_odds
    }

    /// What chance decides about a trace with.
    pub(crate) fn randomness(&self, trace: &Trace<'_>) -> Randomness {
        if self.is_own(trace) {
            return trace.randomness();
        }
        self.of_id(&trace.id)
    }

    /// What it makes of an id; `None` where it leaves randomness as it is.
    pub(crate) fn salted(&self, id: &[u8; 16]) -> Option<Randomness> {
        (!self.text.is_empty()).then(|| self.of_id(id))
    }

    fn of_id(&self, id: &[u8; 16]) -> Randomness {
        // FNV-1a, then mixed: its high bits alone are poor for inputs that differ at the end.
        let hash = fnv(self.hash, id);
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        Randomness::from_hash(hash ^ (hash >> 32))
    }
}

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The salt that a set's thresholds go by, that of its first policy of chance: a trace can carry one
/// randomness only, so how likely another kind of chance was to keep it cannot be said. Of a
/// [`Composite`] it cannot in any case.
pub(crate) fn first_salt<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Salt {
    rules.into_iter().find_map(|rule| salt_of(&rule.policy)).map(Salt::new).unwrap_or_default()
}

fn salt_of(policy: &Policy) -> Option<&str> {
    match policy {
        Policy::Ratio(Ratio { probability, salt }) => {
            let is_chance = *probability > 0.0 && *probability < 1.0;
            is_chance.then_some(&**salt)
        }
        Policy::And(rules) | Policy::Drop(rules) => {
            rules.iter().find_map(|rule| salt_of(&rule.policy))
        }
        Policy::Not(rule) => salt_of(&rule.policy),
        Policy::Composite(Composite { .. }) => None,
        _ => None,
    }
}
