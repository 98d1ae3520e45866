//! `tls` of a receiver.

use std::path::PathBuf;
use std::time::Duration;

use super::super::later;
use super::super::read::Keys;
use super::super::tls::{self, TlsVersion};

/// The certificate that clients are shown, and those that they are asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TlsServer {
    /// `cert_file`: the certificate. Has to be written.
    pub(crate) certificate: PathBuf,
    /// `key_file`: the key to it. Has to be written.
    pub(crate) key: PathBuf,
    /// `client_ca_file`: who issues clients' certificates. Default `None`: they need none.
    pub(crate) client_ca: Option<PathBuf>,
    /// Default 1.2.
    pub(crate) min_version: TlsVersion,
    /// When the files are read again if they have changed. Default 5 minutes (the Collector: never).
    /// `None` (0 in the file): never.
    pub(crate) reload_interval: Option<Duration>,
}

const DEFAULT_RELOAD: Duration = Duration::from_secs(300);

/// Reads `tls`: `None` if it is not written, and connections are not encrypted.
pub(super) fn read(keys: &mut Keys<'_>) -> Option<TlsServer> {
    let path = |text: Option<&str>| text.unwrap_or_default().into();
    keys.value("tls").map(|at| {
        at.section(later::SERVER_TLS, |keys| TlsServer {
            certificate: path(keys.require("cert_file").and_then(|at| at.text_that_is_not_empty())),
            key: path(keys.require("key_file").and_then(|at| at.text_that_is_not_empty())),
            client_ca: keys.value("client_ca_file").map(|at| path(at.text_that_is_not_empty())),
            min_version: tls::read_version(keys.value("min_version").as_ref()),
            reload_interval: match keys.value("reload_interval").and_then(|at| at.duration()) {
                None => Some(DEFAULT_RELOAD),
                Some(interval) => Some(interval).filter(|interval| !interval.is_zero()),
            },
        })
    })
}
