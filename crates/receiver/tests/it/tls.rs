//! TLS with certificates made for each test.

#![allow(clippy::unwrap_used, reason = "only tests call these, and have failed where one panics")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, version};
use teleflow_otlp::Signal;
use teleflow_receiver::auth::{Auth, AuthConfig, Scheme, Subjects};
use teleflow_receiver::{
    Access, BindError, Config, Receiver, TlsConfig, TlsError, TlsVersion, Transport,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Client, PROTOBUF, Server, call, config, padding, post};
use teleflow_testkit::raw::say;

/// Who signs, with its files in a folder.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    folder: TempDir,
}

/// A certificate and its key, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), &certificate).unwrap();
        Self { issuer: Issuer::new(params, key), certificate, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str, ends_in: i32) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .subject_alt_names
            .push(SanType::URI(format!("spiffe://a/{name}").try_into().unwrap()));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(ends_in, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// Writes a server's files and says where they are.
    pub(crate) fn server(&self, name: &str) -> TlsConfig {
        let pair = self.issue(name, 4000);
        fs::write(self.path("server.pem"), pair.certificate).unwrap();
        fs::write(self.path("server.key"), pair.key).unwrap();
        TlsConfig::new(self.path("server.pem"), self.path("server.key"))
    }

    fn client(&self, pair: Option<&Pair>, protocol: &str) -> ClientConfig {
        client(&self.certificate, pair, protocol, &[&version::TLS13, &version::TLS12])
    }
}

fn client(
    ca: &str,
    pair: Option<&Pair>,
    protocol: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut client = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    client.alpn_protocols = vec![protocol.into()];
    client
}

async fn connect(
    address: SocketAddr,
    client: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(client)).connect(name, stream).await
}

/// A client over TLS that trusts this authority.
pub(crate) async fn http1(server: &Server, authority: &Authority) -> Client {
    let stream = connect(server.http, authority.client(None, "http/1.1")).await.unwrap();
    Client::http1_over(stream).await
}

/// Whether a connection can be used. With TLS 1.3 a client only learns when it reads that its
/// certificate was refused.
async fn is_let_in(address: SocketAddr, client: ClientConfig) -> bool {
    let Ok(mut stream) = connect(address, client).await else { return false };
    let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answer = [0; 12];
    sent.is_ok() && stream.read_exact(&mut answer).await.is_ok() && &answer == b"HTTP/1.1 404"
}

pub(crate) fn with_tls(tls: TlsConfig) -> Config {
    let access = Access { tls: Some(tls), auth: None };
    Config { grpc_access: access.clone(), http_access: access, ..config() }
}

