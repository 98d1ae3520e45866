//! Start, stop, and what must not stop it.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http::StatusCode;
use teleflow_otlp::Signal;
use teleflow_receiver::{Config, GrpcConfig, Receiver};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Client, PROTOBUF, Server, call, config, frame, padding, post};
use teleflow_testkit::raw::{self, GOAWAY, PING, Raw};

#[tokio::test]
async fn a_taken_port_is_named_with_its_protocol() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = taken.local_addr().unwrap().to_string();
    let grpc = Some(GrpcConfig { endpoint: endpoint.clone(), ..GrpcConfig::default() });
    let error = Receiver::bind(Config { grpc, ..config() }).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen for OTLP/gRPC on {endpoint}"));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("in use"), "{source}");

    for endpoint in ["no port", "127.0.0.1:99999", "name.invalid:4317"] {
        let grpc = Some(GrpcConfig { endpoint: endpoint.to_owned(), ..GrpcConfig::default() });
        let error = Receiver::bind(Config { grpc, ..config() }).await.unwrap_err();
        let expected = format!("cannot resolve the OTLP/gRPC endpoint {endpoint:?}");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn only_what_is_configured_is_listened_for() {
    let receiver = Receiver::bind(Config { http: None, ..config() }).await.unwrap();
    assert!(receiver.grpc_addr().is_some());
    assert_eq!(receiver.http_addr(), None);
}

#[tokio::test]
async fn a_stop_answers_what_was_begun_and_takes_nothing_new() {
    let server = Server::start_gated(config()).await;
    let (grpc_addr, http_addr) = (server.grpc, server.http);
    let mut grpc = Client::http2(grpc_addr).await;
    let mut http = Client::http1(http_addr).await;
    let idle = Client::http1(http_addr).await;
    let grpc_call = tokio::spawn(async move {
        let answer = grpc.send(call(Signal::Traces, &padding(100))).await;
        let again = grpc.try_send(call(Signal::Traces, &padding(100))).await;
        (answer, again)
    });
    let http_call = tokio::spawn(async move {
        let answer = http.send(post("/v1/traces", &[PROTOBUF], &padding(100))).await;
        let again = http.try_send(post("/v1/traces", &[PROTOBUF], &padding(100))).await;
        (answer, again)
    });
    server.fake.has_entered(2).await;
    server.until(|server| server.stats.snapshot().connections_open == 3).await;

    server.stop.cancel();
    server.until(|server| server.stats.snapshot().connections_open == 2).await;
    drop(idle);
    for address in [grpc_addr, http_addr] {
        TcpStream::connect(address).await.unwrap_err();
    }
    server.fake.gate.add_permits(100);
    let (answer, again) = grpc_call.await.unwrap();
    assert_eq!(answer.grpc_status(), 0);
    again.unwrap_err();
    let (answer, again) = http_call.await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (StatusCode::OK, "close"));
    again.unwrap_err();
    assert_eq!(server.served.await.unwrap().connections_cut, 0);
    assert_eq!(server.fake.requests(), 2);
}

