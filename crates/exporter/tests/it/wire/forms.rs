//! What goes over the wire: made once, in the form that the server takes.

use std::sync::Arc;

use teleflow_exporter::{
    AnyExporter, Compression, Delivered, Encoding, ExportError, Exporter, FanOut, GrpcConfig,
    GrpcExporter, HttpConfig, HttpExporter, Retry, RetryConfig,
};
use teleflow_otlp::{Code, ExportResponse, Payload, Signal, Status, json};

use super::server::{
    Answer, Protocol, Server, grpc, grpc_error, gunzip, gzip, http, http_reply, unzstd,
};
use crate::script::spans;

fn http_success() -> Answer {
    http_reply(&ExportResponse::default())
}

fn grpc_success() -> Answer {
    grpc(false, b"", &Status::new(Code::Ok, ""))
}

fn to(server: &Server, change: impl FnOnce(&mut HttpConfig)) -> HttpExporter {
    let mut config = HttpConfig::new(format!("http://{}", server.addr));
    config.compression = Compression::Gzip;
    change(&mut config);
    HttpExporter::new(config).unwrap()
}

fn to_grpc(server: &Server, compression: Compression) -> GrpcExporter {
    let config = GrpcConfig { compression, ..GrpcConfig::new(format!("http://{}", server.addr)) };
    GrpcExporter::new(config).unwrap()
}

fn hurried() -> RetryConfig {
    RetryConfig { max_interval: std::time::Duration::ZERO, ..RetryConfig::default() }
}

/// How each request was compressed, as its headers say.
fn compressions(server: &Server) -> Vec<String> {
    let named = |request: &super::server::Received| {
        let headers = &request.headers;
        let name = headers.get("content-encoding").or_else(|| headers.get("grpc-encoding"));
        name.map_or("none", |name| name.to_str().unwrap()).to_owned()
    };
    server.received().iter().map(named).collect()
}

#[tokio::test]
async fn e6_a_request_is_compressed_once_for_all_its_retries() {
    let server = Server::start(Protocol::Http1, |number| {
        Some(if number < 4 { http(503, &[], "") } else { http_success() })
    })
    .await;
    let exporter = Arc::new(to(&server, |_| ()));
    let retry = Retry::new(Arc::clone(&exporter), hurried()).unwrap();
    let payload = spans(100, "some name");
    retry.export(payload.clone()).await.unwrap();

    let received = server.received();
    assert_eq!(received.len(), 5);
    assert!(received.iter().all(|request| request.body == received[0].body));
    assert_eq!(gunzip(&received[0].body), payload.to_bytes());
    let stats = exporter.stats();
    assert_eq!((stats.requests, stats.compressed, stats.encoded), (5, 1, 0));
}

#[tokio::test]
async fn e6_destinations_with_the_same_form_share_it() {
    let http_server = Server::start(Protocol::Http1, |_| Some(http_success())).await;
    let grpc_server = Server::start(Protocol::Http2, |_| Some(grpc_success())).await;
    let json = |config: &mut HttpConfig| config.encoding = Encoding::Json;
    let over_http = [
        to(&http_server, |_| ()),
        to(&http_server, |_| ()),
        to(&http_server, json),
        to(&http_server, json),
        to(&http_server, |config| config.compression = Compression::None),
    ]
    .map(Arc::new);
    let over_grpc = [Compression::Gzip, Compression::Zstd, Compression::Zstd]
        .map(|compression| Arc::new(to_grpc(&grpc_server, compression)));
    let all = over_http.iter().cloned().map(AnyExporter::new);
    let all = all.chain(over_grpc.iter().cloned().map(AnyExporter::new));
    let fan_out = Retry::new(FanOut::new(all), hurried()).unwrap();
    let mut payload = spans(100, "some name");
    payload.append(spans(3, "another"));
    fan_out.export(payload.clone()).await.unwrap();

    let stats = over_http.iter().map(|exporter| exporter.stats());
    let stats: Vec<_> = stats.chain(over_grpc.iter().map(|exporter| exporter.stats())).collect();
    assert_eq!(stats.iter().map(|stats| stats.requests).sum::<u64>(), 8);
    // Protobuf in gzip and in zstd, JSON in gzip: three for eight, whoever made them.
    assert_eq!(stats.iter().map(|stats| stats.compressed).sum::<u64>(), 3);
    assert_eq!(stats.iter().map(|stats| stats.encoded).sum::<u64>(), 1);
    for request in grpc_server.received() {
        let message = &request.body[5..];
        let inflate = if request.headers["grpc-encoding"] == "zstd" { unzstd } else { gunzip };
        assert_eq!(inflate(message), payload.to_bytes());
    }
}

