//! Looking into requests, merging and cutting them, batching and sampling.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group};
use teleflow_batcher::Batcher;
use teleflow_benches::payload;
use teleflow_otlp::span::TailFields;
use teleflow_otlp::{Limits, Payload, Signal, split, tree, validate};
use teleflow_sampler::{Output, Policy, Rule, TailSampler};

library_benchmark_group!(
    name = telemetry_group,
    benchmarks =
        [otlp_validate, otlp_tail_fields, otlp_split, otlp_merge, batcher_offer, sampler_offer]
);

/// Requests of the `wire` benchmark in one count: 1024 spans.
const REQUESTS: usize = 2;
const SPANS: usize = 512;

fn requests() -> Vec<Bytes> {
    let template = payload::Payload::new(SPANS);
    let mut sequence = template.sequence(1);
    let request = |_| {
        let mut framed = Vec::new();
        sequence.write(&mut framed);
        Bytes::from(framed).slice(payload::PREFIX..)
    };
    (0..REQUESTS).map(request).collect()
}

fn payloads() -> Vec<Payload> {
    let parse = |request| Payload::parse(Signal::Traces, request).expect("it is valid");
    requests().into_iter().map(parse).collect()
}

#[library_benchmark]
#[bench::spans_1024(requests())]
fn otlp_validate(requests: Vec<Bytes>) -> Vec<Bytes> {
    for request in &requests {
        black_box(validate(Signal::Traces, black_box(request)).expect("it is valid"));
    }
    requests
}

#[library_benchmark]
#[bench::spans_1024(requests())]
fn otlp_tail_fields(requests: Vec<Bytes>) -> Vec<Bytes> {
    for request in &requests {
        for resource in tree::resources(black_box(request)) {
            for scope in resource.scopes() {
                for item in scope.items() {
                    black_box(TailFields::read(item.message));
                }
            }
        }
    }
    requests
}

fn merged() -> Payload {
    merge(payloads())
}

fn merge(payloads: Vec<Payload>) -> Payload {
    let mut merged = Payload::empty(Signal::Traces);
    for payload in payloads {
        merged.append(payload);
    }
    merged
}

// Cut in the middle of a request, into three pieces.
#[library_benchmark]
#[bench::spans_1024(merged())]
fn otlp_split(merged: Payload) -> (Payload, Vec<Payload>) {
    let limits = Limits { items: 400, bytes: usize::MAX };
    let pieces = split(black_box(merged.clone()), limits, limits);
    (merged, pieces)
}

#[library_benchmark]
#[bench::spans_1024(payloads())]
fn otlp_merge(payloads: Vec<Payload>) -> Bytes {
    merge(black_box(payloads)).to_bytes()
}

fn batcher() -> (Batcher, Vec<Payload>, Vec<Payload>) {
    let batcher = Batcher::new(Signal::Traces, Default::default()).expect("the defaults work");
    let payloads = payloads().into_iter().cycle();
    (batcher, payloads.take(64).collect(), Vec::with_capacity(64))
}

// Some of them fill a batch.
#[library_benchmark]
#[bench::requests_64(batcher())]
fn batcher_offer(
    (mut batcher, payloads, mut full): (Batcher, Vec<Payload>, Vec<Payload>),
) -> (Batcher, Vec<Payload>) {
    let now = Instant::now();
    for payload in payloads {
        batcher.offer(now, black_box(payload), &mut full);
    }
    (batcher, full)
}

fn sampler() -> (TailSampler, Vec<Payload>, Output) {
    let rules = vec![Rule::new("errors", Policy::errors())];
    let config = teleflow_sampler::Config { rules: rules.into(), ..Default::default() };
    (TailSampler::new(config).expect("it makes sense"), payloads(), Output::default())
}

// Of traces that are new, or half known.
#[library_benchmark]
#[bench::spans_1024(sampler())]
fn sampler_offer(
    (mut sampler, payloads, mut out): (TailSampler, Vec<Payload>, Output),
) -> (TailSampler, Output) {
    let now = Instant::now();
    for payload in payloads {
        sampler.offer(now, black_box(payload), &mut out);
    }
    (sampler, out)
}
