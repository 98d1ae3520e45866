//! TLS: what it can be told, and what can be wrong with it.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

#[cfg(feature = "tls")]
mod certificates;
#[cfg(feature = "tls")]
mod subject;

#[cfg(feature = "tls")]
pub(crate) use certificates::Certificates;
#[cfg(feature = "tls")]
pub use certificates::Tls;

/// The certificate that a receiver shows, and those that it asks for.
///
/// The files are PEM. They are read when the receiver is bound and again when they have changed, so
/// that certificates are renewed without a restart; what cannot be read or does not fit together
/// then is logged, and the old ones stay. Connections that are open keep what they began with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsConfig {
    /// The certificate, followed by those between it and the root.
    pub certificate: PathBuf,
    /// The certificate's private key: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
    /// Who issues clients' certificates. Default: `None`, and clients are not asked for one. With
    /// it, a client without a valid certificate does not get past the handshake.
    pub client_ca: Option<PathBuf>,
    /// Default: TLS 1.2, and there is nothing older.
    pub min_version: TlsVersion,
    /// How often the files are looked at for a change of their time or length. Default: 5 minutes.
    /// `None` leaves it to [`Tls::reload`](crate::Tls::reload).
    pub reload_interval: Option<Duration>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Why certificates cannot be used. All of it is for the operator to put right. None of it holds
/// anything of a key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read, or is not PEM.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file has no certificate.
    #[error("no certificate in {}", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The certificate, the key and the rest do not fit together.
    #[error("the certificate and the key cannot be used")]
    Unusable {
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The feature `tls` was off when this was built.
    #[error("this program was built without TLS")]
    NotBuilt,
}

// === impl TlsConfig ===

impl TlsConfig {
    /// With all else as it is by default.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
            min_version: TlsVersion::default(),
            reload_interval: Some(Duration::from_secs(300)),
        }
    }
}
