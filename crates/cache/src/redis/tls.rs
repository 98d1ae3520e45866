//! Redis over TLS: whom to trust, and what to show.

use std::fmt;

use redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::RedisConfigError;

/// Whom to trust, and what to show, where Redis is reached over TLS.
///
/// A server's certificate is always looked at, and its name or address must be in it. Files are not
/// read here: who renews certificates makes a new [`Redis`](super::Redis) with them. The system's
/// authorities are read anew for each connection.
///
/// rustls takes its cryptography from what the process has installed; where it has installed
/// nothing yet, the first address that begins with `rediss://` installs aws-lc-rs.
///
/// # Examples
///
/// ```
/// use teleflow_cache::{Redis, RedisConfig, RedisConfigError, RedisTls};
///
/// let config = RedisConfig {
///     servers: vec!["rediss://cache.example:6380".to_owned()],
///     ..RedisConfig::default()
/// };
/// assert!(Redis::single(config.clone()).is_ok());
///
/// let tls = RedisTls { authorities: Some(b"no certificate".to_vec()), ..RedisTls::default() };
/// let error = Redis::single(RedisConfig { tls, ..config }).unwrap_err();
/// assert_eq!(error, RedisConfigError::Certificates);
/// ```
#[derive(Clone, Default)]
pub struct RedisTls {
    /// Those who may vouch for a server, in PEM, in place of the system's. Default: the system's.
    pub authorities: Option<Vec<u8>>,
    /// What to show a server that wants to know who asks. Default: nothing.
    pub identity: Option<RedisIdentity>,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct RedisIdentity {
    /// The certificate, and those between it and its authority, in PEM.
    pub certificate: Vec<u8>,
    /// The key of the first certificate, in PEM. Never printed.
    pub key: Vec<u8>,
}

// === impl RedisTls ===

impl RedisTls {
    /// The same server, with what is needed to reach it.
    pub(super) fn secure(&self, info: ConnectionInfo) -> Result<ConnectionInfo, RedisConfigError> {
        if CryptoProvider::get_default().is_none() {
            // Another thread may be first; then there is one.
            let _ = aws_lc_rs::default_provider().install_default();
        }
        let certificates = self.identity.iter().map(|identity| &identity.certificate);
        for pem in certificates.chain(&self.authorities) {
            // An authority that is not there would only show as a server that cannot be reached.
            let count = CertificateDer::pem_slice_iter(pem).filter(Result::is_ok).count();
            if count == 0 {
                return Err(RedisConfigError::Certificates);
            }
        }
        let client_tls = self.identity.clone().map(|RedisIdentity { certificate, key }| {
            ClientTlsConfig { client_cert: certificate, client_key: key }
        });
        let certificates = TlsCertificates { client_tls, root_cert: self.authorities.clone() };
        let client = Client::build_with_tls(info, certificates);
        let client = client.map_err(|_| RedisConfigError::Certificates)?;
        Ok(client.get_connection_info().clone())
    }
}

impl fmt::Debug for RedisTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTls")
            .field("authorities", &self.authorities.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

// === impl RedisIdentity ===

impl fmt::Debug for RedisIdentity {
    /// Shows nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisIdentity").finish_non_exhaustive()
    }
}
