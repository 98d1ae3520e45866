//! OTLP/HTTP: what is taken, and each way not to be.

use http::StatusCode;
use serde_json::json;
use teleflow_otlp::Signal;
use teleflow_receiver::{HttpConfig, Paths, Receiver, Refused, RefusedReason, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    Client, GZIP, JSON, PROTOBUF, Server, bomb, config, gzip, limit_requests, padding, post,
    request, telemetry,
};
use teleflow_testkit::raw::say;

#[tokio::test]
async fn every_signal_is_taken_in_each_encoding_over_each_version() {
    let server = Server::start(config()).await;
    let mut sent = 0;
    for mut client in [Client::http1(server.http).await, Client::http2(server.http).await] {
        for signal in Signal::ALL {
            let protobuf = telemetry(signal, 7);
            let json = teleflow_otlp::json::from_protobuf(signal, &protobuf).unwrap();
            let cases = [
                (vec![PROTOBUF], protobuf.clone(), ""),
                (vec![PROTOBUF, GZIP], gzip(&protobuf), ""),
                (vec![PROTOBUF, ("content-encoding", "identity")], protobuf.clone(), ""),
                (vec![("content-type", "Application/X-Protobuf; v=1")], protobuf.clone(), ""),
                (vec![JSON], json.clone().into(), "{}"),
                (vec![JSON, GZIP], gzip(json.as_bytes()), "{}"),
                (vec![("content-type", "application/json; charset=utf-8")], json.into(), "{}"),
            ];
            let expected = teleflow_otlp::validate(signal, &protobuf).unwrap();
            for (headers, body, reply) in cases {
                let answer = client.send(post(signal.http_path(), &headers, &body)).await;
                assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, reply.as_bytes()));
                let content_type = if reply.is_empty() { PROTOBUF.1 } else { JSON.1 };
                assert_eq!(answer.header("content-type"), content_type);
                sent += 1;

                let seen = server.fake.seen.lock().unwrap();
                assert_eq!(seen.len(), sent);
                let payload = seen.last().unwrap();
                assert_eq!((payload.signal(), payload.items()), (signal, expected));
                if reply.is_empty() {
                    assert_eq!(payload.to_bytes(), protobuf);
                }
            }
        }
    }
    let stats = server.stats.snapshot();
    for signal in Signal::ALL {
        let requests = stats.of(Transport::Http, signal);
        assert_eq!((requests.accepted, requests.invalid, requests.incomplete), (14, 0, 0));
        assert_eq!(requests, stats.of_signal(signal));
    }
    assert_eq!(server.stop().await.connections_cut, 0);
}

#[tokio::test]
async fn an_empty_request_is_a_success_that_the_consumer_does_not_see() {
    let server = Server::start(config()).await;
    let mut client = Client::http1(server.http).await;
    for (headers, reply) in [(vec![PROTOBUF], ""), (vec![PROTOBUF, GZIP], "")] {
        let answer = client.send(post("/v1/logs", &headers, b"")).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, reply.as_bytes()));
    }
    let answer = client.send(post("/v1/logs", &[PROTOBUF, GZIP], &gzip(b""))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = client.send(post("/v1/logs", &[JSON], b"{}")).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"{}"[..]));
    // Nothing is no JSON.
    let answer = client.send(post("/v1/logs", &[JSON], b"")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.fake.requests(), 0);
}

/// Method, path, headers, body; HTTP status, gRPC code, what the message says.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, i32, &'a str);

