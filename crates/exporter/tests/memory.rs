//! What a hostile backend can make an exporter hold or read: next to nothing of what it sends. All
//! that is allocated meanwhile is counted, whether it is held for long or not, so no peak is higher.
//!
//! A binary of its own, as the allocator counts for the whole process. The backends are threads that
//! send from static buffers.

#![cfg(all(feature = "grpc", feature = "http", feature = "gzip", feature = "zstd"))]
#![allow(clippy::unwrap_used, reason = "only tests call these, and have failed where one panics")]

use std::alloc::System;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use teleflow_exporter::{
    Compression, Delivered, ExportError, Exporter, GrpcConfig, GrpcExporter, HttpConfig,
    HttpExporter, Retry, RetryConfig,
};
use teleflow_otlp::{Payload, Signal};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// What a backend sends if it is let, beyond any limit.
const ENDLESS: u64 = 10 * GIB;

/// All that may be allocated for one answer: 4 MiB of it and 4 of what it inflates to, twice as the
/// vectors grow to that, and as much in the buffers that it came in.
const ALLOWED: u64 = 40 * MIB;

/// What may leave the backend: 4 MiB that are read, the windows, and what sockets hold on the way.
const SENT: u64 = 24 * MIB;

static ZEROES: [u8; 65_536] = [0; 65_536];
static LETTERS: [u8; 65_536] = [b'x'; 65_536];

/// What a backend says to a request: once, and then again and again.
#[derive(Clone)]
struct Answer {
    once: Vec<u8>,
    again: &'static [u8],
}

/// A backend that answers so on each connection, once a request has come. Counts its bytes.
fn backend(is_http2: bool, answer: Answer) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    // Lives as long as the test.
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let (answer, counter) = (answer.clone(), Arc::clone(&counter));
            // The client hangs up on most of it.
            thread::spawn(move || attack(stream, is_http2, &answer, &counter));
        }
    });
    (address, sent)
}

fn attack(
    mut stream: TcpStream,
    is_http2: bool,
    answer: &Answer,
    sent: &AtomicU64,
) -> std::io::Result<()> {
    if is_http2 {
        stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
        wait_for_a_call(&mut stream)?;
    } else {
        _ = stream.read(&mut [0; 16_384])?;
    }
    stream.write_all(&answer.once)?;
    sent.fetch_add(answer.once.len() as u64, SeqCst);
    while !answer.again.is_empty() && sent.load(SeqCst) < ENDLESS {
        stream.write_all(answer.again)?;
        sent.fetch_add(answer.again.len() as u64, SeqCst);
    }
    // Until the client goes: an end would be an answer.
    while stream.read(&mut [0; 16_384])? > 0 {}
    Ok(())
}

/// Reads until a stream is open: an answer to none is another error.
fn wait_for_a_call(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24])?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload)?;
        if head[3] == HEADERS {
            return Ok(());
        }
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A header that is not to be remembered.
fn literal(head: &mut Vec<u8>, name: &str, value: &str) {
    head.push(0);
    for text in [name, value] {
        // A length of seven bits, or what is over 127 in one or two further bytes.
        match text.len() {
            len @ 0..127 => head.push(len as u8),
            len => {
                let rest = len - 127;
                assert!(rest < 1 << 14);
                head.extend_from_slice(&[127, (rest & 0x7f) as u8 | 0x80, (rest >> 7) as u8]);
            }
        }
        head.extend_from_slice(text.as_bytes());
    }
}

/// The head of an answer over HTTP/2, or a whole one with these headers.
fn head(more: &[(&str, &str)]) -> Vec<u8> {
    let mut head = vec![0x88];
    literal(&mut head, "content-type", "application/grpc");
    more.iter().for_each(|(name, value)| literal(&mut head, name, value));
    head
}

/// So many frames of the same, in a static buffer.
fn repeated(frame: &[u8]) -> &'static [u8] {
    Box::leak(frame.repeat(65_536 / frame.len().min(65_536)).into())
}

fn spans() -> Payload {
    // ResourceSpans { ScopeSpans { Span {} } }
    Payload::parse(Signal::Traces, Bytes::from_static(&[0x0a, 4, 0x12, 2, 0x12, 0])).unwrap()
}

const TIMEOUT: Duration = Duration::from_secs(60);

fn over_http(address: SocketAddr, timeout: Duration) -> HttpExporter {
    let config = HttpConfig::new(format!("http://{address}"));
    HttpExporter::new(HttpConfig { timeout, compression: Compression::None, ..config }).unwrap()
}

