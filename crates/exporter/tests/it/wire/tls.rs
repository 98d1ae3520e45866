//! TLS, with certificates made for the test.

use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use teleflow_exporter::{
    ConfigError, ConnectionConfig, Delivered, ExportError, Exporter, GrpcConfig, GrpcExporter,
    HttpConfig, HttpExporter, Identity, Pem, Proxy, TlsConfig, TlsVersion,
};
use teleflow_otlp::{Code, ExportResponse, Status};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::server::{Protocol, Server, Stream, grpc, http_reply};
use crate::script::spans;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two authorities of one name would be told apart by their signatures only.
        params.distinguished_name.push(DnType::CommonName, format!("{:x}", fastrand::u64(..)));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn signs(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    fn server(&self) -> Pair {
        self.signs("127.0.0.1", |_| ())
    }

    fn client(&self) -> Pair {
        self.signs("client", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }
}

impl Pair {
    fn identity(&self) -> Identity {
        Identity {
            certificate: Pem::Text(self.certificate.clone()),
            key: Pem::Text(self.key.clone()),
        }
    }
}

/// What a server is like.
struct Secure {
    pair: Pair,
    clients: Option<String>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

fn with(pair: Pair) -> Secure {
    Secure { pair, clients: None, versions: vec![&version::TLS12, &version::TLS13] }
}

/// A server that answers with success, and what went wrong with its handshakes.
async fn start(protocol: Protocol, secure: Secure) -> (Server, Arc<Mutex<Vec<String>>>) {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&secure.versions)
        .unwrap();
    let builder = match secure.clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(secure.pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(secure.pair.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (accepted, streams) = mpsc::channel(1);
    let failures = Arc::new(Mutex::new(Vec::new()));
    let failed = Arc::clone(&failures);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match acceptor.accept(stream).await {
                Ok(stream) => accepted.send(Box::new(stream) as Stream).await.ok().unwrap(),
                Err(error) => failed.lock().unwrap().push(error.to_string()),
            }
        }
    });
    let server = Server::over(addr, streams, protocol, move |_| {
        ready(Some(match protocol {
            Protocol::Http1 => http_reply(&ExportResponse::default()),
            Protocol::Http2 => grpc(false, b"", &Status::new(Code::Ok, "")),
        }))
    });
    (server, failures)
}

fn trusting(ca: &str) -> TlsConfig {
    TlsConfig { ca: Some(Pem::Text(ca.to_owned())), ..TlsConfig::default() }
}

fn connection(tls: TlsConfig) -> ConnectionConfig {
    ConnectionConfig { tls, proxy: Proxy::None, ..ConnectionConfig::default() }
}

fn over_http(server: &Server, tls: TlsConfig) -> HttpExporter {
    let endpoint = format!("https://{}", server.addr);
    let connection = connection(tls);
    HttpExporter::new(HttpConfig { connection, ..HttpConfig::new(endpoint) }).unwrap()
}

fn over_grpc(server: &Server, tls: TlsConfig) -> GrpcExporter {
    let endpoint = format!("https://{}", server.addr);
    let (connection, timeout) = (connection(tls), Duration::from_secs(60));
    GrpcExporter::new(GrpcConfig { connection, timeout, ..GrpcConfig::new(endpoint) }).unwrap()
}

/// The answers over both protocols, from servers that are like this.
async fn both(secure: impl Fn() -> Secure, tls: &TlsConfig) -> [Result<Delivered, ExportError>; 2] {
    let (http_server, _) = start(Protocol::Http1, secure()).await;
    let (grpc_server, _) = start(Protocol::Http2, secure()).await;
    [
        over_http(&http_server, tls.clone()).export(spans(1, "a")).await,
        over_grpc(&grpc_server, tls.clone()).export(spans(1, "a")).await,
    ]
}

