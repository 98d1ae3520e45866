//! Spans that can be told apart.

use bytes::Bytes;
use fastrand::Rng;
use teleflow::otlp::span::Span;
use teleflow::otlp::tree;
use teleflow::{Payload, Signal};
use teleflow_testkit::reference::Request;
use teleflow_testkit::telemetry::Telemetry;

/// A request of at least one span; each is named with the next number.
pub(crate) fn numbered(telemetry: &mut Telemetry, next: &mut u64) -> Payload {
    request(telemetry, |name, _| {
        *name = next.to_string();
        *next += 1;
    })
}

/// A request of at least one span, each of one of these traces.
pub(crate) fn of_traces(telemetry: &mut Telemetry, rng: &mut Rng, traces: &[u128]) -> Payload {
    request(telemetry, |_, trace| {
        *trace = traces[rng.usize(..traces.len())].to_be_bytes().to_vec();
    })
}

/// A request of at least one span, with what `change` makes of its name and its trace.
fn request(
    telemetry: &mut Telemetry,
    mut change: impl FnMut(&mut String, &mut Vec<u8>),
) -> Payload {
    loop {
        let mut request = telemetry.traces(4);
        let scopes = request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
        let mut count = 0;
        for span in scopes.flat_map(|scope| &mut scope.spans) {
            change(&mut span.name, &mut span.trace_id);
            count += 1;
        }
        if count > 0 {
            let bytes = Bytes::from(Request::Traces(request).encode());
            return Payload::parse(Signal::Traces, bytes).unwrap();
        }
    }
}

/// The traces of a payload's spans, in order.
pub(crate) fn traces(payload: &Payload) -> Vec<u128> {
    let mut traces = Vec::new();
    for segment in payload.segments() {
        let scopes = tree::resources(segment).flat_map(|group| group.scopes());
        for span in scopes.flat_map(|scope| scope.items()) {
            let trace = Span::read(span.message).trace_id;
            traces.push(u128::from_be_bytes(trace.try_into().unwrap()));
        }
    }
    traces
}
