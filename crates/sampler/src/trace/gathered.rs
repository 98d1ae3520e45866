//! A trace out of stored requests.

use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use teleflow_otlp::span::TailFields;
use teleflow_otlp::tree;

use crate::{SpanView, Spans, Trace, TraceSummary};

/// The spans of one trace, out of any number of requests: to [explain](crate::explain) what becomes
/// of a trace that is stored.
///
/// ```
/// use std::time::Instant;
/// use teleflow_sampler::{Gathered, Policy, Rule, explain};
///
/// // ResourceSpans { ScopeSpans { Span { trace_id } } }
/// let request = b"\x0a\x16\x12\x14\x12\x12\x0a\x10abcdefghijklmnop";
/// let gathered = Gathered::new(*b"abcdefghijklmnop", [request.as_slice().into()]);
/// assert_eq!(gathered.trace().summary.spans, 1);
///
/// let rules = vec![Rule::new("errors", Policy::errors())].into();
/// let explanation = explain(&rules, Instant::now(), &gathered.trace())?;
/// assert!(!explanation.is_kept);
/// assert_eq!(explanation.votes[0].why, "no span has the status error");
/// # Ok::<(), teleflow_sampler::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gathered {
    id: [u8; 16],
    summary: TraceSummary,
    requests: Vec<Bytes>,
    /// What spans are below, one after the other.
    envelopes: Vec<u8>,
    spans: Vec<Place>,
}

/// Where a span is.
#[derive(Clone, Debug)]
struct Place {
    resource: Range<usize>,
    scope: Range<usize>,
    request: usize,
    field: Range<usize>,
}

// === impl Gathered ===

impl Gathered {
    /// Reads requests, in the order in which they came. What cannot be read of one is left out, and
    /// so are requests without a span of the trace.
    pub fn new(id: [u8; 16], requests: impl IntoIterator<Item = Bytes>) -> Self {
        let mut gathered = Self {
            id,
            summary: TraceSummary::default(),
            requests: Vec::new(),
            envelopes: Vec::new(),
            spans: Vec::new(),
        };
        requests.into_iter().for_each(|request| gathered.add(request));
        gathered
    }

    fn add(&mut self, request: Bytes) {
        let before = self.spans.len();
        for group in tree::resources(&request) {
            let mut resource = None;
            for group_scope in group.scopes() {
                let mut scope = None;
                for item in group_scope.items() {
                    let fields = TailFields::read(item.message);
                    if fields.trace_id != self.id {
                        continue;
                    }
                    self.summary.add(&fields, item.field.len() as u64);
                    let mut write = |write: &dyn Fn(&mut Vec<u8>)| {
                        let from = self.envelopes.len();
                        write(&mut self.envelopes);
                        from..self.envelopes.len()
                    };
                    let resource =
                        resource.get_or_insert_with(|| write(&|out| group.envelope(out))).clone();
                    let scope = scope
                        .get_or_insert_with(|| write(&|out| group_scope.envelope(out)))
                        .clone();
                    let field = item.at..item.at + item.field.len();
                    self.spans.push(Place { resource, scope, request: self.requests.len(), field });
                }
            }
        }
        if self.spans.len() > before {
            self.requests.push(request);
        }
    }

    /// The trace, to be decided about.
    pub fn trace(&self) -> Trace<'_> {
        Trace { id: self.id, summary: self.summary, spans: self }
    }
}

impl Spans for Gathered {
    fn visit(&self, visit: &mut dyn FnMut(SpanView<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.spans.iter().try_for_each(|Place { resource, scope, request, field }| {
            visit(SpanView {
                resource: &self.envelopes[resource.clone()],
                scope: &self.envelopes[scope.clone()],
                message: tree::message(&self.requests[*request][field.clone()]),
            })
        })
    }
}
