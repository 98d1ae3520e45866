//! `tls` of an exporter, and what an endpoint says about it.
//!
//! Whoever writes of certificates believes that what is sent is encrypted: a file in which it would
//! go in the clear all the same is refused.

use std::path::PathBuf;
use std::time::Duration;

use super::super::endpoint::{self, Scheme};
use super::super::later;
use super::super::read::{At, Keys};
use super::super::secret::Secret;
use super::super::tls::{self, TlsVersion};

/// How the server proves who it is, and how we do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TlsClient {
    /// `ca_file` or `ca_pem`: who may have issued the server's certificate. Default: those whom the
    /// system trusts.
    pub(crate) ca: Option<Pem>,
    /// `cert_file` or `cert_pem`, and the key to it: what we show. Default none.
    pub(crate) identity: Option<Identity>,
    /// `server_name_override`: the name in the server's certificate. Default the endpoint's host.
    pub(crate) server_name: Option<String>,
    /// Default 1.2.
    pub(crate) min_version: TlsVersion,
    /// When the files are read again. Default `None` (0 in the file): never.
    pub(crate) reload_interval: Option<Duration>,
    /// Whether any certificate will do. Default no.
    pub(crate) insecure_skip_verify: bool,
}

/// Something in PEM, in a file or in the config.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pem {
    File(PathBuf),
    Text(Secret),
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Identity {
    pub(crate) certificate: Pem,
    pub(crate) key: Pem,
}

/// The section as it is written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) tls: TlsClient,
    insecure: bool,
    /// A key that makes no sense without TLS.
    asks_for_tls: Option<&'static str>,
}

// === impl Written ===

impl Written {
    /// Whether TLS is spoken with this endpoint. As for the Collector, `insecure` speaks where the
    /// endpoint has no scheme.
    pub(super) fn is_for(&self, endpoint: &At<'_>, scheme: Scheme) -> bool {
        let is_plain = match scheme {
            Scheme::Http | Scheme::Unix => true,
            Scheme::Https => false,
            Scheme::None => self.insecure,
        };
        if let (true, Some(key)) = (is_plain, self.asks_for_tls) {
            let message = format!("{} is unencrypted, but `tls.{key}` is written", endpoint.path());
            let hint = match scheme {
                Scheme::None => "leave out `insecure: true` to encrypt, or the other keys of `tls`",
                Scheme::Http | Scheme::Https => "write `https://` to encrypt",
                Scheme::Unix => "leave it out: a socket leads nowhere but to this machine",
            };
            endpoint.report.error_with_hint(endpoint.value_at(), message, hint);
        }
        !is_plain
    }
}

/// Reads `tls`.
pub(super) fn read(keys: &mut Keys<'_>) -> Written {
    let Some(at) = keys.value("tls") else { return Written::default() };
    at.section(later::TLS, |keys| {
        let mut asks_for_tls = None;
        let ca = read_pem(keys, ["ca_file", "ca_pem"], &mut asks_for_tls);
        let certificate = read_pem(keys, ["cert_file", "cert_pem"], &mut asks_for_tls);
        let key = read_pem(keys, ["key_file", "key_pem"], &mut asks_for_tls);
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                at.missing("key_file");
                None
            }
            (None, Some(_)) => {
                at.missing("cert_file");
                None
            }
        };
        let tls = TlsClient {
            ca,
            identity,
            server_name: asks(keys, "server_name_override", &mut asks_for_tls)
                .and_then(|at| read_name(&at)),
            min_version: tls::read_version(asks(keys, "min_version", &mut asks_for_tls).as_ref()),
            reload_interval: asks(keys, "reload_interval", &mut asks_for_tls)
                .and_then(|at| at.duration())
                .filter(|interval| !interval.is_zero()),
            // Many write it next to `insecure: true`, where it says nothing.
            insecure_skip_verify: truth(keys, "insecure_skip_verify"),
        };
        Written { tls, insecure: truth(keys, "insecure"), asks_for_tls }
    })
}

/// The value of a key that makes no sense without TLS.
fn asks<'a>(
    keys: &mut Keys<'a>,
    name: &'static str,
    asks_for_tls: &mut Option<&'static str>,
) -> Option<At<'a>> {
    let value = keys.value(name);
    if value.is_some() {
        asks_for_tls.get_or_insert(name);
    }
    value
}

fn truth(keys: &mut Keys<'_>, name: &'static str) -> bool {
    keys.value(name).and_then(|at| at.truth()).unwrap_or(false)
}

/// Reads a file's path or the text itself, of which one may be written. The text is never repeated.
fn read_pem(
    keys: &mut Keys<'_>,
    [file, text]: [&'static str; 2],
    asks_for_tls: &mut Option<&'static str>,
) -> Option<Pem> {
    let (path, pem) = (keys.value(file), keys.value(text));
    if let (Some(_), Some(at)) = (&path, &pem) {
        let message = format!("{} is written, and `{file}` as well", at.path());
        at.report.error_with_hint(at.name_at(), message, "leave one of them out");
    }
    if path.is_some() || pem.is_some() {
        asks_for_tls.get_or_insert(if path.is_some() { file } else { text });
    }
    match (path, pem) {
        // A refused one is there all the same.
        (Some(at), _) => Some(Pem::File(at.text_that_is_not_empty().unwrap_or_default().into())),
        (None, Some(at)) => {
            Some(Pem::Text(Secret::new(at.secret_text().unwrap_or_default().to_owned())))
        }
        (None, None) => None,
    }
}

fn read_name(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    match endpoint::parse_host(text) {
        Ok(_) => Some(text.trim_start_matches('[').trim_end_matches(']').to_owned()),
        Err(_) => {
            at.refuse("be the name or the address of a server", None);
            None
        }
    }
}
