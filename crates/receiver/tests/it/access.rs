//! Other ways in: unix sockets, one port for both protocols, pages in browsers.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::StatusCode;
use teleflow_concurrency::Budget;
use teleflow_otlp::Signal;
use teleflow_receiver::{BindError, Config, Cors, GrpcConfig, Receiver};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::{
    Answer, Client, JSON, PROTOBUF, Server, call, config, padding, post, raw_call, request,
};

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_served_and_leaves_no_file() {
    use tokio::net::UnixStream;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otlp.sock");
    let endpoint = format!("unix:{}", path.display());
    let with = |endpoint: &str| {
        let grpc = GrpcConfig { endpoint: endpoint.to_owned(), ..GrpcConfig::default() };
        Config { grpc: Some(grpc), ..config() }
    };
    let server = Server::start(with(&endpoint)).await;
    let mut grpc = Client::http2_over(UnixStream::connect(&path).await.unwrap()).await;
    assert_eq!(grpc.send(call(Signal::Traces, &padding(9))).await.grpc_status(), 0);

    // It is in use.
    let error = Receiver::bind(with(&endpoint)).await.unwrap_err();
    assert!(matches!(&error, BindError::Socket { path: taken, .. } if *taken == path), "{error}");
    assert_eq!(server.stop().await.connections_cut, 0);
    assert!(!path.exists());

    // What a process leaves behind that was killed is replaced, and a file never.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let receiver = Receiver::bind(with(&endpoint)).await.unwrap();
    assert_eq!((receiver.grpc_addr(), receiver.grpc_path()), (None, Some(&*path)));
    drop(receiver);
    std::fs::write(&path, "precious").unwrap();
    Receiver::bind(with(&endpoint)).await.unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn both_protocols_are_served_on_one_port() {
    let server = Server::start(Config { one_port: true, ..config() }).await;
    assert_eq!(server.grpc, server.http);
    let mut http1 = Client::http1(server.http).await;
    let mut http2 = Client::http2(server.http).await;
    for client in [&mut http1, &mut http2] {
        for (format, body) in [(PROTOBUF, &padding(9)[..]), (JSON, b"{\"resourceSpans\":[{}]}")] {
            let answer = client.send(post("/v1/traces", &[format], body)).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
    }
    // On one connection, in turn.
    assert_eq!(http2.send(call(Signal::Traces, &padding(9))).await.grpc_status(), 0);
    assert_eq!(http2.send(raw_call("/v1/traces", &[], b"")).await.grpc_status(), 12);
    let answer = http1.send(post("/nowhere", &[JSON], b"{}")).await;
    assert_eq!((answer.status, answer.rpc_status(true).code), (StatusCode::NOT_FOUND, 5));
    // gRPC is not spoken over HTTP/1.1.
    let answer = http1.send(call(Signal::Traces, &padding(9))).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(server.fake.requests(), 5);
    let alone = Config { one_port: true, http: None, ..config() };
    assert_eq!(Receiver::bind(alone).await.unwrap().http_addr(), None);
}

fn cors() -> Cors {
    Cors {
        allowed_origins: vec!["https://*.example.com".into(), "http://localhost:3000".into()],
        allowed_headers: vec!["X-Tenant".into()],
        max_age: Some(Duration::from_secs(7200)),
    }
}

#[tokio::test]
async fn a_browser_is_told_which_pages_may_send_what() {
    let server = Server::start(Config { cors: Some(cors()), ..config() }).await;
    let mut http = Client::http1(server.http).await;
    let mut ask = async |origin: &str, wants: &str| -> Answer {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", wants),
        ];
        http.send(request("OPTIONS", "http://localhost/v1/traces", &headers, b"")).await
    };
    let answer = ask("https://app.example.com", "content-type, x-tenant, x-other").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "content-type, x-tenant"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "7200"),
        ("vary", "origin, access-control-request-headers"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    for stranger in ["https://example.com", "https://app.example.com.evil", "null", ""] {
        let answer = ask(stranger, "content-type").await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{stranger}");
    }

    // The answer itself can be read by the page, whether it is good or bad.
    for (path, status) in [("/v1/traces", 200), ("/v1/nothing", 404)] {
        let headers = [JSON, ("origin", "http://localhost:3000")];
        let answer = http.send(post(path, &headers, b"{}")).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("access-control-allow-origin"), "http://localhost:3000");
        assert_eq!(answer.header("access-control-expose-headers"), "retry-after");
        assert_eq!(answer.header("vary"), "origin");
    }
    let answer = http.send(post("/v1/traces", &[JSON], b"{}")).await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn every_page_may_send_and_none_with_the_users_credentials() {
    let cors =
        Cors { allowed_origins: vec!["*".into()], allowed_headers: vec!["*".into()], ..cors() };
    let server = Server::start(Config { cors: Some(cors), ..config() }).await;
    let mut http = Client::http2(server.http).await;
    let headers = [
        ("origin", "https://anyone"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-what-ever"),
    ];
    let answer = http.send(request("OPTIONS", "http://localhost/v1/logs", &headers, b"")).await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("access-control-allow-headers"), "x-what-ever");
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    // Without CORS the question is one like any other.
    let server = Server::start(config()).await;
    let mut http = Client::http1(server.http).await;
    let answer = http.send(request("OPTIONS", "http://localhost/v1/logs", &headers, b"")).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);

    let wrong = Cors { allowed_origins: vec!["https://*.*".into()], ..Cors::default() };
    let error = Receiver::bind(Config { cors: Some(wrong), ..config() }).await.unwrap_err();
    assert!(error.to_string().contains("https://*.*"), "{error}");
}

#[tokio::test]
async fn one_connection_too_many_of_one_peer_is_closed_at_once() {
    let mut config = config();
    config.limits.max_connections_per_peer = NonZeroUsize::new(2);
    let server = Server::start(config).await;
    let mut first = Client::http2(server.grpc).await;
    assert_eq!(first.send(call(Signal::Logs, b"")).await.grpc_status(), 0);
    let second = Client::http1(server.http).await;
    server.until(|server| server.stats.snapshot().connections_open == 2).await;
    let mut third = TcpStream::connect(server.grpc).await.unwrap();
    assert_eq!(third.read(&mut [0; 10]).await.unwrap_or(0), 0);
    assert_eq!(server.stats.snapshot().connections_refused, 1);
    drop(second);
    server.until(|server| server.stats.snapshot().connections_open == 1).await;
    let mut fourth = Client::http2(server.grpc).await;
    assert_eq!(fourth.send(call(Signal::Logs, b"")).await.grpc_status(), 0);
}

#[tokio::test]
async fn what_others_hold_of_a_common_budget_is_not_there_for_requests() {
    let budget = Budget::new("program", 10_000);
    let server = Server::start(Config { budget: Some(budget.clone()), ..config() }).await;
    let mut grpc = Client::http2(server.grpc).await;
    let others = budget.try_take(9_500).unwrap();
    assert_eq!(grpc.send(call(Signal::Traces, &padding(600))).await.grpc_status(), 14);
    assert_eq!(grpc.send(call(Signal::Traces, &padding(400))).await.grpc_status(), 0);
    drop(others);
    assert_eq!(grpc.send(call(Signal::Traces, &padding(9_000))).await.grpc_status(), 0);
    assert_eq!(budget.stats().held, 0);
}
