//! Bounds of memory, of connections and of time.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use teleflow_otlp::Signal;
use teleflow_receiver::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{
    Client, GZIP, JSON, PROTOBUF, Server, bomb, call, config, frame, gzip, gzip_call,
    limit_requests, padding, post, raw_call, telemetry,
};
use teleflow_testkit::raw::say;

#[tokio::test]
async fn what_goes_over_the_budget_is_refused_and_taken_when_there_is_room_again() {
    let mut config = config();
    config.limits.max_in_flight_bytes = 2000;
    config.limits.retry_after = Duration::from_millis(1500);
    config.limits.max_retry_after = Duration::from_millis(1500);
    let server = Server::start_gated(config).await;
    let message = padding(900);

    let mut waiting = Vec::new();
    for _ in 0..2 {
        let (mut client, message) = (Client::http2(server.grpc).await, message.clone());
        waiting
            .push(tokio::spawn(async move { client.send(call(Signal::Traces, &message)).await }));
    }
    server.fake.has_entered(2).await;
    assert_eq!(server.stats.snapshot().bytes_in_flight, 1800);

    let mut grpc = Client::http2(server.grpc).await;
    let answer = grpc.send(call(Signal::Logs, &padding(201))).await;
    assert_eq!(answer.grpc_status(), 14);
    assert!(answer.headers.contains_key("grpc-status-details-bin"));
    let mut http = Client::http1(server.http).await;
    let answer = http.send(post("/v1/traces", &[PROTOBUF], &padding(201))).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let wait = answer.header("retry-after");
    assert!(["2", "3", "4"].contains(&wait), "{wait}");
    assert_eq!(answer.rpc_status(false).code, 14);
    // Small when compressed: the budget is for what it becomes.
    let answer = http.send(post("/v1/traces", &[JSON, GZIP], &gzip(&[b' '; 1000]))).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = grpc.send(gzip_call(Signal::Traces, &gzip(&padding(1000)))).await;
    assert_eq!(answer.grpc_status(), 14);
    assert_eq!(server.stats.snapshot().bytes_in_flight, 1800);

    server.fake.gate.add_permits(100);
    for answer in waiting {
        assert_eq!(answer.await.unwrap().grpc_status(), 0);
    }
    let answer = http.send(post("/v1/traces", &[PROTOBUF], &padding(201))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(grpc.send(call(Signal::Traces, &padding(1000))).await.grpc_status(), 0);
    let stats = server.stats.snapshot();
    assert_eq!(stats.bytes_in_flight, 0);
    assert_eq!(stats.of(Transport::Http, Signal::Traces).refused, 2);
    assert_eq!(stats.of(Transport::Grpc, Signal::Traces).refused, 1);
    assert_eq!(stats.of(Transport::Grpc, Signal::Logs).refused, 1);
}

#[tokio::test]
async fn a_request_for_which_there_is_no_room_is_refused_before_its_body_is_read() {
    let mut config = config();
    config.limits.max_in_flight_bytes = 2000;
    let server = Server::start_gated(config).await;
    let mut first = Client::http2(server.grpc).await;
    let waiting =
        tokio::spawn(async move { first.send(call(Signal::Traces, &padding(900))).await });
    server.fake.has_entered(1).await;

    // Neither sends any of what it announces.
    let head = "POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n\
                expect: 100-continue\r\ncontent-length: 1000\r\n\r\n";
    let http = say(server.http, &head).await;
    // It fits, once, and as much again does not.
    server.until(|server| server.stats.snapshot().bytes_in_flight == 1900).await;
    let mut other = say(server.http, head.replace("1000", "900")).await;
    let mut answer = [0; 12];
    other.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    let mut grpc = Client::http2(server.grpc).await;
    let announced = [0, 0, 0, 0, 200];
    let answer = grpc.send(raw_call(Signal::Logs.grpc_path(), &[], &announced)).await;
    assert_eq!(answer.grpc_status(), 14);

    drop(http);
    server.until(|server| server.stats.snapshot().bytes_in_flight == 900).await;
    server.fake.gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().grpc_status(), 0);
}

