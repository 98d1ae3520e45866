//! Certificates in use, and their renewal.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, version};
use tokio::task;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::subject;
use super::{TlsConfig, TlsError, TlsVersion};
use crate::auth::ClientCertificate;
use crate::listen::Raw;

/// The certificates of one listener.
#[derive(Debug)]
pub(crate) struct Certificates {
    config: TlsConfig,
    /// What clients may choose from.
    protocols: Vec<Vec<u8>>,
    current: RwLock<Arc<ServerConfig>>,
    /// Held while the files are read: one reload at a time.
    stamps: Mutex<Stamps>,
}

/// Time and length of each file when it was read.
type Stamps = Vec<Option<(SystemTime, u64)>>;

/// Renews a receiver's certificates. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) listeners: Vec<Arc<Certificates>>,
}

// === impl Tls ===

impl Tls {
    /// Reads the files again, changed or not. Connections that are open keep what they began with.
    ///
    /// # Errors
    ///
    /// [`TlsError`], and what was in use stays in use, for the listener that it is about and those
    /// after it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop a file from being read; the certificates are then renewed
    /// or not.
    pub async fn reload(&self) -> Result<(), TlsError> {
        for certificates in &self.listeners {
            let certificates = Arc::clone(certificates);
            let reloaded = task::spawn_blocking(move || certificates.reload(true)).await;
            reloaded.map_err(|panic| TlsError::Unusable { source: panic.into() })??;
        }
        Ok(())
    }
}

// === impl Certificates ===

impl Certificates {
    /// Reads the files.
    pub(crate) async fn load(
        config: TlsConfig,
        protocols: &'static [&'static [u8]],
    ) -> Result<Arc<Self>, TlsError> {
        let loaded = task::spawn_blocking(move || {
            let protocols: Vec<_> = protocols.iter().map(|name| name.to_vec()).collect();
            // Before the files are read: a change in between is seen at the next look.
            let stamps = stamps(&config);
            let current = RwLock::new(read(&config, &protocols)?);
            Ok(Arc::new(Self { config, protocols, current, stamps: Mutex::new(stamps) }))
        });
        loaded.await.map_err(|panic| TlsError::Unusable { source: panic.into() })?
    }

    /// How often to look for a change.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.config.reload_interval.map(|interval| interval.max(Duration::from_secs(1)))
    }

    /// Reads the files if they have changed, or in any case; tells whether they were read. Blocks.
    pub(crate) fn reload(&self, in_any_case: bool) -> Result<bool, TlsError> {
        let mut known = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.config);
        if stamps == *known && !in_any_case {
            return Ok(false);
        }
        let current = read(&self.config, &self.protocols)?;
        // Only now: a pair of which one half is not written yet is tried again at the next look.
        *known = stamps;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(true)
    }

    /// Shakes hands, and says whom the client has proved to be.
    pub(crate) async fn accept(
        &self,
        stream: Raw,
    ) -> std::io::Result<(TlsStream<Raw>, Option<Arc<ClientCertificate>>)> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let subject = certificate.and_then(|certificate| subject::read(certificate));
        Ok((stream, subject.map(Arc::new)))
    }
}

fn stamps(config: &TlsConfig) -> Stamps {
    let files = [Some(&config.certificate), Some(&config.key), config.client_ca.as_ref()];
    let stamp = |path: &Path| {
        let file = fs::metadata(path).ok()?;
        Some((file.modified().ok()?, file.len()))
    };
    files.into_iter().flatten().map(|path| stamp(path)).collect()
}

fn read(config: &TlsConfig, protocols: &[Vec<u8>]) -> Result<Arc<ServerConfig>, TlsError> {
    // Chosen here, and not for the whole process: a program may use another one elsewhere.
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let versions: &[_] = match config.min_version {
        TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
        TlsVersion::V1_3 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(unusable)?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(unusable)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        }
    };
    let chain = certificates(&config.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .map_err(|source| TlsError::Read { path: config.key.clone(), source: source.into() })?;
    let mut server = builder.with_single_cert(chain, key).map_err(unusable)?;
    server.alpn_protocols = protocols.to_vec();
    Ok(Arc::new(server))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(TlsError::Empty { path: path.into() }),
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(TlsError::Read { path: path.into(), source: source.into() }),
    }
}

fn unusable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TlsError {
    TlsError::Unusable { source: source.into() }
}
