//! What of numbered traces has arrived at the sink.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};

use super::traffic::Trace;

/// Takes in what the sink was sent.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    traces: Mutex<BTreeMap<Trace, Parts>>,
    spans: AtomicU64,
}

/// What has arrived of a trace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Parts {
    /// A bit for each span.
    spans: u16,
    /// The policies that are named for keeping it.
    pub(super) policies: BTreeSet<String>,
}

// === impl Arrived ===

impl Arrived {
    pub(crate) fn take(&self, request: &ExportTraceServiceRequest) {
        let mut traces = self.traces.lock().unwrap();
        for scope in request.resource_spans.iter().flat_map(|resource| &resource.scope_spans) {
            let attributes = scope.scope.iter().flat_map(|scope| &scope.attributes);
            let policy = attributes.into_iter().find_map(policy);
            for span in &scope.spans {
                let parts = traces.entry(Trace::of(&span.trace_id)).or_default();
                let number = u64::from_be_bytes(span.span_id[..].try_into().unwrap());
                let bit = 1 << (number - 1);
                parts.spans |= bit;
                self.spans.fetch_add(1, SeqCst);
                parts.policies.extend(policy.map(str::to_owned));
            }
        }
    }

    /// Whether any of a trace has arrived.
    pub(super) fn has(&self, trace: Trace) -> bool {
        self.traces.lock().unwrap().contains_key(&trace)
    }

    /// How many spans have arrived.
    pub(super) fn spans(&self) -> u64 {
        self.spans.load(SeqCst)
    }

    /// Everything, once all is over; fails if a span has arrived twice.
    #[track_caller]
    pub(super) fn complete(&self) -> BTreeMap<Trace, Parts> {
        let traces = self.traces.lock().unwrap().clone();
        let once: u64 = traces.values().map(|parts| u64::from(parts.spans())).sum();
        assert_eq!(once, self.spans(), "no span arrives twice");
        traces
    }
}

fn policy(attribute: &KeyValue) -> Option<&str> {
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(name) if attribute.key == "tailsampling.policy" => Some(name),
        _ => None,
    }
}

// === impl Parts ===

impl Parts {
    /// How many spans have arrived.
    pub(super) const fn spans(&self) -> u32 {
        self.spans.count_ones()
    }

    /// Whether all spans of the trace are there.
    pub(super) fn are_all_of(&self, trace: Trace) -> bool {
        self.spans() == u32::from(trace.spans())
    }
}
