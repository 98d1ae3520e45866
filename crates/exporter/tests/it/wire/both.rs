//! What is the same over gRPC and HTTP.

use std::fmt;
use std::time::Duration;

use teleflow_exporter::{
    AnyExporter, Compression, Delivered, ExportError, Exporter, GrpcConfig, GrpcExporter,
    HttpConfig, HttpExporter,
};
use teleflow_otlp::{Code, ExportResponse, Status};

use super::server::{
    Answer, Protocol, Received, Server, endless_from, grpc, gunzip, gzip, http, unzstd,
};
use crate::script::spans;

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// What both configurations have.
struct Settings {
    timeout: Duration,
    compression: Compression,
    max_request_bytes: usize,
    headers: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // gRPC's own is short for a busy machine.
            timeout: Duration::from_secs(60),
            compression: Compression::None,
            max_request_bytes: usize::MAX,
            headers: Vec::new(),
        }
    }
}

/// An exporter, and everything of it and its settings that can be printed.
fn exporter(protocol: Protocol, addr: impl fmt::Display, with: Settings) -> (AnyExporter, String) {
    let endpoint = format!("http://{addr}");
    let Settings { timeout, compression, max_request_bytes, headers } = with;
    match protocol {
        Protocol::Http1 => {
            let config = HttpConfig {
                timeout,
                compression,
                max_request_bytes,
                headers,
                ..HttpConfig::new(endpoint)
            };
            let made = HttpExporter::new(config.clone()).unwrap();
            let printed = format!("{config:?} {made:?}");
            (AnyExporter::new(made), printed)
        }
        Protocol::Http2 => {
            let config = GrpcConfig {
                timeout,
                compression,
                max_request_bytes,
                headers,
                ..GrpcConfig::new(endpoint)
            };
            let made = GrpcExporter::new(config.clone()).unwrap();
            let printed = format!("{config:?} {made:?}");
            (AnyExporter::new(made), printed)
        }
    }
}

fn to(server: &Server, protocol: Protocol, with: Settings) -> AnyExporter {
    exporter(protocol, server.addr, with).0
}

/// The reply of a server that took a request.
fn reply(protocol: Protocol, reply: &ExportResponse, compressed: bool) -> Answer {
    let message = if compressed { gzip(&reply.encode()) } else { reply.encode() };
    match protocol {
        Protocol::Http1 => {
            let encoding = if compressed { "gzip" } else { "identity" };
            let headers =
                [("content-type", "application/x-protobuf"), ("content-encoding", encoding)];
            http(200, &headers, message)
        }
        Protocol::Http2 => grpc(compressed, &message, &Status::new(Code::Ok, "")),
    }
}

async fn start(protocol: Protocol) -> Server {
    Server::start(protocol, move |_| Some(reply(protocol, &ExportResponse::default(), false))).await
}

/// The request's message, and how it is compressed.
fn message(protocol: Protocol, request: &Received) -> (Option<&str>, &[u8]) {
    let (header, message) = match protocol {
        Protocol::Http1 => ("content-encoding", &request.body[..]),
        Protocol::Http2 => {
            let len = u32::from_be_bytes(request.body[1..5].try_into().unwrap());
            assert_eq!(request.body.len(), 5 + len as usize);
            let is_compressed = request.headers.contains_key("grpc-encoding");
            assert_eq!(request.body[0] == 1, is_compressed);
            ("grpc-encoding", &request.body[5..])
        }
    };
    (request.headers.get(header).map(|name| name.to_str().unwrap()), message)
}

#[tokio::test]
async fn segments_arrive_as_one_request_compressed_or_not() {
    let mut payload = spans(1, "first");
    for name in ["second", &"large ".repeat(100_000), "last"] {
        payload.append(spans(2, name));
    }
    for protocol in BOTH {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let server = start(protocol).await;
            let exporter = to(&server, protocol, Settings { compression, ..Settings::default() });
            exporter.export(payload.clone()).await.unwrap();
            let received = server.received();
            let (name, message) = message(protocol, &received[0]);
            let plain = match name {
                None => message.to_vec(),
                Some("gzip") => gunzip(message),
                Some(_) => unzstd(message),
            };
            assert_eq!(name.is_some(), compression != Compression::None);
            assert!(name.is_none() || message.len() < payload.bytes() / 10);
            assert_eq!(plain, payload.to_bytes());
        }
    }
}

