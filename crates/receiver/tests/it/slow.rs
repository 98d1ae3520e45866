//! Clients that take their time, and one that does not.

use std::time::Duration;

use teleflow_otlp::Signal;
use teleflow_receiver::{Limits, Timeouts};
use tokio::task::JoinHandle;

use crate::support::{Client, PROTOBUF, Server, call, config, padding, post};
use teleflow_testkit::raw::{
    END_HEADERS, HEADERS, PREFACE, Raw, SETTINGS, call_head, frame, literal, say,
};

/// What the other tests shorten is this long where nobody says otherwise.
#[test]
fn the_limits_are_what_the_documents_say() {
    let timeouts = Timeouts::default();
    assert_eq!(timeouts.header, Duration::from_secs(30));
    assert_eq!(timeouts.body, Duration::from_secs(60));
    assert_eq!(timeouts.handshake, Duration::from_secs(10));
    assert_eq!(timeouts.idle, Some(Duration::from_secs(300)));
    let limits = Limits::default();
    assert_eq!(limits.max_in_flight_bytes, 256 * 1024 * 1024);
    assert_eq!((limits.max_connections, limits.max_concurrent_streams), (10_000, 200));
    assert_eq!(limits.retry_after, Duration::from_secs(1));
}

/// Something to do at all times: a paused clock then goes by what a test says alone.
fn busy() -> JoinHandle<()> {
    tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    })
}

async fn pass(seconds: u64) {
    for _ in 0..seconds {
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_thousand_clients_dawdle_another_is_served_at_once() {
    let server = Server::start(config()).await;
    let busy = busy();
    let mut grpc = Client::http2(server.grpc).await;
    let mut http = Client::http1(server.http).await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                content-length: 9999\r\n\r\n{";
    let settings = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let call_of = frame(HEADERS, END_HEADERS, 1, &call_head(Signal::Traces.grpc_path()));
    let mut clients = Vec::new();
    for number in 0..1000 {
        // In a head, in the preface, in a head over HTTP/2, in a body, in nothing at all.
        let (address, at_once, rest) = match number % 5 {
            0 => (server.http, &b"P"[..], &head.as_bytes()[1..]),
            1 => (server.grpc, &PREFACE[..1], &PREFACE[1..]),
            2 => (server.grpc, &settings[..], &call_of[..]),
            3 => (server.http, head.as_bytes(), &b"          "[..]),
            _ => (server.grpc, &b""[..], &b""[..]),
        };
        clients.push((say(address, at_once).await, rest.iter()));
    }
    server.until(|server| server.stats.snapshot().connections_open == 1002).await;
    for _ in 0..8 {
        for (stream, rest) in &mut clients {
            // The server may have hung up on it; one of them has nothing to say.
            let Some(byte) = rest.next() else { continue };
            _ = stream.try_write(&[*byte]);
        }
        // Before any time passes: what is asked is answered while all of them wait.
        let before = tokio::time::Instant::now();
        let answer = grpc.send(call(Signal::Traces, &padding(100))).await;
        assert_eq!(answer.grpc_status(), 0);
        let answer = http.send(post("/v1/traces", &[PROTOBUF], &padding(100))).await;
        assert_eq!(answer.status, 200);
        assert_eq!(before.elapsed(), Duration::ZERO, "none of the clock's time");
        pass(10).await;
    }
    // All that dawdle are gone, and who does not is still there.
    server.until(|server| server.stats.snapshot().connections_open == 2).await;
    assert_eq!(server.stats.snapshot().bytes_in_flight, 0);
    assert_eq!(grpc.send(call(Signal::Traces, &padding(100))).await.grpc_status(), 0);
    busy.abort();
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn handshakes_that_come_byte_by_byte_are_cut_and_another_is_made() {
    use crate::tls::{Authority, with_tls};

    let authority = Authority::new();
    let server = Server::start(with_tls(authority.server("a"))).await;
    let busy = busy();
    // The start of a hello of 512 bytes.
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mut clients = Vec::new();
    for number in 0..200 {
        let address = if number % 2 == 0 { server.http } else { server.grpc };
        clients.push((say(address, &hello[..number % 3]).await, hello[number % 3..].iter()));
    }
    server.until(|server| server.stats.snapshot().connections_open == 200).await;
    // Another one's handshake is made while theirs wait.
    let before = tokio::time::Instant::now();
    let mut client = crate::tls::http1(&server, &authority).await;
    let answer = client.send(post("/v1/traces", &[PROTOBUF], &padding(100))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(before.elapsed(), Duration::ZERO);
    for _ in 0..12 {
        for (stream, rest) in &mut clients {
            _ = stream.try_write(&[*rest.next().unwrap_or(&0)]);
        }
        pass(1).await;
    }
    server.until(|server| server.stats.snapshot().handshakes_failed == 200).await;
    server.until(|server| server.stats.snapshot().connections_open == 1).await;
    busy.abort();
}

/// CVE-2026-29181: each line is short, and there are many.
#[tokio::test]
async fn lines_of_baggage_are_counted_together() {
    let server = Server::start(config()).await;
    let short = "baggage: a=b\r\n".repeat(1000);
    let long = format!("baggage: a={}\r\n", "b".repeat(900)).repeat(80);
    for lines in [short, long] {
        let head = format!("POST /v1/traces HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
        let mut stream = say(server.http, head).await;
        let mut answer = Vec::new();
        // It may hang up before it has all.
        _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    for (lines, len) in [(1000, 1), (110, 120), (10_000, 1)] {
        for address in [server.grpc, server.http] {
            let mut head = call_head(Signal::Traces.grpc_path());
            (0..lines).for_each(|_| literal(&mut head, "baggage", &"b".repeat(len)));
            let mut client = Raw::connect(address).await;
            // A frame takes 256 KiB, and it may hang up before it has that.
            let open = frame(HEADERS, END_HEADERS | teleflow_testkit::raw::END_STREAM, 1, &head);
            _ = client.send(&open).await;
            // The answer, or the end of the stream or of the connection: what it is not is a request.
            let is_over = async {
                while let Some(frame) = client.next().await {
                    if frame.stream == 1 || frame.kind == teleflow_testkit::raw::GOAWAY {
                        break;
                    }
                }
            };
            is_over.await;
        }
    }
    let stats = server.stats.snapshot();
    assert_eq!((stats.unrouted, server.fake.requests()), (0, 0));
    assert_eq!(stats.of_signal(Signal::Traces), teleflow_receiver::Requests::default());
    // As many as fit are nobody's harm.
    let lines = [("baggage", "a=b"); 60];
    let headers = [&[PROTOBUF], &lines[..]].concat();
    for mut client in [Client::http1(server.http).await, Client::http2(server.http).await] {
        let answer = client.send(post("/v1/traces", &headers, &padding(100))).await;
        assert_eq!(answer.status, 200);
    }
}
