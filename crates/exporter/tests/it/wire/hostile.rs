//! Servers that do what no server should: nothing of it takes memory, time or a duplicate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use teleflow_exporter::{
    Delivered, ExportError, Exporter, GrpcConfig, GrpcExporter, HttpConfig, HttpExporter, Retry,
    RetryConfig, SplitTooLarge,
};
use teleflow_otlp::{Code, ExportResponse, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::server::{Protocol, Server, grpc, grpc_error, grpc_headers, http, with_trailers};
use crate::script::spans;

const MIB: usize = 1024 * 1024;

/// A server that does `what` with every connection, once something came over it.
async fn raw<F>(what: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 65_536]).await;
            tokio::spawn(what(stream));
        }
    });
    (addr, connections)
}

fn over_http(addr: SocketAddr) -> HttpExporter {
    HttpExporter::new(HttpConfig::new(format!("http://{addr}"))).unwrap()
}

fn over_grpc(addr: SocketAddr) -> GrpcExporter {
    let timeout = Duration::from_secs(60);
    let config = GrpcConfig { timeout, ..GrpcConfig::new(format!("http://{addr}")) };
    GrpcExporter::new(config).unwrap()
}

/// HTTP/2: a frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    let head = [len[1], len[2], len[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

const SETTINGS: u8 = 4;
const RESET: u8 = 3;
const GO_AWAY: u8 = 7;

#[tokio::test]
async fn of_an_answer_of_100_mib_no_more_than_the_limit_is_read() {
    // With a length that is true, with one that is not, in chunks, and as headers.
    let heads = [
        "content-length: 104857600\r\n\r\n".to_owned(),
        "content-length: 18446744073709551615\r\n\r\n".to_owned(),
        "transfer-encoding: chunked\r\n\r\n6400000\r\n".to_owned(),
        "\r\n".to_owned(),
        "x-endless: ".to_owned(),
    ];
    for head in heads {
        let written = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&written);
        let name = head.clone();
        let (addr, _) = raw(move |mut stream| {
            let (head, counter) = (head.clone(), Arc::clone(&counter));
            async move {
                let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n";
                stream.write_all(format!("{ok}{head}").as_bytes()).await.unwrap();
                for _ in 0..1600 {
                    if stream.write_all(&[b'x'; 65_536]).await.is_err() {
                        return;
                    }
                    counter.fetch_add(65_536, Ordering::Relaxed);
                }
            }
        })
        .await;
        let error = over_http(addr).export(spans(1, "a")).await.unwrap_err();
        assert!(matches!(error, ExportError::BadAnswer(_)), "{name:?}: {error:?}");
        assert!(!error.is_retryable());
        // What was read, and what the sockets hold.
        let written = written.load(Ordering::Relaxed);
        assert!(written < 24 * MIB, "{name:?}: {} MiB", written / MIB);
    }
}