#[tokio::test]
async fn every_error_is_told_as_a_status_in_the_encoding_of_the_request() {
    let mut config = config();
    limit_requests(&mut config, 1000);
    let server = Server::start(config).await;
    let traces = "/v1/traces";
    let valid = telemetry(Signal::Traces, 1);
    let truncated = b"\x0a\x7f".as_slice();
    let bad_id = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "abcd"}]}]}]});
    let bad_id = bad_id.to_string();
    let not_json = b"{\"resourceSpans\": [\n  oops]}".as_slice();
    let enum_name =
        br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_SERVER"}]}]}]}"#;

    let cases: &[Case<'_>] = &[
        ("POST", "/v1/spans", &[PROTOBUF], &valid, 404, 5, "path"),
        ("POST", "/v1/spans", &[JSON], b"{}", 404, 5, "path"),
        ("POST", "/v1/traces/", &[PROTOBUF], &valid, 404, 5, "path"),
        ("GET", "/", &[], b"", 404, 5, "path"),
        ("GET", traces, &[], b"", 405, 3, "POST"),
        ("PUT", traces, &[JSON], b"{}", 405, 3, "POST"),
        ("POST", traces, &[], &valid, 415, 3, "content type"),
        ("POST", traces, &[("content-type", "text/plain")], &valid, 415, 3, "content type"),
        ("POST", traces, &[("content-type", "application/jsonl")], b"{}", 415, 3, "content type"),
        ("POST", traces, &[PROTOBUF, ("content-encoding", "snappy")], &valid, 415, 3, "encoding"),
        ("POST", traces, &[JSON, ("content-encoding", "br")], b"{}", 415, 3, "encoding"),
        ("POST", traces, &[PROTOBUF, GZIP, GZIP], &valid, 415, 3, "encoding"),
        ("POST", traces, &[PROTOBUF], &padding(1001), 413, 8, "1000 bytes"),
        ("POST", traces, &[JSON], &padding(1001), 413, 8, "1000 bytes"),
        ("POST", traces, &[PROTOBUF, GZIP], &bomb(1000), 413, 8, "1000 bytes"),
        ("POST", traces, &[JSON, GZIP], &bomb(1000), 413, 8, "1000 bytes"),
        ("POST", traces, &[PROTOBUF], truncated, 400, 3, "byte 0"),
        ("POST", traces, &[PROTOBUF, GZIP], &gzip(truncated), 400, 3, "byte 0"),
        ("POST", traces, &[PROTOBUF, GZIP], b"not gzip", 400, 3, "gzip"),
        ("POST", traces, &[PROTOBUF, GZIP], &gzip(&valid)[..40], 400, 3, "gzip"),
        ("POST", traces, &[JSON, GZIP], b"not gzip", 400, 3, "gzip"),
        ("POST", traces, &[JSON], not_json, 400, 3, "line 2 column 3"),
        ("POST", traces, &[JSON], bad_id.as_bytes(), 400, 3, "traceId"),
        ("POST", traces, &[JSON], enum_name, 400, 3, "kind"),
        ("POST", "/v1/metrics", &[PROTOBUF], b"\x0d\0\0\0\0", 400, 3, "wire type"),
        ("POST", "/v1/logs", &[JSON], b"[]", 400, 3, "OTLP/JSON"),
    ];
    let names = if cfg!(feature = "zstd") { "gzip, zstd, identity" } else { "gzip, identity" };
    for version in [1, 2] {
        let mut client = match version {
            1 => Client::http1(server.http).await,
            _ => Client::http2(server.http).await,
        };
        for (method, path, headers, body, http, code, says) in cases {
            let case = format!("{method} {path} {headers:?} over HTTP/{version}");
            let uri = format!("http://localhost{path}");
            let answer = client.send(request(method, &uri, headers, body)).await;
            assert_eq!(answer.status.as_u16(), *http, "{case}");
            let is_json = headers.contains(&JSON);
            let status = answer.rpc_status(is_json);
            assert_eq!(status.code, *code, "{case}: {status:?}");
            assert!(status.message.contains(says), "{case}: {status:?}");
            assert_eq!(answer.header("retry-after"), "", "{case}");
            match http {
                405 => assert_eq!(answer.header("allow"), "POST"),
                415 => assert_eq!(answer.header("accept-encoding"), names),
                _ => {}
            }
        }
    }
    assert_eq!(server.fake.requests(), 0);
    let stats = server.stats.snapshot();
    let invalid = Signal::ALL.map(|signal| stats.of_signal(signal).invalid).iter().sum::<u64>();
    assert_eq!(stats.unrouted + invalid, 2 * cases.len() as u64);
    assert_eq!(stats.bytes_in_flight, 0);
    assert_eq!(server.stop().await.connections_cut, 0);
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let server = Server::start(config()).await;
    let mut client = Client::http1(server.http).await;
    let answer = client.send(request("HEAD", "http://localhost/", &[], b"")).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_FOUND, 0));
}

#[tokio::test]
async fn a_refusal_is_503_with_the_wait_in_whole_seconds() {
    let server = Server::start(config()).await;
    let mut client = Client::http1(server.http).await;
    let body = telemetry(Signal::Traces, 3);
    let items = teleflow_otlp::validate(Signal::Traces, &body).unwrap();
    // Up to half as much again, rounded up, and a second more or not.
    let waits: [(Option<u64>, &[&str]); 5] = [
        (None, &["1", "2", "3"]),
        (Some(0), &["1", "2"]),
        (Some(10), &["1", "2"]),
        (Some(1500), &["2", "3", "4"]),
        (Some(3000), &["3", "4", "5", "6"]),
    ];
    for (millis, seconds) in waits {
        *server.fake.refuses.lock().unwrap() = Some(Refused {
            reason: RefusedReason::Unavailable,
            retry_after: millis.map(std::time::Duration::from_millis),
            message: "the disk is away".into(),
        });
        for (headers, body) in [(PROTOBUF, &body[..]), (JSON, b"{\"resourceSpans\":[{}]}")] {
            let answer = client.send(post("/v1/traces", &[headers], body)).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            let told = answer.header("retry-after");
            assert!(seconds.contains(&told), "{told} for {millis:?}");
            let status = answer.rpc_status(headers == JSON);
            assert_eq!((status.code, &status.message[..]), (14, "the disk is away"));
        }
    }
    let requests = server.stats.snapshot().of(Transport::Http, Signal::Traces);
    assert_eq!((requests.refused, requests.refused_items), (10, 5 * items));
}

#[tokio::test]
async fn the_paths_are_what_they_are_configured_to_be() {
    let mut config = config();
    let paths = Paths { traces: "/otlp/spans".into(), ..Paths::default() };
    config.http.as_mut().unwrap().paths = paths.clone();
    let server = Server::start(config.clone()).await;
    let mut client = Client::http1(server.http).await;
    let body = telemetry(Signal::Traces, 3);
    for (path, status) in [("/otlp/spans", 200), ("/v1/traces", 404), ("/v1/logs", 400)] {
        let answer = client.send(post(path, &[PROTOBUF], &body)).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }

    for paths in [
        Paths { logs: "/otlp/spans".into(), ..paths.clone() },
        Paths { logs: "v1/logs".into(), ..paths },
    ] {
        config.http =
            Some(HttpConfig { endpoint: "127.0.0.1:0".into(), paths, ..HttpConfig::default() });
        let error = Receiver::bind(config.clone()).await.unwrap_err();
        assert!(error.to_string().contains("for logs must start with /"), "{error}");
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let server = Server::start(config()).await;
    let body = telemetry(Signal::Traces, 5);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
         content-type: application/x-protobuf\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = say(server.http, &head).await;
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");

    // One that would only be turned away is told so before it sends.
    let mut stream = say(server.http, head.replace("x-protobuf", "xml")).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 415 "));
}
