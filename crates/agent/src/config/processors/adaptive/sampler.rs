//! The `sampler` of a rule.

use std::time::Duration;

use super::super::super::later;
use super::super::super::read::{At, Keys};
use super::super::policy::Rate;
use super::super::policy::rate;

/// What is kept of the traces that a rule matches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RuleSampler {
    /// `always_sample`: all.
    Always,
    /// `drop`: none. The Collector has no such type.
    Drop,
    /// `probabilistic`: a share.
    Probabilistic {
        /// `sampling_percentage`, over 0, at most 100. Has to be written.
        percentage: f64,
    },
    /// `adaptive_percentage`: a share, of rare kinds more than of frequent ones.
    AdaptivePercentage {
        /// `goal_percentage`, over 0, at most 100. Has to be written.
        goal: f64,
        unit: Unit,
        keyed: Keyed,
        /// `adjustment_interval`. Default 15 s.
        interval: Duration,
        /// `weight`. Default 0.5 (0 in the file), less than 1.
        weight: f64,
    },
    /// `adaptive_throughput`: so much a second, of rare kinds more than of frequent ones.
    AdaptiveThroughput {
        /// `goal_throughput`. Has to be written.
        goal: u64,
        unit: Unit,
        keyed: Keyed,
        /// `initial_sampling_percentage`: what is kept until rates are known. Default 10.
        initial: f64,
        algorithm: Algorithm,
    },
    /// `per_key_throughput`: so much a second of each kind. The Collector has no such type.
    PerKeyThroughput {
        /// `goal_throughput`. Has to be written.
        goal: u64,
        unit: Unit,
        keyed: Keyed,
        /// `adjustment_interval`. Default 10 s.
        interval: Duration,
    },
    /// `rate_limiting`: so many spans a second. The Collector has no such type.
    RateLimiting(Rate),
}

/// `goal_unit`: what a goal counts. The Collector has no such key: its goals are in spans.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Unit {
    /// `spans`, the default.
    #[default]
    Spans,
    /// `traces`
    Traces,
}

/// What tells kinds of traces apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Keyed {
    /// `fingerprint_attributes`, as `scope.name`. At least one.
    pub(crate) attributes: Vec<String>,
    /// `use_trace_length`: whether the number of spans does, too. Default false. A key of Refinery's.
    pub(crate) uses_trace_length: bool,
    /// `max_keys`. Default 500. At least 1; 0 in the file is the most there can be.
    pub(crate) max_keys: usize,
}

/// How rates follow what comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Algorithm {
    /// `ema`
    Ema {
        /// `adjustment_interval`. Default 15 s.
        interval: Duration,
        /// `weight`. Default 0.5 (0 in the file), less than 1.
        weight: f64,
    },
    /// `windowed`
    Windowed {
        /// `update_frequency`. Default 1 s (0 in the file).
        update: Duration,
        /// `lookback_frequency`. Default 30 times that (0 in the file). Not less than that.
        lookback: Duration,
    },
}

const UNITS: [(&str, Unit); 2] = [("spans", Unit::Spans), ("traces", Unit::Traces)];
const SCOPES: [&str; 5] = ["any", "resource", "root", "scope", "span"];
const DEFAULT_MAX_KEYS: usize = 500;
/// The most that the sampler can tell apart.
const MOST_KEYS: usize = 100_000;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
const DEFAULT_KEY_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_UPDATE: Duration = Duration::from_secs(1);
const DEFAULT_WEIGHT: f64 = 0.5;
const DEFAULT_INITIAL: f64 = 10.0;

