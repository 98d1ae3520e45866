//! Rules 45-52 and 57: the JSON mapping, and ids of a wrong length.

use super::http::within_a_span;
use super::{Check, Encoding, Needs, Receiver, checks};
use crate::rule::{Level, Verdict};
use crate::signal::Signal;
use crate::telemetry::{
    JSON_SPAN, deep, deep_json, json_attribute, json_histogram, json_point, json_span,
};

pub(super) const CHECKS: &[Check] = checks! {
    Must Http "45.hex_in_upper_case" hex_upper;
    Must Http "45.base64_ids_refused" base64_ids;
    Must Http "46.enum_numbers_taken" enum_numbers;
    Must Http "46.enum_names_refused" enum_names;
    Must Http "47.unknown_fields_at_any_depth" unknown_fields;
    Must Http "48.snake_case_is_no_key" snake_case;
    Must Http "49.strings_and_numbers_taken" integers;
    Must Http "49.other_text_refused" no_integers;
    Must Http "50.base64_bytes" bytes;
    Must Http "50.doubles" doubles;
    Should Http "50.other_doubles_refused" no_doubles;
    Must Http "51.null_is_absent" nulls;
    Must Http "51.empty_arrays" empty_arrays;
    Must Http "52.json_short_ids" wrong_ids;
    Should Http "52.protobuf_short_ids" wrong_ids_protobuf;
    Must Http "54.json_any_value" any_value;
    Must Http "57.json_deep_nesting" deep_nesting_json;
    Must Http "57.http_deep_nesting" deep_nesting;
};

/// Posts each of these as JSON and expects success.
async fn take(
    receiver: &Receiver,
    signal: Signal,
    texts: impl IntoIterator<Item = String>,
) -> Result<(), Verdict> {
    for text in texts {
        let answer = receiver.send(Encoding::Json.post(signal, text.clone())).await?;
        receiver.taken(&answer, signal, Encoding::Json).map_err(|fail| fail.of(&text))?;
    }
    Ok(())
}

/// Posts each of these as JSON and expects 400.
async fn refuse(
    receiver: &Receiver,
    signal: Signal,
    texts: impl IntoIterator<Item = String>,
) -> Result<(), Verdict> {
    for text in texts {
        let answer = receiver.send(Encoding::Json.post(signal, text.clone())).await?;
        if answer.status != 400 {
            return Err(Verdict::Fail(format!("{text}: 400 was due, not {}", answer.status)));
        }
    }
    Ok(())
}

