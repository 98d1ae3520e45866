//! `extensions.certificateauth`

use super::super::later;
use super::super::read::At;

/// Lets in those whose certificate has one of these names. The Collector has no such extension: whose
/// certificate is valid may send there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CertificateAuth {
    /// Common names, names of hosts, URIs. At least one.
    pub(crate) names: Vec<String>,
}

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> CertificateAuth {
    at.section(later::NONE, |keys| {
        let names = keys.require("names").map(|at| {
            let items = at.items();
            if items.is_empty() && at.is_list() {
                at.refuse_empty("name");
            }
            items.iter().filter_map(At::text_that_is_not_empty).map(str::to_owned).collect()
        });
        CertificateAuth { names: names.unwrap_or_default() }
    })
}
