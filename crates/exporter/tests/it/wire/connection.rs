//! Connections: kept, probed, lost and made again, over sockets of both kinds.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use teleflow_exporter::{
    ConfigError, ConnectionConfig, ConnectionEvent, ConnectionObserver, ExportError, Exporter,
    GrpcConfig, GrpcExporter, HttpConfig, HttpExporter, KeepAlive, Proxy,
};
use teleflow_otlp::{Code, ExportResponse, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Barrier, Mutex, mpsc, watch};

use super::server::{self, Answer, Protocol, Server, Stream, grpc, http_reply};
use crate::script::spans;

/// Passes on what happens to connections.
#[derive(Debug)]
struct Watch(mpsc::UnboundedSender<ConnectionEvent>);

impl ConnectionObserver for Watch {
    fn connection(&self, _peer: &str, event: &ConnectionEvent) {
        // The test may be over.
        let _ = self.0.send(event.clone());
    }
}

type Events = Mutex<mpsc::UnboundedReceiver<ConnectionEvent>>;

fn watched(change: impl FnOnce(&mut ConnectionConfig)) -> (ConnectionConfig, Events) {
    let (sender, events) = mpsc::unbounded_channel();
    let mut config = ConnectionConfig {
        proxy: Proxy::None,
        observer: Some(Arc::new(Watch(sender))),
        ..ConnectionConfig::default()
    };
    change(&mut config);
    (config, Mutex::new(events))
}

async fn next(events: &Events) -> ConnectionEvent {
    events.lock().await.recv().await.unwrap()
}

fn success(protocol: Protocol) -> Answer {
    match protocol {
        Protocol::Http1 => http_reply(&ExportResponse::default()),
        Protocol::Http2 => grpc(false, b"", &Status::new(Code::Ok, "")),
    }
}

async fn start(protocol: Protocol) -> Server {
    Server::start(protocol, move |_| Some(success(protocol))).await
}

fn over_http(endpoint: String, connection: ConnectionConfig) -> HttpExporter {
    HttpExporter::new(HttpConfig { connection, ..HttpConfig::new(endpoint) }).unwrap()
}

fn over_grpc(endpoint: String, connection: ConnectionConfig) -> GrpcExporter {
    let timeout = Duration::from_secs(60);
    GrpcExporter::new(GrpcConfig { connection, timeout, ..GrpcConfig::new(endpoint) }).unwrap()
}

/// Whatever is between: hands bytes on, until it is told to swallow them.
async fn between(to: std::net::SocketAddr) -> (std::net::SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (swallow, swallows) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(to).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let (up, down) = (swallows.clone(), swallows.clone());
            // Whether this connection was swallowed stays so.
            tokio::spawn(async move { hand_on(&mut from_client, &mut to_server, up).await });
            tokio::spawn(async move { hand_on(&mut from_server, &mut to_client, down).await });
        }
    });
    (addr, swallow)
}

async fn hand_on(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    swallows: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 65_536];
    let mut silent = false;
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        silent |= *swallows.borrow();
        if !silent && to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn e9_a_peer_that_vanished_is_found_by_a_probe_and_reached_again() {
    let server = start(Protocol::Http2).await;
    let (addr, swallow) = between(server.addr).await;
    let (connection, events) = watched(|config| {
        config.keep_alive =
            Some(KeepAlive { interval: Duration::from_secs(20), timeout: Duration::from_secs(5) });
        config.idle_timeout = Duration::ZERO;
    });
    let exporter = over_grpc(format!("http://{addr}"), connection);
    exporter.export(spans(1, "a")).await.unwrap();
    assert_eq!(next(&events).await, ConnectionEvent::Connected);

    swallow.send_replace(true);
    // From here on the clock runs ahead whenever nothing happens.
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let cause = "no answer to a probe".to_owned();
    assert_eq!(next(&events).await, ConnectionEvent::Lost { cause });
    let took = begun.elapsed().as_secs();
    assert!((20..=30).contains(&took), "{took}");
    tokio::time::resume();

    swallow.send_replace(false);
    exporter.export(spans(1, "b")).await.unwrap();
    assert_eq!(next(&events).await, ConnectionEvent::Connected);
    let stats = exporter.stats().connections;
    assert_eq!((stats.connected, stats.lost, stats.open()), (2, 1, 1));
}

#[tokio::test]
async fn e9_a_connection_that_the_server_closes_is_lost_and_made_again() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (accepted, streams) = mpsc::channel(1);
        let (close, closes) = watch::channel(false);
        let server = Server::over(addr, streams, protocol, move |_| ready(Some(success(protocol))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (near, far) = tokio::io::duplex(65_536);
                let mut closes = closes.clone();
                closes.mark_unchanged();
                accepted.send(Box::new(far) as Stream).await.ok().unwrap();
                tokio::spawn(async move {
                    let (mut stream, mut near) = (stream, near);
                    let copy = tokio::io::copy_bidirectional(&mut stream, &mut near);
                    futures_util::future::select(Box::pin(copy), Box::pin(closes.changed())).await;
                });
            }
        });
        let (connection, events) = watched(|_| ());
        let endpoint = format!("http://{addr}");
        let exporters: Box<dyn Fn() -> _> = match protocol {
            Protocol::Http1 => {
                let exporter = teleflow_exporter::AnyExporter::new(over_http(endpoint, connection));
                Box::new(move || exporter.clone())
            }
            Protocol::Http2 => {
                let exporter = teleflow_exporter::AnyExporter::new(over_grpc(endpoint, connection));
                Box::new(move || exporter.clone())
            }
        };
        for connection in 0..3 {
            exporters().export(spans(1, "a")).await.unwrap();
            assert_eq!(next(&events).await, ConnectionEvent::Connected);
            assert_eq!(server.received().last().unwrap().connection, connection);
            close.send_replace(true);
            assert!(matches!(next(&events).await, ConnectionEvent::Lost { .. }));
        }
    }
}

