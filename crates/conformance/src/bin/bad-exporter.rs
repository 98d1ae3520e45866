//! An exporter that breaks the rules, to see that the checks find it: as an argument it takes how.
//!
//! - `greedy`: tries again at once whatever the answer was, takes every answer, waits for ever.
//! - `steady`: tries again after exactly a second.
//! - `once`: never tries again.
//! - `coded`: compresses what it was not told to.
//! - `wrong`: sends what is no request.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use std::{env, process};

use flate2::Compression;
use flate2::write::GzEncoder;
use teleflow_conformance::wire::grpc::Call;
use teleflow_conformance::wire::http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How often it tries.
const TRIES: u32 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let vice = env::args().nth(1).unwrap_or_default();
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let endpoint = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
    let protocol = variable("OTEL_EXPORTER_OTLP_PROTOCOL");
    // It cares for no path, and for no other variable.
    let Some(to) = endpoint.trim_start_matches("http://").split('/').next().map(str::to_owned)
    else {
        process::exit(1)
    };
    let Ok(to) = to.parse::<SocketAddr>() else { process::exit(1) };
    let tries = if vice == "once" || vice == "coded" { 1 } else { TRIES };
    for _ in 0..tries {
        match vice.as_str() {
            "greedy" | "once" => greedy(to, &protocol).await,
            "steady" => {
                greedy(to, &protocol).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            "coded" => coded(to).await,
            _ => wrong(to, &protocol).await,
        }
    }
}

/// The bytes of a trace whose service is `cfm:1:`, made by hand: it needs no more.
const TRACE: &[u8] = &[
    0x0a, 28, 0x0a, 26, 0x0a, 24, 0x0a, 12, b's', b'e', b'r', b'v', b'i', b'c', b'e', b'.', b'n',
    b'a', b'm', b'e', 0x12, 8, 0x0a, 6, b'c', b'f', b'm', b':', b'1', b':',
];

async fn greedy(to: SocketAddr, protocol: &str) {
    let sent = async {
        if protocol == "grpc" {
            let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
            let mut call = Call::new(path, TRACE.to_vec());
            call.max_answer = usize::MAX;
            _ = call.send(to).await;
            return;
        }
        let body = match protocol {
            "http/json" => br#"{"x":"cfm:1:"}"#.to_vec(),
            _ => TRACE.to_vec(),
        };
        let kind = if protocol == "http/json" { "json" } else { "x-protobuf" };
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/{kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let Ok(mut stream) = TcpStream::connect(to).await else { return };
        _ = stream.write_all(head.as_bytes()).await;
        _ = stream.write_all(&body).await;
        // As long as anything comes; the server keeps the connection, so a pause ends it.
        let mut answer = vec![0; 1 << 20];
        let mut pause = Duration::from_secs(4);
        while let Ok(Ok(read @ 1..)) = tokio::time::timeout(pause, stream.read(&mut answer)).await {
            pause = Duration::from_millis(500);
            if String::from_utf8_lossy(&answer[..read.min(200)]).contains("content-length: 0\r\n") {
                break;
            }
        }
    };
    // Long after the deadline that it was given.
    _ = tokio::time::timeout(Duration::from_secs(4), sent).await;
}

async fn coded(to: SocketAddr) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let Ok(body) = encoder.write_all(TRACE).and_then(|()| encoder.finish()) else { return };
    let request = Request::post("/v1/traces", "application/x-protobuf", body);
    _ = request.with("content-encoding", "gzip").send(to).await;
}

async fn wrong(to: SocketAddr, protocol: &str) {
    if protocol == "grpc" {
        let mut call = Call::new("/wrong.Service/Export", TRACE.to_vec());
        call.encoding = Some("gzip");
        _ = call.send(to).await;
        return;
    }
    let json = concat!(
        r#"{"resource_spans":[{"service":"cfm:1:","traceId":"AQIDBAUGBwg=","kind":"SPAN_KIND_SERVER","#,
        r#""intValue":5,"bytesValue":[1],"doubleValue":"inf"}]}"#
    );
    let body = if protocol == "http/json" { json.into() } else { TRACE.to_vec() };
    let mut request = Request::post("/wrong", "text/plain", body);
    request.method = "PUT";
    request.headers.push(("content-encoding", "identity".to_owned()));
    _ = request.send(to).await;
}
