//! A generator of OTLP/gRPC load that leaves its core to the sink.
//!
//! It speaks HTTP/2 with bodies that are framed beforehand, and knows of gRPC only the status: a
//! gRPC library would spend more on a request than a fast gateway does.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time;

use crate::payload::Payload;

const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// How long a lane that was refused waits, so that refusals do not become the load.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the answers to the last requests may take.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// How the load is offered.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// TCP connections.
    pub connections: usize,
    /// Requests in flight on each; every one is a lane with traces of its own.
    pub lanes: usize,
    /// When a lane sends its next request.
    pub pace: Pace,
}

/// When a lane sends its next request.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When the last one is answered: as fast as the gateway takes them.
    Closed,
    /// At its time in a schedule of so many spans a second over all lanes. A lane that is late
    /// sends at once until it has caught up.
    SpansPerSecond(f64),
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Spans in requests that were answered with gRPC status 0.
    pub accepted: u64,
    /// Spans in requests that were answered with another one, or not at all.
    pub refused: u64,
    /// Accepted spans of complete traces that no sampler may drop.
    pub must_keep: u64,
}

/// Running lanes; [`stop`](Self::stop) ends them.
#[derive(Debug)]
pub struct Generator {
    state: Arc<State>,
    lanes: Vec<JoinHandle<Vec<u32>>>,
}

#[derive(Debug, Default)]
struct State {
    stop: AtomicBool,
    timing: AtomicBool,
    accepted: AtomicU64,
    refused: AtomicU64,
    must_keep: AtomicU64,
    first_refusal: Mutex<Option<String>>,
}

/// One stream of requests, each sent after the one before.
struct Lane {
    state: Arc<State>,
    sender: SendRequest<Full<Bytes>>,
    head: Request<()>,
    payload: Arc<Payload>,
    seed: u64,
    schedule: Option<Schedule>,
}

struct Schedule {
    next: Instant,
    interval: Duration,
}

// === impl Generator ===

impl Generator {
    /// Connects and starts to send.
    ///
    /// # Errors
    ///
    /// A connection cannot be made.
    pub async fn start(to: SocketAddr, load: Load, payload: Arc<Payload>) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let count = load.connections * load.lanes;
        let mut lanes = Vec::with_capacity(count);
        let begin = Instant::now();
        for _ in 0..load.connections {
            let sender = connect(to).await?;
            for _ in 0..load.lanes {
                let number = lanes.len();
                let schedule = match load.pace {
                    Pace::Closed => None,
                    Pace::SpansPerSecond(rate) => {
                        let apart = Duration::from_secs_f64(payload.spans() as f64 / rate);
                        let next = begin + apart * number as u32;
                        Some(Schedule { next, interval: apart * count as u32 })
                    }
                };
                let lane = Lane {
                    state: Arc::clone(&state),
                    sender: sender.clone(),
                    head: head(to)?,
                    payload: Arc::clone(&payload),
                    seed: fastrand::u64(..),
                    schedule,
                };
                lanes.push(tokio::spawn(lane.run()));
            }
        }
        Ok(Self { state, lanes })
    }

    /// What has happened so far.
    pub fn sent(&self) -> Sent {
        self.state.sent()
    }

    /// Why the first refused request was refused.
    pub fn first_refusal(&self) -> Option<String> {
        self.state.first_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the latency of each request that is accepted from now on.
    pub fn start_timing(&self) {
        self.state.timing.store(true, Ordering::Relaxed);
    }

    /// Keeps no latency any longer.
    pub fn stop_timing(&self) {
        self.state.timing.store(false, Ordering::Relaxed);
    }

    /// Ends each lane after its last answer and returns all counts and latencies, those in
    /// microseconds and sorted.
    ///
    /// # Errors
    ///
    /// The last answers do not come.
    pub async fn stop(self) -> io::Result<(Sent, Vec<u32>)> {
        self.state.stop.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        let answers = async {
            for lane in self.lanes {
                latencies.append(&mut lane.await.map_err(io::Error::other)?);
            }
            Ok::<_, io::Error>(())
        };
        time::timeout(LAST_ANSWERS, answers).await??;
        latencies.sort_unstable();
        Ok((self.state.sent(), latencies))
    }
}