#[tokio::test]
async fn both_protocols_are_served_over_it_and_each_chooses_its_http() {
    let authority = Authority::new();
    let server = Server::start(with_tls(authority.server("a"))).await;
    let stream = connect(server.grpc, authority.client(None, "h2")).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut grpc = Client::http2_over(stream).await;
    let large = padding(3 * 1024 * 1024);
    assert_eq!(grpc.send(call(Signal::Traces, &large)).await.grpc_status(), 0);
    for protocol in ["http/1.1", "h2"] {
        let stream = connect(server.http, authority.client(None, protocol)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        let mut http = match protocol {
            "h2" => Client::http2_over(stream).await,
            _ => Client::http1_over(stream).await,
        };
        let answer = http.send(post("/v1/traces", &[PROTOBUF], &large)).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    // gRPC has no HTTP/1.1.
    connect(server.grpc, authority.client(None, "http/1.1")).await.unwrap_err();
    server.until(|server| server.stats.snapshot().handshakes_failed == 1).await;
    // Nor is it served without TLS.
    let mut plain = say(server.http, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answer = Vec::new();
    _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(server.fake.requests(), 3);
    assert_eq!(server.stop().await.connections_cut, 0);
}

#[tokio::test]
async fn a_client_shows_a_certificate_that_is_valid_or_is_not_let_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut tls = authority.server("a");
    tls.client_ca = Some(authority.path("ca.pem"));
    let server = Server::start(with_tls(tls)).await;
    let cases = [
        ("right", Some(authority.issue("b", 4000)), true),
        ("none", None, false),
        ("expired", Some(authority.issue("b", 2020)), false),
        ("another's", Some(stranger.issue("b", 4000)), false),
    ];
    let mut failed = 0;
    for (name, pair, expected) in cases {
        for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
            let client = client(&authority.certificate, pair.as_ref(), "http/1.1", versions);
            assert_eq!(is_let_in(server.http, client).await, expected, "{name}");
            failed += u64::from(!expected);
        }
    }
    server.until(|server| server.stats.snapshot().handshakes_failed == failed).await;
}

#[tokio::test]
async fn the_oldest_version_can_be_raised() {
    let authority = Authority::new();
    for (min_version, expected) in [(TlsVersion::V1_2, true), (TlsVersion::V1_3, false)] {
        let tls = TlsConfig { min_version, ..authority.server("a") };
        let server = Server::start(with_tls(tls)).await;
        let old = client(&authority.certificate, None, "http/1.1", &[&version::TLS12]);
        assert_eq!(is_let_in(server.http, old).await, expected);
        assert!(is_let_in(server.http, authority.client(None, "http/1.1")).await);
    }
}

#[tokio::test]
async fn whose_certificate_it_is_decides_who_may_send_and_reaches_the_consumer() {
    let authority = Authority::new();
    let mut tls = authority.server("a");
    tls.client_ca = Some(authority.path("ca.pem"));
    let subjects = Subjects::new(["ann", "spiffe://a/bob"]);
    let auth = Auth::new(AuthConfig::new(Scheme::Certificate), subjects).unwrap();
    let access = Access { tls: Some(tls), auth: Some(auth) };
    let config = Config { grpc_access: access.clone(), http_access: access, ..config() };
    let server = Server::start(config).await;
    for (name, code, status) in [("ann", 0, 200), ("bob", 0, 200), ("eve", 7, 403)] {
        let pair = authority.issue(name, 4000);
        let stream = connect(server.grpc, authority.client(Some(&pair), "h2")).await.unwrap();
        let mut grpc = Client::http2_over(stream).await;
        assert_eq!(grpc.send(call(Signal::Traces, &padding(9))).await.grpc_status(), code);
        let stream = connect(server.http, authority.client(Some(&pair), "http/1.1")).await.unwrap();
        let mut http = Client::http1_over(stream).await;
        let answer = http.send(post("/v1/traces", &[PROTOBUF], &padding(9))).await;
        assert_eq!(answer.status.as_u16(), status);
    }
    let senders = server.fake.senders.lock().unwrap().clone();
    let expected = ["ann", "ann", "spiffe://a/bob", "spiffe://a/bob"];
    assert_eq!(senders, expected.map(|name| Some(name.to_owned())));
    assert_eq!(server.stats.snapshot().of(Transport::Grpc, Signal::Traces).denied, 1);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_come_is_waited_for_ten_seconds() {
    let authority = Authority::new();
    let server = Server::start(with_tls(authority.server("a"))).await;
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let start = tokio::time::Instant::now();
        let mut stream = say(server.grpc, sent).await;
        _ = stream.read_to_end(&mut Vec::new()).await;
        let waited = start.elapsed();
        assert!(waited.abs_diff(Duration::from_secs(10)) < Duration::from_secs(1), "{waited:?}");
    }
    let stats = server.stats.snapshot();
    assert_eq!((stats.handshakes_failed, stats.connections_open), (2, 0));
}

#[tokio::test]
async fn a_handshake_under_way_does_not_hold_up_the_end() {
    let authority = Authority::new();
    let server = Server::start(with_tls(authority.server("a"))).await;
    let _silent = TcpStream::connect(server.grpc).await.unwrap();
    server.until(|server| server.stats.snapshot().connections_open == 1).await;
    assert_eq!(server.stop().await.connections_cut, 0);
}

#[tokio::test]
async fn certificates_are_renewed_and_a_bad_pair_leaves_the_old_one() {
    let authority = Authority::new();
    let server = Server::start(with_tls(authority.server("old"))).await;
    let shown = async || {
        let stream = connect(server.http, authority.client(None, "http/1.1")).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let old = shown().await;
    // The new certificate, and still the old key.
    let pair = authority.issue("new", 4000);
    fs::write(authority.path("server.pem"), &pair.certificate).unwrap();
    let error = server.tls.reload().await.unwrap_err();
    assert!(matches!(error, TlsError::Unusable { .. }), "{error:?}");
    assert_eq!(shown().await, old);

    fs::write(authority.path("server.key"), &pair.key).unwrap();
    server.tls.reload().await.unwrap();
    let new = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    assert_eq!(shown().await, new);
}

#[tokio::test(start_paused = true)]
async fn files_that_have_changed_are_read_again_at_the_next_look() {
    let authority = Authority::new();
    let mut tls = authority.server("old");
    tls.reload_interval = Some(Duration::from_secs(60));
    let server = Server::start(with_tls(tls)).await;
    let pair = authority.issue("a name of another length", 4000);
    fs::write(authority.path("server.key"), &pair.key).unwrap();
    fs::write(authority.path("server.pem"), &pair.certificate).unwrap();
    let new = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let mut looks = 0;
    loop {
        let stream = connect(server.http, authority.client(None, "http/1.1")).await.unwrap();
        if stream.get_ref().1.peer_certificates().unwrap()[0] == new {
            break;
        }
        looks += 1;
        assert!(looks < 100, "never renewed");
        tokio::time::advance(Duration::from_secs(61)).await;
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_said_with_the_file_and_without_the_key() {
    let authority = Authority::new();
    let good = authority.server("a");
    let other = authority.issue("b", 4000);
    fs::write(authority.path("other.key"), &other.key).unwrap();
    fs::write(authority.path("empty.pem"), "").unwrap();
    fs::write(authority.path("half.pem"), &other.certificate[..200]).unwrap();
    let cases = [
        (TlsConfig { key: authority.path("none.key"), ..good.clone() }, "none.key"),
        (TlsConfig { certificate: authority.path("empty.pem"), ..good.clone() }, "empty.pem"),
        (TlsConfig { certificate: authority.path("half.pem"), ..good.clone() }, "half.pem"),
        (TlsConfig { key: authority.path("server.pem"), ..good.clone() }, "server.pem"),
        (TlsConfig { key: authority.path("other.key"), ..good.clone() }, "cannot be used"),
        (TlsConfig { client_ca: Some(authority.path("no-ca.pem")), ..good.clone() }, "no-ca.pem"),
    ];
    for (tls, says) in cases {
        let error = Receiver::bind(with_tls(tls)).await.unwrap_err();
        let BindError::Tls { protocol, source } = &error else { panic!("{error:?}") };
        assert_eq!(*protocol, "OTLP/gRPC");
        assert!(source.to_string().contains(says), "{source}");
        let all = format!("{error:?} {error}");
        assert!(!all.contains("PRIVATE") && !all.contains(&other.key[40..80]), "{all}");
    }
}
