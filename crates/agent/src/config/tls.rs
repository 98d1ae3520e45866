//! What `tls` of receivers and of exporters has in common.

use super::later;
use super::read::At;

/// `min_version`: the oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum TlsVersion {
    #[default]
    V1_2,
    V1_3,
}

/// Reads `min_version`.
pub(super) fn read_version(at: Option<&At<'_>>) -> TlsVersion {
    const NAMES: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    at.and_then(|at| at.one_of(&NAMES, later::TLS_VERSIONS)).unwrap_or_default()
}
