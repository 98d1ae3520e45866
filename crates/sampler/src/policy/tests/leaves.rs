//! What is so or not so of a trace.

use teleflow_otlp::span::StatusCode;

use super::*;
use crate::tail::ConfigError;
use crate::{Conditions, StatusSet};

fn strings(key: &str, values: &[&str], is_regex: bool, is_inverted: bool) -> Policy {
    let values = values.iter().map(|value| (*value).into()).collect();
    Policy::StringAttribute { key: key.into(), values, is_regex, is_inverted }
}

/// A policy and its opposite about a trace that has an attribute on a span, then on a resource.
#[track_caller]
fn check(
    policy: impl Fn(bool) -> Policy,
    attributes: &[(&str, Value)],
    in_span: bool,
    in_resource: bool,
) {
    let attributes: Vec<_> =
        attributes.iter().map(|(key, value)| attribute(key, value.clone())).collect();
    let span_has =
        gather(vec![(vec![], vec![span(vec![])]), (vec![], vec![span(attributes.clone())])]);
    let resource_has = gather(vec![(vec![], vec![span(vec![])]), (attributes, vec![span(vec![])])]);
    for (trace, expected, place) in
        [(&span_has, in_span, "span"), (&resource_has, in_resource, "resource")]
    {
        assert_eq!(keeps(&policy(false), trace), expected, "{place}");
        assert_eq!(keeps(&policy(true), trace), !expected, "{place}, inverted");
    }
}

#[test]
fn a_text_is_one_of_those_asked_for_and_never_an_empty_one() {
    let one_of = |values: &'static [&str]| move |inverted| strings("k", values, false, inverted);
    check(one_of(&["a", "b"]), &[("k", text("b"))], true, true);
    check(one_of(&["a", "b"]), &[("k", text("c"))], false, false);
    check(one_of(&["a", "b"]), &[("k", text("A"))], false, false);
    check(one_of(&["a", "b"]), &[("other", text("a"))], false, false);
    check(one_of(&["", "a"]), &[("k", text(""))], false, false);
    check(one_of(&[]), &[("k", text("a"))], false, false);
    check(one_of(&["1"]), &[("k", Value::IntValue(1))], false, false);
    check(one_of(&["true"]), &[("k", Value::BoolValue(true))], false, false);
}

#[test]
fn of_attributes_of_one_name_the_first_counts() {
    let one_of = |inverted| strings("k", &["a"], false, inverted);
    check(one_of, &[("k", text("a")), ("k", text("b"))], true, true);
    check(one_of, &[("k", text("b")), ("k", text("a"))], false, false);
    check(one_of, &[("k", Value::IntValue(1)), ("k", text("a"))], false, false);
}

#[test]
fn an_expression_matches_anywhere_in_a_text_and_in_an_empty_one_of_a_resource() {
    let regex = |values: &'static [&str]| move |inverted| strings("k", values, true, inverted);
    check(
        regex(&["v[0-9]+.HealthCheck$", "^/ping"]),
        &[("k", text("/v12.HealthCheck"))],
        true,
        true,
    );
    check(regex(&["v[0-9]+.HealthCheck$", "^/ping"]), &[("k", text("/x/ping"))], false, false);
    check(regex(&["^$"]), &[("k", text(""))], false, true);
    check(regex(&[".*"]), &[("k", text(""))], false, true);
    check(regex(&[".*"]), &[("k", Value::IntValue(5))], false, false);
    check(regex(&["(?i)ABC"]), &[("k", text("xabcx"))], true, true);
    check(regex(&[]), &[("k", text("x"))], false, false);
    // The signs mean what they mean in Go.
    check(regex(&[r"^\d+$", "x"]), &[("k", text("٣"))], false, false);
    check(regex(&["x", r"^\Qa.{b}\E\57$"]), &[("k", text("a.{b}/"))], true, true);
    check(regex(&[r"^[--/]+$"]), &[("k", text("-./"))], true, true);
}

#[test]
fn a_number_is_within_its_bounds_whole_or_not() {
    let within = |min, max| {
        move |is_inverted| Policy::NumericAttribute { key: "k".into(), min, max, is_inverted }
    };
    for (number, is) in [(4, false), (5, true), (10, true), (11, false)] {
        check(within(Some(5), Some(10)), &[("k", Value::IntValue(number))], is, is);
        check(within(Some(5), Some(10)), &[("k", Value::DoubleValue(number as f64))], is, is);
    }
    for (number, is) in [(4.999, false), (5.001, true), (9.999, true), (10.001, false)] {
        check(within(Some(5), Some(10)), &[("k", Value::DoubleValue(number))], is, is);
    }
    check(within(Some(0), None), &[("k", Value::IntValue(i64::MAX))], true, true);
    check(within(Some(0), None), &[("k", Value::DoubleValue(f64::INFINITY))], true, true);
    check(within(None, Some(-1)), &[("k", Value::IntValue(i64::MIN))], true, true);
    check(within(None, Some(-1)), &[("k", Value::DoubleValue(f64::NAN))], false, false);
    // 2^63 is the floating point number nearest to the greatest whole number, and above it.
    let greatest = i64::MAX as f64;
    check(within(Some(i64::MAX), None), &[("k", Value::DoubleValue(greatest))], true, true);
    check(within(None, Some(i64::MAX - 1)), &[("k", Value::DoubleValue(greatest))], false, false);
    // The Collector takes what is no number for zero.
    check(within(Some(0), Some(0)), &[("k", text("0"))], false, false);
    check(within(Some(0), Some(0)), &[("k", Value::BoolValue(false))], false, false);
    check(within(Some(0), Some(0)), &[("other", Value::IntValue(0))], false, false);
}

