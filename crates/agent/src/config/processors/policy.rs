//! One of `processors.tail_sampling.policies`.

use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};

/// A reason to keep a trace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    /// What metrics and logs call it.
    pub(crate) name: String,
    /// Which traces it keeps.
    pub(crate) rule: Rule,
}

/// Which traces a policy keeps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rule {
    /// `always_sample`: all.
    AlwaysSample,
    /// `latency`: those that take longer than `threshold`, and not longer than `upper` if there is
    /// one, from their earliest start to their latest end.
    Latency {
        /// `threshold_ms`. Default 0.
        threshold: Duration,
        /// `upper_threshold_ms`. Default `None` (0 in the file). More than `threshold`.
        upper: Option<Duration>,
    },
    /// `probabilistic`: a share, by trace id.
    Probabilistic {
        /// `sampling_percentage`, from 0 to 100. Has to be written.
        percentage: f64,
        /// `hash_salt`: gateways with the same salt keep the same traces. Default empty, which
        /// means the sampler's own.
        hash_salt: String,
    },
    /// `status_code`: those with a span of any of these. At least one.
    StatusCode(Vec<StatusCode>),
}

/// A span's status.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum StatusCode {
    /// `UNSET`
    Unset,
    /// `OK`
    Ok,
    /// `ERROR`
    Error,
}

const ALWAYS_SAMPLE: &str = "always_sample";
const LATENCY: &str = "latency";
const PROBABILISTIC: &str = "probabilistic";
const STATUS_CODE: &str = "status_code";

type ReadRule = fn(&mut Keys<'_>) -> Rule;

/// The types, and what reads the block of each.
const TYPES: [(&str, ReadRule); 4] = [
    (ALWAYS_SAMPLE, |_| Rule::AlwaysSample),
    (LATENCY, read_latency),
    (PROBABILISTIC, read_probabilistic),
    (STATUS_CODE, read_status_code),
];

/// Reads a policy: `name`, `type`, and the block that has the type's name.
pub(super) fn read(at: &At<'_>) -> Policy {
    at.section(later::POLICIES, |keys| {
        let name = keys.require("name").and_then(|at| at.text_that_is_not_empty());
        let kind = keys.require("type").and_then(|at| {
            at.one_of(&TYPES.map(|(name, read)| (name, (name, read))), later::POLICIES)
        });
        let rule = match kind {
            None => {
                // Which block belongs here is not known, so none is wrong.
                keys.forgive();
                Rule::AlwaysSample
            }
            Some((kind, read)) => {
                refuse_other_blocks(keys, kind);
                let block =
                    if kind == ALWAYS_SAMPLE { keys.value(kind) } else { keys.require(kind) };
                block.map_or(Rule::AlwaysSample, |block| block.section(later::NONE, read))
            }
        };
        Policy { name: name.unwrap_or_default().to_owned(), rule }
    })
}

/// A block of another type would do nothing, which its author does not expect.
fn refuse_other_blocks(keys: &mut Keys<'_>, kind: &str) {
    for (other, _) in TYPES {
        if other != kind
            && let Some(block) = keys.find(other)
        {
            let message = format!("{} has no effect on a policy of type `{kind}`", block.path());
            block.report.error(block.name_at(), message);
        }
    }
}

fn read_latency(keys: &mut Keys<'_>) -> Rule {
    let milliseconds = |at: &At<'_>| at.whole(0..=u64::MAX).map(Duration::from_millis);
    let threshold = keys.value("threshold_ms").and_then(|at| milliseconds(&at)).unwrap_or_default();
    let at = keys.value("upper_threshold_ms");
    let upper = at.as_ref().and_then(milliseconds).filter(|upper| !upper.is_zero());
    if let (Some(at), Some(upper)) = (at, upper)
        && upper <= threshold
    {
        at.refuse("be 0 or more than threshold_ms", None);
    }
    Rule::Latency { threshold, upper }
}

fn read_probabilistic(keys: &mut Keys<'_>) -> Rule {
    let percentage = keys.require("sampling_percentage").and_then(|at| at.number(0.0..=100.0));
    let hash_salt = keys.value("hash_salt").and_then(|at| at.text()).unwrap_or_default();
    Rule::Probabilistic {
        percentage: percentage.unwrap_or_default(),
        hash_salt: hash_salt.to_owned(),
    }
}

fn read_status_code(keys: &mut Keys<'_>) -> Rule {
    const CODES: [(&str, StatusCode); 3] =
        [("ERROR", StatusCode::Error), ("OK", StatusCode::Ok), ("UNSET", StatusCode::Unset)];
    let Some(at) = keys.require("status_codes") else { return Rule::StatusCode(Vec::new()) };
    let items = at.items();
    if items.is_empty() && at.is_list() {
        at.refuse_empty("status code");
    }
    let mut codes: Vec<_> =
        items.iter().filter_map(|item| item.one_of(&CODES, later::NONE)).collect();
    codes.sort_unstable();
    codes.dedup();
    Rule::StatusCode(codes)
}
