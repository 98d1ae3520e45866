//! Numbered traces, each of which comes in several requests of several services.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use http::{Request, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use teleflow::Signal;
use teleflow_testkit::telemetry::START;
use tokio::time::{Instant, sleep_until};

use crate::malformed::client::{Client, frame, post};
use crate::program::Program;

/// Each has a connection of its own; even ones over gRPC, odd ones over HTTP.
const SERVICES: [&str; 7] =
    ["storefront", "catalog", "cart", "checkout", "payment", "inventory", "mailer"];

/// How many traces begin in a round.
pub(super) const TRACES: u32 = 24;

/// What a trace is, all of it by its number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Trace(pub(super) u32);

/// What there is to say of a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Its first span has failed.
    Failed,
    /// Its last span has failed.
    FailedLate,
    /// Its first span takes three seconds.
    Slow,
    /// Its first span has the attribute `probe`.
    Probe,
    Normal,
}

/// What was answered with success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) traces: u32,
    pub(super) spans: u64,
    /// As they are in requests.
    pub(super) bytes: u64,
    /// The bytes of the largest request.
    pub(super) largest: u64,
}

/// Who sends, round after round; those of a round at the same time.
pub(super) struct Shop {
    clients: Vec<Client>,
    /// The spans of traces that have begun, by the round in which they come.
    coming: BTreeMap<u32, Vec<(Trace, u8)>>,
    round: u32,
    /// So many rounds after its first span the last one of some traces comes.
    late: u32,
    /// How many traces have begun: known before their first span is sent.
    begun: Arc<AtomicU32>,
    sent: Sent,
}

// === impl Trace ===

impl Trace {
    /// The trace that a span belongs to.
    pub(super) fn of(id: &[u8]) -> Self {
        let trace = Self(u32::from_be_bytes(id[..4].try_into().unwrap()));
        assert_eq!(id, trace.id(), "an id that nobody has sent");
        trace
    }

    fn id(self) -> [u8; 16] {
        let mut id = [0xab; 16];
        id[..4].copy_from_slice(&self.0.to_be_bytes());
        // The low bytes have to look random: samplers go by them.
        id[8..].copy_from_slice(&self.random().to_be_bytes());
        id
    }

    /// The same for a number at all times.
    fn random(self) -> u64 {
        // The finalizer of SplitMix64.
        let mut z = u64::from(self.0).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) const fn kind(self) -> Kind {
        match self.0 % 40 {
            0 => Kind::Failed,
            1 => Kind::FailedLate,
            2 | 22 => Kind::Slow,
            3 | 13 | 23 | 33 => Kind::Probe,
            _ => Kind::Normal,
        }
    }

    /// Three to twelve.
    pub(super) fn spans(self) -> u8 {
        3 + (self.random() % 10) as u8
    }

    /// Whether its last span comes long after the others.
    pub(super) const fn is_late(self) -> bool {
        (self.0 / 40).is_multiple_of(5)
    }

    fn service(self, n: u8) -> usize {
        ((self.random() >> 32) as usize + usize::from(n) * 3) % SERVICES.len()
    }