#[tokio::test]
async fn e6_sizes_before_and_after_are_told() {
    let server = Server::start(Protocol::Http1, |_| Some(http_success())).await;
    let exporter = to(&server, |config| config.compression = Compression::Zstd);
    assert_eq!(exporter.stats().ratio(), 1.0);
    let payload = spans(1000, "the same name again and again");
    exporter.export(payload.clone()).await.unwrap();
    let stats = exporter.stats();
    assert_eq!(stats.bytes, payload.bytes() as u64);
    assert_eq!(stats.wire_bytes, server.received()[0].body.len() as u64);
    assert!(stats.ratio() > 10.0, "{stats:?}");
    assert_eq!(unzstd(&server.received()[0].body), payload.to_bytes());
}

#[tokio::test]
async fn e6_zstd_is_used_as_soon_as_the_server_says_that_it_reads_it() {
    let server = Server::start(Protocol::Http1, |_| {
        let headers =
            [("content-type", "application/x-protobuf"), ("accept-encoding", "gzip, zstd")];
        Some(http(200, &headers, ""))
    })
    .await;
    let exporter = to(&server, |_| ());
    let stubborn = to(&server, |config| config.negotiate = false);
    let plain = to(&server, |config| config.compression = Compression::None);
    for _ in 0..2 {
        exporter.export(spans(9, "a")).await.unwrap();
        stubborn.export(spans(9, "a")).await.unwrap();
        plain.export(spans(9, "a")).await.unwrap();
    }
    assert_eq!(compressions(&server), ["gzip", "gzip", "none", "zstd", "gzip", "none"]);
    assert_eq!(exporter.compression(Signal::Traces), Compression::Zstd);

    let server = Server::start(Protocol::Http2, |_| {
        let mut answer = grpc_success();
        answer.headers_mut().insert("grpc-accept-encoding", "identity,zstd".parse().unwrap());
        Some(answer)
    })
    .await;
    let exporter = to_grpc(&server, Compression::Gzip);
    for _ in 0..2 {
        exporter.export(spans(9, "a")).await.unwrap();
    }
    assert_eq!(compressions(&server), ["gzip", "zstd"]);
}

#[tokio::test]
async fn e6_a_compression_that_is_refused_is_tried_once() {
    // The first two requests are refused: zstd and gzip.
    let server = Server::start(Protocol::Http1, |number| {
        Some(if number < 2 { http(415, &[], "") } else { http_success() })
    })
    .await;
    let exporter = to(&server, |config| config.compression = Compression::Zstd);
    for _ in 0..2 {
        exporter.export(spans(9, "a")).await.unwrap();
    }
    assert_eq!(compressions(&server), ["zstd", "gzip", "none", "none"]);
    assert_eq!(exporter.stats().fallbacks, 2);

    let server = Server::start(Protocol::Http2, |number| {
        let refused = Status::new(Code::Unimplemented, "what is this");
        Some(if number < 1 { grpc_error(&refused) } else { grpc_success() })
    })
    .await;
    let exporter = to_grpc(&server, Compression::Zstd);
    for _ in 0..2 {
        exporter.export(spans(9, "a")).await.unwrap();
    }
    assert_eq!(compressions(&server), ["zstd", "gzip", "gzip"]);
}

#[tokio::test]
async fn e6_what_is_refused_for_another_reason_costs_the_fallback_once() {
    let server = Server::start(Protocol::Http2, |_| {
        Some(grpc_error(&Status::new(Code::Unimplemented, "no such service")))
    })
    .await;
    let exporter = to_grpc(&server, Compression::Gzip);
    for _ in 0..2 {
        let error = exporter.export(spans(9, "a")).await.unwrap_err();
        assert!(!error.is_retryable());
    }
    assert_eq!(compressions(&server), ["gzip", "none", "gzip"]);
}