#[tokio::test]
async fn empty_promises_take_half_of_the_budget_and_the_rest_is_for_those_who_send() {
    let mut config = config();
    config.limits.max_in_flight_bytes = 4000;
    let server = Server::start(config).await;
    let mut liars = Vec::new();
    for _ in 0..40 {
        let head = "POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n\
                    content-length: 1000\r\n\r\n";
        let liar = say(server.http, &head).await;
        liars.push(liar);
    }
    server.until(|server| server.stats.snapshot().bytes_in_flight == 2000).await;
    let mut http = Client::http1(server.http).await;
    let mut grpc = Client::http2(server.grpc).await;
    for _ in 0..10 {
        let answer = http.send(post("/v1/traces", &[PROTOBUF], &padding(1900))).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(grpc.send(call(Signal::Traces, &padding(1900))).await.grpc_status(), 0);
    }
    assert_eq!(server.stats.snapshot().bytes_in_flight, 2000);
    drop(liars);
    server.until(|server| server.stats.snapshot().bytes_in_flight == 0).await;
}

#[tokio::test]
async fn a_request_that_would_never_fit_into_the_budget_is_not_to_be_sent_again() {
    let mut config = config();
    config.limits.max_in_flight_bytes = 2000;
    let server = Server::start(config).await;
    let mut grpc = Client::http2(server.grpc).await;
    assert_eq!(grpc.send(call(Signal::Traces, &padding(1001))).await.grpc_status(), 8);
    let mut http = Client::http1(server.http).await;
    let answer = http.send(post("/v1/traces", &[PROTOBUF], &padding(1001))).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_at_the_limit() {
    let mut config = config();
    limit_requests(&mut config, 100_000);
    let server = Server::start(config).await;
    for (lines, is) in
        [(9, "200 OK"), (11, "413 Payload Too Large"), (2000, "413 Payload Too Large")]
    {
        let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n\
                    transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        let mut stream = say(server.http, &head).await;
        let mut chunk = b"2710\r\n".to_vec();
        chunk.extend_from_slice(&padding(10_000));
        chunk.extend_from_slice(b"\r\n");
        // The client sends all of it before it reads, and is not cut off from its answer.
        for _ in 0..lines {
            stream.write_all(&chunk).await.unwrap();
        }
        let mut answer = Vec::new();
        if lines < 1000 {
            stream.write_all(b"0\r\n\r\n").await.unwrap();
            stream.read_to_end(&mut answer).await.unwrap();
        } else {
            answer.resize(100, 0);
            stream.read_exact(&mut answer).await.unwrap();
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {is}\r\n")), "{lines}: {answer}");
    }
    server.until(|server| server.stats.snapshot().bytes_in_flight == 0).await;
    let requests = server.stats.snapshot().of(Transport::Http, Signal::Traces);
    assert_eq!((requests.accepted, requests.invalid), (1, 2));
    assert!(requests.bytes < 1_000_000, "read on after the limit: {}", requests.bytes);
}

#[tokio::test]
async fn a_large_body_is_taken_whole_over_either_protocol() {
    let server = Server::start(config()).await;
    let message = padding(64 * 1024 * 1024);
    let mut client = Client::http1(server.http).await;
    let answer = client.send(post("/v1/traces", &[PROTOBUF], &message)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut client = Client::http2(server.grpc).await;
    assert_eq!(client.send(call(Signal::Traces, &message)).await.grpc_status(), 0);
    for payload in server.fake.seen.lock().unwrap().iter() {
        assert_eq!(payload.bytes(), message.len());
    }
    let mut client = Client::http1(server.http).await;
    let answer = client.send(post("/v1/traces", &[PROTOBUF, GZIP], &bomb(64 * 1024 * 1024))).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let mut config = config();
    config.limits.max_connections = 2;
    let server = Server::start(config).await;
    let mut first = Client::http2(server.grpc).await;
    let mut second = Client::http1(server.http).await;
    assert_eq!(first.send(call(Signal::Logs, b"")).await.grpc_status(), 0);
    assert_eq!(second.send(post("/v1/logs", &[JSON], b"{}")).await.status, StatusCode::OK);

    let mut third = TcpStream::connect(server.grpc).await.unwrap();
    assert_eq!(third.read(&mut [0; 10]).await.unwrap_or(0), 0);
    let stats = server.stats.snapshot();
    assert_eq!((stats.connections_open, stats.connections, stats.connections_refused), (2, 2, 1));

    drop(second);
    server.until(|server| server.stats.snapshot().connections_open == 1).await;
    let mut fourth = Client::http1(server.http).await;
    assert_eq!(fourth.send(post("/v1/logs", &[JSON], b"{}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_counted_and_leaves_nothing_behind() {
    let server = Server::start(config()).await;
    let head = "POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n\
                content-length: 1000\r\n\r\nand not so many";
    let stream = say(server.http, &head).await;
    // All that was promised is set aside, before it comes.
    server.until(|server| server.stats.snapshot().bytes_in_flight == 1000).await;
    drop(stream);
    server
        .until(|server| server.stats.snapshot().of(Transport::Http, Signal::Logs).incomplete == 1)
        .await;
    server.until(|server| server.stats.snapshot().connections_open == 0).await;
    let stats = server.stats.snapshot();
    assert_eq!(stats.bytes_in_flight, 0);
    assert_eq!(stats.of(Transport::Http, Signal::Logs).bytes, 15);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_served_gives_back_its_bytes() {
    let server = Server::start_gated(config()).await;
    for (address, is_http2) in [(server.grpc, true), (server.http, false)] {
        let mut client = match is_http2 {
            true => Client::http2(address).await,
            false => Client::http1(address).await,
        };
        let request = match is_http2 {
            true => call(Signal::Traces, &padding(50)),
            false => post("/v1/traces", &[PROTOBUF], &padding(50)),
        };
        let sending = tokio::spawn(async move { client.try_send(request).await });
        server.fake.has_entered(1).await;
        assert_eq!(server.stats.snapshot().bytes_in_flight, 50);
        sending.abort();
        server.fake.dropped.acquire().await.unwrap().forget();
        server.until(|server| server.stats.snapshot().bytes_in_flight == 0).await;
    }
    let stats = server.stats.snapshot();
    assert_eq!(stats.of_signal(Signal::Traces).incomplete, 2);
}

// The clock is paused: it jumps to the next timer as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_waited_for_no_longer_than_it_may_take() {
    let server = Server::start(config()).await;
    for (address, sent) in [
        (server.http, ""),
        (server.http, "P"),
        (server.http, "POST /v1/traces HTTP/1.1\r\nhost: a\r\nx-very: slo"),
        (server.grpc, ""),
        (server.grpc, "PRI * HTTP/2.0\r\n\r\nS"),
    ] {
        let start = Instant::now();
        let mut stream = say(address, &sent).await;
        // At most its own settings: there is nothing to answer.
        assert!(stream.read_to_end(&mut Vec::new()).await.unwrap_or(0) < 100, "{sent:?}");
        let waited = start.elapsed();
        assert!(waited.abs_diff(Duration::from_secs(30)) < Duration::from_secs(1), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_answered_as_something_to_try_again() {
    let server = Server::start(config()).await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                content-length: 1000\r\n\r\n{";
    let mut stream = say(server.http, &head).await;
    let start = Instant::now();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(
        answer.contains(r#"{"code":4,"message":"the request did not arrive in full within 60s"}"#)
    );
    // The body has a minute; then what is left of it is read for five seconds.
    let waited = start.elapsed();
    assert!(waited.abs_diff(Duration::from_secs(65)) < Duration::from_secs(1), "{waited:?}");
    let stats = server.stats.snapshot();
    assert_eq!(stats.bytes_in_flight, 0);
    assert_eq!(stats.of(Transport::Http, Signal::Traces).incomplete, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_come_is_answered_as_something_to_try_again() {
    let server = Server::start(config()).await;
    let mut message = frame(0, &telemetry(Signal::Traces, 1));
    message.truncate(20);
    // The length promises more than the body that hyper is told to keep open.
    let (sender, body) = Stalling::new(message.into());
    let (head, _) = raw_call(Signal::Traces.grpc_path(), &[], b"").into_parts();
    let io = hyper_util::rt::TokioIo::new(TcpStream::connect(server.grpc).await.unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let start = Instant::now();
    let answer = client.send_request(http::Request::from_parts(head, body)).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4");
    assert!(start.elapsed().abs_diff(Duration::from_secs(60)) < Duration::from_secs(1));
    drop(sender);
    assert_eq!(server.stats.snapshot().bytes_in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let mut config = config();
    config.timeouts.idle = Some(Duration::from_secs(100));
    let server = Server::start(config).await;
    // Something to do at all times: the clock goes by what this test says alone.
    let busy = tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let mut clients = [
        Client::http1(server.http).await,
        Client::http2(server.http).await,
        Client::http2(server.grpc).await,
    ];
    for _ in 0..3 {
        for client in &mut clients {
            client.send(post("/v1/logs", &[JSON], b"{}")).await;
        }
        advance(80).await;
    }
    let stats = server.stats.snapshot();
    assert_eq!((stats.connections, stats.connections_open), (3, 3));
    advance(200).await;
    server.until(|server| server.stats.snapshot().connections_open == 0).await;
    busy.abort();
}

/// Lets `seconds` pass one by one, so that each timer sees its own time.
async fn advance(seconds: u64) {
    for _ in 0..seconds {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

/// A body that says something and then nothing for as long as the other half lives.
struct Stalling {
    first: Option<Bytes>,
    ends: tokio::sync::oneshot::Receiver<()>,
}

impl Stalling {
    fn new(first: Bytes) -> (tokio::sync::oneshot::Sender<()>, Self) {
        let (sender, ends) = tokio::sync::oneshot::channel();
        (sender, Self { first: Some(first), ends })
    }
}

impl http_body::Body for Stalling {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return std::task::Poll::Ready(Some(Ok(http_body::Frame::data(first))));
        }
        std::pin::Pin::new(&mut self.ends).poll(cx).map(|_| None)
    }
}

#[tokio::test]
async fn one_request_too_many_over_all_connections_is_refused_before_it_is_read() {
    let mut config = config();
    config.limits.max_requests = 2;
    let server = Server::start_gated(config).await;
    // Of one nothing but the head comes, the other waits for the consumer.
    let head = "POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n\
                expect: 100-continue\r\ncontent-length: 10\r\n\r\n";
    let mut open = say(server.http, head).await;
    let mut told = [0; 12];
    open.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 100");
    let mut first = Client::http2(server.grpc).await;
    let waiting = tokio::spawn(async move { first.send(call(Signal::Traces, &padding(9))).await });
    server.fake.has_entered(1).await;

    let mut other = Client::http2(server.grpc).await;
    let answer = other.send(call(Signal::Traces, &padding(9))).await;
    assert_eq!(answer.grpc_status(), 14);
    let mut refused = say(server.http, head).await;
    refused.read_exact(&mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 503");

    server.fake.gate.add_permits(2);
    assert_eq!(waiting.await.unwrap().grpc_status(), 0);
    let answer = other.send(call(Signal::Traces, &padding(9))).await;
    assert_eq!(answer.grpc_status(), 0);
}
