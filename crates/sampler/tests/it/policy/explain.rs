//! Why policies vote as they do.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use teleflow_sampler::{
    Composite, Explanation, Gathered, Part, Policies, Policy, Ratio, Rule, Rules, Threshold, Vote,
    explain,
};

use super::{attribute, request_of, text};

/// Randomness of 3f... and two spans, of 429 ms, of a service in production.
fn trace() -> Gathered {
    let id = 0x003f_0000_0000_0000_u128.to_be_bytes();
    let span = |name: &str, attributes, millis: u64| Span {
        trace_id: id.to_vec(),
        name: name.into(),
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_000_000_000 + millis * 1_000_000,
        attributes,
        trace_state: "vendor=a".into(),
        status: Some(Status { code: 1, ..Status::default() }),
        ..Span::default()
    };
    let status = attribute("http.response.status_code", Value::IntValue(500));
    let spans = vec![
        span("GET /x", vec![status, attribute("cached", Value::BoolValue(true))], 429),
        span("query", vec![attribute("db.rows", Value::DoubleValue(2.5))], 5),
    ];
    let resource = vec![attribute("env", text("production"))];
    Gathered::new(id, [request_of(resource, spans)])
}

fn about(policies: Policies) -> Explanation {
    explain(&Rules::Policies(policies), Instant::now(), &trace().trace()).unwrap()
}

/// How one policy votes, and why.
#[track_caller]
fn check(policy: Policy, vote: Vote, why: &str) {
    let policies = vec![Rule::new("it", policy)];
    let explanation = about(Policies { policies, ..Policies::default() });
    let first = &explanation.votes[0];
    assert_eq!((&*first.rule, first.vote, &*first.why), ("it", vote, why));
    assert_eq!(explanation.is_kept, vote == Vote::Sampled);
    let is_by = matches!(vote, Vote::Sampled | Vote::Dropped);
    assert_eq!(explanation.by, is_by.then(|| "it".into()));
}

fn strings(key: &str, values: &[&str], is_regex: bool) -> Policy {
    let values = values.iter().map(|value| (*value).into()).collect();
    Policy::StringAttribute { key: key.into(), values, is_regex, is_inverted: false }
}

fn number(key: &str, min: Option<i64>, max: Option<i64>) -> Policy {
    Policy::NumericAttribute { key: key.into(), min, max, is_inverted: false }
}

#[test]
fn every_policy_says_why() {
    use Vote::{NotSampled as Not, Sampled};
    let latency = |over: u64, up_to: Option<u64>| Policy::Latency {
        over: Duration::from_millis(over),
        up_to: up_to.map(Duration::from_millis),
    };
    check(Policy::Always, Sampled, "every trace is kept");
    check(Policy::errors(), Not, "no span has the status error");
    check(latency(500, None), Not, "429 ms is not longer than 500 ms");
    check(latency(400, None), Sampled, "429 ms is longer than 400 ms");
    check(latency(400, Some(420)), Not, "429 ms is longer than 420 ms");
    check(
        latency(400, Some(429)),
        Sampled,
        "429 ms is longer than 400 ms, and not longer than 429 ms",
    );
    let spans = |min, max| Policy::SpanCount { min, max };
    check(spans(3, None), Not, "2 spans are fewer than 3");
    check(spans(1, Some(1)), Not, "2 spans are more than 1");
    check(spans(1, Some(2)), Sampled, "2 spans are within 1..=2");
    check(spans(1, None), Sampled, "2 spans are at least 1");
    check(Policy::TraceFlags, Not, "no span has the sampled flag");

    let ratio = |probability, salt: &str| Policy::Ratio(Ratio { probability, salt: salt.into() });
    check(ratio(0.1, ""), Not, "randomness 3f000000000000 is below the threshold e666 (10 %)");
    check(
        ratio(0.9, ""),
        Sampled,
        "randomness 3f000000000000 is not below the threshold 199a (90 %)",
    );
    check(ratio(0.0, ""), Not, "nothing is kept (0 %)");

    check(
        number("http.response.status_code", Some(400), Some(599)),
        Sampled,
        "span `GET /x` has http.response.status_code 500, which is within 400..=599",
    );
    check(
        number("db.rows", Some(2), None),
        Sampled,
        "span `query` has db.rows 2.5, which is at least 2",
    );
    check(
        number("db.rows", None, Some(2)),
        Not,
        "no span, nor its resource, has db.rows that is at most 2",
    );
    check(
        strings("env", &["production", "staging"], false),
        Sampled,
        "the resource of span `GET /x` has env `production`, which is one of [\"production\", \"staging\"]",
    );
    check(
        strings("env", &["^stag"], true),
        Not,
        "no span, nor its resource, has env that is a match of [\"^stag\"]",
    );
    check(
        Policy::BooleanAttribute { key: "cached".into(), value: true, is_inverted: true },
        Not,
        "span `GET /x` has cached true, which is true",
    );
    let state =
        |value: &str| Policy::TraceState { key: "vendor".into(), values: vec![value.into()] };
    check(state("a"), Sampled, "span `GET /x` has vendor=a in its trace state");
    check(state("b"), Not, "no span has vendor in its trace state that is one of [\"b\"]");

    check(
        Policy::RateLimit { spans_per_second: 1, burst: 2 },
        Sampled,
        "2 spans are within the 2 that may come at once",
    );
    check(
        Policy::ByteLimit { bytes_per_second: 1, burst: 1 },
        Not,
        &format!(
            "{} bytes are more than the 1 that may come at once",
            trace().trace().summary.bytes
        ),
    );
    check(
        Policy::Drop(vec![Rule::new("all", Policy::Always)]),
        Vote::Dropped,
        "all of its parts keep it",
    );
}