/// Both fail, for this reason, and may be tried again: certificates are replaced.
async fn fails(secure: impl Fn() -> Secure, tls: TlsConfig, cause: &str) {
    for answer in both(secure, &tls).await {
        let error = answer.unwrap_err();
        assert!(matches!(error, ExportError::Unreachable(_)), "{error:?}");
        assert!(error.is_retryable());
        assert!(error.to_string().contains(cause), "{error}");
    }
}

#[tokio::test]
async fn a_server_with_a_good_certificate_is_reached() {
    let ca = Authority::new();
    let pair = ca.server();
    for answer in both(|| with(pair.clone()), &trusting(&ca.pem)).await {
        assert_eq!(answer.unwrap(), Delivered::ALL);
    }
}

#[tokio::test]
async fn http2_is_spoken_where_tls_agrees_on_it() {
    let ca = Authority::new();
    // Speaks HTTP/2 and nothing else.
    let (server, _) = start(Protocol::Http2, with(ca.server())).await;
    let exporter = over_http(&server, trusting(&ca.pem));
    for _ in 0..2 {
        // What it answers is gRPC's, and so no protobuf of ours: its status counts.
        exporter.export(spans(1, "a")).await.unwrap();
    }
    let received = server.received();
    assert_eq!(received.iter().map(|request| request.connection).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(received[0].path, "/v1/traces");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (ca, other) = (Authority::new(), Authority::new());
    let pair = other.server();
    fails(|| with(pair.clone()), trusting(&ca.pem), "UnknownIssuer").await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_unless_that_name_is_asked_for() {
    let ca = Authority::new();
    let pair = ca.signs("collector.internal", |_| ());
    fails(|| with(pair.clone()), trusting(&ca.pem), "not valid for name").await;
    let named = TlsConfig { server_name: Some("collector.internal".into()), ..trusting(&ca.pem) };
    for answer in both(|| with(pair.clone()), &named).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let ca = Authority::new();
    let pair = ca.signs("127.0.0.1", |params| params.not_after = date_time_ymd(2020, 1, 1));
    fails(|| with(pair.clone()), trusting(&ca.pem), "expired").await;
}

#[tokio::test]
async fn the_system_does_not_know_our_authority() {
    let pair = Authority::new().server();
    let (server, _) = start(Protocol::Http1, with(pair)).await;
    let mut config = HttpConfig::new(format!("https://{}", server.addr));
    config.connection = connection(TlsConfig::default());
    match HttpExporter::new(config) {
        Ok(exporter) => {
            let error = exporter.export(spans(1, "a")).await.unwrap_err();
            assert!(error.to_string().contains("UnknownIssuer"), "{error}");
        }
        // A machine without any certificates says so.
        Err(error) => assert!(error.to_string().contains("no CA certificates"), "{error}"),
    }
}

#[tokio::test]
async fn without_verification_any_certificate_will_do() {
    let pair = Authority::new().signs("elsewhere", |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let trusting = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    for answer in both(|| with(pair.clone()), &trusting).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let (ca, clients) = (Authority::new(), Authority::new());
    let pair = ca.server();
    let secure = || Secure { clients: Some(clients.pem.clone()), ..with(pair.clone()) };

    let identity = Some(clients.client().identity());
    let known = TlsConfig { identity, ..trusting(&ca.pem) };
    for answer in both(secure, &known).await {
        answer.unwrap();
    }
    fails(secure, trusting(&ca.pem), "CertificateRequired").await;

    // Signed by somebody else: the server's own log says what is wrong, and we hear of it.
    let stranger = TlsConfig { identity: Some(ca.client().identity()), ..trusting(&ca.pem) };
    for answer in both(secure, &stranger).await {
        let error = answer.unwrap_err();
        assert!(error.to_string().contains("fatal alert"), "{error}");
    }
}

#[tokio::test]
async fn an_old_version_of_tls_is_refused_where_a_new_one_is_asked_for() {
    let ca = Authority::new();
    let pair = ca.server();
    let old = || Secure { versions: vec![&version::TLS12], ..with(pair.clone()) };
    for answer in both(old, &trusting(&ca.pem)).await {
        answer.unwrap();
    }
    let new_only = TlsConfig { min_version: TlsVersion::V1_3, ..trusting(&ca.pem) };
    fails(old, new_only, "ProtocolVersion").await;
}

#[tokio::test]
async fn a_certificate_that_was_replaced_is_read_again_after_the_interval() {
    let (old, new) = (Authority::new(), Authority::new());
    let (server, _) = start(Protocol::Http1, with(new.server())).await;
    let file = std::env::temp_dir().join(format!("teleflow-{:x}.pem", fastrand::u64(..)));
    std::fs::write(&file, &old.pem).unwrap();
    let tls = TlsConfig {
        ca: Some(Pem::File(file.clone())),
        reload_interval: Some(Duration::from_secs(60)),
        ..TlsConfig::default()
    };
    let exporter = over_http(&server, tls);
    let refused = async || exporter.export(spans(1, "a")).await.unwrap_err().to_string();
    // Only then: a clock that runs ahead would be faster than the sockets.
    let pass = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    // What cannot be used changes nothing, nor what is new before the interval is over.
    std::fs::write(&file, "no certificate").unwrap();
    pass(61).await;
    assert!(refused().await.contains("UnknownIssuer"));
    std::fs::write(&file, &new.pem).unwrap();
    assert!(refused().await.contains("UnknownIssuer"));
    pass(61).await;
    exporter.export(spans(1, "a")).await.unwrap();
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn a_server_that_never_agrees_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = HttpConfig::new(format!("https://{}", listener.local_addr().unwrap()));
    config.connection = connection(trusting(&Authority::new().pem));
    let exporter = HttpExporter::new(config).unwrap();
    let (answer, _silent) = tokio::join!(exporter.export(spans(1, "a")), async {
        let stream = listener.accept().await.unwrap();
        // From here on the clock runs ahead whenever nothing happens.
        tokio::time::pause();
        stream
    });
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("no agreement on TLS within 10s"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_with_another_certificate() {
    let server = Server::start(Protocol::Http1, |_| None).await;
    let exporter = over_http(&server, trusting(&Authority::new().pem));
    let error = exporter.export(spans(1, "a")).await.unwrap_err();
    assert!(matches!(error, ExportError::Unreachable(_)), "{error:?}");
    assert!(!error.to_string().contains("certificate"), "{error}");
}

#[test]
fn what_cannot_be_used_is_refused_when_the_exporter_is_made_and_no_key_is_printed() {
    let (ca, other) = (Authority::new(), Authority::new());
    let (mine, theirs) = (ca.client(), other.client());
    let identity = |certificate: &str, key: &str| {
        let (certificate, key) = (Pem::Text(certificate.into()), Pem::Text(key.into()));
        TlsConfig { identity: Some(Identity { certificate, key }), ..trusting(&ca.pem) }
    };
    let file = TlsConfig { ca: Some(Pem::File("/nowhere/ca.pem".into())), ..TlsConfig::default() };
    for (tls, cause) in [
        (trusting("no PEM at all"), "holds no certificate"),
        (file, "/nowhere/ca.pem cannot be read"),
        (identity(&mine.certificate, "no key"), "client key is none"),
        (identity("no certificate", &mine.key), "holds no certificate"),
        (identity(&mine.certificate, &theirs.key), "client certificate and its key"),
        (TlsConfig { server_name: Some("no name".into()), ..trusting(&ca.pem) }, "no name"),
    ] {
        let printed = format!("{tls:?}");
        let config =
            HttpConfig { connection: connection(tls), ..HttpConfig::new("https://127.0.0.1") };
        let error = HttpExporter::new(config).unwrap_err();
        assert!(matches!(error, ConfigError::Tls(_)), "{error:?}");
        assert!(error.to_string().contains(cause), "{error}");
        for text in [printed, error.to_string()] {
            assert!(!text.contains("PRIVATE KEY") && !text.contains(&mine.key[30..60]), "{text}");
        }
    }
}