#[test]
fn a_truth_value_is_no_other_kind() {
    for value in [true, false] {
        let is = |is_inverted| Policy::BooleanAttribute { key: "k".into(), value, is_inverted };
        check(is, &[("k", Value::BoolValue(value))], true, true);
        check(is, &[("k", Value::BoolValue(!value))], false, false);
        // The Collector takes what is no truth value for `false`.
        check(is, &[("k", text(""))], false, false);
        check(is, &[("k", Value::IntValue(0))], false, false);
    }
}

#[test]
fn an_attribute_without_a_value_or_of_a_broken_message_matches_nothing() {
    let nothing = KeyValue { key: "k".into(), value: None, ..KeyValue::default() };
    let trace = trace_of(vec![], vec![span(vec![nothing])]);
    for policy in [
        strings("k", &[""], false, false),
        strings("k", &[".*"], true, false),
        Policy::BooleanAttribute { key: "k".into(), value: false, is_inverted: false },
        Policy::NumericAttribute {
            key: "k".into(),
            min: Some(0),
            max: Some(0),
            is_inverted: false,
        },
    ] {
        assert!(!keeps(&policy, &trace), "{policy:?}");
    }
}

#[test]
fn many_attributes_are_told_apart() {
    let keys: Vec<String> = (0..200).map(|n| format!("{}{n}", "k".repeat(n % 80))).collect();
    let policies = keys.iter().map(|key| strings(key, &["yes"], false, false)).collect();
    let mut set = set(policies);
    for (n, key) in keys.iter().enumerate() {
        let trace = trace_of(vec![], vec![span(vec![attribute(key, text("yes"))])]);
        let verdict = decide(&mut set, &trace);
        assert_eq!(verdict.by.map(|by| usize::from(by.rule)), Some(n), "{key}");
    }
    assert!(set.stats().iter().all(|stats| stats.traces_seen == 200 && stats.traces_sampled == 1));
}

#[test]
fn the_trace_state_of_any_span_counts_entry_by_entry() {
    let policy = |values: &[&str]| Policy::TraceState {
        key: "vendor".into(),
        values: values.iter().map(|value| (*value).into()).collect(),
    };
    let state = |state: &str| {
        let with = Span { trace_state: state.into(), ..span(vec![]) };
        trace_of(vec![], vec![span(vec![]), with])
    };
    for (text, kept) in [
        ("vendor=a", true),
        ("vendor=b", true),
        ("vendor=c", false),
        ("other=a,vendor=a", true),
        ("other=x , \tvendor=a\t ,more=y", true),
        ("vendor=c,vendor=a", false),
        ("vendor", false),
        ("vendor,vendor=a", true),
        ("vendor==a,vendor=a", true),
        ("vendor=,vendor=a", true),
        ("vendor =a", false),
        ("Vendor=a", false),
        ("", false),
        (",,,", false),
        ("ot=th:8,vendor=a", true),
    ] {
        assert_eq!(keeps(&policy(&["a", "b"]), &state(text)), kept, "{text}");
    }
    let long = "x".repeat(250);
    assert!(!keeps(&policy(&[&long]), &state(&format!("vendor={long}"))), "too long for an entry");
    let fits = "x".repeat(249);
    assert!(keeps(&policy(&[&fits]), &state(&format!("vendor={fits}"))));
    assert!(!keeps(&policy(&[""]), &state("vendor=")));
}

#[test]
fn latency_keeps_what_is_longer_and_not_longer_than_the_upper_bound() {
    let policy = Policy::Latency { over: ms(100), up_to: Some(ms(200)) };
    let lasting = |spans: &[(u64, u64)]| {
        let spans = spans.iter().map(|(start, end)| Span {
            start_time_unix_nano: start * 1_000_000,
            end_time_unix_nano: end * 1_000_000,
            ..span(vec![])
        });
        trace_of(vec![], spans.collect())
    };
    for (millis, kept) in [(99, false), (100, false), (101, true), (200, true), (201, false)] {
        assert_eq!(keeps(&policy, &lasting(&[(1000, 1000 + millis)])), kept, "{millis} ms");
        // The whole trace counts, not the part that has come by the time a span is looked at.
        let spans = [(1050, 1060), (1000, 1050), (1050, 1000 + millis)];
        assert_eq!(keeps(&policy, &lasting(&spans)), kept, "{millis} ms in parts");
    }
    let slow = Policy::slower_than(ms(1));
    assert!(!keeps(&slow, &lasting(&[(5000, 10)])), "what ends before it starts is not slow");
    let broken = lasting(&[(0, 10_000), (9_999, 10_000)]);
    assert!(!keeps(&slow, &broken), "no start at all is not 1970");
    let any = Policy::Latency { over: Duration::MAX, up_to: Some(Duration::MAX) };
    assert!(!keeps(&any, &lasting(&[(1, u64::MAX / 1_000_000)])));
}