fn ids(trace: &str, span: &str) -> String {
    json_span(&format!(r#""traceId":"{trace}","spanId":"{span}","name":"n""#))
}

/// What makes a good span one with an id of a wrong length. A later field with the same number
/// replaces the first one.
pub(super) const WRONG_IDS: &[(&str, &[u8])] = &[
    ("a trace id of 3 bytes", &[0x0a, 3, 1, 2, 3]),
    ("a trace id of 17 bytes", &[0x0a, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7]),
    ("a span id of 7 bytes", &[0x12, 7, 1, 2, 3, 4, 5, 6, 7]),
    ("a parent of 1 byte", &[0x22, 1, 1]),
    ("a link to a trace id of 2 bytes", &[0x6a, 4, 0x0a, 2, 1, 2]),
];

const TRACE: &str = "5b8efff798038103d269b633813fc60c";
const SPAN: &str = "eee19b7ec3c1b174";

async fn hex_upper(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let mixed = "5B8EFFF798038103d269b633813fc60c";
    let all = [ids(&TRACE.to_uppercase(), &SPAN.to_uppercase()), ids(mixed, SPAN)];
    take(receiver, Signal::Traces, all).await?;
    Ok(Verdict::Pass)
}

async fn base64_ids(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let all = [ids("W47/95gDgQPSabYzgT/GDA==", "7uGbfsPBsXQ=")];
    refuse(receiver, Signal::Traces, all).await?;
    Ok(Verdict::Pass)
}

async fn enum_numbers(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let all = (0..=5).map(|kind| {
        let status = kind % 3;
        json_span(&format!(
            r#""traceId":"{TRACE}","spanId":"{SPAN}","kind":{kind},"status":{{"code":{status}}}"#
        ))
    });
    take(receiver, Signal::Traces, all).await?;
    Ok(Verdict::Pass)
}

async fn enum_names(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let span = |rest: &str| json_span(&format!(r#""traceId":"{TRACE}","spanId":"{SPAN}",{rest}"#));
    let all =
        [span(r#""kind":"SPAN_KIND_SERVER""#), span(r#""status":{"code":"STATUS_CODE_ERROR"}"#)];
    refuse(receiver, Signal::Traces, all).await?;
    Ok(Verdict::Pass)
}

async fn unknown_fields(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let strange = r#""x":{"y":[1,"a",null,{"z":true}]}"#;
    let value = format!(r#"{{"stringValue":"v",{strange}}}"#);
    let all = [
        format!("{{{strange}}}"),
        format!(r#"{{"resourceSpans":[{{{strange},"resource":{{{strange}}}}}]}}"#),
        json_span(&format!("{JSON_SPAN},{strange}")),
        json_attribute(&value),
    ];
    take(receiver, Signal::Traces, all).await?;
    take(
        receiver,
        Signal::Metrics,
        [json_point(&format!(r#""asDouble":1.5,"timeUnixNano":"1","exemplars":[{{{strange}}}]"#))],
    )
    .await?;
    Ok(Verdict::Pass)
}

async fn snake_case(receiver: &Receiver) -> Result<Verdict, Verdict> {
    // As unknown keys they are ignored, whatever they hold; one who reads them is at a loss.
    let all = [
        r#"{"resource_spans":5}"#.to_owned(),
        json_span(&format!(r#"{JSON_SPAN},"trace_id":5,"dropped_links_count":"x""#)),
    ];
    take(receiver, Signal::Traces, all).await?;
    Ok(Verdict::Pass)
}

async fn integers(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let times = |start: &str| {
        json_span(&format!(
            r#""traceId":"{TRACE}","spanId":"{SPAN}","startTimeUnixNano":{start},"endTimeUnixNano":{start}"#
        ))
    };
    let all = [
        times(r#""1750000000000000000""#),
        times("1750000000000000000"),
        json_attribute(r#"{"intValue":"-9223372036854775808"}"#),
        json_attribute(r#"{"intValue":-9223372036854775808}"#),
    ];
    take(receiver, Signal::Traces, all).await?;
    let histogram = |count: &str, buckets: &str| {
        json_histogram(&format!(
            r#""timeUnixNano":"1","count":{count},"sum":3,"bucketCounts":{buckets},"explicitBounds":[1]"#
        ))
    };
    let all = [
        json_point(r#""timeUnixNano":"1","asInt":"9007199254740993""#),
        json_point(r#""timeUnixNano":1,"asInt":9007199254740993"#),
        histogram(r#""2""#, r#"["1","1"]"#),
        histogram("2", "[1,1]"),
    ];
    take(receiver, Signal::Metrics, all).await?;
    Ok(Verdict::Pass)
}

async fn no_integers(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let all = ["\"abc\"", "\"\"", "\"1.5\"", "true", "{}"].map(|value| {
        json_span(&format!(r#""traceId":"{TRACE}","spanId":"{SPAN}","startTimeUnixNano":{value}"#))
    });
    refuse(receiver, Signal::Traces, all).await?;
    Ok(Verdict::Pass)
}

async fn bytes(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let taken = [r#""AP+A""#, r#""""#, r#""AP8=""#];
    let value = |bytes: &str| json_attribute(&format!(r#"{{"bytesValue":{bytes}}}"#));
    take(receiver, Signal::Traces, taken.map(value)).await?;
    refuse(receiver, Signal::Traces, [r#""!!!!""#, "[0,255]"].map(value)).await?;
    Ok(Verdict::Pass)
}

async fn doubles(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let point = |value: &str| json_point(&format!(r#""timeUnixNano":"1","asDouble":{value}"#));
    let taken = ["1.5", "-1e-3", "3", "\"NaN\"", "\"Infinity\"", "\"-Infinity\"", "\"1.5\""];
    take(receiver, Signal::Metrics, taken.map(point)).await?;
    refuse(receiver, Signal::Metrics, ["\"x\"", "NaN"].map(point)).await?;
    Ok(Verdict::Pass)
}

async fn no_doubles(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let point = |value: &str| json_point(&format!(r#""timeUnixNano":"1","asDouble":{value}"#));
    refuse(receiver, Signal::Metrics, ["\"inf\"", "\"\"", "true"].map(point)).await?;
    Ok(Verdict::Pass)
}

async fn nulls(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let all = [
        r#"{"resourceSpans":null}"#.to_owned(),
        r#"{"resourceSpans":[{"resource":null,"scopeSpans":null,"schemaUrl":null}]}"#.to_owned(),
        json_span(&format!(
            r#"{JSON_SPAN},"traceState":null,"parentSpanId":null,"flags":null,"attributes":null,"droppedAttributesCount":null,"events":null,"links":null,"status":null"#
        )),
        json_attribute("null"),
        json_attribute(r#"{"stringValue":null}"#),
    ];
    take(receiver, Signal::Traces, all).await?;
    Ok(Verdict::Pass)
}

async fn empty_arrays(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let all = [
        r#"{"resourceSpans":[]}"#.to_owned(),
        r#"{"resourceSpans":[{"scopeSpans":[]}]}"#.to_owned(),
        json_span(&format!(r#"{JSON_SPAN},"attributes":[],"events":[],"links":[]"#)),
        json_attribute(r#"{"arrayValue":{"values":[]}}"#),
        json_attribute(r#"{"kvlistValue":{}}"#),
    ];
    take(receiver, Signal::Traces, all).await?;
    Ok(Verdict::Pass)
}

async fn wrong_ids(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let all = [
        ids(&TRACE[2..], SPAN),
        ids(TRACE, &SPAN[2..]),
        ids(&TRACE[1..], SPAN),
        ids(&format!("{TRACE}00"), SPAN),
        ids(&TRACE.replace('5', "g"), SPAN),
        json_span(&format!(r#"{JSON_SPAN},"parentSpanId":"00""#)),
        json_span(&format!(r#"{JSON_SPAN},"links":[{{"traceId":"00","spanId":"{SPAN}"}}]"#)),
    ];
    refuse(receiver, Signal::Traces, all).await?;
    Ok(Verdict::Pass)
}

async fn wrong_ids_protobuf(receiver: &Receiver) -> Result<Verdict, Verdict> {
    for (what, bytes) in WRONG_IDS {
        let body = within_a_span(bytes);
        let answer = receiver.send(Encoding::Protobuf.post(Signal::Traces, body)).await?;
        if answer.status != 400 {
            return Ok(Verdict::Fail(format!("{what} was answered with {}", answer.status)));
        }
    }
    Ok(Verdict::Pass)
}

async fn any_value(receiver: &Receiver) -> Result<Verdict, Verdict> {
    let all = [
        "{}",
        r#"{"boolValue":false}"#,
        r#"{"bytesValue":"AP+A"}"#,
        r#"{"doubleValue":"Infinity"}"#,
        r#"{"arrayValue":{"values":[{"stringValue":"a"},{"intValue":"1"},{},{"arrayValue":{"values":[{"boolValue":true}]}}]}}"#,
        r#"{"kvlistValue":{"values":[{"key":"a","value":{"kvlistValue":{"values":[{"key":"b","value":{}}]}}}]}}"#,
    ];
    take(receiver, Signal::Traces, all.map(json_attribute)).await?;
    Ok(Verdict::Pass)
}

async fn deep_nesting_json(receiver: &Receiver) -> Result<Verdict, Verdict> {
    survive(receiver, Encoding::Json, deep_json(10_000).into_bytes()).await
}

async fn deep_nesting(receiver: &Receiver) -> Result<Verdict, Verdict> {
    survive(receiver, Encoding::Protobuf, deep(10_000)).await
}

async fn survive(
    receiver: &Receiver,
    encoding: Encoding,
    body: Vec<u8>,
) -> Result<Verdict, Verdict> {
    let signal = Signal::Traces;
    let answer = receiver.send(encoding.post(signal, body)).await?;
    if ![200, 400].contains(&answer.status) {
        return Ok(Verdict::Fail(format!("10 000 levels were answered with {}", answer.status)));
    }
    let answer = receiver.send(encoding.post(signal, encoding.request(signal))).await?;
    receiver.taken(&answer, signal, encoding).map_err(|fail| fail.of("the next request"))?;
    Ok(Verdict::Pass)
}