#[tokio::test]
async fn a_request_over_the_limit_is_not_sent() {
    for protocol in BOTH {
        let server = start(protocol).await;
        let payload = spans(10, "a");
        let limit = payload.bytes() - 1;
        // Compression does not make it smaller: the limit is before it.
        let compression = Compression::Gzip;
        let with = Settings { max_request_bytes: limit, compression, ..Settings::default() };
        let exporter = to(&server, protocol, with);
        let error = exporter.export(payload).await.unwrap_err();
        assert!(matches!(error, ExportError::TooLarge { bytes, .. } if bytes == limit + 1));
        assert!(!error.is_retryable());
        exporter.export(spans(1, "a")).await.unwrap();
        assert_eq!(server.received().len(), 1);
    }
}

#[tokio::test]
async fn no_answer_in_time_may_be_retried() {
    for protocol in BOTH {
        let server = Server::start(protocol, |_| None).await;
        let with = Settings { timeout: Duration::from_secs(7), ..Settings::default() };
        let exporter = to(&server, protocol, with);
        let (result, ()) = tokio::join!(exporter.export(spans(1, "a")), async {
            server.arrived(1).await;
            // From here on the clock runs ahead whenever nothing happens.
            tokio::time::pause();
        });
        let error = result.unwrap_err();
        assert!(matches!(error, ExportError::Timeout(after) if after.as_secs() == 7), "{error:?}");
        assert!(error.is_retryable());
        if protocol == Protocol::Http2 {
            assert_eq!(server.received()[0].headers["grpc-timeout"], "7000m");
        }
        tokio::time::resume();
    }
}

#[tokio::test]
async fn an_answer_that_comes_a_byte_at_a_time_is_given_up_when_the_time_is_over() {
    for protocol in BOTH {
        let server = Server::start(protocol, move |_| {
            let head = reply(protocol, &ExportResponse::default(), false);
            Some(endless_from(head, Duration::from_secs(1)))
        })
        .await;
        let exporter = to(&server, protocol, Settings::default());
        let begun = tokio::time::Instant::now();
        let (result, ()) = tokio::join!(exporter.export(spans(1, "a")), async {
            server.arrived(1).await;
            tokio::time::pause();
        });
        assert!(matches!(result, Err(ExportError::Timeout(_))), "{result:?}");
        assert!((60..70).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_partial_success_is_delivered_and_names_what_was_rejected() {
    for protocol in BOTH {
        for compressed in [false, true] {
            let server = Server::start(protocol, move |_| {
                let partial = ExportResponse { rejected: 2, message: "too\u{7}old".into() };
                Some(reply(protocol, &partial, compressed))
            })
            .await;
            let exporter = to(&server, protocol, Settings::default());
            let delivered = exporter.export(spans(3, "a")).await.unwrap();
            let expected = Delivered { rejected: 2, message: Some("too\\u{7}old".into()) };
            assert_eq!(delivered, expected);
        }
    }
}

#[tokio::test]
async fn secrets_are_not_printed() {
    for protocol in BOTH {
        let headers = vec![("authorization".to_owned(), "secret".to_owned())];
        let with = Settings { headers, ..Settings::default() };
        let (exporter, printed) = exporter(protocol, "127.0.0.1:1", with);
        let error = exporter.export(spans(1, "a")).await.unwrap_err();
        let printed = format!("{printed} {exporter:?} {error} {error:?}");
        assert!(!printed.contains("secret"), "{printed}");
    }
    // Nor what stands in a path.
    let config = HttpConfig::new("http://127.0.0.1:1/secret");
    let printed = format!("{config:?} {:?}", HttpExporter::new(config.clone()).unwrap());
    assert!(!printed.contains("secret"), "{printed}");
}
