//! TLS is not in this version, and this is the only file that knows.
//!
//! The Collector encrypts unless told not to. We cannot, and will not send in the clear what its
//! author believes to be encrypted: such a file is refused, and says what to write instead.

use super::super::endpoint::Scheme;
use super::super::later;
use super::super::read::{At, Keys};

/// Reads `tls`: whether `insecure` is on.
pub(super) fn read(keys: &mut Keys<'_>) -> bool {
    keys.value("tls").is_some_and(|at| {
        at.section(later::TLS, |keys| keys.value("insecure").and_then(|at| at.truth()))
            == Some(true)
    })
}

/// Refuses an endpoint that asks for TLS. `insecure` speaks where the endpoint has no scheme, as for
/// the Collector.
pub(super) fn require_plaintext(endpoint: &At<'_>, scheme: Scheme, insecure: bool) {
    let hint = match scheme {
        Scheme::Http => return,
        Scheme::None if insecure => return,
        Scheme::None => "write `tls: {insecure: true}` to send unencrypted",
        Scheme::Https => "write `http://` to send unencrypted",
    };
    let message =
        format!("{} asks for TLS, which is not supported in this version", endpoint.path());
    endpoint.report.error_with_hint(endpoint.value_at(), message, hint);
}
