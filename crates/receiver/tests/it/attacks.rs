//! Attacks on HTTP/2, on inflation and on patience, against a real listener.
//!
//! Each must end with the attacker cut off or held, the memory flat, and a bystander served.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use teleflow_otlp::Signal;
use teleflow_receiver::Requests;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{
    Client, GZIP, PROTOBUF, Server, call, config, gzip, gzip_call, padding, post,
};
use teleflow_testkit::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PREFACE,
    RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, call_head, frame, literal, say,
};

/// Whether somebody else is served as if nothing were.
async fn bystander_is_served(server: &Server) {
    let mut grpc = Client::http2(server.grpc).await;
    assert_eq!(grpc.send(call(Signal::Traces, &padding(100))).await.grpc_status(), 0);
    let mut http = Client::http1(server.http).await;
    let answer = http.send(post("/v1/traces", &[PROTOBUF], &padding(100))).await;
    assert_eq!(answer.status, StatusCode::OK);
}

fn stream_id(number: usize) -> u32 {
    2 * number as u32 + 1
}

#[tokio::test]
async fn streams_that_are_reset_as_soon_as_they_are_opened_end_the_connection() {
    let server = Server::start_gated(config()).await;
    let head = call_head(Signal::Traces.grpc_path());
    let mut attacker = Raw::connect(server.grpc).await;
    let cut = attacker
        .flood(100_000, |number| {
            let id = stream_id(number);
            let open = frame(HEADERS, END_HEADERS, id, &head);
            [open, frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())].concat()
        })
        .await;
    assert!(cut, "it took them all");
    server.until(|server| server.stats.snapshot().connections_open == 0).await;
    server.fake.gate.add_permits(10);
    bystander_is_served(&server).await;
}

#[tokio::test]
async fn streams_that_are_reset_one_by_one_once_they_are_served_end_the_connection_too() {
    let server = Server::start_gated(config()).await;
    let head = call_head(Signal::Traces.grpc_path());
    let message = crate::support::frame(0, &padding(50));
    let mut attacker = Raw::connect(server.grpc).await;
    let mut begun = 0;
    for number in 0..10_000 {
        let id = stream_id(number);
        let open = frame(HEADERS, END_HEADERS, id, &head);
        let body = frame(DATA, END_STREAM, id, &message);
        if attacker.send(&[open, body].concat()).await.is_err() {
            break;
        }
        // Each is in the consumer's hands before it is taken back. The last one never gets there.
        let cut = async {
            server.until(|server| server.stats.snapshot().connections_abusive == 1).await;
        };
        tokio::select! {
            () = server.fake.has_entered(1) => begun += 1,
            () = cut => break,
        }
        if attacker.send(&frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())).await.is_err() {
            break;
        }
    }
    server.until(|server| server.stats.snapshot().connections_abusive == 1).await;
    assert!((1000..1010).contains(&begun), "{begun}");
    server.until(|server| server.stats.snapshot().bytes_in_flight == 0).await;
    server.fake.gate.add_permits(10);
    bystander_is_served(&server).await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_collected() {
    let server = Server::start(config()).await;
    let mut attacker = Raw::connect(server.grpc).await;
    attacker.send(&frame(HEADERS, 0, 1, &call_head("/"))).await.unwrap();
    let mut piece = Vec::new();
    for _ in 0..50 {
        literal(&mut piece, "x-more", &"m".repeat(100));
    }
    // Ten megabytes in pieces, and as many of nothing.
    let pieces = attacker.flood(2_000, |_| frame(CONTINUATION, 0, 1, &piece)).await;
    let mut other = Raw::connect(server.grpc).await;
    other.send(&frame(HEADERS, 0, 1, &call_head("/"))).await.unwrap();
    let empty = other.flood(1_000_000, |_| frame(CONTINUATION, 0, 1, &[])).await;
    assert!(pieces && empty, "{pieces} {empty}");
    bystander_is_served(&server).await;
}

#[tokio::test]
async fn a_head_that_unpacks_to_more_than_a_head_may_have_is_refused() {
    let server = Server::start(config()).await;
    let mut attacker = Raw::connect(server.grpc).await;
    // One header that is remembered, and then named by one byte each time.
    let mut head = call_head(Signal::Traces.grpc_path());
    head.push(0x40);
    head.push(1);
    head.push(b'x');
    head.push(126);
    head.extend_from_slice(&[b'y'; 126]);
    head.extend_from_slice(&[0x80 | 62; 15_000]);
    attacker.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)).await.unwrap();
    // It is not unpacked to its end, and the connection is of no use without that.
    assert_eq!(attacker.goodbye().await, Some(ENHANCE_YOUR_CALM));
    assert_eq!(server.stats.snapshot().of_signal(Signal::Traces), Requests::default());
    bystander_is_served(&server).await;
}