fn over_grpc(address: SocketAddr, timeout: Duration) -> GrpcExporter {
    let config = GrpcConfig::new(format!("http://{address}"));
    GrpcExporter::new(GrpcConfig { timeout, compression: Compression::None, ..config }).unwrap()
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    /// The answer is none, and no better one is to be hoped for.
    Bad,
    /// The connection is of no use, the request is.
    Broken,
    /// The request's time is over.
    TimedOut,
}

/// Sends a request, and fails if it takes more memory than it should, or reads more.
async fn check(name: &str, is_http2: bool, answer: Answer, expected: Expected) {
    // Where nothing else ends it, half a second does; the default is 10 s or more.
    let timeout = if expected == Expected::TimedOut { Duration::from_millis(500) } else { TIMEOUT };
    let (address, sent) = backend(is_http2, answer);
    let payload = spans();
    let region = Region::new(ALLOCATOR);
    let result = if is_http2 {
        over_grpc(address, timeout).export(payload).await
    } else {
        over_http(address, timeout).export(payload).await
    };
    let change = region.change();
    let allocated = change.bytes_allocated as u64 + change.bytes_reallocated.max(0) as u64;
    let error = result.unwrap_err();
    let (sent, said) = (sent.load(SeqCst), format!("{error} {error:?}"));
    assert!(allocated <= ALLOWED, "{name}: {allocated} bytes for {sent}");
    assert!(said.len() < 2000, "{name}: {said}");
    assert_eq!(error.is_retryable(), expected != Expected::Bad, "{name}: {error:?}");
    match expected {
        Expected::Bad => assert!(matches!(error, ExportError::BadAnswer(_)), "{name}: {error:?}"),
        Expected::Broken => {
            assert!(matches!(error, ExportError::Unreachable(_)), "{name}: {error:?}");
        }
        Expected::TimedOut => {
            assert!(matches!(error, ExportError::Timeout(_)), "{name}: {error:?}");
        }
    }
    if expected != Expected::TimedOut {
        assert!(sent <= SENT, "{name}: {} MiB sent", sent / MIB);
    }
}

// One test, as what others allocate would count.
#[tokio::test]
async fn no_answer_makes_it_hold_or_read_much() {
    // What is made at the first use and kept.
    warm_up().await;
    for (name, answer, expected) in over_http1() {
        check(name, false, answer, expected).await;
    }
    for (name, answer, expected) in over_http2() {
        check(name, true, answer, expected).await;
    }
    hostile_details_are_no_reason_to_stop_retrying().await;
}

async fn warm_up() {
    let answer =
        Answer { once: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(), again: &[] };
    let (address, _) = backend(false, answer);
    assert_eq!(over_http(address, TIMEOUT).export(spans()).await.unwrap(), Delivered::ALL);
}

fn over_http1() -> Vec<(&'static str, Answer, Expected)> {
    let answer = |head: &str, again: &'static [u8]| {
        let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n";
        Answer { once: format!("{ok}{head}").into_bytes(), again }
    };
    let inflating = |encoding: &str, body: &[u8]| {
        let mut answer = answer(
            &format!("content-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n", body.len()),
            &[],
        );
        answer.once.extend_from_slice(body);
        answer
    };
    let small_chunk = repeated(b"21\r\nthirty-two bytes, again and again\r\n");
    let mut chunk = b"10000\r\n".to_vec();
    chunk.extend_from_slice(&ZEROES);
    chunk.extend_from_slice(b"\r\n");
    let trailer = repeated(b"x-trailer: of a hundred thousand\r\n");
    let gzip_bomb = gzip(&vec![0; 16 << 20]).repeat(240);
    assert!((gzip_bomb.len() as u64) < 4 * MIB, "{}", gzip_bomb.len());
    vec![
        (
            "10 GiB with their length",
            answer("content-length: 10737418240\r\n\r\n", &ZEROES),
            Expected::Bad,
        ),
        (
            "a false length",
            answer("content-length: 18446744073709551615\r\n\r\n", &ZEROES),
            Expected::Bad,
        ),
        (
            "a length over 64 bits",
            answer("content-length: 99999999999999999999\r\n\r\n", &ZEROES),
            Expected::Bad,
        ),
        (
            "one chunk of 10 GiB",
            answer("transfer-encoding: chunked\r\n\r\n280000000\r\n", &ZEROES),
            Expected::Bad,
        ),
        (
            "chunks",
            answer("transfer-encoding: chunked\r\n\r\n", Box::leak(chunk.into())),
            Expected::Bad,
        ),
        ("small chunks", answer("transfer-encoding: chunked\r\n\r\n", small_chunk), Expected::Bad),
        (
            "a chunk's size",
            answer("transfer-encoding: chunked\r\n\r\n", repeated(b"0")),
            Expected::Bad,
        ),
        (
            "a chunk's extension",
            answer("transfer-encoding: chunked\r\n\r\n1;", &LETTERS),
            Expected::Broken,
        ),
        ("until the end", answer("\r\n", &ZEROES), Expected::Bad),
        ("a header", answer("x-endless: ", &LETTERS), Expected::Bad),
        ("headers", answer("", trailer), Expected::Bad),
        ("a reason", Answer { once: b"HTTP/1.1 200 ".to_vec(), again: &LETTERS }, Expected::Bad),
        ("trailers", answer("transfer-encoding: chunked\r\n\r\n0\r\n", trailer), Expected::Broken),
        (
            "a trailer",
            answer("transfer-encoding: chunked\r\n\r\n0\r\nx-endless: ", &LETTERS),
            Expected::Broken,
        ),
        (
            "nearly an answer",
            Answer { once: Vec::new(), again: repeated(b"HTTP/1.1 100 Continue\r\n\r\n") },
            Expected::Bad,
        ),
        ("a bomb in gzip", inflating("gzip", &gzip_bomb), Expected::Bad),
        ("a bomb in zstd", inflating("zstd", &zstd_bomb()), Expected::Bad),
    ]
}

