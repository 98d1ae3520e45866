//! The tail sampler against a model that keeps whole spans in a map.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use teleflow_otlp::span::StatusCode;
use teleflow_otlp::{Payload, Signal, validate};
use teleflow_sampler::{
    Config, ConfigError, Output, Policy, Remembered, Rule, TailSampler, Trigger,
};
use teleflow_testkit::telemetry::{START, Telemetry};

mod acks;
mod bounds;
mod head;
mod ottl;
mod policy;
mod route;
mod rules;
mod rules_first_match;
mod tail;
mod trace_state;

fn rules() -> Vec<Rule> {
    vec![
        Rule::new("errors", Policy::errors()),
        Rule::new("slow", Policy::slower_than(Duration::from_millis(500))),
        Rule::new("some", Policy::percent(20.0, "")),
    ]
}

fn sampler(config: Config) -> TailSampler {
    TailSampler::new(config).unwrap()
}

/// What the rules of [`rules`] say about a trace, written plainly.
fn model_keeps(id: &[u8], spans: &[Span]) -> bool {
    let error = spans.iter().any(|span| span.status.as_ref().is_some_and(|s| s.code == 2));
    let start = spans.iter().map(|span| span.start_time_unix_nano).min().unwrap();
    let end = spans.iter().map(|span| span.end_time_unix_nano).max().unwrap();
    let slow = (end - start) / 1_000_000 > 500;
    let randomness = id[9..].iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let some = randomness as f64 >= 0.8 * (1u64 << 56) as f64;
    error || slow || some
}

fn payload(request: &ExportTraceServiceRequest) -> Payload {
    Payload::parse(Signal::Traces, Bytes::from(request.encode_to_vec())).unwrap()
}

/// Each span with its resource and scope, encoded.
fn spans_of(request: ExportTraceServiceRequest) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut spans = Vec::new();
    for mut resource in request.resource_spans {
        for mut scope in std::mem::take(&mut resource.scope_spans) {
            for span in std::mem::take(&mut scope.spans) {
                let mut one = resource.clone();
                let id = span.trace_id.clone();
                let group = ScopeSpans { spans: vec![span], ..scope.clone() };
                one.scope_spans.push(group);
                spans.push((id, one.encode_to_vec()));
            }
        }
    }
    spans
}

#[derive(Default)]
struct Received(BTreeMap<Vec<u8>, u32>, u64);

impl Received {
    fn take(&mut self, out: &mut Output) {
        for payload in out.kept.drain(..) {
            let bytes = payload.to_bytes();
            assert_eq!(validate(Signal::Traces, &bytes), Ok(payload.items()));
            self.1 += payload.items();
            for (_, span) in spans_of(ExportTraceServiceRequest::decode(bytes).unwrap()) {
                *self.0.entry(span).or_default() += 1;
            }
        }
    }
}

/// Requests whose spans belong to `traces` traces, spread over all of them.
fn traffic(seed: u64, requests: usize, traces: usize) -> Vec<ExportTraceServiceRequest> {
    let mut telemetry = Telemetry::new(seed);
    let ids: Vec<_> =
        (0..traces).map(|_| telemetry.rng().u128(1..).to_be_bytes().to_vec()).collect();
    (0..requests)
        .map(|_| {
            let mut request = telemetry.traces(8);
            for span in request
                .resource_spans
                .iter_mut()
                .flat_map(|resource| &mut resource.scope_spans)
                .flat_map(|scope| &mut scope.spans)
            {
                let rng = telemetry.rng();
                span.trace_id = ids[rng.usize(..ids.len())].clone();
                span.start_time_unix_nano = START;
                span.end_time_unix_nano = START + rng.u64(..600_000_000);
                let code = if rng.u8(..50) == 0 { 2 } else { 0 };
                span.status = Some(Status { code, ..Status::default() });
            }
            request
        })
        .collect()
}

