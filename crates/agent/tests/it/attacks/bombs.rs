//! Little that becomes much: every compression over every transport.

use std::io::Write as _;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use teleflow::Signal;

use super::{CONFIG, GRPC, JSON, MIB, PROTOBUF, Usage};
use crate::admin::get;
use crate::malformed::client::{Client, frame, post};
use crate::program::Program;

/// The limit of these tests. The default is 64 MiB; what is measured here grows with it.
const LIMIT: usize = 16 * MIB as usize;

/// What a bomb may cost beyond the limit: 11 MiB that it takes compressed, the 4 MiB of a connection's
/// window, and what an allocator keeps of a vector that grew.
const SLACK: u64 = 20 * MIB;

const RESOURCE_EXHAUSTED: i32 = 8;
const INVALID_ARGUMENT: i32 = 3;
const UNIMPLEMENTED: i32 = 12;

const TRACES: Signal = Signal::Traces;

fn start() -> Program {
    let config = CONFIG
        .replace("grpc: {", "grpc: { max_recv_msg_size_mib: 16,")
        .replace("http: {", "http: { max_request_body_size: 16MiB,");
    let mut command = Command::new(env!("CARGO_BIN_EXE_teleflow"));
    // One after the other on one thread: what several threads' allocators keep is not what is asked.
    command.env_remove("RUST_LOG").env("TOKIO_WORKER_THREADS", "1");
    Program::start_by(command, &config, &[])
}

/// Sends the same body in all ways that there are.
struct Ways {
    grpc: Client,
    http1: Client,
    http2: Client,
}

// === impl Ways ===

impl Ways {
    async fn to(program: &Program) -> Self {
        Self {
            grpc: Client::http2(program.grpc()).await,
            http1: Client::http1(program.http()).await,
            http2: Client::http2(program.http()).await,
        }
    }

    /// Returns how many requests there were: over gRPC, and over both versions of HTTP.
    async fn send(&mut self, codec: &str, body: &[u8], is: (u16, i32), json: Option<u16>) -> u64 {
        let headers = [&GRPC[..], &[("grpc-encoding", codec)]].concat();
        let call = post(TRACES.grpc_path(), &headers, frame(1, body));
        let answer = self.grpc.send(call).await.unwrap();
        assert_eq!(answer.grpc_status(), Some(is.1), "{codec}: {answer:?}");
        let mut sent = 1;
        for http in [&mut self.http1, &mut self.http2] {
            for (format, status) in [(PROTOBUF, Some(is.0)), (JSON, json)] {
                let Some(status) = status else { continue };
                let headers = [format, ("content-encoding", codec)];
                let answer = http.send(post("/v1/traces", &headers, body.to_vec())).await.unwrap();
                assert_eq!(answer.status, status, "{codec}: {answer:?}");
                sent += 1;
            }
        }
        sent
    }
}

#[tokio::test]
async fn a_bomb_of_ten_gigabytes_costs_what_a_request_at_the_limit_costs() {
    let program = start();
    let mut ways = Ways::to(&program).await;
    let plain = padding(LIMIT);
    let cases = [
        ("gzip", gzip(&plain), gzip(&vec![0; LIMIT]).repeat(640)),
        ("zstd", zstd(&plain[..10], b'x', LIMIT), zstd(&[0; 10], 0, 640 * LIMIT)),
    ];
    for (codec, at_the_limit, bomb) in cases {
        assert!(bomb.len() < 11 * MIB as usize, "{codec}: {}", bomb.len());
        // What is allowed is taken, and is what a bomb is compared with.
        let before = Usage::of(&program);
        let good = ways.send(codec, &at_the_limit, (200, 0), None).await;
        let between = Usage::of(&program);
        let bad = ways.send(codec, &bomb, (413, RESOURCE_EXHAUSTED), Some(413)).await;
        let after = Usage::of(&program);
        if let (Some(before), Some(between), Some(after)) = (before, between, after) {
            let growth = after.peak.saturating_sub(before.resident);
            println!("{codec}: {:.1} MiB more", growth as f64 / MIB as f64);
            assert!(growth <= LIMIT as u64 + SLACK, "{codec}: {growth}, {before:?}, {after:?}");
            let (plain, bombs) = (between.ticks - before.ticks, after.ticks - between.ticks);
            println!("{codec}: {plain} ticks for {good} requests, {bombs} for {bad} bombs");
            // Three times a request's, and a fifth of a second for what a tick cannot tell.
            assert!(bombs * good <= 3 * plain * bad + 20 * good, "{codec}: {plain}, {bombs}");
        }
    }
    // What is wrapped twice is unwrapped once, or not at all.
    let gzip_bomb = gzip(&vec![0; LIMIT]);
    let zstd_bomb = zstd(&[0; 10], 0, 640 * LIMIT);
    let before = Usage::of(&program);
    for (codec, body) in [
        ("gzip", gzip(&gzip_bomb)),
        ("gzip", gzip(&zstd_bomb)),
        ("zstd", zstd_raw(&gzip_bomb)),
        ("zstd", zstd_raw(&zstd_bomb[..100_000])),
    ] {
        ways.send(codec, &body, (400, INVALID_ARGUMENT), Some(400)).await;
    }
    for codec in
        ["gzip, gzip", "zstd,gzip", "deflate", "br", "snappy", "x-snappy-framed", "lz4", "compress"]
    {
        ways.send(codec, &gzip_bomb, (415, UNIMPLEMENTED), Some(415)).await;
    }
    Usage::grew_by_no_more_than(SLACK, before, &program);
    assert_eq!(get(&program, "/health").await.status, 200, "the same process as before");
    assert!(program.terminate().status.success());
}

