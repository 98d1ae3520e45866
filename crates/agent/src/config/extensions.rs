//! The `extensions` section.

mod basic;
mod certificates;
mod storage;
mod tail_storage;
mod tokens;

use super::components::{self, Components};
use super::endpoint::Endpoint;
use super::later;
use super::read::At;
use super::receivers::listen;
use super::reference::Need;

pub(crate) use basic::{BasicAuth, Text};
pub(crate) use certificates::CertificateAuth;
#[cfg(test)]
pub(crate) use storage::Drain;
pub(super) use storage::MIN_BYTES as MIN_STORAGE_BYTES;
pub(crate) use storage::{FileStorage, StorageFull, StorageSync};
pub(crate) use tail_storage::TailStorage;
pub(crate) use tokens::{TokenAuth, Tokens, is_token};

/// What runs beside the pipelines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Extension {
    /// `admin`
    Admin(Admin),
    /// `bearertokenauth` or `apikeyauth`
    Tokens(TokenAuth),
    /// `basicauth`
    Basic(BasicAuth),
    /// `certificateauth`
    Certificates(CertificateAuth),
    /// `file_storage`
    Storage(FileStorage),
    /// `pebble_tail_storage`
    TailStorage(TailStorage),
}

/// `extensions.admin`: serves `/metrics` and `/health`. The Collector has no such extension.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Admin {
    /// Where to listen. Default `127.0.0.1:8888`.
    pub(crate) endpoint: Endpoint,
}

/// Reads the section.
pub(super) fn read(section: &At<'_>) -> Components<Extension> {
    let kinds: &components::Kinds<Extension> = &[
        ("admin", |at| {
            at.section(later::NONE, |keys| {
                Extension::Admin(Admin { endpoint: listen(keys, "127.0.0.1", 8888) })
            })
        }),
        ("apikeyauth", |at| Extension::Tokens(tokens::read_keys(at))),
        ("basicauth", |at| Extension::Basic(basic::read(at))),
        ("bearertokenauth", |at| Extension::Tokens(tokens::read_bearer(at))),
        ("certificateauth", |at| Extension::Certificates(certificates::read(at))),
        ("file_storage", |at| Extension::Storage(storage::read(at))),
        ("pebble_tail_storage", |at| Extension::TailStorage(tail_storage::read(at))),
    ];
    components::read(section, kinds, later::EXTENSIONS)
}

// === impl Extension ===

impl Extension {
    /// Whether it does what a component needs of it.
    pub(super) const fn serves(&self, need: Need) -> bool {
        matches!(
            (self, need),
            (Self::Tokens(_), Need::Server | Need::Client)
                | (Self::Certificates(_), Need::Server)
                | (Self::Basic(BasicAuth::Server { .. }), Need::Server)
                | (Self::Basic(BasicAuth::Client { .. }), Need::Client)
                | (Self::Storage(_), Need::Storage | Need::TailStorage)
                | (Self::TailStorage(_), Need::TailStorage)
        )
    }

    /// The header that it sends credentials in, if it does.
    pub(super) fn header(&self) -> Option<&str> {
        match self {
            Self::Tokens(tokens) => Some(&tokens.header),
            Self::Basic(BasicAuth::Client { .. }) => Some("authorization"),
            Self::Admin(_)
            | Self::Basic(BasicAuth::Server { .. })
            | Self::Certificates(_)
            | Self::Storage(_)
            | Self::TailStorage(_) => None,
        }
    }
}
