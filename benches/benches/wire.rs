//! What does it cost to look into telemetry, against decoding it?
//!
//! The rival is prost with `opentelemetry-proto`'s messages: what every other Rust gateway that
//! looks inside does with a request. The work is the same on both sides, from the same bytes: 16
//! requests of 512 spans of 512 bytes.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it finds")]

use std::hint::black_box;
use std::io;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use teleflow_benches::alloc::{self, Counting};
use teleflow_benches::measure::side_by_side;
use teleflow_benches::payload;
use teleflow_benches::report::{Better, Report, Rival};
use teleflow_otlp::span::{StatusCode, TailFields};
use teleflow_otlp::{Limits, Payload, Signal, split, tree, validate};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUESTS: usize = 16;
const SPANS: usize = 512;
const ALL: f64 = (REQUESTS * SPANS) as f64;
const PROST: &str = "prost 0.14, opentelemetry-proto 0.33";

fn main() -> io::Result<()> {
    let template = payload::Payload::new(SPANS);
    let mut sequence = template.sequence(1);
    let requests: Vec<Bytes> = (0..REQUESTS)
        .map(|_| {
            let mut framed = Vec::new();
            sequence.write(&mut framed);
            Bytes::from(framed).slice(payload::PREFIX..)
        })
        .collect();
    let bytes: usize = requests.iter().map(Bytes::len).sum();
    println!("{REQUESTS} requests of {SPANS} spans, {:.1} bytes a span", bytes as f64 / ALL);

    let mut report = Report::new("wire");
    let mut time = |metric: &str, ours: &mut dyn FnMut(), theirs: &mut dyn FnMut()| {
        let (ours, theirs) = side_by_side(ours, theirs);
        let rival = Rival { name: PROST, value: theirs / ALL };
        report.row(metric, "ns/span", Better::Lower, ours / ALL, Some(rival));
    };

    let mut decode_and_drop = || {
        for request in &requests {
            black_box(ExportTraceServiceRequest::decode(request.clone()).expect("it is valid"));
        }
    };
    time(
        "wire/validate",
        &mut || {
            for request in &requests {
                black_box(validate(Signal::Traces, request).expect("it is valid"));
            }
        },
        &mut decode_and_drop,
    );
    time(
        "wire/tail_fields",
        &mut || {
            black_box(requests.iter().map(|request| tail_walk(request)).sum::<u64>());
        },
        &mut decode_and_drop,
    );
    time(
        "wire/gateway_request",
        &mut || {
            black_box(gateway(&requests));
        },
        &mut || {
            black_box(reference(&requests));
        },
    );
    let merged = merge(&requests);
    let halves = Limits { items: merged.items() / 2, bytes: usize::MAX };
    time(
        "wire/split",
        &mut || {
            black_box(split(merged.clone(), halves, halves));
        },
        &mut || {
            let mut first = decode_all(&requests);
            let second = first.resource_spans.split_off(REQUESTS / 2);
            let second = ExportTraceServiceRequest { resource_spans: second };
            black_box((first.encode_to_vec(), second.encode_to_vec()));
        },
    );

    let (_, ours) = alloc::count(|| gateway(&requests));
    let (_, theirs) = alloc::count(|| reference(&requests));
    let rival = Rival { name: PROST, value: theirs.allocations as f64 / ALL };
    report.row(
        "wire/gateway_request/allocations",
        "allocations/span",
        Better::Lower,
        ours.allocations as f64 / ALL,
        Some(rival),
    );
    let (_, walk) = alloc::count(|| {
        for request in &requests {
            black_box(validate(Signal::Traces, request).expect("it is valid"));
            black_box(tail_walk(request));
        }
    });
    report.row(
        "wire/look/allocations",
        "allocations/span",
        Better::Lower,
        walk.allocations as f64 / ALL,
        Some(rival),
    );
    report.note(
        "gateway_request: validate with UTF-8, count, read every span's tail fields and write one \
         merged request, against decode, append, encode and drop",
    );
    report.publish().map(drop)
}

/// What our gateway does with 16 requests that become one.
fn gateway(requests: &[Bytes]) -> (u64, Bytes) {
    let merged = merge(requests);
    let slow = merged.segments().iter().map(|segment| tail_walk(segment)).sum();
    (slow, merged.to_bytes())
}

fn merge(requests: &[Bytes]) -> Payload {
    let mut merged = Payload::empty(Signal::Traces);
    for request in requests {
        merged.append(Payload::parse(Signal::Traces, request.clone()).expect("it is valid"));
    }
    merged
}

/// What a gateway that decodes does with them: one request at a time, which is kinder to its caches
/// than all at once.
fn reference(requests: &[Bytes]) -> (u64, Vec<u8>) {
    let mut interesting = 0;
    let mut merged = Vec::with_capacity(requests.iter().map(Bytes::len).sum());
    for request in requests {
        let request = ExportTraceServiceRequest::decode(request.clone()).expect("it is valid");
        for resource in &request.resource_spans {
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                let slow =
                    span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) > 1 << 30;
                let failed = span.status.as_ref().is_some_and(|status| status.code == 2);
                interesting += u64::from(slow || failed || span.trace_id[15] == 0);
            }
        }
        request.encode(&mut merged).expect("a vector grows");
    }
    (interesting, merged)
}

fn decode_all(requests: &[Bytes]) -> ExportTraceServiceRequest {
    let mut merged = ExportTraceServiceRequest::default();
    for request in requests {
        let request = ExportTraceServiceRequest::decode(request.clone()).expect("it is valid");
        merged.resource_spans.extend(request.resource_spans);
    }
    merged
}

/// Reads of every span what a tail sampler needs, and does a little with it.
fn tail_walk(request: &[u8]) -> u64 {
    let mut interesting = 0;
    for resource in tree::resources(request) {
        for scope in resource.scopes() {
            for item in scope.items() {
                let span = TailFields::read(item.message);
                let slow = span.end.saturating_sub(span.start) > 1 << 30;
                let failed = span.status == StatusCode::Error;
                interesting += u64::from(slow || failed || span.trace_id.last() == Some(&0));
            }
        }
    }
    interesting
}