fn over_http2() -> Vec<(&'static str, Answer, Expected)> {
    let begun = frame(HEADERS, END_HEADERS, 1, &head(&[]));
    let after =
        |start: &[u8], again: Vec<u8>| Answer { once: start.to_vec(), again: repeated(&again) };
    // A header that is remembered, and then named by one byte each time.
    let mut packed = vec![0x88, 0x40, 1, b'x', 126];
    packed.extend_from_slice(&[b'y'; 126]);
    packed.extend_from_slice(&[0x80 | 62; 15_000]);
    let mut many = Vec::new();
    (0..400).for_each(|_| literal(&mut many, "x-trailer", "of a hundred thousand"));
    // A hundred thousand of them, and then the end that they were waited for.
    let trailers: Vec<u8> = [
        &frame(HEADERS, END_STREAM, 1, &many)[..],
        &frame(CONTINUATION, 0, 1, &many).repeat(249),
        &frame(CONTINUATION, END_HEADERS, 1, &[]),
    ]
    .concat();
    let mut long = Vec::new();
    literal(&mut long, "grpc-message", &"m".repeat(16_000));
    literal(&mut long, "x-more", &"m".repeat(16_000));
    let push = [&2_u32.to_be_bytes()[..], &[0x82]].concat();
    let message = [&[0, 0xff, 0xff, 0xff, 0xff][..], &[0; 100]].concat();
    vec![
        ("data past the windows", after(&begun, frame(DATA, 0, 1, &[0; 16_384])), Expected::Broken),
        (
            "a message of 4 GiB",
            Answer {
                once: [
                    begun.clone(),
                    frame(DATA, 0, 1, &message),
                    frame(
                        HEADERS,
                        END_HEADERS | END_STREAM,
                        1,
                        &head(&[("grpc-status", "0")])[1..],
                    ),
                ]
                .concat(),
                again: &[],
            },
            Expected::Bad,
        ),
        ("data of no bytes", after(&begun, frame(DATA, 0, 1, &[])), Expected::Broken),
        (
            "a head",
            after(&frame(HEADERS, 0, 1, &head(&[])), frame(CONTINUATION, 0, 1, &many)),
            Expected::Broken,
        ),
        (
            "a head of no bytes",
            after(&frame(HEADERS, 0, 1, &head(&[])), frame(CONTINUATION, 0, 1, &[])),
            Expected::Broken,
        ),
        (
            "a packed head",
            Answer { once: frame(HEADERS, END_HEADERS, 1, &packed), again: &[] },
            Expected::Broken,
        ),
        (
            "a hundred thousand trailers",
            Answer { once: [&begun[..], &trailers].concat(), again: &[] },
            Expected::Broken,
        ),
        (
            "long trailers",
            Answer {
                once: [
                    &begun[..],
                    &frame(HEADERS, 0, 1, &long[..16_000]),
                    &frame(CONTINUATION, END_HEADERS, 1, &long[16_000..]),
                ]
                .concat(),
                again: &[],
            },
            Expected::Broken,
        ),
        ("pushes", after(&begun, frame(PUSH_PROMISE, END_HEADERS, 1, &push)), Expected::Broken),
        ("pings", after(&[], frame(PING, 0, 0, &[7; 8])), Expected::TimedOut),
        ("settings", after(&[], frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])), Expected::TimedOut),
        (
            "a frame of 16 MiB",
            after(&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1], vec![0; 1000]),
            Expected::Broken,
        ),
    ]
}

