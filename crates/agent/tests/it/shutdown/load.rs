//! Clients that send as fast as they are answered, and count what they were promised.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use teleflow::Signal;
use teleflow_testkit::telemetry::Telemetry;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::malformed::client::{Client, frame, post};
use crate::malformed::reference;

/// Requests in flight on each HTTP/2 connection.
const AT_ONCE: usize = 4;

/// How long a client waits for an answer, or for being turned away.
const PATIENCE: Duration = Duration::from_secs(10);

const TRACES: u64 = 10;
const SPANS: u64 = 5;

/// The clients of one gateway: for each signal two, one over each protocol.
#[derive(Debug)]
pub(crate) struct Load {
    clients: JoinSet<Sent>,
    /// Has a permit for each request that was answered with success.
    answered: Arc<Semaphore>,
}

/// What the clients know of their requests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sent {
    /// What was answered with success.
    answered: Counts,
    /// What got no answer, because the connection ended first. It may have been accepted: when a
    /// connection is closed on a client that still writes, answers are lost on their way.
    unanswered: Counts,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    /// By signal.
    items: [u64; 3],
    /// Spans that a sampler must not leave out.
    marked: u64,
}

/// Whether a span is of a trace with an error. All spans of such a trace bear the mark.
pub(crate) fn is_marked(span: &Span) -> bool {
    span.trace_id.first() == Some(&0xee)
}

// === impl Sent ===

impl Sent {
    /// How many items the gateway may say that it has accepted: all that it has promised, and none
    /// that was not sent.
    pub(crate) fn items(&self, signal: Signal) -> RangeInclusive<u64> {
        let of = |counts: &Counts| counts.items[signal.index()];
        of(&self.answered)..=of(&self.answered) + of(&self.unanswered)
    }

    /// How many marked spans there are among those.
    pub(crate) fn marked(&self) -> RangeInclusive<u64> {
        self.answered.marked..=self.answered.marked + self.unanswered.marked
    }
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.items.iter_mut().zip(other.items).for_each(|(sum, items)| *sum += items);
        self.marked += other.marked;
    }
}

// === impl Load ===

impl Load {
    /// Starts sending.
    pub(crate) async fn start(grpc: SocketAddr, http: SocketAddr, signals: &[Signal]) -> Self {
        let mut load = Self { clients: JoinSet::new(), answered: Arc::new(Semaphore::new(0)) };
        for &signal in signals {
            let client = Client::http2(grpc).await;
            for _ in 0..AT_ONCE {
                let client = client.share().expect("HTTP/2 can be shared");
                load.clients.spawn(send(client, true, signal, Arc::clone(&load.answered)));
            }
            let client = Client::http1(http).await;
            load.clients.spawn(send(client, false, signal, Arc::clone(&load.answered)));
        }
        load
    }

    /// Waits until so many requests more were answered with success.
    pub(crate) async fn answered(&self, requests: u32) {
        // bounded wait: a gateway that answers nothing fails the test.
        let permits = timeout(Duration::from_secs(30), self.answered.acquire_many(requests)).await;
        permits.expect("the gateway answers").unwrap().forget();
    }

    /// Waits until every client was turned away, and adds up.
    pub(crate) async fn turned_away(self) -> Sent {
        let mut sum = Sent::default();
        for sent in self.clients.join_all().await {
            sum.answered.add(sent.answered);
            sum.unanswered.add(sent.unanswered);
        }
        sum
    }
}

/// Sends until the gateway closes the connection or says that it stops.
async fn send(mut client: Client, is_grpc: bool, signal: Signal, answered: Arc<Semaphore>) -> Sent {
    let mut telemetry = Telemetry::new(signal.index() as u64);
    let mut sent = Sent::default();
    loop {
        let (request, marked) = match signal {
            Signal::Traces => traces(),
            Signal::Metrics => (telemetry.metrics(5).encode_to_vec(), 0),
            Signal::Logs => (telemetry.logs(20).encode_to_vec(), 0),
        };
        let mut counts = Counts { items: [0; 3], marked };
        counts.items[signal.index()] = reference::items(signal, &request).unwrap();
        let request = if is_grpc { call(signal, &request) } else { body(signal, request) };
        // bounded wait: a client of hyper whose connection ends may, once in a great while, not hear
        // of it.
        let answer = match timeout(PATIENCE, client.send(request)).await {
            Ok(Ok(answer)) => answer,
            // It was not even sent.
            Ok(Err(error)) if error.is_closed() => return sent,
            Ok(Err(_)) | Err(_) => {
                sent.unanswered.add(counts);
                return sent;
            }
        };
        match (answer.status, answer.grpc_status()) {
            (StatusCode::OK, Some(0)) if is_grpc => {}
            (StatusCode::OK, None) if !is_grpc => {}
            (StatusCode::OK, Some(14)) | (StatusCode::SERVICE_UNAVAILABLE, None) => return sent,
            _ => panic!("an answer of no sense: {answer:?}"),
        }
        sent.answered.add(counts);
        answered.add_permits(1);
    }
}

/// Whole traces, one in ten of which has an error, and how many spans those have.
fn traces() -> (Vec<u8>, u64) {
    // No two traces of a process have the same id.
    static NEXT: AtomicU64 = AtomicU64::new(0);

    let spans = (0..TRACES).flat_map(|i| {
        let is_error = i == 0;
        let mut trace_id = vec![if is_error { 0xee } else { 0x11 }; 16];
        // The low bytes have to look random: samplers go by them.
        let number = NEXT.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        trace_id[8..].copy_from_slice(&number.to_be_bytes());
        (0..SPANS).map(move |n| Span {
            trace_id: trace_id.clone(),
            span_id: (n + 1).to_be_bytes().to_vec(),
            parent_span_id: if n == 0 { Vec::new() } else { 1_u64.to_be_bytes().to_vec() },
            name: "checkout".to_owned(),
            start_time_unix_nano: teleflow_testkit::telemetry::START,
            end_time_unix_nano: teleflow_testkit::telemetry::START + 1_000_000,
            status: (is_error && n == SPANS - 1)
                .then(|| Status { code: SpanStatus::Error.into(), ..Status::default() }),
            ..Span::default()
        })
    });
    let scope = ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    (ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec(), SPANS)
}

fn call(signal: Signal, message: &[u8]) -> Request<Bytes> {
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    post(signal.grpc_path(), &headers, frame(0, message))
}

fn body(signal: Signal, message: Vec<u8>) -> Request<Bytes> {
    post(signal.http_path(), &[("content-type", "application/x-protobuf")], message)
}
