//! Spans that can be told apart.

use bytes::Bytes;
use fastrand::Rng;
use teleflow::otlp::span::{Span, StatusCode};
use teleflow::otlp::{log, tree};
use teleflow::{Payload, Signal};
use teleflow_testkit::reference::Request;
use teleflow_testkit::telemetry::Telemetry;

/// A request of at least one span; each is named with the next number.
pub(crate) fn numbered(telemetry: &mut Telemetry, next: &mut u64) -> Payload {
    request(telemetry, |name, _, _| {
        *name = next.to_string();
        *next += 1;
    })
}

/// A request of at least one span, each of one of these traces.
pub(crate) fn of_traces(telemetry: &mut Telemetry, rng: &mut Rng, traces: &[u128]) -> Payload {
    request(telemetry, |_, trace, _| {
        *trace = traces[rng.usize(..traces.len())].to_be_bytes().to_vec();
    })
}

/// A request of at least one span, each of one of these traces; of a hundred so many failed.
pub(crate) fn that_fail(
    telemetry: &mut Telemetry,
    rng: &mut Rng,
    traces: &[u128],
    percent: u8,
) -> Payload {
    request(telemetry, |_, trace, code| {
        *trace = traces[rng.usize(..traces.len())].to_be_bytes().to_vec();
        *code = if rng.u8(..100) < percent { 2 } else { 1 };
    })
}

/// A request of at least one log record, each of one of these traces.
pub(crate) fn records(telemetry: &mut Telemetry, rng: &mut Rng, traces: &[u128]) -> Payload {
    loop {
        let mut request = telemetry.logs(4);
        let scopes = request.resource_logs.iter_mut().flat_map(|group| &mut group.scope_logs);
        let mut count = 0;
        for record in scopes.flat_map(|scope| &mut scope.log_records) {
            record.trace_id = traces[rng.usize(..traces.len())].to_be_bytes().to_vec();
            count += 1;
        }
        if count > 0 {
            let bytes = Bytes::from(Request::Logs(request).encode());
            return Payload::parse(Signal::Logs, bytes).unwrap();
        }
    }
}

/// A request of at least one span, with what `change` makes of its name, its trace and the code of
/// its status.
fn request(
    telemetry: &mut Telemetry,
    mut change: impl FnMut(&mut String, &mut Vec<u8>, &mut i32),
) -> Payload {
    loop {
        let mut request = telemetry.traces(4);
        let scopes = request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
        let mut count = 0;
        for span in scopes.flat_map(|scope| &mut scope.spans) {
            let status = span.status.get_or_insert_default();
            change(&mut span.name, &mut span.trace_id, &mut status.code);
            count += 1;
        }
        if count > 0 {
            let bytes = Bytes::from(Request::Traces(request).encode());
            return Payload::parse(Signal::Traces, bytes).unwrap();
        }
    }
}

/// The traces of a payload's spans or records, in order.
pub(crate) fn traces(payload: &Payload) -> Vec<u128> {
    outcomes(payload).into_iter().map(|(trace, _)| trace).collect()
}

/// The traces of a payload's spans or records, in order, and whether the span failed.
pub(crate) fn outcomes(payload: &Payload) -> Vec<(u128, bool)> {
    let mut outcomes = Vec::new();
    for segment in payload.segments() {
        let scopes = tree::resources(segment).flat_map(|group| group.scopes());
        for item in scopes.flat_map(|scope| scope.items()) {
            if payload.signal() == Signal::Logs {
                let trace = log::trace_id(item.message).try_into().unwrap();
                outcomes.push((u128::from_be_bytes(trace), false));
                continue;
            }
            let span = Span::read(item.message);
            let trace = u128::from_be_bytes(span.trace_id.try_into().unwrap());
            outcomes.push((trace, span.status == StatusCode::Error));
        }
    }
    outcomes
}
