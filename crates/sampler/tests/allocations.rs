//! What a condition takes from the allocator while it looks at spans: nothing, on the hot path.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use teleflow_otlp::{Signal, json, tree};
use teleflow_sampler::SpanView;
use teleflow_sampler::ottl::Condition;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SPANS: &str = include_str!("it/ottl/spans.json");

const CONDITIONS: &[&str] = &[
    r#"name == "bare" or kind == SPAN_KIND_CLIENT or kind.string == "Client""#,
    r#"attributes["n"] >= 500 and attributes["n"] < 600 and attributes["missing"] == nil"#,
    r#"attributes["map"]["b"]["deep"] == "down" and attributes["list"][0] == "a""#,
    r#"resource.attributes["service.name"] == "shop" and scope.name == "http""#,
    r#"status.code == STATUS_CODE_ERROR and end_time - start_time > Duration("1s")"#,
    r#"IsMatch(name, "^fu.*l$") and IsMatch(attributes["http.route"], "users")"#,
    r#"HasPrefix(name, "fu") and not IsRootSpan() and Len(events) == 2"#,
    r#"ContainsValue(["a", "full"], name) and ContainsValue(attributes["list"], 2.5)"#,
    r#"trace_id == TraceID(0x0102030405060708090a0b0c0d0e0f10) and trace_state["ot"] == "th:8""#,
    r#"HasPrefix(attributes["n"], "5")"#,
];

const EVALUATIONS: usize = 1000;

#[test]
fn conditions_on_spans_allocate_nothing() {
    let (request, _) = json::to_protobuf(Signal::Traces, SPANS.as_bytes(), usize::MAX).unwrap();
    let group = tree::resources(&request).next().unwrap();
    let mut resource = Vec::new();
    group.envelope(&mut resource);
    let group = group.scopes().next().unwrap();
    let mut scope = Vec::new();
    group.envelope(&mut scope);
    let message = group.items().next().unwrap().message;
    let span = SpanView { resource: &resource, scope: &scope, message };

    for text in CONDITIONS {
        let condition = Condition::span(text).unwrap();
        // Patterns make room for their work at the first match.
        let first = condition.eval(&span, None);
        let region = Region::new(ALLOCATOR);
        for _ in 0..EVALUATIONS {
            assert_eq!(condition.eval(&span, None), first);
        }
        // What runs the test allocates beside it, now and then: less than once each is never.
        assert!(region.change().allocations < EVALUATIONS, "{text}");
    }
    // The counter counts.
    let upper = Condition::span(r#"ToUpperCase(name) == "FULL""#).unwrap();
    let region = Region::new(ALLOCATOR);
    for _ in 0..EVALUATIONS {
        assert_eq!(upper.eval(&span, None), Ok(true));
    }
    assert!(region.change().allocations >= EVALUATIONS);
}
