//! `extensions.basicauth`

use std::path::PathBuf;

use super::super::later;
use super::super::read::{At, Keys};
use super::super::secret::Secret;

/// Names and passwords: of those who may send, or the one to send with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum BasicAuth {
    /// `htpasswd`: at least one of the two is there.
    Server {
        /// `htpasswd.file`
        file: Option<PathBuf>,
        /// `htpasswd.inline`: lines as in the file.
        inline: Option<Secret>,
    },
    /// `client_auth`
    Client {
        /// `username` or `username_file`. Has to be written; without a colon.
        user: Text,
        /// `password` or `password_file`. Default empty.
        password: Text,
    },
}

/// Text in the config, or in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Text {
    Written(Secret),
    File(PathBuf),
}

/// Reads the section.
pub(super) fn read(at: &At<'_>) -> BasicAuth {
    at.section(later::NONE, |keys| {
        let (server, client) = (keys.value("htpasswd"), keys.value("client_auth"));
        if let (Some(_), Some(client)) = (&server, &client) {
            let message = format!("{} is written, and `htpasswd` as well", client.path());
            let hint = "write two extensions: one for receivers and one for exporters";
            at.report.error_with_hint(client.name_at(), message, hint);
        }
        match (server, client) {
            (Some(at), _) => read_server(&at),
            (None, Some(at)) => read_client(&at),
            (None, None) => {
                at.refuse_empty("key, htpasswd for receivers or client_auth for exporters");
                BasicAuth::Server { file: None, inline: None }
            }
        }
    })
}

fn read_server(at: &At<'_>) -> BasicAuth {
    at.section(later::NONE, |keys| {
        let file = keys.value("file").and_then(|at| at.text_that_is_not_empty()).map(PathBuf::from);
        let inline = keys.value("inline").and_then(|at| at.secret_text());
        if file.is_none() && inline.is_none() {
            at.refuse_empty("key, file or inline");
        }
        BasicAuth::Server { file, inline: inline.map(|text| Secret::new(text.to_owned())) }
    })
}

fn read_client(at: &At<'_>) -> BasicAuth {
    at.section(later::BASIC_CLIENT, |keys| {
        let user = read_text(keys, ["username", "username_file"]);
        if user.is_none() {
            at.missing("username");
        }
        if let Some(Text::Written(name)) = &user
            && name.expose().contains(':')
        {
            // What follows the colon would be taken for the password.
            at.report.error(at.name_at(), format!("{}.username must have no `:`", at.path()));
        }
        let empty = || Text::Written(Secret::new(String::new()));
        BasicAuth::Client {
            user: user.unwrap_or_else(empty),
            password: read_text(keys, ["password", "password_file"]).unwrap_or_else(empty),
        }
    })
}

/// Reads a text or the path of its file, of which one may be written. The text is never repeated.
fn read_text(keys: &mut Keys<'_>, [text, file]: [&'static str; 2]) -> Option<Text> {
    let (written, path) = (keys.value(text), keys.value(file));
    if let (Some(_), Some(at)) = (&written, &path) {
        let message = format!("{} is written, and `{text}` as well", at.path());
        at.report.error_with_hint(at.name_at(), message, "leave one of them out");
    }
    match (written, path) {
        (Some(at), _) => {
            Some(Text::Written(Secret::new(at.secret_text().unwrap_or_default().to_owned())))
        }
        (None, Some(at)) => {
            Some(Text::File(at.text_that_is_not_empty().unwrap_or_default().into()))
        }
        (None, None) => None,
    }
}