#[tokio::test]
async fn garbage_is_no_answer_and_its_words_are_not_repeated() {
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.9 garbage\r\n\r\n"[..],
        b"\0\xff\x16\x03\x01garbage",
        b"HTTP/1.1 99999 garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ngarbage\r\n",
    ] {
        let (addr, _) = raw(move |mut stream| async move {
            let _ = stream.write_all(garbage).await;
        })
        .await;
        for error in [
            over_http(addr).export(spans(1, "a")).await.unwrap_err(),
            over_grpc(addr).export(spans(1, "a")).await.unwrap_err(),
        ] {
            let text = format!("{error} {error:?}");
            assert!(!text.contains("garbage"), "{text}");
            assert!(
                matches!(error, ExportError::BadAnswer(_) | ExportError::Unreachable(_)),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_or_half_closed_may_be_tried_again() {
    for reset in [true, false] {
        let (addr, _) = raw(move |mut stream| async move {
            if reset {
                stream.set_zero_linger().unwrap();
            } else {
                stream.shutdown().await.unwrap();
                // Still there, and silent.
                std::future::pending::<()>().await;
            }
        })
        .await;
        for error in [
            over_http(addr).export(spans(1, "a")).await.unwrap_err(),
            over_grpc(addr).export(spans(1, "a")).await.unwrap_err(),
        ] {
            assert!(matches!(error, ExportError::Unreachable(_)), "{error:?}");
            assert!(error.is_retryable());
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_and_a_server_that_goes_away_may_be_tried_again() {
    let debug = [&[0, 0, 0, 0, 0, 0, 0, 2][..], b"\x1b[2Jthe server's own words"].concat();
    for answer in [frame(RESET, 0, 1, &2_u32.to_be_bytes()), frame(GO_AWAY, 0, 0, &debug)] {
        let (addr, connections) = raw(move |mut stream| {
            let answer = [frame(SETTINGS, 0, 0, &[]), answer.clone()].concat();
            async move {
                stream.write_all(&answer).await.unwrap();
                // Until the client goes.
                while matches!(stream.read(&mut [0; 65_536]).await, Ok(1..)) {}
            }
        })
        .await;
        let error = over_grpc(addr).export(spans(1, "a")).await.unwrap_err();
        assert!(matches!(error, ExportError::Unreachable(_)), "{error:?}");
        assert!(error.is_retryable());
        assert!(!format!("{error} {error:?}").contains('\x1b'), "{error:?}");
        assert_eq!(connections.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn hostile_trailers_are_bounded() {
    let ok = || grpc_headers(&Status::new(Code::Ok, ""));
    let server = Server::start(Protocol::Http2, move |number| {
        let mut trailers = ok();
        match number {
            // Details that say they are long, and are not.
            0 => {
                let details = "CA4SBWxhdGVyGv////8P";
                trailers.insert("grpc-status", "14".parse().unwrap());
                trailers.insert("grpc-status-details-bin", details.parse().unwrap());
            }
            // More than the limit of a header list.
            1 => {
                let long = "x".repeat(100_000);
                trailers.insert("grpc-message", long.parse().unwrap());
            }
            _ => {
                trailers.insert("grpc-status", "no number".parse().unwrap());
            }
        }
        Some(with_trailers(b"\0\0\0\0\0".to_vec(), trailers))
    })
    .await;
    let exporter = over_grpc(server.addr);
    let error = exporter.export(spans(1, "a")).await.unwrap_err();
    assert!(error.is_retryable() && error.retry_after().is_none(), "{error:?}");
    let answer = exporter.export(spans(1, "a")).await;
    assert!(format!("{answer:?}").len() < 1000);
    let error = exporter.export(spans(1, "a")).await.unwrap_err();
    assert!(!error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn trailers_alone_are_an_answer() {
    let unavailable =
        Status { retry_delay: Some(Duration::ZERO), ..Status::new(Code::Unavailable, "") };
    let server = Server::start(Protocol::Http2, move |number| {
        let status = if number == 0 { unavailable.clone() } else { OK };
        Some(grpc_error(&status))
    })
    .await;
    let exporter = over_grpc(server.addr);
    let error = exporter.export(spans(1, "a")).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::ZERO));
    assert_eq!(exporter.export(spans(1, "a")).await.unwrap(), Delivered::ALL);
}

const OK: Status = Status { code: Code::Ok, message: String::new(), retry_delay: None };

#[tokio::test]
async fn after_a_partial_success_nothing_is_ever_sent_again() {
    // With a message, without, with all of it rejected, and with more than all.
    for (rejected, message) in [(1, "old"), (0, "a warning"), (3, ""), (u64::MAX >> 1, "")] {
        let reply = ExportResponse { rejected, message: message.into() }.encode();
        let body = reply.clone();
        let http_server = Server::start(Protocol::Http1, move |_| {
            let headers = [("content-type", "application/x-protobuf"), ("retry-after", "1")];
            Some(http(200, &headers, body.clone()))
        })
        .await;
        let grpc_server =
            Server::start(Protocol::Http2, move |_| Some(grpc(false, &reply, &OK))).await;
        let answers = [
            stack(over_http(http_server.addr)).export(spans(3, "a")).await.unwrap(),
            stack(over_grpc(grpc_server.addr)).export(spans(3, "a")).await.unwrap(),
        ];
        for answer in answers {
            assert_eq!(answer.rejected, rejected.min(3));
        }
        assert_eq!((http_server.received().len(), grpc_server.received().len()), (1, 1));
    }
}

fn stack(exporter: impl Exporter) -> SplitTooLarge<Retry<impl Exporter>> {
    SplitTooLarge::new(Retry::new(exporter, RetryConfig::default()).unwrap())
}

#[tokio::test]
async fn a_server_that_goes_away_politely_still_answers_what_it_has() {
    let (begun, ends) = tokio::sync::watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let (begun, mut ends) = (begun.clone(), ends.clone());
            let service = hyper::service::service_fn(move |_| {
                let begun = begun.clone();
                async move {
                    begun.send_replace(true);
                    // The connection is told to end now; the answer comes a little later.
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    Ok::<_, std::convert::Infallible>(grpc(false, b"", &OK))
                }
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let io = hyper_util::rt::TokioIo::new(stream);
            let connection = hyper::server::conn::http2::Builder::new(executor);
            let mut connection = Box::pin(connection.serve_connection(io, service));
            tokio::spawn(async move {
                ends.mark_unchanged();
                let end = Box::pin(async { drop(ends.changed().await) });
                if let futures_util::future::Either::Right((_, connection)) =
                    futures_util::future::select(&mut connection, end).await
                {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            });
        }
    });
    let exporter = over_grpc(addr);
    for _ in 0..3 {
        exporter.export(spans(1, "a")).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_was_read_is_heard() {
    // Far over every window and buffer on the way.
    let large = spans(1, &"x".repeat(8 * MIB));
    // Over HTTP/1.1: answers after the head, then reads on and throws away.
    let (addr, _) = raw(|mut stream| async move {
        let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        while matches!(stream.read(&mut [0; 65_536]).await, Ok(1..)) {}
    })
    .await;
    let error = over_http(addr).export(large.clone()).await.unwrap_err();
    assert!(error.is_too_large(), "{error:?}");

    // Over HTTP/2: answers without reading, which resets the stream.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|_| async {
                let status =
                    Status::new(Code::ResourceExhausted, "the request is larger than 1 bytes");
                Ok::<_, std::convert::Infallible>(grpc_error(&status))
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let connection = hyper::server::conn::http2::Builder::new(executor);
            tokio::spawn(
                connection.serve_connection(hyper_util::rt::TokioIo::new(stream), service),
            );
        }
    });
    let exporter = over_grpc(addr);
    for _ in 0..20 {
        let error = exporter.export(large.clone()).await.unwrap_err();
        assert!(error.is_too_large(), "{error:?}");
    }
}
