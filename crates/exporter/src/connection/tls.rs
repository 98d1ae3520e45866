//! TLS: rustls, with ring unless the program has installed another provider as its default.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, version,
};

use super::stream::{Io, Kind};
use crate::ConfigError;

/// How the server proves who it is, and how we do. Files are read when the exporter is made, and
/// again as [`reload_interval`](Self::reload_interval) says.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// The certificates that may have signed the server's: the system's. Where given, only these.
    ///
    /// The system's are read from its usual places, or from where `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` say.
    pub ca: Option<Pem>,
    /// What we show to a server that asks who we are: nothing.
    pub identity: Option<Identity>,
    /// The name that the server's certificate must have: the endpoint's host. Where the endpoint is
    /// an address, or a name that only this network knows.
    pub server_name: Option<String>,
    /// The oldest version of TLS that is spoken: 1.2.
    pub min_version: TlsVersion,
    /// How long files are taken as they were read: for ever. With an interval, the first connection
    /// after it reads them again; where they cannot be used then, what was read before still counts.
    /// Set it where certificates are replaced while the program runs.
    pub reload_interval: Option<Duration>,
    /// Takes any certificate, whoever signed it, for whatever name, and expired too: whoever is in
    /// the way can read and change everything. Off. Only for a test against a server of one's own;
    /// [`ca`](Self::ca) is the answer to a certificate of one's own.
    pub insecure_skip_verify: bool,
}

/// A certificate and its key, for servers that ask for one (mTLS).
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, and after it those that lead to one that the server knows.
    pub certificate: Pem,
    /// Its private key: PKCS #8, PKCS #1 or SEC1.
    pub key: Pem,
}

/// Something in PEM.
#[derive(Clone)]
pub enum Pem {
    /// In this file.
    File(PathBuf),
    /// This text. A secret where it is a key: nothing prints it.
    Text(String),
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum TlsVersion {
    /// 1.2, and what came after it.
    #[default]
    V1_2,
    /// 1.3.
    V1_3,
}

/// What the connections of an exporter have in common.
pub(super) struct Client {
    config: TlsConfig,
    http2: bool,
    server_name: Option<ServerName<'static>>,
    current: Mutex<Current>,
}

/// What was made of the files when they were last read.
struct Current {
    connector: TlsConnector,
    read_at: Instant,
}

/// Checks that the server has the key of the certificate that it shows, and nothing else.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

// === impl Pem ===

impl Pem {
    fn read(&self, what: &str) -> Result<Vec<u8>, ConfigError> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => std::fs::read(path).map_err(|error| {
                ConfigError::Tls(format!("{what} {} cannot be read: {error}", path.display()))
            }),
        }
    }

    fn certificates(&self, what: &str) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let pem = self.read(what)?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match all {
            Ok(all) if !all.is_empty() => Ok(all),
            Ok(_) => Err(ConfigError::Tls(format!("{what}{self} holds no certificate"))),
            Err(_) => Err(ConfigError::Tls(format!("{what}{self} is no PEM"))),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text(..)"),
        }
    }
}

impl fmt::Display for Pem {
    /// Where it is, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, " {}", path.display()),
            Self::Text(_) => Ok(()),
        }
    }
}

// === impl TlsConfig ===

impl TlsConfig {
    pub(super) fn client(&self, http2: bool) -> Result<Client, ConfigError> {
        let server_name = match &self.server_name {
            None => None,
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|_| ConfigError::Tls(format!("{name:?} is no name of a server")))?,
            ),
        };
        let current = Current { connector: self.connector(http2)?, read_at: Instant::now() };
        Ok(Client { config: self.clone(), http2, server_name, current: Mutex::new(current) })
    }

    /// Reads the files.
    fn connector(&self, http2: bool) -> Result<TlsConnector, ConfigError> {
        let wrong = |error: &dyn fmt::Display| ConfigError::Tls(error.to_string());
        let provider = CryptoProvider::get_default()
            .map_or_else(|| Arc::new(ring::default_provider()), Arc::clone);
        let versions: &[_] = match self.min_version {
            TlsVersion::V1_2 => &[&version::TLS12, &version::TLS13],
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| wrong(&error))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(provider)?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = identity.certificate.certificates("the client certificate")?;
                let key = PrivateKeyDer::from_pem_slice(&identity.key.read("the client key")?)
                    .map_err(|_| wrong(&format!("the client key{} is none", identity.key)))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    wrong(&format!("the client certificate and its key: {error}"))
                })?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        if !http2 {
            config.alpn_protocols.push(b"http/1.1".to_vec());
        }
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, ConfigError> {
        if self.insecure_skip_verify {
            return Ok(Arc::new(AnyCertificate(provider)));
        }
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(ca) => {
                for certificate in ca.certificates("the CA certificate")? {
                    roots.add(certificate).map_err(|error| {
                        ConfigError::Tls(format!("the CA certificate{ca}: {error}"))
                    })?;
                }
            }
            None => {
                // What of the system's certificates cannot be read is left out, as browsers do.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    let missing = "the system has no CA certificates; name a file of them";
                    return Err(ConfigError::Tls(missing.to_owned()));
                }
            }
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| ConfigError::Tls(error.to_string()))?;
        Ok(verifier)
    }
}

// === impl Client ===

impl Client {
    /// What was read last; read anew, where that is too long ago.
    fn connector(&self, now: Instant) -> TlsConnector {
        // What panics while it reads leaves what was there.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_duration_since(current.read_at);
        if self.config.reload_interval.is_some_and(|interval| age >= interval) {
            current.read_at = now;
            if let Ok(connector) = self.config.connector(self.http2) {
                current.connector = connector;
            }
        }
        current.connector.clone()
    }

    /// Agrees with the server on keys, over a connection that is there.
    pub(super) async fn handshake(
        &self,
        server: &Uri,
        io: Box<dyn Io>,
        kind: Kind,
    ) -> io::Result<(Box<dyn Io>, Kind)> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => {
                let host = server.host().unwrap_or_default();
                // An address of IPv6 stands in brackets in a URI.
                let host = host.trim_start_matches('[').trim_end_matches(']');
                ServerName::try_from(host.to_owned()).map_err(io::Error::other)?
            }
        };
        let io = self.connector(Instant::now()).connect(name, io).await?;
        let http2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(io), Kind { http2, ..kind }))
    }
}

// === impl AnyCertificate ===

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