#[tokio::test]
async fn frames_that_serve_no_request_are_taken_for_a_while_and_then_end_the_connection() {
    let server = Server::start(config()).await;
    let settings = [0, 3, 0, 0, 0, 100];
    let kinds: [(&str, Vec<u8>); 4] = [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("answers to pings", frame(PING, 1, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &settings)),
        // A kind that nobody knows is skipped, as the protocol has it.
        ("unknown", frame(0x42, 0, 0, &[0; 100])),
    ];
    for (number, (name, flood)) in kinds.into_iter().enumerate() {
        let mut attacker = Raw::connect(server.grpc).await;
        assert!(attacker.flood(1_000_000, |_| flood.clone()).await, "{name}");
        let cut = number as u64 + 1;
        server.until(|server| server.stats.snapshot().connections_abusive == cut).await;
        server.until(|server| server.stats.snapshot().connections_open == 0).await;
    }
    bystander_is_served(&server).await;
}

#[tokio::test]
async fn a_million_empty_pieces_of_a_body_end_the_connection() {
    let server = Server::start(config()).await;
    let mut attacker = Raw::connect(server.grpc).await;
    let head = call_head(Signal::Traces.grpc_path());
    attacker.send(&frame(HEADERS, END_HEADERS, 1, &head)).await.unwrap();
    assert!(attacker.flood(1_000_000, |_| frame(DATA, 0, 1, &[])).await);
    server.until(|server| server.stats.snapshot().connections_open == 0).await;
    bystander_is_served(&server).await;
}

#[tokio::test]
async fn more_streams_than_there_may_be_are_refused_one_by_one() {
    let mut config = config();
    config.limits.max_concurrent_streams = 10;
    let server = Server::start_gated(config).await;
    let mut attacker = Raw::connect(server.grpc).await;
    let head = call_head(Signal::Traces.grpc_path());
    let message = crate::support::frame(0, &padding(50));
    let cut = attacker
        .flood(100_000, |number| {
            let id = stream_id(number);
            let open = frame(HEADERS, END_HEADERS, id, &head);
            [open, frame(DATA, END_STREAM, id, &message)].concat()
        })
        .await;
    assert!(cut, "it may not go on for ever");
    assert!(server.fake.entered.available_permits() <= 10);
    server.until(|server| server.stats.snapshot().bytes_in_flight == 0).await;
    server.fake.gate.add_permits(100);
    bystander_is_served(&server).await;
}

// The clock is paused: only so many bytes end it, and no second.
#[tokio::test(start_paused = true)]
async fn a_client_whose_connection_has_ended_does_not_get_to_send_for_ever() {
    let server = Server::start(config()).await;
    let busy = tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let mut attacker = Raw::connect(server.grpc).await;
    // An answer to a question that was never asked is an error of the protocol.
    let mut sent = 0;
    let junk = frame(SETTINGS, 1, 0, &[]).repeat(7_000);
    while attacker.stream.write_all(&junk).await.is_ok() {
        sent += junk.len();
        assert!(sent < 64 * 1024 * 1024, "it takes everything");
    }
    server.until(|server| server.stats.snapshot().connections_open == 0).await;
    busy.abort();
}

#[tokio::test]
async fn a_client_that_breaks_the_flow_control_is_cut_off() {
    let server = Server::start(config()).await;
    // A window that grows over what 31 bits hold.
    let mut attacker = Raw::connect(server.grpc).await;
    let update = frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
    attacker.send(&[update.clone(), update].concat()).await.unwrap();
    assert_eq!(attacker.goodbye().await, Some(3));
    // A frame larger than what we have said we take.
    let mut attacker = Raw::connect(server.grpc).await;
    attacker.send(&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]).await.unwrap();
    assert_eq!(attacker.goodbye().await, Some(6));
    bystander_is_served(&server).await;
}

