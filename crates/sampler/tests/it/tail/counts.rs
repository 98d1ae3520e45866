//! What roots tell of their traces, and scopes of who decided.

use std::collections::BTreeMap;
use std::time::Instant;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use teleflow_otlp::{Payload, Signal};
use teleflow_sampler::{Config, Counts, Output, Policy, Rule, TailSampler};

use super::{SECOND, config, failed, id, offer, requests, span};

/// The attributes of each span, by its name.
pub(super) fn attributes(out: &mut Output) -> BTreeMap<String, Vec<(String, String)>> {
    let spans = requests(out)
        .into_iter()
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans);
    spans.map(|span| (span.name, told(span.attributes))).collect()
}

/// The attributes of each scope with spans of these names.
pub(super) fn scopes(out: &mut Output) -> BTreeMap<String, Vec<(String, String)>> {
    let groups = requests(out)
        .into_iter()
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans);
    let of_group = |group: ScopeSpans| {
        let attributes = told(group.scope.unwrap_or_default().attributes);
        group.spans.into_iter().map(move |span| (span.name, attributes.clone()))
    };
    groups.flat_map(of_group).collect()
}

fn told(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value: Option<AnyValue>| match value.unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::BoolValue(truth) => truth.to_string(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

pub(super) fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn child(id: [u8; 16], name: &str, events: usize, links: usize) -> Span {
    Span {
        parent_span_id: vec![1; 8],
        events: vec![Event::default(); events],
        links: vec![Link { trace_id: vec![9; 16], ..Link::default() }; links],
        ..span(id, name)
    }
}

/// Three spans of a trace that is kept, with five events and three links; and another trace.
fn trace() -> Vec<Span> {
    let state = "a=b".to_owned();
    // Who counted before knew less.
    let attributes = vec![attribute("k", "v"), attribute("meta.span_count", "77")];
    let root = Span { trace_state: state, attributes, ..failed(id(1 << 55), "root") };
    let root = Span { events: vec![Event::default(); 2], ..root };
    vec![child(id(1 << 55), "a", 3, 1), root, child(id(1 << 55), "b", 0, 2), span(id(2), "other")]
}

fn sampler(counts: Counts) -> TailSampler {
    let errors = vec![Rule::new("errors", Policy::errors())];
    TailSampler::new(Config { counts, ..config(errors) }).unwrap()
}

#[test]
fn the_root_tells_how_much_came_of_its_trace() {
    let all = [
        ("k", "v"),
        ("meta.span_count", "3"),
        ("meta.span_event_count", "5"),
        ("meta.span_link_count", "3"),
        ("meta.event_count", "11"),
    ];
    for (counts, told) in [
        (Counts::None, pairs(&[("k", "v"), ("meta.span_count", "77")])),
        (Counts::Spans, pairs(&all[..2])),
        (Counts::All, pairs(&all)),
    ] {
        let mut sampler = sampler(counts);
        let (now, mut out) = (Instant::now(), Output::default());
        offer(&mut sampler, now, trace(), &mut out);
        sampler.poll(now + SECOND, &mut out);
        let kept = std::mem::take(&mut out.kept);
        out.kept.clone_from(&kept);
        // The rest of a span is as ever.
        assert_eq!(super::states(&mut out)["root"], "ot=th:0,a=b".to_owned());
        out.kept = kept;
        let expected = [("root", told), ("a", vec![]), ("b", vec![])];
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(name, told)| (name.to_owned(), told)).collect();
        assert_eq!(attributes(&mut out), expected, "{counts:?}");
        assert_eq!((out.sampled_out, sampler.stats().spans_kept), (1, 3));
        // A root that comes late tells nothing: nobody knows any more.
        offer(&mut sampler, now + SECOND, vec![failed(id(1 << 55), "late")], &mut out);
        assert_eq!(attributes(&mut out), [("late".to_owned(), vec![])].into());
    }
}

#[test]
fn what_is_counted_is_what_was_there_when_it_was_decided() {
    let rules = vec![Rule::new("all", Policy::Always)];
    let mut sampler = TailSampler::new(Config {
        counts: Counts::All,
        writes_threshold: false,
        max_trace_spans: Some(2),
        ..config(rules)
    })
    .unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let state = |span: Span| Span { trace_state: "ot=th:c".into(), ..span };
    let spans = vec![state(span(id(1), "root")), child(id(1), "a", 1, 0), child(id(1), "b", 1, 0)];
    offer(&mut sampler, now, spans, &mut out);
    let kept = out.kept.clone();
    let told = attributes(&mut out).remove("root").unwrap();
    let counts = [("meta.span_count", "2"), ("meta.span_event_count", "1")];
    let more = [("meta.span_link_count", "0"), ("meta.event_count", "3")];
    assert_eq!(told, pairs(&[&counts[..], &more[..]].concat()));
    out.kept = kept;
    assert_eq!(super::states(&mut out)["root"], "ot=th:c", "no threshold was to be written");
}

#[test]
fn scopes_tell_who_decided_and_tell_nothing_twice() {
    let scope = |name: &str, attributes| ScopeSpans {
        scope: Some(InstrumentationScope {
            name: name.into(),
            attributes,
            ..InstrumentationScope::default()
        }),
        ..ScopeSpans::default()
    };
    let before = vec![
        attribute("tailsampling.host", "first"),
        attribute("k", "v"),
        attribute("tailsampling.policy", "theirs"),
    ];
    let groups = vec![
        ScopeSpans { spans: vec![span(id(1), "a")], ..scope("one", before) },
        ScopeSpans { spans: vec![span(id(1), "b"), span(id(2), "c")], ..scope("two", vec![]) },
        ScopeSpans { spans: vec![span(id(1), "d")], scope: None, ..ScopeSpans::default() },
    ];
    let resource = ResourceSpans { scope_spans: groups, ..ResourceSpans::default() };
    let request = opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest {
        resource_spans: vec![resource],
    };
    let payload = Payload::parse(Signal::Traces, request.encode_to_vec().into()).unwrap();
    for records_policy in [false, true] {
        let mut sampler = TailSampler::new(Config {
            host: Some("gateway-1".to_owned()),
            records_policy,
            ..config(vec![Rule::new("all", Policy::Always)])
        })
        .unwrap();
        let (now, mut out) = (Instant::now(), Output::default());
        sampler.offer(now, payload.clone(), &mut out);
        sampler.poll(now + SECOND, &mut out);
        let told = scopes(&mut out);
        let host = ("tailsampling.host", "gateway-1");
        let (policy, one) = match records_policy {
            true => (Some(("tailsampling.policy", "all")), vec![("k", "v")]),
            false => (None, vec![("k", "v"), ("tailsampling.policy", "theirs")]),
        };
        let ours: Vec<_> = policy.into_iter().chain([host]).collect();
        assert_eq!(told["a"], pairs(&[&one[..], &ours[..]].concat()));
        for name in ["b", "c", "d"] {
            assert_eq!(told[name], pairs(&ours), "{name}");
        }
        // Late spans have it, too.
        offer(&mut sampler, now + SECOND, vec![span(id(1), "late")], &mut out);
        let late = &scopes(&mut out)["late"];
        let is_late = records_policy.then_some(("tailsampling.cached_decision", "true"));
        let ours: Vec<_> = ours.into_iter().chain(is_late).collect();
        assert_eq!(*late, pairs(&ours));
    }
}