#[test]
fn one_span_of_a_status_or_with_the_flag_is_enough() {
    use opentelemetry_proto::tonic::trace::v1::Status;
    let with = |code: StatusCode, flags: u32| {
        let status = Some(Status { code: code.number(), ..Status::default() });
        trace_of(vec![], vec![span(vec![]), Span { status, flags, ..span(vec![]) }])
    };
    assert!(keeps(&Policy::errors(), &with(StatusCode::Error, 0)));
    assert!(!keeps(&Policy::errors(), &with(StatusCode::Ok, 0)));
    let unset = Policy::Status(StatusSet::from_iter([StatusCode::Unset]));
    assert!(keeps(&unset, &with(StatusCode::Error, 0)), "its other span has none");
    assert!(!keeps(&Policy::Status(StatusSet::default()), &with(StatusCode::Error, 0)));
    for (flags, kept) in [(0, false), (1, true), (0x101, true), (0x300, false), (3, true)] {
        assert_eq!(keeps(&Policy::TraceFlags, &with(StatusCode::Ok, flags)), kept, "{flags:x}");
    }
}

#[test]
fn spans_are_counted_up_to_both_bounds() {
    let policy = Policy::SpanCount { min: 3, max: Some(5) };
    for (spans, kept) in [(1, false), (2, false), (3, true), (5, true), (6, false)] {
        assert_eq!(keeps(&policy, &plain(ID, spans)), kept, "{spans}");
    }
    assert!(keeps(&Policy::SpanCount { min: 0, max: None }, &plain(ID, 9)));
    assert!(!keeps(&Policy::SpanCount { min: 5, max: Some(3) }, &plain(ID, 4)));
}

#[test]
fn policies_within_policies() {
    let trace = trace_of(
        vec![attribute("r", Value::BoolValue(true))],
        vec![span(vec![attribute("s", Value::BoolValue(true))])],
    );
    for (policy, kept) in [
        (and(vec![has("r"), has("s")]), true),
        (and(vec![has("r"), has("t")]), false),
        (and(vec![has("r"), not(has("t"))]), true),
        (and(vec![]), true),
        (not(and(vec![has("r"), has("t")])), true),
        (not(not(has("r"))), true),
        (not(has_not("t")), false),
        (and(vec![has_not("t"), has_not("r")]), false),
        (and(vec![and(vec![has("r")]), not(and(vec![has("s"), has("t")]))]), true),
        (composite(10, vec![(has("t"), 10), (and(vec![has("r"), has("s")]), 10)]), true),
        (composite(10, vec![(has("t"), 10)]), false),
        (composite(10, vec![]), false),
        (not(composite(0, vec![(has("r"), 10)])), true),
    ] {
        assert_eq!(keeps(&policy, &trace), kept, "{policy:?}");
    }
}

#[track_caller]
fn refused(policies: Vec<Rule>) -> String {
    let config = Policies { policies, ..Policies::default() };
    match PolicySet::new(&config) {
        Err(error @ ConfigError::Rule { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let error = refused(vec![Rule::new(
        "outer",
        Policy::And(vec![Rule::new("inner", strings("k", &["ok", "a(b", "["], true, false))]),
    )]);
    assert!(
        error.starts_with("outer/inner: the regular expression `a(b` cannot be used: "),
        "{error}"
    );
    let large = strings("k", &["(?:a{1000}){1000}"], true, false);
    let error = refused(vec![Rule::new("large", large)]);
    assert!(
        error.starts_with("large: the regular expression `(?:a{1000}){1000}` cannot"),
        "{error}"
    );

    let no_bound =
        Policy::NumericAttribute { key: "k".into(), min: None, max: None, is_inverted: false };
    let deep = (0..40).fold(Policy::Always, |policy, _| not(policy));
    for (policy, problem) in [
        (no_bound, "x: a number needs a least or a most value"),
        (ratio(1.5), "x: 1.5 is not within 0 and 1"),
        (ratio(-0.1), "x: -0.1 is not within 0 and 1"),
        (ratio(f64::NAN), "x: NaN is not within 0 and 1"),
        (drop_if(vec![]), "x: without a part it would drop every trace"),
        (
            and(vec![drop_if(vec![Policy::Always])]),
            "x/0: a policy that drops cannot be part of another",
        ),
        (Policy::Conditions(Conditions::default()), "x: it needs at least one condition"),
    ] {
        assert_eq!(refused(vec![Rule::new("x", policy)]), problem);
    }
    assert!(
        refused(vec![Rule::new("x", deep)]).ends_with(": it is too deep within other policies")
    );
    assert_eq!(refused(vec![Rule::new("", Policy::Always)]), ": a policy needs a name");
    let twice = vec![Rule::new("x", Policy::Always), Rule::new("x", Policy::errors())];
    assert_eq!(refused(twice), "x: another policy has the same name");
}