// === impl State ===

impl State {
    fn sent(&self) -> Sent {
        Sent {
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            must_keep: self.must_keep.load(Ordering::Relaxed),
        }
    }

    fn refuse(&self, spans: u64, reason: String) {
        self.refused.fetch_add(spans, Ordering::Relaxed);
        let mut first = self.first_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(reason);
    }
}

// === impl Lane ===

impl Lane {
    async fn run(mut self) -> Vec<u32> {
        let payload = Arc::clone(&self.payload);
        let spans = payload.spans() as u64;
        let mut sequence = payload.sequence(self.seed);
        let mut latencies = Vec::new();
        // Whether the request before, which began this one's traces, was accepted.
        let mut begun = false;
        let mut body = Vec::new();
        while !self.state.stop.load(Ordering::Relaxed) {
            let must_keep = sequence.write(&mut body);
            let framed = Bytes::from(body);
            let since = self.turn().await;
            let answer = self.send(framed.clone()).await;
            // The buffer is ours again, unless the request was cut off on its way.
            body = if framed.is_unique() { Vec::from(framed) } else { Vec::new() };
            match answer {
                Ok(()) => {
                    self.state.accepted.fetch_add(spans, Ordering::Relaxed);
                    if begun {
                        self.state.must_keep.fetch_add(must_keep, Ordering::Relaxed);
                    }
                    begun = true;
                    if self.state.timing.load(Ordering::Relaxed) {
                        let micros = since.elapsed().as_micros();
                        latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
                    }
                }
                Err(reason) => {
                    self.state.refuse(spans, reason);
                    begun = false;
                    if self.sender.is_closed() {
                        break;
                    }
                    time::sleep(PAUSE).await;
                }
            }
        }
        latencies
    }

    /// Waits for this lane's turn and returns since when the request should have been on its way.
    async fn turn(&mut self) -> Instant {
        let Some(schedule) = &mut self.schedule else { return Instant::now() };
        let turn = schedule.next;
        schedule.next += schedule.interval;
        time::sleep_until(turn.into()).await;
        turn
    }

    async fn send(&mut self, body: Bytes) -> Result<(), String> {
        let request = self.head.clone().map(|()| Full::new(body));
        self.sender.ready().await.map_err(|error| error.to_string())?;
        let answer = self.sender.send_request(request).await;
        let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
        // Where there is nothing but a status it stands in the headers.
        if let Some(status) = status_of(&head.headers) {
            return status;
        }
        match trailers(body).await.map_err(|error| error.to_string())? {
            Some(trailers) => status_of(&trailers).unwrap_or_else(|| Err("no status".to_owned())),
            None => Err(format!("no gRPC answer, HTTP status {}", head.status)),
        }
    }
}

async fn connect(to: SocketAddr) -> io::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Its end is seen by the lanes, whose requests then fail.
    tokio::spawn(connection);
    Ok(sender)
}

fn head(to: SocketAddr) -> io::Result<Request<()>> {
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://{to}{PATH}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(())
        .map_err(io::Error::other)
}

async fn trailers(mut body: Incoming) -> Result<Option<HeaderMap>, hyper::Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(trailers) = frame?.into_trailers() {
            return Ok(Some(trailers));
        }
    }
    Ok(None)
}

/// The gRPC status, if it is among `headers`.
fn status_of(headers: &HeaderMap) -> Option<Result<(), String>> {
    let status = headers.get("grpc-status")?;
    if status == "0" {
        return Some(Ok(()));
    }
    let message = headers.get("grpc-message");
    Some(Err(format!("gRPC status {status:?}, message {message:?}")))
}