#[test]
fn every_kept_trace_comes_out_whole_and_no_other() {
    for seed in 0..10 {
        let start = Instant::now();
        let requests = traffic(seed, 40, 100);
        let mut sampler =
            sampler(Config { rules: rules().into(), writes_threshold: false, ..Config::default() });
        let (mut out, mut received) = (Output::default(), Received::default());
        let mut traces: HashMap<Vec<u8>, Vec<Span>> = HashMap::new();
        let mut offered = 0;
        for request in &requests {
            let payload = payload(request);
            offered += payload.items();
            sampler.offer(start, payload, &mut out);
            for resource in &request.resource_spans {
                for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                    traces.entry(span.trace_id.clone()).or_default().push(span.clone());
                }
            }
        }
        assert!(out.kept.is_empty() && out.sampled_out == 0, "nothing is decided before its time");
        assert_eq!(sampler.held().spans, offered);
        assert_eq!(sampler.held().traces, traces.len() as u64);
        assert_eq!(sampler.next_deadline(), Some(start + Duration::from_secs(30)));
        sampler.poll(start + Duration::from_secs(30) - Duration::from_nanos(1), &mut out);
        assert_eq!(sampler.held().spans, offered);

        sampler.poll(start + Duration::from_secs(30), &mut out);
        received.take(&mut out);
        let mut expected = BTreeMap::new();
        for (id, span) in requests.into_iter().flat_map(spans_of) {
            if model_keeps(&id, &traces[&id]) {
                *expected.entry(span).or_default() += 1;
            }
        }
        assert!(received.0 == expected, "seed {seed}");
        assert_eq!(offered, received.1 + out.sampled_out);
        assert_eq!(sampler.held().spans, 0);
        assert_eq!(sampler.next_deadline(), None);
        let stats = sampler.stats();
        assert_eq!(stats.decisions[Trigger::Wait as usize], traces.len() as u64);
        assert_eq!(stats.traces_kept, stats.rules.iter().map(|rule| rule.traces_kept).sum::<u64>());
    }
}

#[test]
fn the_books_balance_at_every_step_and_the_byte_bound_holds() {
    for seed in 0..10 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let max_bytes = rng.usize(64 * 1024..300 * 1024);
        let mut sampler = sampler(Config {
            rules: rules().into(),
            decision_wait: Duration::from_millis(rng.u64(1..2000)),
            max_bytes,
            max_traces: rng.usize(10..400),
            remembered: Remembered { kept: rng.usize(..200), dropped: rng.usize(..200) },
            payload_bytes: rng.usize(1..100_000),
            hash_seed: rng.u64(..),
            ..Config::default()
        });
        let mut now = Instant::now();
        let (mut out, mut received) = (Output::default(), Received::default());
        let mut offered = 0;
        for request in traffic(seed, 200, 2000) {
            let payload = payload(&request);
            offered += payload.items();
            sampler.offer(now, payload, &mut out);
            received.take(&mut out);
            let held = sampler.held();
            assert!(held.bytes <= max_bytes as u64 + 20_000, "{} of {max_bytes}", held.bytes);
            assert_eq!(offered, received.1 + out.sampled_out + held.spans);
            now += Duration::from_millis(rng.u64(..100));
            if rng.bool() {
                while sampler.next_deadline().is_some_and(|due| due <= now) {
                    sampler.poll(now, &mut out);
                    received.take(&mut out);
                }
                assert_eq!(offered, received.1 + out.sampled_out + sampler.held().spans);
            }
        }
        while !sampler.drain(Instant::now(), &mut out) {
            received.take(&mut out);
        }
        received.take(&mut out);
        assert_eq!(offered, received.1 + out.sampled_out);
        assert_eq!((sampler.held().spans, sampler.held().traces), (0, 0));
    }
}

fn span(id: [u8; 16], name: &str, status: StatusCode) -> Span {
    Span {
        trace_id: id.to_vec(),
        name: name.into(),
        start_time_unix_nano: START,
        end_time_unix_nano: START + 1,
        status: Some(Status { code: status.number(), ..Status::default() }),
        ..Span::default()
    }
}

fn request(spans: Vec<Span>) -> Payload {
    payload(&ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    })
}

fn errors_only() -> TailSampler {
    sampler(Config {
        rules: vec![Rule::new("errors", Policy::errors())].into(),
        decision_wait: Duration::from_secs(1),
        ..Config::default()
    })
}

