//! Whatever comes in, the program answers it, keeps what prost would keep, and stays as it was.

mod cases;
pub(crate) mod client;
mod crafted;
mod damage;
pub(crate) mod reference;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::StatusCode;
use teleflow::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::cases::{Case, Cases, Expected, LIGHT, LIMIT, Over};
use self::client::{Answer, Client};
use crate::admin::get;
use crate::books::Books;
use crate::program::{Program, skipped};

const REQUESTS: usize = 10_000;

/// How many requests are under way at a time.
const WORKERS: usize = 12;

/// How many of those are bombs, or as large as bombs.
const HEAVY: usize = 2;

/// What a bomb may cost beyond the limit: what it takes compressed, and the step in which it grows.
const SLACK: u64 = 16 * 1024 * 1024;

const CONFIG: &str = "
receivers:
  otlp: { protocols: { grpc: { endpoint: 127.0.0.1:0 }, http: { endpoint: 127.0.0.1:0 } } }
processors:
  batch:
exporters:
  sqlite: { path: malformed.db, sending_queue: { block_on_overflow: true, queue_size: 10 } }
extensions:
  admin: { endpoint: 127.0.0.1:0 }
service:
  extensions: [admin]
  pipelines:
    traces: { receivers: [otlp], processors: [batch], exporters: [sqlite] }
    metrics: { receivers: [otlp], processors: [batch], exporters: [sqlite] }
    logs: { receivers: [otlp], processors: [batch], exporters: [sqlite] }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_malformed_requests_are_answered_as_they_deserve_and_leave_no_trace() {
    let program = Program::start(CONFIG, &["--drain-timeout", "60s"]);
    let cases = Arc::new(Cases::new());
    let mut taken = Taken::default();

    taken.add(send(&program, &cases, 0..LIGHT).await);
    let warm = Memory::of(program.id());
    taken.add(send(&program, &cases, LIGHT..REQUESTS).await);
    taken.add(lying_heads(program.http(), &cases).await);
    let after = Memory::of(program.id());

    assert_eq!(get(&program, "/health").await.status, 200, "the same process as before");
    let by_kind = format!("{} taken, {} refused", taken.requests, taken.refused);
    assert!(taken.requests > 2_000 && taken.refused > 4_000, "{by_kind}: this tells little");
    match (warm, after) {
        (Some(warm), Some(after)) => {
            let growth = after.peak.saturating_sub(warm.peak);
            let allowed = HEAVY as u64 * (LIMIT as u64 + SLACK);
            println!("{by_kind}; before the first bomb {warm:?}, at the end {after:?}");
            assert!(growth <= allowed, "{growth} bytes more, {warm:?}, then {after:?}");
            let kept = after.resident.saturating_sub(warm.resident);
            assert!(kept <= 2 * SLACK, "{kept} bytes kept, {warm:?}, then {after:?}");
        }
        _ => skipped("memory under malformed requests", "there is no /proc"),
    }

    let ended = program.terminate();
    assert!(ended.status.success(), "{ended:?}");
    let books = Books::parse(&ended.stdout);
    for signal in Signal::ALL {
        let row = books.of(signal.name());
        assert_eq!(row.accepted, taken.items[signal.index()], "{row:?}");
        assert_eq!((row.delivered, row.held), (row.accepted, 0), "{row:?}");
    }
}

/// What was answered.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// As prost counts them, by signal.
    items: [u64; 3],
    requests: usize,
    refused: usize,
}

/// What the operating system says of a process, in bytes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// The most that was ever resident.
    peak: u64,
    resident: u64,
}

// === impl Taken ===

impl Taken {
    fn add(&mut self, other: Self) {
        self.items.iter_mut().zip(other.items).for_each(|(sum, items)| *sum += items);
        self.requests += other.requests;
        self.refused += other.refused;
    }

    fn count(&mut self, signal: Signal, expected: Expected) {
        match expected {
            Expected::Taken(items) => {
                self.items[signal.index()] += items;
                self.requests += 1;
            }
            Expected::Refused { .. } | Expected::NotGrpc => self.refused += 1,
        }
    }
}

// === impl Memory ===

impl Memory {
    /// `None` where there is no `/proc`.
    fn of(process: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let bytes = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        Some(Self { peak: bytes("VmHWM:")?, resident: bytes("VmRSS:")? })
    }
}

