//! Where a server is, from what a person wrote.

use std::path::PathBuf;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::ConfigError;

/// A server, and where it was given one, a path on it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) uri: Uri,
    /// The socket to use in place of the host.
    pub(crate) unix: Option<PathBuf>,
}

// === impl Endpoint ===

impl Endpoint {
    /// Reads a URL, or `unix:` and the path of a socket.
    pub(crate) fn parse(given: &str) -> Result<Self, ConfigError> {
        let refuse = |problem| Err(ConfigError::Endpoint(problem));
        if let Some(path) = given.strip_prefix("unix:") {
            // Both `unix:/path` and `unix:///path` are in use.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return refuse("names no socket");
            }
            let uri = Uri::from_static("http://localhost/");
            return Ok(Self { uri, unix: Some(path.into()) });
        }
        let Ok(uri) = given.parse::<Uri>() else { return refuse("is no URL") };
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return refuse("has a scheme other than http and https"),
            None => return refuse("is no URL"),
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => {
                refuse("holds a user name: credentials belong into a header")
            }
            Some(authority) if !authority.host().is_empty() => Ok(Self { uri, unix: None }),
            _ => refuse("names no host"),
        }
    }

    pub(crate) fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }
}

/// The URI with another path; the query stays.
pub(crate) fn with_path(uri: &Uri, path: &str) -> Result<Uri, ConfigError> {
    let path = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let path = PathAndQuery::try_from(path);
    let path = path.map_err(|_| ConfigError::Endpoint("has a path that cannot be sent"))?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| ConfigError::Endpoint("is no URL"))
}

/// The host and perhaps the port, for messages.
pub(crate) fn peer(uri: &Uri) -> &str {
    uri.authority().map_or("", Authority::as_str)
}