#[tokio::test]
async fn replies_in_zstd_are_read_and_bombs_are_not() {
    let partial = ExportResponse { rejected: 2, message: "old".into() }.encode();
    let zstd = |data: &[u8]| zstd::stream::encode_all(data, 1).unwrap();
    for (reply, expected) in [(partial, Some(2)), (vec![0; 6 << 20], None)] {
        let reply = zstd(&reply);
        let server = Server::start(Protocol::Http1, move |_| {
            let headers =
                [("content-type", "application/x-protobuf"), ("content-encoding", "zstd")];
            Some(http(200, &headers, reply.clone()))
        })
        .await;
        let answer = to(&server, |_| ()).export(spans(3, "a")).await;
        match expected {
            Some(rejected) => assert_eq!(answer.unwrap().rejected, rejected),
            None => assert!(matches!(answer, Err(ExportError::BadAnswer(_))), "{answer:?}"),
        }
    }
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

#[tokio::test]
async fn json_says_the_same_as_protobuf() {
    let server = Server::start(Protocol::Http1, |_| Some(http(200, &[JSON], "{}"))).await;
    let logs = Payload::parse(Signal::Logs, b"\x0a\x08\x12\x06\x12\x04\x1a\x02up"[..].into());
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let exporter = to(&server, |config| {
            config.encoding = Encoding::Json;
            config.compression = compression;
        });
        for payload in [spans(3, "käse \"x\""), logs.clone().unwrap()] {
            assert_eq!(exporter.export(payload.clone()).await.unwrap(), Delivered::ALL);
            let request = server.received().pop().unwrap();
            assert_eq!(request.headers["content-type"], "application/json");
            let text = match compression {
                Compression::Gzip => gunzip(&request.body),
                Compression::Zstd => unzstd(&request.body),
                _ => request.body.to_vec(),
            };
            let (protobuf, items) = json::to_protobuf(payload.signal(), &text, usize::MAX).unwrap();
            assert_eq!((protobuf, items), (payload.to_bytes().to_vec(), payload.items()));
        }
    }
}

#[tokio::test]
async fn a_partial_success_in_json_is_read() {
    for compressed in [false, true] {
        let server = Server::start(Protocol::Http1, move |_| {
            let partial = ExportResponse { rejected: 2, message: "too\u{7}old".into() };
            let json = partial.to_json(Signal::Traces).into_bytes();
            Some(if compressed {
                http(200, &[JSON, ("content-encoding", "gzip")], gzip(&json))
            } else {
                http(200, &[JSON], json)
            })
        })
        .await;
        let exporter = to(&server, |config| config.encoding = Encoding::Json);
        let delivered = exporter.export(spans(3, "a")).await.unwrap();
        let expected = Delivered { rejected: 2, message: Some("too\\u{7}old".into()) };
        assert_eq!(delivered, expected);
    }
}

#[tokio::test]
async fn what_is_no_reply_in_json_is_a_bad_answer_and_another_type_is_taken_at_its_status() {
    for (headers, body, is_bad) in [
        (JSON, "<html>", true),
        (JSON, "[]", true),
        (JSON, "", false),
        (("content-type", "application/x-protobuf"), "{", false),
    ] {
        let server =
            Server::start(Protocol::Http1, move |_| Some(http(200, &[headers], body))).await;
        let exporter = to(&server, |config| config.encoding = Encoding::Json);
        let answer = exporter.export(spans(3, "a")).await;
        assert_eq!(matches!(answer, Err(ExportError::BadAnswer(_))), is_bad, "{body}: {answer:?}");
        assert_eq!(answer.is_err(), is_bad);
    }
}

#[tokio::test]
async fn the_limit_of_a_request_is_that_of_its_json() {
    let server = Server::start(Protocol::Http1, |_| Some(http(200, &[JSON], "{}"))).await;
    let payload = spans(100, "a");
    let limit = payload.bytes() + 10;
    let exporter = to(&server, |config| {
        config.encoding = Encoding::Json;
        config.max_request_bytes = limit;
    });
    let error = exporter.export(payload).await.unwrap_err();
    assert!(matches!(error, ExportError::TooLarge { bytes, .. } if bytes > limit), "{error:?}");
    assert_eq!(server.received().len(), 0);
}
