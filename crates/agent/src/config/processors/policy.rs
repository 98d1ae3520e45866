//! One of `processors.tail_sampling.policies`.

mod blocks;
mod composed;

use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};
use super::super::report::Place;

pub(super) use blocks::{rate, span_count};
pub(crate) use composed::Composite;
#[cfg(test)]
pub(crate) use composed::Part;

/// A reason to keep a trace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    /// What metrics and logs call it. Below another policy the name of its type, if it is not
    /// written.
    pub(crate) name: String,
    /// Which traces it keeps.
    pub(crate) rule: Rule,
    /// Where it is written.
    pub(crate) place: Place,
}

/// Which traces a policy keeps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rule {
    /// `always_sample`: all.
    AlwaysSample,
    /// `and`: those that all of these keep. At least one.
    And(Vec<Policy>),
    /// `boolean_attribute`: those with an attribute of this value.
    BooleanAttribute {
        /// `key`. Has to be written.
        key: String,
        /// `value`. Default false.
        value: bool,
        /// `invert_match`: the others. Default false.
        is_inverted: bool,
    },
    /// `bytes_limiting`: so many bytes a second.
    BytesLimiting(Rate),
    /// `composite`: what parts keep, each within its share.
    Composite(Composite),
    /// `drop`: none that all of these keep, whatever others say. At least one.
    Drop(Vec<Policy>),
    /// `latency`: those that take longer than `threshold`, and not longer than `upper` if there is
    /// one, from their earliest start to their latest end.
    Latency {
        /// `threshold_ms`. Default 0.
        threshold: Duration,
        /// `upper_threshold_ms`. Default `None` (0 in the file). More than `threshold`.
        upper: Option<Duration>,
    },
    /// `not`: those that it does not keep.
    Not(Box<Policy>),
    /// `numeric_attribute`: those with an attribute between these. One of them is there.
    NumericAttribute {
        /// `key`. Has to be written.
        key: String,
        /// `min_value`. `None` is 0 in the file.
        min: Option<i64>,
        /// `max_value`. `None` is 0 in the file.
        max: Option<i64>,
        /// `invert_match`: the others. Default false.
        is_inverted: bool,
    },
    /// `ottl_condition`: those of which any condition is true. There is at least one.
    OttlCondition {
        /// `error_mode`. Default silent, which is what the Collector does without one.
        error_mode: ErrorMode,
        /// `span`: about spans.
        spans: Vec<String>,
        /// `spanevent`: about their events.
        events: Vec<String>,
    },
    /// `probabilistic`: a share, by trace id.
    Probabilistic {
        /// `sampling_percentage`, from 0 to 100. Has to be written.
        percentage: f64,
        /// `hash_salt`: with one, which traces are kept depends on it too. Default empty.
        hash_salt: String,
    },
    /// `rate_limiting`: so many spans a second.
    RateLimiting(Rate),
    /// `span_count`: those of so many spans.
    SpanCount {
        /// `min_spans`. Default 0.
        min: u64,
        /// `max_spans`. Default `None` (0 in the file). Not less than `min`.
        max: Option<u64>,
    },
    /// `status_code`: those with a span of any of these. At least one.
    StatusCode(Vec<StatusCode>),
    /// `string_attribute`: those with an attribute that is one of these texts.
    StringAttribute {
        /// `key`. Has to be written.
        key: String,
        /// `values`. At least one.
        values: Vec<String>,
        /// `enabled_regex_matching`: they are regular expressions. Default false.
        is_regex: bool,
        /// `invert_match`: the others. Default false.
        is_inverted: bool,
    },
    /// `trace_flags`: those with a span that has the sampled flag.
    TraceFlags,
    /// `trace_state`: those with an entry of this key and one of these values in a trace state.
    TraceState {
        /// `key`. Has to be written.
        key: String,
        /// `values`. At least one.
        values: Vec<String>,
    },
}