#[tokio::test]
async fn a_window_over_8_mib_is_refused_before_it_is_allocated() {
    let program = start();
    let mut ways = Ways::to(&program).await;
    // What takes memory once: each connection, and a decoder.
    ways.send("zstd", &zstd(&[0xfa, 0x7f, 8], b'x', 11), (200, 0), None).await;
    let before = Usage::of(&program);
    // 16 MiB to 2 TiB, in a frame that names its window.
    for log in 24..=41_u8 {
        let frame = zstd_frame(&[0, (log - 10) << 3], &[0xfa, 0x7f, 8], b'x', 100_000);
        ways.send("zstd", &frame, (400, INVALID_ARGUMENT), Some(400)).await;
    }
    // A frame that is its own window, of a size that it names: up to 8 EiB.
    for size in [1 << 24, 1 << 31, 1 << 40, 1 << 63, u64::MAX] {
        let head = [&[0xe0][..], &u64::to_le_bytes(size)].concat();
        let frame = zstd_frame(&head, &[0xfa, 0x7f, 8], b'x', 100_000);
        ways.send("zstd", &frame, (400, INVALID_ARGUMENT), Some(400)).await;
    }
    // Less than half of the smallest window.
    Usage::grew_by_no_more_than(7 * MIB, before, &program);
    assert!(program.terminate().status.success());
}

/// A valid request of exactly `len` bytes: one unknown field.
fn padding(len: usize) -> Vec<u8> {
    let mut request = vec![0xfa, 0x7f];
    prost::encode_length_delimiter(len - 6, &mut request).unwrap();
    assert_eq!(request.len(), 6, "a length of four bytes");
    request.resize(len, b'x');
    request
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A block of zstd takes no more.
const BLOCK: usize = 128 * 1024;

/// A frame with a window of 128 KiB: `start`, and then the same byte up to `len` in all.
fn zstd(start: &[u8], byte: u8, len: usize) -> Vec<u8> {
    zstd_frame(&[0, 7 << 3], start, byte, len)
}

/// A frame whose head, but for the magic number, is `head`.
fn zstd_frame(head: &[u8], start: &[u8], byte: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
    frame.extend_from_slice(head);
    // 0: bytes as they are. 1: one byte, so many times. The last block has the lowest bit.
    let block = |kind: usize, len: usize, last: bool| {
        let head = (len << 3 | kind << 1 | usize::from(last)).to_le_bytes();
        [head[0], head[1], head[2]]
    };
    frame.extend_from_slice(&block(0, start.len(), false));
    frame.extend_from_slice(start);
    let mut left = len - start.len();
    while left > 0 {
        let len = left.min(BLOCK);
        left -= len;
        frame.extend_from_slice(&block(1, len, left == 0));
        frame.push(byte);
    }
    frame
}

/// A frame that holds these bytes as they are.
fn zstd_raw(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
    let count = bytes.chunks(BLOCK).count();
    for (number, part) in bytes.chunks(BLOCK).enumerate() {
        let head = (part.len() << 3 | usize::from(number + 1 == count)).to_le_bytes();
        frame.extend_from_slice(&head[..3]);
        frame.extend_from_slice(part);
    }
    frame
}
