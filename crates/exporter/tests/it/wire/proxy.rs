//! Proxies: handed requests, or asked for a tunnel.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use teleflow_exporter::{
    ConfigError, ConnectionConfig, Exporter, GrpcConfig, GrpcExporter, HttpConfig, HttpExporter,
    Proxy,
};
use teleflow_otlp::{Code, ExportResponse, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::server::{Protocol, Server, grpc, http_reply};
use crate::script::spans;

fn over(url: impl Into<String>, except: &str) -> ConnectionConfig {
    let proxy = Proxy::Http { url: url.into(), except: except.into() };
    ConnectionConfig { proxy, ..ConnectionConfig::default() }
}

/// Makes tunnels to `server`, whatever it is asked for; or refuses, where there is none.
async fn tunnels(server: Option<SocketAddr>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            let Some(server) = server else {
                let refusal = b"HTTP/1.1 403 Forbidden\r\nx: the proxy's own words\r\n\r\n";
                client.write_all(refusal).await.unwrap();
                continue;
            };
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut server = TcpStream::connect(server).await.unwrap();
            tokio::spawn(async move {
                // The test may be over.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (addr, heads)
}

#[tokio::test]
async fn a_request_is_handed_to_the_proxy_with_its_password() {
    let proxy =
        Server::start(Protocol::Http1, |_| Some(http_reply(&ExportResponse::default()))).await;
    let connection = over(format!("http://user:word@{}", proxy.addr), "");
    let config = HttpConfig { connection, ..HttpConfig::new("http://collector.invalid:4318") };
    let printed = format!("{config:?}");
    let exporter = HttpExporter::new(config).unwrap();
    exporter.export(spans(1, "a")).await.unwrap();
    let request = &proxy.received()[0];
    assert_eq!(request.authority.as_deref(), Some("collector.invalid:4318"));
    assert_eq!(request.path, "/v1/traces");
    assert_eq!(request.headers["host"], "collector.invalid:4318");
    assert_eq!(request.headers["proxy-authorization"], "Basic dXNlcjp3b3Jk");
    assert!(!format!("{printed} {exporter:?}").contains("word"), "{printed}");
}

#[tokio::test]
async fn grpc_asks_for_a_tunnel() {
    let server =
        Server::start(Protocol::Http2, |_| Some(grpc(false, b"", &Status::new(Code::Ok, ""))))
            .await;
    let (proxy, heads) = tunnels(Some(server.addr)).await;
    let connection = over(format!("http://user:word@{proxy}"), "");
    for endpoint in ["http://collector.invalid:4317", "http://collector.invalid"] {
        let connection = connection.clone();
        let config = GrpcConfig { connection, ..GrpcConfig::new(endpoint) };
        GrpcExporter::new(config).unwrap().export(spans(1, "a")).await.unwrap();
    }
    let heads = heads.lock().unwrap();
    assert!(heads[1].starts_with("CONNECT collector.invalid:80 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].starts_with("CONNECT collector.invalid:4317 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("Basic dXNlcjp3b3Jk"), "{heads:?}");
    // What is for the proxy does not reach the server.
    assert!(!server.received()[0].headers.contains_key("proxy-authorization"));
}

#[tokio::test]
async fn a_tunnel_that_is_refused_is_told_without_the_proxys_words() {
    let (proxy, _) = tunnels(None).await;
    let connection = over(format!("http://user:word@{proxy}"), "");
    let config = GrpcConfig { connection, ..GrpcConfig::new("http://collector.invalid:4317") };
    let error = GrpcExporter::new(config).unwrap().export(spans(1, "a")).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("word"), "{error:?}");
}

#[tokio::test]
async fn exceptions_are_reached_straight() {
    let server =
        Server::start(Protocol::Http1, |_| Some(http_reply(&ExportResponse::default()))).await;
    let (proxy, heads) = tunnels(None).await;
    let connection = over(format!("http://{proxy}"), "example.com,127.0.0.0/8");
    let endpoint = format!("http://{}", server.addr);
    let config = HttpConfig { connection, ..HttpConfig::new(endpoint) };
    HttpExporter::new(config).unwrap().export(spans(1, "a")).await.unwrap();
    assert_eq!(server.received()[0].authority, None);
    assert!(heads.lock().unwrap().is_empty());
}

#[test]
fn what_is_no_proxy_is_refused_without_being_repeated() {
    for url in ["socks5://user:secret@proxy:1080", "https://user:secret@proxy", "", "two words"] {
        let config = HttpConfig { connection: over(url, ""), ..HttpConfig::new("http://c") };
        let error = HttpExporter::new(config).unwrap_err();
        assert!(matches!(error, ConfigError::Proxy(_)), "{url}: {error:?}");
        assert!(!error.to_string().contains("secret"));
    }
}
