//! The blocks of policies that look at a trace themselves.

use std::time::Duration;

use super::super::super::later;
use super::super::super::read::{At, Keys};
use super::{ErrorMode, Rate, Rule, StatusCode};

pub(super) fn boolean_attribute(keys: &mut Keys<'_>) -> Rule {
    Rule::BooleanAttribute {
        key: key(keys),
        value: keys.truth("value"),
        is_inverted: keys.truth("invert_match"),
    }
}

pub(super) fn bytes_limiting(keys: &mut Keys<'_>) -> Rule {
    let read = |at: &At<'_>| at.bytes(0..=MAX);
    Rule::BytesLimiting(rate(keys, "bytes_per_second", read))
}

pub(super) fn latency(keys: &mut Keys<'_>) -> Rule {
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

pub(super) fn numeric_attribute(keys: &mut Keys<'_>) -> Rule {
    let key = key(keys);
    let mut bound = |name| {
        let at = keys.value(name)?;
        let bound = at.integer()?;
        if bound == 0 {
            let path = at.path();
            let message = format!(
                "{path} is 0, which is no bound, as in the Collector; an `ottl_condition` can have one of 0"
            );
            at.report.warn(at.value_at(), message);
        }
        Some(bound)
    };
    let (written_min, written_max) = (bound("min_value"), bound("max_value"));
    let [min, max] = [written_min, written_max].map(|bound| bound.filter(|&bound| bound != 0));
    let written = [("min_value", written_min), ("max_value", written_max)];
    // Where one was refused there is an error already.
    let is_read =
        !keys.is_refused() && written.iter().all(|(name, bound)| bound.is_some() == keys.has(name));
    let at = keys.at();
    match (min, max) {
        (None, None) if is_read => {
            let path = at.path();
            let message =
                format!("{path} has no bound; `min_value` or `max_value` has to be other than 0");
            at.report.error(at.name_at(), message);
        }
        (Some(min), Some(max)) if max < min => {
            let message = format!("{}: no number is at least {min} and at most {max}", at.path());
            at.report.error(at.name_at(), message);
        }
        _ => {}
    }
    Rule::NumericAttribute { key, min, max, is_inverted: keys.truth("invert_match") }
}

pub(super) fn ottl_condition(keys: &mut Keys<'_>) -> Rule {
    const MODES: [(&str, ErrorMode); 3] = [
        ("ignore", ErrorMode::Ignore),
        ("propagate", ErrorMode::Propagate),
        ("silent", ErrorMode::Silent),
    ];
    let mode = keys.value("error_mode").and_then(|at| at.one_of(&MODES, later::NONE));
    let [spans, events] = ["span", "spanevent"].map(|name| keys.value(name));
    let is_empty =
        |at: &Option<At<'_>>| at.as_ref().is_none_or(|at| at.is_list() && at.items().is_empty());
    if !keys.is_refused() && is_empty(&spans) && is_empty(&events) {
        keys.at().refuse_empty("condition in `span` or `spanevent`");
    }
    let texts = |at: Option<At<'_>>| at.map(|at| at.texts()).unwrap_or_default();
    Rule::OttlCondition {
        error_mode: mode.unwrap_or_default(),
        spans: texts(spans),
        events: texts(events),
    }
}

pub(super) fn probabilistic(keys: &mut Keys<'_>) -> Rule {
    let percentage = keys.require("sampling_percentage").and_then(|at| at.number(0.0..=100.0));
    let hash_salt = keys.value("hash_salt").and_then(|at| at.text()).unwrap_or_default();
    Rule::Probabilistic {
        percentage: percentage.unwrap_or_default(),
        hash_salt: hash_salt.to_owned(),
    }
}

pub(super) fn rate_limiting(keys: &mut Keys<'_>) -> Rule {
    let read = |at: &At<'_>| at.whole(0..=MAX);
    Rule::RateLimiting(rate(keys, "spans_per_second", read))
}

pub(in super::super) fn span_count(keys: &mut Keys<'_>) -> Rule {
    let count = |at: &At<'_>| at.whole(0..=i32::MAX as u64);
    let min = keys.value("min_spans").and_then(|at| count(&at)).unwrap_or(0);
    let at = keys.value("max_spans");
    let max = at.as_ref().and_then(count).filter(|&max| max != 0);
    if let (Some(at), Some(max)) = (at, max)
        && max < min
    {
        at.refuse("be 0 or at least min_spans", None);
    }
    Rule::SpanCount { min, max }
}

pub(super) fn status_code(keys: &mut Keys<'_>) -> Rule {
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

pub(super) fn string_attribute(keys: &mut Keys<'_>) -> Rule {
    let (key, values) = (key(keys), values(keys));
    // Accepted, and of no effect: an expression is matched faster than a cache is asked.
    keys.value("cache_max_size").and_then(|at| at.count(0));
    Rule::StringAttribute {
        key,
        values,
        is_regex: keys.truth("enabled_regex_matching"),
        is_inverted: keys.truth("invert_match"),
    }
}

pub(super) fn trace_state(keys: &mut Keys<'_>) -> Rule {
    Rule::TraceState { key: key(keys), values: values(keys) }
}

/// The Collector's numbers have 63 bits.
const MAX: u64 = i64::MAX as u64;

/// `key`: the attribute's name.
fn key(keys: &mut Keys<'_>) -> String {
    let key = keys.require("key").and_then(|at| at.text_that_is_not_empty());
    key.unwrap_or_default().to_owned()
}

/// `values`: at least one.
fn values(keys: &mut Keys<'_>) -> Vec<String> {
    let Some(at) = keys.require("values") else { return Vec::new() };
    let values = at.texts();
    if at.is_list() && at.items().is_empty() {
        at.refuse_empty("value");
    }
    values
}

/// So much a second, and `burst_capacity`.
pub(in super::super) fn rate(
    keys: &mut Keys<'_>,
    name: &'static str,
    read: impl Fn(&At<'_>) -> Option<u64>,
) -> Rate {
    let per_second = keys.require(name).and_then(|at| read(&at)).unwrap_or(0);
    let burst = keys.value("burst_capacity").and_then(|at| read(&at)).filter(|&burst| burst != 0);
    Rate { per_second, burst: burst.unwrap_or_else(|| per_second.saturating_mul(2).min(MAX)) }
}
