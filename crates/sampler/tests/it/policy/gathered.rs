//! A trace gathered out of stored requests.

use std::ops::ControlFlow;

use bytes::Bytes;
use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_sampler::{Gathered, Policy, Rule, Spans, explain};

use super::{attribute, request_of, text};

fn span(id: [u8; 16], name: &str) -> Span {
    Span {
        trace_id: id.to_vec(),
        name: name.into(),
        start_time_unix_nano: 1,
        end_time_unix_nano: 2_000_001,
        ..Span::default()
    }
}

const ID: [u8; 16] = [7; 16];
const OTHER: [u8; 16] = [8; 16];

fn service(name: &str) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    vec![attribute("service.name", text(name))]
}

#[test]
fn the_spans_of_one_trace_come_out_of_many_requests_with_their_resources() {
    let requests = [
        request_of(service("one"), vec![span(ID, "a"), span(OTHER, "x"), span(ID, "b")]),
        request_of(service("two"), vec![span(OTHER, "y")]),
        request_of(service("three"), vec![span(ID, "c")]),
    ];
    let gathered = Gathered::new(ID, requests);
    let trace = gathered.trace();
    assert_eq!((trace.id, trace.summary.spans, trace.summary.millis()), (ID, 3, 2));
    let mut seen = Vec::new();
    let end = trace.spans.visit(&mut |view| {
        let service = view.resource_attribute("service.name").unwrap();
        seen.push((view.span().name.to_owned(), service.as_str().unwrap().to_owned()));
        ControlFlow::Continue(())
    });
    assert!(end.is_continue());
    let expected = [("a", "one"), ("b", "one"), ("c", "three")];
    assert_eq!(seen, expected.map(|(name, service)| (name.to_owned(), service.to_owned())));
}

#[test]
fn a_visit_ends_where_it_is_told_to() {
    let gathered = Gathered::new(ID, [request_of(vec![], vec![span(ID, "a"), span(ID, "b")])]);
    let mut seen = 0;
    let end = gathered.visit(&mut |_| {
        seen += 1;
        ControlFlow::Break(())
    });
    assert!(end.is_break());
    assert_eq!(seen, 1);
}

#[test]
fn a_trace_that_is_not_there_has_no_span_and_is_no_trouble() {
    let gathered = Gathered::new(ID, [request_of(vec![], vec![span(OTHER, "x")])]);
    assert_eq!(gathered.trace().summary.spans, 0);
    let keys = Policy::StringAttribute {
        key: "k".into(),
        values: vec!["v".into()],
        is_regex: false,
        is_inverted: false,
    };
    let rules =
        vec![Rule::new("slow", Policy::slower_than(Default::default())), Rule::new("k", keys)];
    let now = std::time::Instant::now();
    assert!(!explain(&rules.into(), now, &gathered.trace()).unwrap().is_kept);
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let mut rng = fastrand::Rng::with_seed(3);
    let request = request_of(service("one"), vec![span(ID, "a"), span(ID, "b"), span(OTHER, "c")]);
    let keys = Policy::StringAttribute {
        key: "service.name".into(),
        values: vec!["o+".into()],
        is_regex: true,
        is_inverted: false,
    };
    let state = Policy::TraceState { key: "k".into(), values: vec!["v".into()] };
    let rules =
        vec![Rule::new("k", keys), Rule::new("s", state), Rule::new("e", Policy::errors())].into();
    let now = std::time::Instant::now();
    for _ in 0..2000 {
        let (bytes, _) = teleflow_testkit::mangle::mangle(&mut rng, &request);
        let gathered = Gathered::new(ID, [Bytes::from(bytes), request.clone()]);
        assert!(gathered.trace().summary.spans >= 2);
        assert!(explain(&rules, now, &gathered.trace()).unwrap().is_kept);
    }
}