type Read = fn(&mut Keys<'_>) -> RuleSampler;

const TYPES: [(&str, Read); 7] = [
    ("adaptive_percentage", adaptive_percentage),
    ("adaptive_throughput", adaptive_throughput),
    ("always_sample", |_| RuleSampler::Always),
    ("drop", |_| RuleSampler::Drop),
    ("per_key_throughput", per_key_throughput),
    ("probabilistic", |keys| RuleSampler::Probabilistic {
        percentage: keys
            .require("sampling_percentage")
            .and_then(|at| percentage(&at))
            .unwrap_or_default(),
    }),
    ("rate_limiting", |keys| {
        RuleSampler::RateLimiting(rate(keys, "spans_per_second", |at| at.whole(0..=MAX_RATE)))
    }),
];

/// The Collector's numbers have 63 bits.
const MAX_RATE: u64 = i64::MAX as u64;

/// Reads the block. A key that its type does not use is unknown.
pub(super) fn read(at: &At<'_>) -> RuleSampler {
    at.section(later::RULE_SAMPLER, |keys| {
        let read = keys.require("type").and_then(|at| at.one_of(&TYPES, later::NONE));
        let Some(read) = read else {
            keys.forgive();
            return RuleSampler::Always;
        };
        read(keys)
    })
}

fn adaptive_percentage(keys: &mut Keys<'_>) -> RuleSampler {
    let algorithm = keys.value("algorithm");
    algorithm.and_then(|at| at.one_of(&[("ema", ())], later::NONE));
    RuleSampler::AdaptivePercentage {
        goal: keys.require("goal_percentage").and_then(|at| percentage(&at)).unwrap_or_default(),
        unit: unit(keys),
        keyed: keyed(keys),
        interval: interval(keys, "adjustment_interval", DEFAULT_INTERVAL),
        weight: weight(keys),
    }
}

fn adaptive_throughput(keys: &mut Keys<'_>) -> RuleSampler {
    let algorithm = keys.value("algorithm");
    let algorithms = [("ema", false), ("windowed", true)];
    let is_windowed = algorithm.and_then(|at| at.one_of(&algorithms, later::NONE));
    let algorithm = if is_windowed.unwrap_or(false) {
        let update = interval(keys, "update_frequency", DEFAULT_UPDATE);
        let at = keys.value("lookback_frequency");
        let lookback = at.as_ref().and_then(At::duration).filter(|lookback| !lookback.is_zero());
        if let (Some(at), Some(lookback)) = (at, lookback)
            && lookback < update
        {
            at.refuse("not be less than update_frequency", None);
        }
        Algorithm::Windowed {
            update,
            lookback: lookback.unwrap_or_else(|| update.saturating_mul(30)),
        }
    } else {
        Algorithm::Ema {
            interval: interval(keys, "adjustment_interval", DEFAULT_INTERVAL),
            weight: weight(keys),
        }
    };
    RuleSampler::AdaptiveThroughput {
        goal: goal(keys),
        unit: unit(keys),
        keyed: keyed(keys),
        initial: keys
            .value("initial_sampling_percentage")
            .and_then(|at| percentage(&at))
            .unwrap_or(DEFAULT_INITIAL),
        algorithm,
    }
}

fn per_key_throughput(keys: &mut Keys<'_>) -> RuleSampler {
    RuleSampler::PerKeyThroughput {
        goal: goal(keys),
        unit: unit(keys),
        keyed: keyed(keys),
        interval: interval(keys, "adjustment_interval", DEFAULT_KEY_INTERVAL),
    }
}

fn goal(keys: &mut Keys<'_>) -> u64 {
    keys.require("goal_throughput").and_then(|at| at.whole(1..=u32::MAX.into())).unwrap_or(1)
}

fn unit(keys: &mut Keys<'_>) -> Unit {
    let unit = keys.value("goal_unit");
    unit.and_then(|at| at.one_of(&UNITS, later::NONE)).unwrap_or_default()
}

/// A percentage over 0.
pub(super) fn percentage(at: &At<'_>) -> Option<f64> {
    let percentage = at.number(0.0..=100.0)?;
    if percentage == 0.0 {
        at.refuse("be more than 0", None);
    }
    Some(percentage)
}

/// An interval, of which 0 is the default.
fn interval(keys: &mut Keys<'_>, name: &'static str, default: Duration) -> Duration {
    let interval = keys.value(name).and_then(|at| at.duration());
    interval.filter(|interval| !interval.is_zero()).unwrap_or(default)
}

fn weight(keys: &mut Keys<'_>) -> f64 {
    let weight = keys.value("weight").and_then(|at| at.number(0.0..=0.999));
    weight.filter(|&weight| weight > 0.0).unwrap_or(DEFAULT_WEIGHT)
}

fn keyed(keys: &mut Keys<'_>) -> Keyed {
    let max_keys = keys.value("max_keys").and_then(|at| at.count(0));
    // No limit, in the Collector.
    let max_keys = max_keys.map(|count| if count == 0 { MOST_KEYS } else { count });
    let attributes = match keys.require("fingerprint_attributes") {
        Some(at) => {
            let items = at.items();
            if items.is_empty() && at.is_list() {
                at.refuse_empty("attribute");
            }
            items.iter().filter_map(attribute).collect()
        }
        None => Vec::new(),
    };
    Keyed {
        attributes,
        uses_trace_length: keys.truth("use_trace_length"),
        max_keys: max_keys.unwrap_or(DEFAULT_MAX_KEYS),
    }
}

/// Reads `scope.attributes["name"]`, or `scope.name` for short.
fn attribute(at: &At<'_>) -> Option<String> {
    let text = at.text_that_is_not_empty()?;
    let read = || {
        let (scope, rest) = text.split_once('.')?;
        let quoted = rest.strip_prefix("attributes[\"").and_then(|rest| rest.strip_suffix("\"]"));
        let name = quoted.unwrap_or(rest);
        let is_one = SCOPES.contains(&scope) && !name.is_empty() && !name.contains('"');
        is_one.then(|| format!("{scope}.{name}"))
    };
    let read = read();
    if read.is_none() {
        let hint = format!("known scopes: {}", SCOPES.join(", "));
        at.refuse("be `scope.attributes[\"name\"]`", Some(hint));
    }
    read
}

#[cfg(test)]
mod tests {
    use super::super::super::super::node::{Node, Value};
    use super::super::super::super::report::{Position, Report};
    use super::*;

    #[test]
    fn an_attribute_is_named_with_its_scope() {
        let read = |text: &str| {
            let report = Report::new("f");
            let node = Node::new(Value::Text(text.to_owned()), Position { line: 1, column: 1 });
            let read = attribute(&At::top(&node, &report));
            assert_eq!(read.is_some(), report.finish().is_ok(), "{text}");
            read
        };
        for (text, name) in [
            ("resource.attributes[\"service.name\"]", "resource.service.name"),
            ("span.http.route", "span.http.route"),
            ("root.attributes", "root.attributes"),
            ("any.attributes[\"a\"]", "any.a"),
        ] {
            assert_eq!(read(text).as_deref(), Some(name));
        }
        for text in
            ["service", "spans.a", "span.", "span.attributes[\"\"]", "span.attributes[\"a\"", "."]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
