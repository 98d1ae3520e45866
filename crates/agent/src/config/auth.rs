//! `auth`: which extension verifies who sends, or gives the credentials to send with.

use super::later;
use super::read::Keys;
use super::reference::Reference;

/// Reads `auth`: `None` if it is not written.
pub(super) fn read(keys: &mut Keys<'_>) -> Option<Reference> {
    let at = keys.value("auth")?;
    at.section(later::AUTH, |keys| {
        keys.require("authenticator").and_then(|at| Reference::read(&at))
    })
}
