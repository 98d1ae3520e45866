//! What a connection costs that does nothing: most of it are hyper's buffers. What tokio needs for the
//! client's end is in it. A binary of its own, as the allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "only tests call these, and have failed where one panics")]

use std::alloc::System;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use teleflow_otlp::{ExportResponse, Payload};
use teleflow_receiver::{Config, Consumer, GrpcConfig, HttpConfig, Receiver, Refused};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 200;

struct Nothing;

impl Consumer for Nothing {
    async fn consume(&self, _: Payload) -> Result<ExportResponse, Refused> {
        Ok(ExportResponse::default())
    }
}

#[tokio::test]
async fn a_connection_without_a_request_holds_little() {
    let config = Config {
        grpc: Some(GrpcConfig { endpoint: "127.0.0.1:0".into(), ..GrpcConfig::default() }),
        http: Some(HttpConfig { endpoint: "127.0.0.1:0".into(), ..HttpConfig::default() }),
        ..Config::default()
    };
    let receiver = Receiver::bind(config).await.unwrap();
    let (grpc, http) = (receiver.grpc_addr().unwrap(), receiver.http_addr().unwrap());
    let stop = CancellationToken::new();
    let served = tokio::spawn(receiver.serve(Nothing, stop.clone(), Duration::from_secs(5)));

    let request = "POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n\
                   content-length: 0\r\n\r\n";
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    preface.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    // A ping, so that there is something to wait for.
    preface.extend_from_slice(&[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let cases = [
        ("HTTP/1.1, after a request", http, request.as_bytes(), 100, 40_000),
        ("HTTP/2", grpc, &preface[..], 60, 40_000),
    ];
    for (name, address, sent, answer, limit) in cases {
        // Once for what is made at the first use and kept.
        let mut held = Vec::with_capacity(CONNECTIONS + 1);
        held.push(connect(address, sent, answer).await);
        let region = Region::new(ALLOCATOR);
        for _ in 0..CONNECTIONS {
            held.push(connect(address, sent, answer).await);
        }
        let change = region.change();
        let bytes = change.bytes_allocated as i64 - change.bytes_deallocated as i64;
        let each = bytes / CONNECTIONS as i64;
        println!("{name}: {each} bytes a connection");
        assert!((0..limit).contains(&each), "{name}: {each}");
        drop(held);
    }
    stop.cancel();
    assert_eq!(served.await.unwrap().connections_cut, 0);
}

/// Opens a connection, says something and waits for some of the answer.
async fn connect(address: std::net::SocketAddr, sent: &[u8], answer: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut start = vec![0; answer];
    stream.read_exact(&mut start).await.unwrap();
    stream
}
