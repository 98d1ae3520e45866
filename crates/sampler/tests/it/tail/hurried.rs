//! What a sampler at its bounds must not do.

use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use teleflow_otlp::Payload;
use teleflow_sampler::{Config, Output, Policy, Remembered, Rule, TailSampler, Trigger};

use super::{SECOND, config, id, names, offer, span};

const KIB: usize = 1024;

fn all() -> Config {
    Config {
        decision_wait: 1000 * SECOND,
        remembered: Remembered { kept: 0, dropped: 0 },
        ..config(vec![Rule::new("all", Policy::Always)])
    }
}

/// A request of spans below a resource whose only attribute is so long.
fn below(attribute: usize, spans: Vec<Span>) -> Payload {
    let value = Some(AnyValue { value: Some(Value::StringValue("v".repeat(attribute))) });
    let attributes = vec![KeyValue { key: "k".into(), value, ..KeyValue::default() }];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let group = ResourceSpans { resource, scope_spans, ..ResourceSpans::default() };
    crate::payload(&ExportTraceServiceRequest { resource_spans: vec![group] })
}

#[test]
fn small_requests_below_large_resources_are_not_all_decided_when_memory_runs_out() {
    let mut sampler = TailSampler::new(Config { max_bytes: 1024 * KIB, ..all() }).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let mut least = u64::MAX;
    for n in 1..=4000 {
        sampler.offer(now, below(1000, vec![span(id(n), "x")]), &mut out);
        if sampler.stats().decisions[Trigger::Bytes as usize] > 0 {
            least = least.min(sampler.held().traces);
        }
    }
    // Some 700 fit. A sixteenth of them goes at a time.
    assert!(least > 400, "only {least} traces were left");
    let kept: u64 = out.kept.iter().map(Payload::items).sum();
    assert_eq!(kept + sampler.held().spans, 4000);
}

#[test]
fn payloads_are_of_the_size_that_was_asked_for_whatever_spans_are_below() {
    let payload_bytes = 50_000;
    let mut sampler = TailSampler::new(Config { payload_bytes, ..all() }).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    for n in 1..=1000 {
        sampler.offer(now, below(1000, vec![span(id(n), "x")]), &mut out);
    }
    let mut written = 0;
    let mut is_done = false;
    while !is_done {
        is_done = sampler.drain(now, &mut out);
        assert!(out.kept.len() < 10, "{} payloads at once", out.kept.len());
        for payload in out.kept.drain(..) {
            assert!(payload.bytes() < 2 * payload_bytes, "{} bytes", payload.bytes());
            written += payload.items();
        }
    }
    assert_eq!(written, 1000);
}

#[test]
fn a_clock_that_was_far_ahead_for_a_moment_is_forgotten() {
    let mut sampler = TailSampler::new(Config { decision_wait: SECOND, ..all() }).unwrap();
    let (start, mut out) = (Instant::now(), Output::default());
    sampler.poll(start, &mut out);
    let ahead = start + 1_000_000 * SECOND;
    offer(&mut sampler, ahead, vec![span(id(1), "a")], &mut out);
    sampler.poll(ahead + SECOND, &mut out);
    assert_eq!(names(&mut out), ["a"]);
    offer(&mut sampler, start + SECOND, vec![span(id(2), "b")], &mut out);
    sampler.poll(start + 2 * SECOND, &mut out);
    assert_eq!(names(&mut out), ["b"]);
    // One that is decided before it came did not wait for weeks.
    offer(&mut sampler, start + 9 * SECOND, vec![span(id(3), "c")], &mut out);
    while !sampler.drain(start, &mut out) {}
    assert_eq!(sampler.stats().waited_millis, 2000);
}

#[test]
fn a_root_never_makes_a_trace_wait_longer_however_often_waits_have_changed() {
    let of = |wait, root: Option<u32>| Config {
        decision_wait: wait * SECOND,
        decision_wait_after_root: root.map(|wait| wait * SECOND),
        ..all()
    };
    let mut sampler = TailSampler::new(of(100, None)).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let child = |n| Span { parent_span_id: vec![1; 8], ..span(id(n), "x") };
    for n in 0..40 {
        sampler.reconfigure(of(100 + n, None)).unwrap();
        let two = vec![child(u64::from(n) + 1), child(u64::from(n) + 1001)];
        offer(&mut sampler, now, two, &mut out);
    }
    sampler.reconfigure(of(600, Some(5))).unwrap();
    for n in 0..40 {
        offer(&mut sampler, now, vec![span(id(n + 1), "root")], &mut out);
    }
    // There are more waits than are told apart: but for those, each comes out in its time.
    for n in 0..16 {
        sampler.poll(now + (100 + n) * SECOND, &mut out);
        let kept: u64 = out.kept.iter().map(Payload::items).sum();
        assert!(kept >= 3 * (u64::from(n) + 1), "{kept} after {n}");
    }
    sampler.poll(now + 140 * SECOND, &mut out);
    assert_eq!(out.kept.iter().map(Payload::items).sum::<u64>(), 120);
    assert_eq!(sampler.next_deadline(), None);
}
