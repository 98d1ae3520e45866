//! Whether a request in JSON follows the mapping: rules 45, 46, 48, 49 and 50.

use serde_json::Value;

use crate::rule::Verdict;
use crate::server::Attempt;
use crate::wire::grpc::unbase64;

/// What is wrong with a field, if anything is.
pub(super) type Rule = fn(key: &str, value: &Value) -> Option<&'static str>;

/// By number, with a name.
pub(super) const RULES: &[(u8, &str, Rule)] = &[
    (45, "hex_ids", ids),
    (46, "enum_numbers", enums),
    (48, "lower_camel_case", keys),
    (49, "integers_as_text", integers),
    (50, "bytes_and_doubles", bytes),
];

/// The fields that hold 64 bits.
const WIDE: &[&str] = &[
    "startTimeUnixNano",
    "endTimeUnixNano",
    "timeUnixNano",
    "observedTimeUnixNano",
    "intValue",
    "asInt",
    "count",
    "zeroCount",
];

/// Applies a rule to every field of a request.
pub(super) fn judge(attempt: &Attempt, rule: Rule) -> Verdict {
    let body = match &attempt.body {
        Ok(body) => body,
        Err(error) => return Verdict::Fail(error.clone()),
    };
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => walk(&value, rule).map_or(Verdict::Pass, Verdict::Fail),
        Err(error) => Verdict::Fail(format!("no JSON: {error}")),
    }
}

fn walk(value: &Value, rule: Rule) -> Option<String> {
    match value {
        Value::Array(items) => items.iter().find_map(|item| walk(item, rule)),
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let wrong = rule(key, value).map(|wrong| format!("{key}: {value}: {wrong}"));
            wrong.or_else(|| walk(value, rule))
        }),
        _ => None,
    }
}

fn ids(key: &str, value: &Value) -> Option<&'static str> {
    let digits = match key {
        "traceId" => 32,
        "spanId" | "parentSpanId" => 16,
        _ => return None,
    };
    let hex = |text: &str| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    let good = value.as_str().is_some_and(|text| text.is_empty() || hex(text));
    (!good).then_some("no id in hex")
}

fn enums(key: &str, value: &Value) -> Option<&'static str> {
    let is_enum = ["kind", "code", "severityNumber", "aggregationTemporality"].contains(&key);
    (is_enum && !value.is_number()).then_some("no number")
}

fn keys(key: &str, _: &Value) -> Option<&'static str> {
    let good = !key.contains('_') && key.starts_with(|first: char| first.is_ascii_lowercase());
    (!good).then_some("no key in lowerCamelCase")
}

fn integers(key: &str, value: &Value) -> Option<&'static str> {
    let decimal = |value: &Value| {
        value.as_str().is_some_and(|text| text.parse::<i128>().is_ok()) || value.is_null()
    };
    let good = match (key, value) {
        ("bucketCounts", Value::Array(counts)) => counts.iter().all(decimal),
        _ if WIDE.contains(&key) => decimal(value),
        _ => true,
    };
    (!good).then_some("64 bits that are no decimal text")
}

fn bytes(key: &str, value: &Value) -> Option<&'static str> {
    let good = match (key, value) {
        ("bytesValue", Value::String(text)) => unbase64(text).is_some(),
        ("bytesValue", _) => false,
        ("doubleValue" | "asDouble" | "sum" | "min" | "max", Value::String(text)) => {
            ["NaN", "Infinity", "-Infinity"].contains(&text.as_str())
        }
        ("doubleValue" | "asDouble", other) => other.is_number(),
        _ => true,
    };
    (!good).then_some("not as proto3's JSON has it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: Rule, text: &str, good: bool) {
        let value = serde_json::from_str(text).unwrap();
        assert_eq!(walk(&value, rule).is_none(), good, "{text}");
    }

    #[test]
    fn each_rule_finds_its_breach_at_any_depth() {
        check(ids, r#"{"a":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":""}]}"#, true);
        check(ids, r#"{"a":[{"traceId":"W47/95gDgQPSabYzgT/GDA=="}]}"#, false);
        check(enums, r#"{"kind":2}"#, true);
        check(enums, r#"{"a":{"kind":"SPAN_KIND_SERVER"}}"#, false);
        check(keys, r#"{"resourceSpans":[]}"#, true);
        check(keys, r#"{"resource_spans":[]}"#, false);
        check(integers, r#"{"intValue":"-1","bucketCounts":["1"],"count":"2"}"#, true);
        check(integers, r#"{"intValue":-1}"#, false);
        check(integers, r#"{"bucketCounts":[1]}"#, false);
        check(bytes, r#"{"bytesValue":"AP+A","doubleValue":"Infinity","asDouble":1.5}"#, true);
        check(bytes, r#"{"bytesValue":[0,255]}"#, false);
        check(bytes, r#"{"doubleValue":"inf"}"#, false);
        check(bytes, r#"{"doubleValue":null}"#, false);
    }
}