#[test]
fn a_late_span_follows_its_trace() {
    let (mut sampler, mut out) = (errors_only(), Output::default());
    let now = Instant::now();
    let (bad, good) = ([1; 16], [2; 16]);
    sampler.offer(
        now,
        request(vec![span(bad, "a", StatusCode::Error), span(good, "b", StatusCode::Ok)]),
        &mut out,
    );
    sampler.poll(now + Duration::from_secs(1), &mut out);
    assert_eq!((out.kept.len(), out.sampled_out), (1, 1));
    out.kept.clear();

    // Late: the good trace's error comes after it was dropped, and follows it.
    let late = now + Duration::from_secs(5);
    sampler.offer(
        late,
        request(vec![span(bad, "c", StatusCode::Ok), span(good, "d", StatusCode::Error)]),
        &mut out,
    );
    assert_eq!(out.kept.iter().map(Payload::items).sum::<u64>(), 1);
    assert_eq!(out.sampled_out, 2);
    let stats = sampler.stats();
    assert_eq!((stats.late_kept, stats.late_sampled_out), (1, 1));
    assert_eq!(sampler.held().spans, 0);
}

#[test]
fn spans_without_a_trace_id_are_decided_by_themselves() {
    let (mut sampler, mut out) = (errors_only(), Output::default());
    let mut empty = span([0; 16], "empty", StatusCode::Error);
    empty.trace_id.clear();
    let spans = vec![
        span([0; 16], "zero", StatusCode::Error),
        span([0; 16], "zero", StatusCode::Ok),
        empty,
    ];
    sampler.offer(Instant::now(), request(spans), &mut out);
    assert_eq!(out.kept.iter().map(Payload::items).sum::<u64>(), 2);
    assert_eq!(out.sampled_out, 1);
    assert_eq!(sampler.stats().without_trace, 3);
    assert_eq!(sampler.held().spans, 0);
}

#[test]
fn an_early_decision_asks_the_same_rules_and_takes_the_oldest_first() {
    let mut sampler = sampler(Config {
        rules: vec![Rule::new("errors", Policy::errors())].into(),
        max_traces: 2,
        ..Config::default()
    });
    let (now, mut out) = (Instant::now(), Output::default());
    for n in 1..=4u8 {
        let status = if n == 1 { StatusCode::Error } else { StatusCode::Ok };
        sampler.offer(now, request(vec![span([n; 16], "x", status)]), &mut out);
    }
    assert_eq!((out.kept.len(), out.sampled_out), (1, 1), "1 was kept and 2 sampled out");
    assert_eq!(sampler.held().traces, 2);
    assert_eq!(sampler.stats().decisions[Trigger::Count as usize], 2);
}

#[test]
fn metrics_and_logs_pass_by() {
    let (mut sampler, mut out) = (errors_only(), Output::default());
    let logs = Bytes::from(Telemetry::new(1).logs(5).encode_to_vec());
    sampler.offer(Instant::now(), Payload::parse(Signal::Logs, logs.clone()).unwrap(), &mut out);
    assert_eq!(out.kept[0].to_bytes(), logs);
}

#[test]
fn a_busy_sampler_asks_to_be_polled_in_steps() {
    let (mut sampler, mut out) = (errors_only(), Output::default());
    let now = Instant::now();
    for n in 1..100u8 {
        let at = now + Duration::from_micros(u64::from(n));
        sampler.offer(at, request(vec![span([n; 16], "x", StatusCode::Ok)]), &mut out);
    }
    let mut polls = 0;
    while let Some(deadline) = sampler.next_deadline() {
        sampler.poll(deadline, &mut out);
        polls += 1;
    }
    assert!(polls <= 2, "{polls} polls for a hundred microseconds of traces");
}

#[test]
fn bounds_that_hold_nothing_are_refused() {
    let no_traces = Config { max_traces: 0, ..Config::default() };
    assert_eq!(TailSampler::new(no_traces).unwrap_err(), ConfigError::NoTraces);
    let error = TailSampler::new(Config { max_bytes: 10, ..Config::default() }).unwrap_err();
    assert_eq!(error.to_string(), "10 bytes are too few to hold traces in: give at least 65536");
}

#[test]
fn any_bytes_are_taken_without_a_panic() {
    let mut rng = fastrand::Rng::with_seed(9);
    let mut sampler = sampler(Config { rules: rules().into(), ..Config::default() });
    let mut out = Output::default();
    for request in traffic(1, 300, 50) {
        let (bytes, _) = teleflow_testkit::mangle::mangle(&mut rng, &request.encode_to_vec());
        if let Ok(payload) = Payload::parse(Signal::Traces, bytes.into()) {
            sampler.offer(Instant::now(), payload, &mut out);
        }
    }
    while !sampler.drain(Instant::now(), &mut out) {}
    assert_eq!(sampler.held().spans, 0);
}
