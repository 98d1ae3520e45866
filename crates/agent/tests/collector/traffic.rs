//! The traffic: made from a seed, the same wherever it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

pub(crate) type TraceId = [u8; 16];

/// A span, and whose it is.
pub(crate) type SpanKey = (TraceId, [u8; 8]);

/// How many traces there are. All of them are sent before the first is decided about: a program that
/// decides takes no requests meanwhile, and traces would be decided by a part of their spans.
const TRACES: usize = 1000;

/// Traces that begin in one request; what belongs to them is spread over this and the next ones.
const BEGIN_AT_ONCE: usize = 50;
const SPREAD: usize = 4;

/// A Wednesday in September 2025.
const STARTED: u64 = 1_758_700_000_000_000_000;

const MILLI: u64 = 1_000_000;

/// Everything that is sent.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// What is sent at first.
    pub(crate) requests: Vec<Bytes>,
    /// What is sent when all traces are decided about: spans of theirs.
    pub(crate) late: Vec<Bytes>,
    pub(crate) traces: BTreeMap<TraceId, Facts>,
    pub(crate) spans: BTreeSet<SpanKey>,
    /// What comes last of the first part, and by itself.
    pub(crate) last: SpanKey,
}

/// What a trace is like.
#[derive(Clone, Debug, Default)]
#[allow(dead_code, reason = "who reads of a trace that is decided otherwise wants to know it all")]
pub(crate) struct Facts {
    /// How many spans it has, the late ones included.
    pub(crate) spans: usize,
    pub(crate) late: usize,
    /// From the earliest start to the latest end, as far as it comes in time.
    pub(crate) lasts: Duration,
    /// The types of values that the attribute `odd` has in it.
    pub(crate) odd: BTreeSet<&'static str>,
    pub(crate) trace_state: String,
    pub(crate) services: BTreeSet<&'static str>,
    /// A span has the attribute `flag` with a value that is no truth value.
    pub(crate) odd_flag: bool,
}

/// A span, and where it stands.
struct Placed {
    service: usize,
    scope: usize,
    span: Span,
}

const SERVICES: [&str; 5] = ["frontend", "checkout", "payment", "inventory", "mail"];

const SCOPES: [&str; 2] = ["http.server", "db.client"];

const ROUTES: [&str; 4] = ["/", "/api/v1/orders", "/api/v1/orders/{id}", "/healthz"];

// === impl Traffic ===

impl Traffic {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut steps: Vec<Vec<Placed>> = Vec::new();
        steps.resize_with(TRACES / BEGIN_AT_ONCE + SPREAD, Vec::new);
        let (mut late, mut traces) = (Vec::new(), BTreeMap::new());
        for number in 0..TRACES {
            let trace = Trace::new(&mut random);
            let mut facts = Facts { trace_state: trace.state.clone(), ..Facts::default() };
            let (mut first, mut end) = (u64::MAX, 0);
            for index in 0..trace.spans {
                let placed = trace.span(&mut random, index, &mut facts);
                first = first.min(placed.span.start_time_unix_nano);
                end = end.max(placed.span.end_time_unix_nano);
                let step = number / BEGIN_AT_ONCE + random.usize(..SPREAD);
                steps[step].push(placed);
            }
            facts.lasts = Duration::from_nanos(end - first);
            for index in 0..trace.late {
                late.push(trace.span(&mut random, trace.spans + index, &mut facts));
            }
            (facts.spans, facts.late) = (trace.spans + trace.late, trace.late);
            traces.insert(trace.id, facts);
        }
        let mut end = Trace::new(&mut random);
        (end.spans, end.late) = (1, 0);
        let mut facts = Facts { spans: 1, ..Facts::default() };
        let span = end.span(&mut random, 0, &mut facts);
        let last = (end.id, span.span.span_id.clone().try_into().unwrap());
        traces.insert(end.id, facts);
        steps.push(vec![span]);

