//! Requests that are compressed by zstd.

#![allow(clippy::unwrap_used, reason = "only tests call these, and have failed where one panics")]

use http::StatusCode;
use teleflow_otlp::Signal;

use crate::support::{
    Client, JSON, PROTOBUF, Server, config, frame, limit_requests, padding, post, raw_call,
    telemetry,
};

const ZSTD: (&str, &str) = ("content-encoding", "zstd");
const GRPC_ZSTD: (&str, &str) = ("grpc-encoding", "zstd");

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

#[tokio::test]
async fn it_is_taken_over_either_protocol_in_one_frame_or_several() {
    let server = Server::start(config()).await;
    let mut http = Client::http1(server.http).await;
    let mut grpc = Client::http2(server.grpc).await;
    let request = telemetry(Signal::Traces, 9);
    let (half, rest) = request.split_at(request.len() / 2);
    for compressed in [zstd(&request), [zstd(half), zstd(rest)].concat()] {
        let answer = http.send(post("/v1/traces", &[PROTOBUF, ZSTD], &compressed)).await;
        assert_eq!(answer.status, StatusCode::OK);
        let call = raw_call(Signal::Traces.grpc_path(), &[GRPC_ZSTD], &frame(1, &compressed));
        assert_eq!(grpc.send(call).await.grpc_status(), 0);
    }
    let json = teleflow_otlp::json::from_protobuf(Signal::Traces, &request).unwrap();
    let answer = http.send(post("/v1/traces", &[JSON, ZSTD], &zstd(json.as_bytes()))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let seen = server.fake.seen.lock().unwrap();
    assert_eq!(seen.len(), 5);
    assert!(seen[..4].iter().all(|payload| payload.to_bytes() == request));
}

#[tokio::test]
async fn a_bomb_a_window_too_wide_and_a_damaged_frame_are_told_apart() {
    let mut config = config();
    limit_requests(&mut config, 20 * 1024 * 1024);
    let server = Server::start(config).await;
    let mut http = Client::http1(server.http).await;
    let mut grpc = Client::http2(server.grpc).await;
    let valid = zstd(&padding(1000));
    let wide = with_window(24, &padding(10_000_000));
    // Eight thousand times smaller than what it becomes.
    let bomb = zstd(&padding(20 * 1024 * 1024 + 1));
    assert!(bomb.len() < 20_000);
    let cases = [
        (&bomb[..], 413, 8),
        (&wide, 400, 3),
        (&valid[..valid.len() - 1], 400, 3),
        (b"not zstd", 400, 3),
        (&with_window(23, &padding(10_000_000)), 200, 0),
        (&zstd(&padding(20 * 1024 * 1024)), 200, 0),
    ];
    for (body, status, code) in cases {
        let answer = http.send(post("/v1/traces", &[PROTOBUF, ZSTD], body)).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        let call = raw_call(Signal::Traces.grpc_path(), &[GRPC_ZSTD], &frame(1, body));
        let answer = grpc.send(call).await;
        assert_eq!(answer.grpc_status(), code, "{answer:?}");
    }
    assert_eq!(server.stats.snapshot().bytes_in_flight, 0);
}

/// A frame whose decoder has to hold `1 << log` bytes.
fn with_window(log: u32, bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(log).unwrap();
    // In pieces: a frame whose size is known from the start asks for no more than that.
    for piece in bytes.chunks(100_000) {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}