/// Lengths that lie, at every level of `grpc-status-details-bin`: the answer is still what its code
/// says, and the next attempt succeeds.
async fn hostile_details_are_no_reason_to_stop_retrying() {
    const TYPE: &[u8] = b"\x0a\x28type.googleapis.com/google.rpc.RetryInfo";
    let lengths: [&[u8]; 4] = [
        b"\xff\xff\xff\xff\x0f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    let mut all: Vec<Vec<u8>> = Vec::new();
    for length in lengths {
        // In place of a message, of the details, of a type, of RetryInfo, and of its delay.
        all.push([b"\x08\x0e\x12", length].concat());
        all.push([b"\x08\x0e\x1a", length].concat());
        all.push([b"\x08\x0e\x1a\x10\x0a", length].concat());
        let value = [TYPE, b"\x12", length].concat();
        all.push([b"\x08\x0e\x1a", &[value.len() as u8][..], &value].concat());
        let value = [TYPE, b"\x12\x0c\x0a", length].concat();
        all.push([b"\x08\x0e\x1a", &[value.len() as u8][..], &value].concat());
    }
    // Delays that are none: the longest, the most negative, nanoseconds beyond a second.
    let longest = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
    let negative = b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01";
    let nanos = b"\x08\x00\x10\xff\xff\xff\xff\x07";
    for delay in [&longest[..], negative, nanos, b"garbage"] {
        let info = [&[0x0a, delay.len() as u8][..], delay].concat();
        let any = [TYPE, &[0x12, info.len() as u8], &info].concat();
        all.push([b"\x08\x0e\x1a", &[any.len() as u8][..], &any].concat());
    }
    all.push(vec![0xff; 1000]);
    all.push(Vec::new());
    for details in all {
        let details = STANDARD_NO_PAD.encode(&details);
        let status = [("grpc-status", "14"), ("grpc-status-details-bin", details.as_str())];
        let once = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(&status));
        let (address, _) = backend(true, Answer { once, again: &[] });
        let region = Region::new(ALLOCATOR);
        let error = over_grpc(address, TIMEOUT).export(spans()).await.unwrap_err();
        let allocated = region.change().bytes_allocated as u64;
        assert!(allocated < MIB, "{details}: {allocated}");
        assert!(matches!(error, ExportError::Status(_)), "{details}: {error:?}");
        assert!(error.is_retryable(), "{details}: {error:?}");
        let delay = error.retry_after().unwrap_or_default();
        assert!(delay <= Duration::from_secs(3600), "{details}: {delay:?}");
    }

    // While it retries: every attempt is told nonsense.
    let nonsense = STANDARD_NO_PAD.encode([b"\x08\x0e\x1a", lengths[0]].concat());
    let status = [("grpc-status", "14"), ("grpc-status-details-bin", nonsense.as_str())];
    let mut once = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(&status));
    // Each attempt needs a connection of its own.
    once.extend(frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    let (address, sent) = backend(true, Answer { once: once.clone(), again: &[] });
    let config = RetryConfig {
        initial_interval: Duration::from_millis(1),
        max_interval: Duration::from_millis(1),
        max_elapsed_time: Duration::from_millis(200),
        ..RetryConfig::default()
    };
    let region = Region::new(ALLOCATOR);
    let retry = Retry::new(over_grpc(address, TIMEOUT), config).unwrap();
    let error = retry.export(spans()).await.unwrap_err();
    let allocated = region.change().bytes_allocated as u64;
    let attempts = sent.load(SeqCst) / once.len() as u64;
    assert!(error.is_retryable(), "{error:?}");
    assert!(attempts > 2, "{attempts}");
    assert!(allocated < attempts * MIB, "{allocated} for {attempts}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// 10 GiB in blocks of 128 KiB of one byte each.
fn zstd_bomb() -> Vec<u8> {
    const BLOCK: u64 = 128 * 1024;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    for number in 1..=ENDLESS / BLOCK {
        let head = (BLOCK << 3 | 1 << 1 | u64::from(number == ENDLESS / BLOCK)).to_le_bytes();
        frame.extend_from_slice(&head[..3]);
        frame.push(0);
    }
    frame
}