        let mut late_steps = Vec::new();
        while !late.is_empty() {
            late_steps.push(late.split_off(late.len().saturating_sub(100)));
        }
        let requests: Vec<_> = steps.into_iter().map(request).collect();
        let late: Vec<_> = late_steps.into_iter().map(request).collect();
        let spans = requests.iter().chain(&late).flat_map(spans_of).collect();
        let encode = |requests: Vec<ExportTraceServiceRequest>| {
            requests.iter().map(|request| request.encode_to_vec().into()).collect()
        };
        Self { requests: encode(requests), late: encode(late), traces, spans, last }
    }
}

/// The spans of a request.
pub(crate) fn spans_of(request: &ExportTraceServiceRequest) -> impl Iterator<Item = SpanKey> {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| &scope.spans).map(|span| {
        let (trace, span) = (span.trace_id.as_slice(), span.span_id.as_slice());
        (trace.try_into().unwrap(), span.try_into().unwrap())
    })
}

/// One request of these spans: each service's below one resource.
fn request(placed: Vec<Placed>) -> ExportTraceServiceRequest {
    let mut places: BTreeMap<usize, BTreeMap<usize, Vec<Span>>> = BTreeMap::new();
    for Placed { service, scope, span } in placed {
        places.entry(service).or_default().entry(scope).or_default().push(span);
    }
    let resource_spans = places.into_iter().map(|(service, scopes)| ResourceSpans {
        resource: Some(resource(service)),
        scope_spans: scopes
            .into_iter()
            .map(|(scope, spans)| ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: SCOPES[scope].to_owned(),
                    version: "1.2.0".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans,
                ..ScopeSpans::default()
            })
            .collect(),
        ..ResourceSpans::default()
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

fn resource(service: usize) -> Resource {
    let text = |text: &str| Value::StringValue(text.to_owned());
    let mut attributes = vec![
        attribute("service.name", text(SERVICES[service])),
        attribute("replicas", Value::IntValue(service as i64 * 3)),
        attribute("canary", Value::BoolValue(service == 4)),
        attribute("weight", Value::DoubleValue(service as f64 / 2.0)),
    ];
    if service > 2 {
        attributes.push(attribute("deployment.environment", text("staging")));
    }
    Resource { attributes, ..Resource::default() }
}

// === impl Trace ===

/// What all spans of a trace share.
struct Trace {
    id: TraceId,
    spans: usize,
    late: usize,
    /// The services that it goes through.
    services: usize,
    state: String,
    flags: u32,
    start: u64,
    /// How long its root lasts.
    lasts: u64,
    /// Of ten spans, so many fail.
    fails: usize,
    tier: Option<&'static str>,
}

impl Trace {
    fn new(random: &mut Rng) -> Self {
        let lasts = match random.u8(..20) {
            // Exactly what a policy names as its bound, and a nanosecond and a millisecond more.
            0 => 1000 * MILLI + random.u64(..3) * MILLI / 2,
            1 | 2 => random.u64(1001..3000) * MILLI,
            3..8 => random.u64(100..1000) * MILLI + random.u64(..MILLI),
            _ => random.u64(1..60) * MILLI + random.u64(..MILLI),
        };
        Self {
            id: random.u128(1..).to_le_bytes(),
            spans: if random.u8(..50) == 0 { 60 } else { random.usize(1..=10) },
            late: if random.u8(..8) == 0 { random.usize(1..=3) } else { 0 },
            services: random.usize(1..=3),
            state: match random.u8(..16) {
                5 => format!("ot=rv:{:014x}", random.u64(..1 << 56)),
                0 | 1 => "tier=gold".to_owned(),
                2 => "tier=silver,region=eu".to_owned(),
                3 => "region=us,tier=gold".to_owned(),
                4 => "region=eu".to_owned(),
                6 => "ot=th:0,tier=gold".to_owned(),
                7 => "===".to_owned(),
                _ => String::new(),
            },
            flags: [0, 0, 0, 1, 0x100, 0x101, 0x300][random.usize(..7)],
            start: STARTED + random.u64(..60_000) * MILLI,
            lasts,
            fails: [0, 0, 0, 0, 0, 1, 3][random.usize(..7)],
            tier: [None, None, Some("gold"), Some("silver"), Some("")][random.usize(..5)],
        }
    }

    /// The span of this number; the first is the root.
    fn span(&self, random: &mut Rng, index: usize, facts: &mut Facts) -> Placed {
        let text = |text: &str| Value::StringValue(text.to_owned());
        let service = (usize::from(self.id[0]) + index % self.services) % SERVICES.len();
        facts.services.insert(SERVICES[service]);
        let failed = random.usize(..10) < self.fails;
        let (starts, lasts) = match index {
            0 => (0, self.lasts),
            _ => {
                let starts = random.u64(..self.lasts);
                (starts, random.u64(..=self.lasts - starts))
            }
        };
        let mut attributes = vec![
            attribute("http.route", text(ROUTES[random.usize(..ROUTES.len())])),
            attribute(
                "http.response.status_code",
                Value::IntValue(if failed { 503 } else { [200, 200, 201, 404][random.usize(..4)] }),
            ),
            attribute("amount", Value::DoubleValue(random.u64(..1000) as f64 / 8.0)),
        ];
        if random.u8(..6) == 0 {
            attributes.push(attribute("cached", Value::BoolValue(random.bool())));
        }
        if let Some(tier) = self.tier
            && index.is_multiple_of(3)
        {
            attributes.push(attribute("tier", text(tier)));
        }
        if random.u8(..30) == 0 {
            let (name, value) = odd(random.usize(..7));
            facts.odd.insert(name);
            attributes.push(attribute("odd", value));
        }
        if random.u8(..40) == 0 {
            let is_odd = random.bool();
            facts.odd_flag |= is_odd;
            let value = if is_odd { text("true") } else { Value::BoolValue(true) };
            attributes.push(attribute("flag", value));
        }
        let event = |name: &str, attributes: Vec<KeyValue>| Event {
            time_unix_nano: self.start + starts,
            name: name.to_owned(),
            attributes,
            ..Event::default()
        };
        let mut events = vec![event("started", Vec::new())];
        if failed {
            let kind = ["Timeout", "IoError", "Refused"][random.usize(..3)];
            events.push(event("exception", vec![attribute("exception.type", text(kind))]));
        }
        let code = if failed { 2 } else { random.i32(0..2) };
        let span = Span {
            trace_id: self.id.to_vec(),
            span_id: random.u64(1..).to_be_bytes().to_vec(),
            parent_span_id: if index == 0 { Vec::new() } else { vec![1; 8] },
            trace_state: self.state.clone(),
            flags: self.flags,
            name: format!(
                "{} {}",
                ["GET", "POST"][random.usize(..2)],
                ROUTES[index % ROUTES.len()]
            ),
            kind: random.i32(1..6),
            start_time_unix_nano: self.start + starts,
            end_time_unix_nano: self.start + starts + lasts,
            attributes,
            events,
            status: Some(Status { code, ..Status::default() }),
            ..Span::default()
        };
        Placed { service, scope: random.usize(..SCOPES.len()), span }
    }
}

/// A value that is not what its name promises, or is, and the name of its type.
fn odd(number: usize) -> (&'static str, Value) {
    let text = |text: &str| Value::StringValue(text.to_owned());
    let any = |value| AnyValue { value: Some(value) };
    match number {
        0 => ("int", Value::IntValue(5)),
        1 => ("text", text("5")),
        2 => ("no text", text("")),
        3 => ("double", Value::DoubleValue(5.0)),
        4 => ("bool", Value::BoolValue(true)),
        5 => ("list", Value::ArrayValue(ArrayValue { values: vec![any(Value::IntValue(5))] })),
        _ => {
            let values = vec![attribute("five", Value::IntValue(5))];
            ("map", Value::KvlistValue(KeyValueList { values }))
        }
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