/// Sends these cases, several at a time, and checks every answer.
async fn send(program: &Program, cases: &Arc<Cases>, numbers: std::ops::Range<usize>) -> Taken {
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let heavy = Arc::new(Semaphore::new(HEAVY));
    let grpc = Client::http2(program.grpc()).await;
    let http2 = Client::http2(program.http()).await;
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let share = |client: &Client| client.share().expect("HTTP/2 can be shared");
        let (mut grpc, mut http2) = (share(&grpc), share(&http2));
        let mut http1 = Client::http1(program.http()).await;
        let (cases, next, heavy) = (Arc::clone(cases), Arc::clone(&next), Arc::clone(&heavy));
        workers.spawn(async move {
            let mut taken = Taken::default();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= numbers.end {
                    return taken;
                }
                let Case { what, over, request, signal, is_heavy, expected } = cases.case(number);
                let headers = request.headers().clone();
                let client = match over {
                    Over::Grpc => &mut grpc,
                    Over::Http1 => &mut http1,
                    Over::Http2 => &mut http2,
                };
                let _turn = if is_heavy { Some(heavy.acquire().await) } else { None };
                let case = format!("request {number}, {what}, {signal} over {over:?}");
                let answer = client.send(request).await;
                let answer = answer.unwrap_or_else(|error| panic!("{case}: {error:?}"));
                let asked_in = headers.get("content-type").map_or("", |t| t.to_str().unwrap());
                check(&case, over, asked_in, expected, &answer);
                taken.count(signal, expected);
            }
        });
    }
    let mut sum = Taken::default();
    workers.join_all().await.into_iter().for_each(|taken| sum.add(taken));
    sum
}

/// `INVALID_ARGUMENT`.
const BAD_REQUEST: i32 = 3;

fn check(case: &str, over: Over, asked_in: &str, expected: Expected, answer: &Answer) {
    if over == Over::Grpc {
        let is_call = expected != Expected::NotGrpc;
        let status = if is_call { StatusCode::OK } else { StatusCode::UNSUPPORTED_MEDIA_TYPE };
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        assert_eq!(answer.grpc_status(), expected.code(), "{case}: {answer:?}");
        // RetryInfo would have the client send it all again: only a bad request has details.
        let is_bad = expected.code() == Some(BAD_REQUEST);
        let has_details = answer.headers.contains_key("grpc-status-details-bin");
        assert_eq!(has_details, is_bad, "{case}: {answer:?}");
        return;
    }
    // In the request's encoding; in protobuf where that is not known.
    let is_json = asked_in == "application/json";
    let told_in = if is_json { asked_in } else { "application/x-protobuf" };
    assert_eq!(answer.header("content-type"), told_in, "{case}: {answer:?}");
    assert_eq!(answer.header("retry-after"), "", "{case}: {answer:?}");
    match expected {
        Expected::Taken(_) => {
            assert_eq!(answer.status, StatusCode::OK, "{case}: {answer:?}");
            assert_eq!(answer.body, if is_json { "{}" } else { "" }, "{case}");
        }
        Expected::Refused { code, http } => {
            assert_eq!(answer.status.as_u16(), http, "{case}: {answer:?}");
            let status = answer.rpc_status().expect("an error has a status in its body");
            assert_eq!(status.code, code, "{case}: {status:?}");
            assert!(!status.message.is_empty(), "{case}");
            let says = |any: &Vec<u8>, what: &str| String::from_utf8_lossy(any).contains(what);
            let all_bad = status.details.iter().all(|any| says(any, "google.rpc.BadRequest"));
            let count = usize::from(code == BAD_REQUEST);
            assert!(all_bad && status.details.len() == count, "{case}: {status:?}");
        }
        Expected::NotGrpc => unreachable!("only a call can be none"),
    }
}

/// Requests whose very length lies, which no client would send.
async fn lying_heads(address: SocketAddr, cases: &Cases) -> Taken {
    let valid = cases.valid(Signal::Logs);
    let cut = &valid[..valid.len() - 3];
    let mut taken = Taken::default();
    let refused = Expected::Refused { code: 3, http: 400 };
    let too_large = Expected::Refused { code: 8, http: 413 };
    for (what, length, expected) in [
        ("over the limit", format!("content-length: {}", LIMIT + 1), too_large),
        ("of 8 EiB", format!("content-length: {}", u64::MAX / 2), too_large),
        ("too short", format!("content-length: {}", cut.len()), Expected::of(Signal::Logs, cut)),
        ("too long", format!("content-length: {}", valid.len() + 9), refused),
        ("negative", "content-length: -1".to_owned(), refused),
        ("twice", "content-length: 5\r\ncontent-length: 6".to_owned(), refused),
        ("in chunks of nonsense", "transfer-encoding: chunked".to_owned(), refused),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /v1/logs HTTP/1.1\r\nhost: a\r\n\
             content-type: application/x-protobuf\r\n{length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(valid).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // What comes behind the answer may be a reset.
        _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        let status = match expected {
            Expected::Taken(_) => "200 OK",
            Expected::Refused { http: 413, .. } => "413 Payload Too Large",
            _ => "400 Bad Request",
        };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{what}: {answer}");
        taken.count(Signal::Logs, expected);
    }
    taken
}