// The clock is paused: it jumps to the next timer as soon as nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_old_is_left_in_peace_or_cut_when_its_grace_is_over() {
    let mut config = config();
    config.timeouts.max_age = Some(Duration::from_secs(180));
    config.timeouts.age_grace = Duration::from_secs(20);
    let server = Server::start_gated(config).await;
    let start = tokio::time::Instant::now();
    // One has a request under way when its time has come.
    let mut busy = Client::http2(server.grpc).await;
    let busy = tokio::spawn(async move { busy.try_send(call(Signal::Traces, &padding(9))).await });
    server.fake.has_entered(1).await;
    // One does nothing, and is told by GOAWAY to go; it hangs up, as a client does.
    let mut idle = Raw::connect(server.grpc).await;
    let mut told = None;
    while let Some(frame) = idle.next().await {
        match frame.kind {
            GOAWAY if told.is_none() => told = Some((start.elapsed(), frame.payload)),
            // hyper asks whether what was under way has come in before it names the last stream.
            PING if frame.flags == 0 => {
                idle.send(&raw::frame(PING, 1, 0, &frame.payload)).await.unwrap();
            }
            _ => {}
        }
    }
    let (at, goodbye) = told.expect("it is told");
    assert!((162..=199).contains(&at.as_secs()), "{at:?}");
    // Not an error, and no stream is lost.
    assert_eq!(goodbye[4..8], [0; 4]);
    busy.await.unwrap().unwrap_err();
    let cut = start.elapsed();
    assert!((182..=219).contains(&cut.as_secs()), "{cut:?}");
    let stats = server.stats.snapshot();
    assert_eq!((stats.connections_aged, stats.of_signal(Signal::Traces).incomplete), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_sent_away_for_its_age_loses_no_request() {
    let mut config = config();
    config.timeouts.max_age = Some(Duration::from_secs(10));
    let server = Server::start(config).await;
    let (mut sent, mut connections) = (0, 0);
    let mut clients: [Option<Client>; 2] = [None, None];
    while connections < 10 {
        for (is_http2, place) in [false, true].into_iter().zip(&mut clients) {
            let mut client = match place.take() {
                Some(client) => client,
                None => {
                    connections += 1;
                    match is_http2 {
                        false => Client::http1(server.http).await,
                        true => Client::http2(server.grpc).await,
                    }
                }
            };
            let request = match is_http2 {
                false => post("/v1/traces", &[PROTOBUF], &padding(9)),
                true => call(Signal::Traces, &padding(9)),
            };
            match client.try_send(request).await {
                Ok(_) => {
                    sent += 1;
                    *place = Some(client);
                }
                // It was closed before this was sent: the thing to do is to connect anew.
                Err(error) => assert!(error.is_canceled() || error.is_closed(), "{error:?}"),
            }
            // bounded wait: between two requests, by the paused clock
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }
    assert_eq!(server.fake.requests(), sent);
    let stats = server.stats.snapshot();
    assert!(stats.connections_aged >= 8, "{stats:?}");
    assert_eq!(stats.of_signal(Signal::Traces).accepted, sent as u64);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_asked_whether_it_is_there_and_dropped_if_it_is_not() {
    let server = Server::start(config()).await;
    let mut gone = Raw::connect(server.grpc).await;
    let start = tokio::time::Instant::now();
    let mut pinged = None;
    while let Some(frame) = gone.next().await {
        if frame.kind == PING && frame.flags == 0 {
            pinged.get_or_insert_with(|| start.elapsed());
        }
    }
    let (pinged, waited) = (pinged.expect("it is asked"), start.elapsed());
    assert!(pinged.abs_diff(Duration::from_secs(60)) < Duration::from_secs(2), "{pinged:?}");
    assert!(waited.abs_diff(Duration::from_secs(80)) < Duration::from_secs(2), "{waited:?}");
}

#[tokio::test]
async fn a_stop_says_goaway_names_the_last_stream_and_closes_when_it_is_answered() {
    let server = Server::start_gated(config()).await;
    let mut client = Raw::connect(server.grpc).await;
    let head = raw::call_head(Signal::Traces.grpc_path());
    let open = raw::frame(raw::HEADERS, raw::END_HEADERS, 1, &head);
    let body = frame(0, &padding(9));
    let body = raw::frame(raw::DATA, raw::END_STREAM, 1, &body);
    client.send(&[open, body].concat()).await.unwrap();
    server.fake.has_entered(1).await;
    server.stop.cancel();
    let mut last_streams = Vec::new();
    let mut answered = false;
    while let Some(frame) = client.next().await {
        match frame.kind {
            GOAWAY => {
                last_streams.push(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
                if last_streams.len() == 2 {
                    server.fake.gate.add_permits(1);
                }
            }
            PING if frame.flags == 0 => {
                client.send(&raw::frame(PING, 1, 0, &frame.payload)).await.unwrap();
            }
            raw::HEADERS => answered |= frame.stream == 1,
            _ => {}
        }
    }
    assert_eq!(last_streams, [0x7fff_ffff, 1]);
    assert!(answered);
    drop(client);
    assert_eq!(server.served.await.unwrap().connections_cut, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_answered_within_the_grace_is_cut_and_counted() {
    let server = Server::start_gated(config()).await;
    let mut grpc = Client::http2(server.grpc).await;
    let mut http = Client::http1(server.http).await;
    let grpc =
        tokio::spawn(async move { grpc.try_send(call(Signal::Traces, &padding(100))).await });
    let http =
        tokio::spawn(
            async move { http.try_send(post("/v1/traces", &[PROTOBUF], &padding(100))).await },
        );
    server.fake.has_entered(2).await;
    let start = tokio::time::Instant::now();
    server.stop.cancel();
    assert_eq!(server.served.await.unwrap().connections_cut, 2);
    assert!(start.elapsed().abs_diff(Duration::from_secs(5)) < Duration::from_secs(1));
    grpc.await.unwrap().unwrap_err();
    http.await.unwrap().unwrap_err();
    server.fake.dropped.acquire_many(2).await.unwrap().forget();
    assert_eq!(server.stats.snapshot().of_signal(Signal::Traces).incomplete, 2);
    assert_eq!(server.stats.snapshot().bytes_in_flight, 0);
}

#[tokio::test]
async fn a_consumer_that_panics_costs_its_client_the_answer_and_nobody_else_anything() {
    let server = Server::start(config()).await;
    let mut bystander = Client::http2(server.grpc).await;
    for round in 0..3 {
        server.fake.panics.store(true, SeqCst);
        let mut grpc = Client::http2(server.grpc).await;
        grpc.try_send(call(Signal::Traces, &padding(100))).await.unwrap_err();
        let mut http = Client::http1(server.http).await;
        http.try_send(post("/v1/traces", &[PROTOBUF], &padding(100))).await.unwrap_err();

        server.fake.panics.store(false, SeqCst);
        // The connection of the stream that panicked is good for more.
        for client in [&mut bystander, &mut grpc] {
            let answer = client.send(call(Signal::Traces, &padding(100))).await;
            assert_eq!(answer.grpc_status(), 0, "{round}");
        }
    }
    assert_eq!(server.stats.snapshot().of_signal(Signal::Traces).incomplete, 6);
    assert_eq!(server.stats.snapshot().bytes_in_flight, 0);
    assert_eq!(server.stop().await.connections_cut, 0);
}
