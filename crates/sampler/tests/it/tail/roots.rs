//! Which spans count as roots, for the shorter wait.

use std::time::Instant;

use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_sampler::{Config, ConfigError, Output, Policy, Rule, TailSampler, Trigger};

use super::{SECOND, config, id, offer, span};

fn of(condition: &str) -> Config {
    Config {
        decision_wait: 100 * SECOND,
        decision_wait_after_root: Some(SECOND),
        root_condition: Some(condition.into()),
        ..config(vec![Rule::new("all", Policy::Always)])
    }
}

fn child(n: u64, name: &str) -> Span {
    Span { parent_span_id: vec![1; 8], ..span(id(n), name) }
}

#[test]
fn a_span_that_meets_the_condition_starts_the_shorter_wait() {
    let mut sampler = TailSampler::new(of("span.name == \"gate\"")).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![child(1, "gate"), child(2, "other")], &mut out);
    // A span without a parent is none by itself.
    offer(&mut sampler, now, vec![span(id(3), "root")], &mut out);
    sampler.poll(now + SECOND, &mut out);
    assert_eq!(sampler.held().traces, 2);
    assert_eq!(sampler.stats().decisions[Trigger::AfterRoot as usize], 1);
    // It may come later, and below another resource.
    offer(&mut sampler, now + 2 * SECOND, vec![child(3, "x"), child(3, "gate")], &mut out);
    offer(&mut sampler, now + 3 * SECOND, vec![child(3, "gate")], &mut out);
    sampler.poll(now + 3 * SECOND, &mut out);
    assert_eq!(sampler.held().traces, 1);
    sampler.poll(now + 100 * SECOND, &mut out);
    let stats = sampler.stats();
    assert_eq!(stats.decisions[Trigger::AfterRoot as usize], 2);
    assert_eq!(stats.decisions[Trigger::Wait as usize], 1);
    assert_eq!((stats.spans_kept, stats.root_errors), (6, 0));
}

#[test]
fn what_the_span_is_below_can_be_asked_too() {
    let condition = "IsRootSpan() or resource.attributes[\"service.name\"] == \"gateway\"";
    let mut sampler = TailSampler::new(of(condition)).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let mut request = crate::request(vec![child(1, "a"), child(2, "b")]);
    offer(&mut sampler, now, vec![child(3, "c"), span(id(4), "d")], &mut out);
    request = below(request, "gateway");
    sampler.offer(now, request, &mut out);
    sampler.poll(now + SECOND, &mut out);
    assert_eq!(sampler.stats().decisions[Trigger::AfterRoot as usize], 3);
    assert_eq!(sampler.held().traces, 1);
}

/// The same request below a resource of this service.
fn below(payload: teleflow_otlp::Payload, service: &str) -> teleflow_otlp::Payload {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use prost::Message;

    let mut request = ExportTraceServiceRequest::decode(payload.to_bytes()).unwrap();
    let value = Some(AnyValue { value: Some(Value::StringValue(service.into())) });
    let attributes = vec![KeyValue { key: "service.name".into(), value, ..KeyValue::default() }];
    for group in &mut request.resource_spans {
        let attributes = attributes.clone();
        group.resource = Some(Resource { attributes, ..Resource::default() });
    }
    crate::payload(&request)
}

#[test]
fn what_cannot_be_evaluated_is_no_root_and_is_counted() {
    let condition = "HasPrefix(span.attributes[\"k\"], \"a\")";
    let mut sampler = TailSampler::new(of(condition)).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![span(id(1), "a"), span(id(2), "b")], &mut out);
    sampler.poll(now + SECOND, &mut out);
    assert_eq!((sampler.held().traces, sampler.stats().root_errors), (2, 2));
}

#[test]
fn it_changes_with_the_configuration_and_nothing_changes_where_it_is_none() {
    let mut sampler = TailSampler::new(of("span.name == \"a\"")).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let error = sampler.reconfigure(of("nonsense(")).unwrap_err();
    assert!(matches!(&error, ConfigError::RootCondition(why) if why.starts_with("`nonsense(`: ")));
    offer(&mut sampler, now, vec![child(1, "a")], &mut out);
    sampler.reconfigure(of("span.name == \"b\"")).unwrap();
    offer(&mut sampler, now, vec![child(2, "a"), child(3, "b")], &mut out);
    sampler.poll(now + SECOND, &mut out);
    assert_eq!(sampler.stats().decisions[Trigger::AfterRoot as usize], 2);
    assert_eq!(sampler.held().traces, 1);
}