#[test]
fn a_salted_share_says_so() {
    let ratio = Ratio { probability: 0.5, salt: "x".into() };
    let policies = vec![Rule::new("it", Policy::Ratio(ratio))];
    let why = about(Policies { policies, ..Policies::default() }).votes.remove(0).why;
    assert!(why.starts_with("salted randomness "), "{why}");
}

#[test]
fn parts_are_told_after_what_they_are_part_of() {
    let errors = || Rule::new("errors", Policy::errors());
    let some = |name: &str| Rule::new(name, Policy::RateLimit { spans_per_second: 9, burst: 9 });
    let part = |rule, spans_per_second| Part { rule, spans_per_second };
    let composite = Composite {
        max_spans_per_second: 5,
        parts: vec![part(errors(), 5), part(some("some"), 4), part(some("more"), 1)],
    };
    let policies = vec![
        Rule::new("both", Policy::And(vec![Rule::new("all", Policy::Always), errors()])),
        Rule::new("fine", Policy::Not(Box::new(errors()))),
        Rule::new("shared", Policy::Composite(composite)),
        Rule::new("bad", Policy::Drop(vec![errors()])),
    ];
    let explanation = about(Policies { policies: policies.clone(), ..Policies::default() });
    let told: Vec<_> = explanation
        .votes
        .iter()
        .map(|vote| format!("{} {:?}: {}", vote.rule, vote.vote, vote.why))
        .collect();
    assert_eq!(
        told,
        [
            "both NotSampled: `errors` does not keep it",
            "both/all Sampled: every trace is kept",
            "both/errors NotSampled: no span has the status error",
            "fine Sampled: `errors` does not keep it",
            "fine/errors NotSampled: no span has the status error",
            "shared Sampled: `some` keeps it, and 2 spans are within its 4 a second",
            "shared/errors NotSampled: no span has the status error",
            "shared/some Sampled: 2 spans are within the 9 that may come at once",
            "shared/more Sampled: 2 spans are within the 9 that may come at once",
            "bad NotSampled: `errors` does not keep it",
            "bad/errors NotSampled: no span has the status error",
        ]
    );
    assert_eq!((explanation.is_kept, explanation.by.as_deref()), (true, Some("fine")));
    assert_eq!(explanation.threshold, Some(Threshold::ALL));

    let shared = about(Policies { policies: policies[2..].to_vec(), ..Policies::default() });
    assert_eq!((shared.by.as_deref(), shared.threshold), (Some("shared/some"), None));
}

#[test]
fn a_policy_that_would_not_be_asked_is_told_as_well() {
    let policies = vec![Rule::new("all", Policy::Always), Rule::new("errors", Policy::errors())];
    let first = about(Policies { policies, first_match: true, ..Policies::default() });
    assert_eq!(first.votes.len(), 2);

    let policies = vec![
        Rule::new("all", Policy::Always),
        Rule::new("drop", Policy::Drop(vec![Rule::new("all", Policy::Always)])),
    ];
    let dropped = about(Policies { policies, ..Policies::default() });
    assert_eq!((dropped.is_kept, dropped.by.as_deref()), (false, Some("drop")));
    assert_eq!(dropped.votes[0].vote, Vote::Sampled);
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let bad = vec![Rule::new("routes", strings("http.route", &["("], true))].into();
    let error = explain(&bad, Instant::now(), &trace().trace()).unwrap_err();
    assert!(error.to_string().starts_with("routes: the regular expression `(` cannot be used"));
}