/// How much passes in a second.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Rate {
    /// Has to be written.
    pub(crate) per_second: u64,
    /// `burst_capacity`: how much at once. Default twice as much as in a second (0 in the file).
    pub(crate) burst: u64,
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

/// What becomes of a condition that cannot be evaluated.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum ErrorMode {
    /// `propagate`: the policy has no vote.
    Propagate,
    /// `ignore`: it is false, and counted.
    Ignore,
    /// `silent`: it is false.
    #[default]
    Silent,
}

/// Where a policy stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    /// In `policies`.
    Top,
    /// Part of another one.
    Below,
}

type ReadRule = fn(&mut Keys<'_>) -> Rule;

/// A type, and what reads its block.
#[derive(Clone, Copy)]
struct Type {
    name: &'static str,
    read: ReadRule,
    /// There is nothing to say about it.
    is_plain: bool,
    /// It makes no sense as part of another one, and the Collector does not have it there.
    is_top_only: bool,
}

const fn of(name: &'static str, read: ReadRule) -> Type {
    Type { name, read, is_plain: false, is_top_only: false }
}

const TYPES: [Type; 17] = [
    Type { is_plain: true, ..of("always_sample", |_| Rule::AlwaysSample) },
    of("and", |keys| Rule::And(composed::parts(keys, "and_sub_policy"))),
    of("boolean_attribute", blocks::boolean_attribute),
    of("bytes_limiting", blocks::bytes_limiting),
    Type { is_top_only: true, ..of("composite", composed::composite) },
    Type {
        is_top_only: true,
        ..of("drop", |keys| Rule::Drop(composed::parts(keys, "drop_sub_policy")))
    },
    of("latency", blocks::latency),
    of("not", composed::not),
    of("numeric_attribute", blocks::numeric_attribute),
    of("ottl_condition", blocks::ottl_condition),
    of("probabilistic", blocks::probabilistic),
    of("rate_limiting", blocks::rate_limiting),
    of("span_count", span_count),
    of("status_code", blocks::status_code),
    of("string_attribute", blocks::string_attribute),
    Type { is_plain: true, ..of("trace_flags", |_| Rule::TraceFlags) },
    of("trace_state", blocks::trace_state),
];

/// Reads a policy: `name`, `type`, and the block that has the type's name.
pub(super) fn read(at: &At<'_>) -> Policy {
    read_at(at, Level::Top)
}

fn read_at(at: &At<'_>, level: Level) -> Policy {
    at.section(later::NONE, |keys| {
        let name = match level {
            Level::Top => keys.require("name"),
            Level::Below => keys.value("name"),
        };
        let name = name.and_then(|at| at.text_that_is_not_empty());
        let known = TYPES.iter().filter(|kind| level == Level::Top || !kind.is_top_only);
        let known: Vec<_> = known.map(|kind| (kind.name, *kind)).collect();
        let kind = keys.require("type").and_then(|at| at.one_of(&known, later::NONE));
        let rule = match kind {
            None => {
                // Which block belongs here is not known, so none is wrong.
                keys.forgive();
                Rule::AlwaysSample
            }
            Some(kind) => {
                refuse_other_blocks(keys, kind.name);
                let block =
                    if kind.is_plain { keys.find(kind.name) } else { keys.require(kind.name) };
                match block {
                    Some(block) => block.section(later::NONE, kind.read),
                    // It was said that it is missing, or is not needed.
                    None => (kind.read)(&mut keys.nothing()),
                }
            }
        };
        let default = kind.map(|kind| kind.name).filter(|_| level == Level::Below);
        let name = name.or(default).unwrap_or_default().to_owned();
        Policy { name, rule, place: at.place() }
    })
}

/// A block of another type would do nothing, which its author does not expect.
fn refuse_other_blocks(keys: &mut Keys<'_>, kind: &str) {
    for other in TYPES {
        if other.name != kind
            && let Some(block) = keys.find(other.name)
        {
            let message = format!("{} has no effect on a policy of type `{kind}`", block.path());
            block.report.error(block.name_at(), message);
        }
    }
}
