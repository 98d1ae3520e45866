//! The `extensions` section.

use super::components::{self, Components};
use super::endpoint::Endpoint;
use super::later;
use super::read::At;
use super::receivers::listen;

/// What runs beside the pipelines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Extension {
    /// `admin`
    Admin(Admin),
}

/// `extensions.admin`: serves `/metrics` and `/health`. The Collector has no such extension.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Admin {
    /// Where to listen. Default `127.0.0.1:8888`.
    pub(crate) endpoint: Endpoint,
}

/// Reads the section.
pub(super) fn read(section: &At<'_>) -> Components<Extension> {
    let kinds: &components::Kinds<Extension> = &[("admin", |at| {
        at.section(later::NONE, |keys| {
            Extension::Admin(Admin { endpoint: listen(keys, "127.0.0.1", 8888) })
        })
    })];
    components::read(section, kinds, later::EXTENSIONS)
}