// The clock is paused: it jumps to the next timer as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_client_that_lets_no_answer_through_is_cut_when_it_has_been_idle() {
    let mut config = config();
    config.timeouts.keep_alive = None;
    let server = Server::start(config).await;
    let mut stream = say(server.grpc, PREFACE).await;
    // No byte of any body may be sent to it.
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
    let head = call_head(Signal::Traces.grpc_path());
    let message = crate::support::frame(0, &padding(50));
    for number in 0..100 {
        let id = stream_id(number);
        stream.write_all(&frame(HEADERS, END_HEADERS, id, &head)).await.unwrap();
        stream.write_all(&frame(DATA, END_STREAM, id, &message)).await.unwrap();
    }
    let start = Instant::now();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    let waited = start.elapsed();
    // Five minutes idle, as seen from one look to the next, and the time of a head to leave.
    assert!(waited <= Duration::from_secs(361), "{waited:?}");
    assert_eq!(server.fake.requests(), 100);
    drop(stream);
    server.until(|server| server.stats.snapshot().connections_open == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_clients_that_send_a_byte_in_ten_seconds_are_all_closed() {
    let server = Server::start(config()).await;
    // Something to do at all times: the clock goes by what this test says alone.
    let busy = tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                content-length: 99\r\n\r\n{";
    let settings = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let call = frame(HEADERS, END_HEADERS, 1, &call_head(Signal::Traces.grpc_path()));
    let mut clients = Vec::new();
    for number in 0..1000 {
        let (address, at_once, rest) = match number % 4 {
            0 => (server.http, &b""[..], head.as_bytes()),
            1 => (server.grpc, &b""[..], PREFACE),
            2 => (server.grpc, &settings[..], &call[..]),
            _ => (server.http, head.as_bytes(), &b"          "[..]),
        };
        let stream = say(address, at_once).await;
        clients.push((stream, rest.iter()));
    }
    server.until(|server| server.stats.snapshot().connections_open == 1000).await;
    server.until(|server| server.stats.snapshot().bytes_in_flight == 250 * 99).await;
    let mut open_after = Vec::new();
    for _ in 0..8 {
        for (stream, rest) in &mut clients {
            // The server may have hung up on it.
            _ = stream.try_write(&[*rest.next().unwrap_or(&b' ')]);
        }
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        }
        open_after.push(server.stats.snapshot().connections_open);
    }
    // A head has 30 s, or up to twice that after something else; a body 60, and 5 more until the rest
    // of it is given up; then a second to part.
    assert_eq!(open_after[..2], [1000, 1000]);
    assert_eq!(open_after[3..5], [500, 500]);
    assert_eq!(open_after[7], 0);
    assert_eq!(server.stats.snapshot().of_signal(Signal::Traces).incomplete, 250);
    assert_eq!(server.stats.snapshot().bytes_in_flight, 0);
    busy.abort();
}

#[tokio::test]
async fn compressed_nothing_of_ten_gigabytes_costs_no_more_than_the_limit() {
    let mut config = config();
    crate::support::limit_requests(&mut config, 16 * 1024 * 1024);
    let server = Server::start(config).await;
    // One piece after the other: what gzip makes of a file that grows.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; 16 * 1024 * 1024]).unwrap();
    let bomb = encoder.finish().unwrap().repeat(640);
    assert!(bomb.len() < 16 * 1024 * 1024, "{}", bomb.len());
    let twice = gzip(&gzip(&vec![0; 16 * 1024 * 1024]));
    let mut http = Client::http1(server.http).await;
    let mut grpc = Client::http2(server.grpc).await;
    let answer = http.send(post("/v1/traces", &[PROTOBUF, GZIP], &bomb)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(grpc.send(gzip_call(Signal::Traces, &bomb)).await.grpc_status(), 8);
    // What is wrapped twice is unwrapped once.
    let answer = http.send(post("/v1/traces", &[PROTOBUF, GZIP], &twice)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let twice_named = ("content-encoding", "gzip, gzip");
    let answer = http.send(post("/v1/traces", &[PROTOBUF, twice_named], &twice)).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(server.stats.snapshot().bytes_in_flight, 0);
}

#[tokio::test]
async fn heads_of_http_1_are_bounded_in_bytes_and_in_number() {
    let server = Server::start(config()).await;
    let long = format!("x: {}\r\n", "y".repeat(100_000));
    let many = "x: y\r\n".repeat(101);
    for headers in [long, many] {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        let head = format!("POST /v1/traces HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        // It may hang up before it has all.
        _ = stream.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert_eq!(server.stats.snapshot().unrouted, 0);
    bystander_is_served(&server).await;
}

#[tokio::test]
async fn what_is_no_http_is_turned_away() {
    let server = Server::start(config()).await;
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for (address, sent) in [
        (server.http, &hello[..]),
        (server.grpc, &hello),
        (server.grpc, b"POST / HTTP/1.1\r\nhost: a\r\n\r\n"),
        (server.http, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        (server.http, b"GET / HTTP/9.9\r\n\r\n"),
    ] {
        let mut stream = say(address, sent).await;
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 200, "{answer:?}");
    }
    server.until(|server| server.stats.snapshot().connections_open == 0).await;
    bystander_is_served(&server).await;
    let mut calm = Raw::connect(server.grpc).await;
    calm.send(&frame(DATA, 0, 1, b"of no stream")).await.unwrap();
    assert!(calm.goodbye().await.is_some_and(|code| code != ENHANCE_YOUR_CALM));
}