#[tokio::test]
async fn e9_a_connection_that_is_not_made_is_told_with_its_cause() {
    let (connection, events) = watched(|_| ());
    let addr = server::nobody().await;
    let exporter = over_http(format!("http://{addr}"), connection);
    exporter.export(spans(1, "a")).await.unwrap_err();
    let ConnectionEvent::Failed { cause } = next(&events).await else { panic!("it was made") };
    assert!(cause.contains("refused"), "{cause}");
    assert_eq!(exporter.stats().connections.failed, 1);
}

#[tokio::test]
async fn e8_a_connection_without_requests_is_closed_after_a_time() {
    let server = start(Protocol::Http1).await;
    let (connection, events) = watched(|_| ());
    let exporter = over_http(format!("http://{}", server.addr), connection);
    exporter.export(spans(1, "a")).await.unwrap();
    exporter.export(spans(1, "a")).await.unwrap();
    assert_eq!(next(&events).await, ConnectionEvent::Connected);
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    assert_eq!(next(&events).await, ConnectionEvent::Closed);
    assert!((90..=181).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    tokio::time::resume();
    exporter.export(spans(1, "a")).await.unwrap();
    let connections: Vec<_> = server.received().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1]);
}

#[tokio::test]
async fn e8_only_so_many_connections_are_kept() {
    // Nobody is answered before all have arrived.
    let all = Arc::new(Barrier::new(5));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::on(listener, Protocol::Http1, move |_| {
        let all = all.clone();
        async move {
            all.wait().await;
            Some(success(Protocol::Http1))
        }
    });
    let (connection, events) = watched(|config| config.max_idle_per_host = 2);
    let exporter = over_http(format!("http://{}", server.addr), connection);
    for result in join_all((0..5).map(|_| exporter.export(spans(1, "a")))).await {
        result.unwrap();
    }
    let mut closed = 0;
    while closed < 3 {
        closed += usize::from(next(&events).await == ConnectionEvent::Closed);
    }
    let stats = exporter.stats().connections;
    assert_eq!((stats.connected, stats.closed, stats.open()), (5, 3, 2));

    // A shutdown closes the others.
    exporter.shutdown().await.unwrap();
    for _ in 0..2 {
        assert_eq!(next(&events).await, ConnectionEvent::Closed);
    }
}

#[tokio::test]
async fn e8_an_error_does_not_cost_the_connection() {
    for body in ["", "a server's own words"] {
        let server = Server::start(Protocol::Http1, move |number| {
            Some(if number < 3 { server::http(503, &[], body) } else { success(Protocol::Http1) })
        })
        .await;
        let exporter = over_http(format!("http://{}", server.addr), watched(|_| ()).0);
        for _ in 0..4 {
            // The first three fail.
            let _ = exporter.export(spans(1, "a")).await;
        }
        let received = server.received();
        assert_eq!(received.len(), 4);
        assert!(received.iter().all(|request| request.connection == 0), "{body:?}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_a_host() {
    let folder = std::env::temp_dir().join(format!("teleflow-{:x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let path = folder.join(format!("{protocol:?}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let (accepted, streams) = mpsc::channel(1);
        let nowhere = "127.0.0.1:0".parse().unwrap();
        let server =
            Server::over(nowhere, streams, protocol, move |_| ready(Some(success(protocol))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.send(Box::new(stream) as Stream).await.ok().unwrap();
            }
        });
        let endpoint = format!("unix://{}", path.display());
        let (connection, _) = watched(|_| ());
        match protocol {
            Protocol::Http1 => over_http(endpoint, connection).export(spans(1, "a")).await.unwrap(),
            Protocol::Http2 => over_grpc(endpoint, connection).export(spans(1, "a")).await.unwrap(),
        };
        assert!(server.received()[0].path.ends_with(match protocol {
            Protocol::Http1 => "/v1/traces",
            Protocol::Http2 => "TraceService/Export",
        }));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let (connection, _) = watched(|_| ());
    let gone = over_http(format!("unix:{}/none", folder.display()), connection);
    let error = gone.export(spans(1, "a")).await.unwrap_err();
    assert!(matches!(error, ExportError::Unreachable(_)), "{error:?}");

    let mut mixed = HttpConfig::new("unix:/a");
    mixed.logs_endpoint = Some("http://b".into());
    assert!(matches!(HttpExporter::new(mixed), Err(ConfigError::Endpoint(_))));
}

#[tokio::test]
async fn http2_is_spoken_without_tls_where_it_is_asked_for() {
    let server = Server::start(Protocol::Http2, |_| Some(success(Protocol::Http1))).await;
    let mut config = HttpConfig::new(format!("http://{}", server.addr));
    config.http2 = true;
    let exporter = HttpExporter::new(config).unwrap();
    for result in join_all((0..10).map(|_| exporter.export(spans(1, "a")))).await {
        result.unwrap();
    }
    assert!(server.received().iter().all(|request| request.connection == 0));
}
