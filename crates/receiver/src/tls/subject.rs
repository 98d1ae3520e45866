//! Whom a certificate is for.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::auth::ClientCertificate;

/// `None` if the certificate cannot be read, which rustls has read before.
pub(super) fn read(certificate: &[u8]) -> Option<ClientCertificate> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| &names.value.general_names[..]).unwrap_or_default();
    let collect =
        |of: fn(&GeneralName<'_>) -> Option<String>| names.iter().filter_map(of).collect();
    Some(ClientCertificate {
        subject: certificate.subject().to_string(),
        common_name: certificate
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .map(str::to_owned),
        dns_names: collect(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        }),
        uris: collect(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        }),
    })
}
