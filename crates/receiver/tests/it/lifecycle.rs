//! Start, stop, and what must not stop it.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http::StatusCode;
use teleflow_otlp::Signal;
use teleflow_receiver::{Config, GrpcConfig, Receiver};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Client, PROTOBUF, Server, call, config, padding, post};

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