    fn span(self, n: u8) -> Span {
        let (kind, is_last) = (self.kind(), n + 1 == self.spans());
        let has_failed = match kind {
            Kind::Failed => n == 0,
            Kind::FailedLate => is_last,
            _ => false,
        };
        let took = if kind == Kind::Slow && n == 0 { 3_000_000_000 } else { 5_000_000 };
        let mut attributes = vec![
            text("http.request.method", "POST"),
            text("http.route", "/cart/{id}/items"),
            text("url.full", &format!("https://shop.example.com/cart/{}/items?from={n}", self.0)),
            text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101"),
            text(
                "db.query.text",
                "SELECT item.id, item.name, stock.count FROM item JOIN stock ON stock.item = \
                 item.id WHERE item.category = ? AND stock.count > ? ORDER BY item.name LIMIT 50",
            ),
        ];
        if kind == Kind::Probe && n == 0 {
            attributes.push(text("probe", "yes"));
        }
        let thrown = Event {
            time_unix_nano: START,
            name: "exception".to_owned(),
            attributes: vec![
                text("exception.type", "CardDeclined"),
                text("exception.stacktrace", &"at shop.payment.charge(payment.rs:42)\n".repeat(20)),
            ],
            ..Event::default()
        };
        Span {
            trace_id: self.id().to_vec(),
            span_id: u64::from(n + 1).to_be_bytes().to_vec(),
            parent_span_id: if n == 0 { Vec::new() } else { 1_u64.to_be_bytes().to_vec() },
            name: "checkout".to_owned(),
            start_time_unix_nano: START,
            end_time_unix_nano: START + took,
            attributes,
            events: if has_failed { vec![thrown] } else { Vec::new() },
            status: has_failed
                .then(|| Status { code: SpanStatus::Error.into(), ..Status::default() }),
            ..Span::default()
        }
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

// === impl Shop ===

impl Shop {
    pub(super) async fn open(program: &Program, late: u32) -> Self {
        let mut clients = Vec::new();
        for service in 0..SERVICES.len() {
            clients.push(if service % 2 == 0 {
                Client::http2(program.grpc()).await
            } else {
                Client::http1(program.http()).await
            });
        }
        Self {
            clients,
            coming: BTreeMap::new(),
            round: 0,
            late,
            begun: Arc::default(),
            sent: Sent::default(),
        }
    }

    /// How many traces have begun so far, for others to look at: a trace of a higher number is sent
    /// later than it is looked at.
    pub(super) fn begun(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.begun)
    }

    /// Sends so many bytes, and what belongs to traces that have begun; at no higher rate than asked
    /// for, in bytes a second.
    pub(super) async fn send(mut self, bytes: u64, rate: Option<u64>) -> Sent {
        let started = Instant::now();
        while self.sent.bytes < bytes {
            self.round(TRACES).await;
            if let Some(rate) = rate {
                let due = Duration::from_millis(self.sent.bytes * 1000 / rate);
                sleep_until(started + due).await;
            }
        }
        self.end().await
    }

    /// Sends until it is told to stop, and what belongs to traces that have begun.
    pub(super) async fn send_until(mut self, is_over: Arc<AtomicBool>) -> Sent {
        while !is_over.load(SeqCst) {
            self.round(TRACES).await;
        }
        self.end().await
    }

    async fn end(mut self) -> Sent {
        while !self.coming.is_empty() {
            self.round(0).await;
        }
        self.sent
    }

    /// Sends what comes in this round, with so many new traces, and waits for the answers.
    async fn round(&mut self, traces: u32) {
        let first = self.begun.fetch_add(traces, SeqCst);
        for trace in (first..first + traces).map(Trace) {
            self.sent.traces += 1;
            for n in 0..trace.spans() {
                let is_last = n + 1 == trace.spans();
                // The first span is there before any other.
                let later = if n == 0 {
                    0
                } else if is_last && trace.is_late() {
                    self.late
                } else {
                    1 + u32::from(n % 2)
                };
                self.coming.entry(self.round + later).or_default().push((trace, n));
            }
        }
        let mut spans: [Vec<Span>; SERVICES.len()] = Default::default();
        for (trace, n) in self.coming.remove(&self.round).unwrap_or_default() {
            self.sent.spans += 1;
            spans[trace.service(n)].push(trace.span(n));
        }
        self.round += 1;
        let mut requests = Vec::new();
        for (service, (client, spans)) in self.clients.iter_mut().zip(spans).enumerate() {
            if spans.is_empty() {
                continue;
            }
            let message = request(service, spans);
            self.sent.bytes += message.len() as u64;
            self.sent.largest = self.sent.largest.max(message.len() as u64);
            requests.push(taken(client, service % 2 == 0, message));
        }
        all(requests).await;
    }
}

/// Waits for all of them, all at the same time.
async fn all(futures: Vec<impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Sends a request, which has to be answered with success.
async fn taken(client: &mut Client, is_grpc: bool, message: Vec<u8>) {
    let request: Request<_> = if is_grpc {
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        post(Signal::Traces.grpc_path(), &headers, frame(0, &message))
    } else {
        let headers = [("content-type", "application/x-protobuf")];
        post(Signal::Traces.http_path(), &headers, message)
    };
    // bounded wait: a gateway that does not answer fails the test.
    let answer = tokio::time::timeout(super::PATIENCE, client.send(request)).await;
    let answer = answer.expect("the gateway answers").unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.grpc_status(), is_grpc.then_some(0), "{answer:?}");
}

fn request(service: usize, spans: Vec<Span>) -> Vec<u8> {
    let resource = Resource {
        attributes: vec![
            text("service.name", SERVICES[service]),
            text("service.version", "1.4.2"),
            text("host.name", "shop-7f9c"),
        ],
        ..Resource::default()
    };
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let of_resource = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![of_resource] }.encode_to_vec()
}
