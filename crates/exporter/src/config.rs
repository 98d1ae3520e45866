//! What the exporters' settings have in common.

use teleflow_concurrency::BreakerConfigError;
use thiserror::Error;

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all: the least work here, the most bytes on the wire.
    #[default]
    None,
    /// gzip, which every OTLP server reads, at level 1: on generated traces it takes less than half
    /// of the time of level 6, the usual one, for a tenth more bytes.
    #[cfg(feature = "gzip")]
    Gzip,
    /// zstd at level 1: faster than gzip and smaller, where the server reads it.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// How requests and replies are written.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Encoding {
    /// Protobuf: sent as it came.
    #[default]
    Protobuf,
    /// OTLP/JSON, by the protocol's mapping: made here, in one go and at many times the cost of
    /// sending. What the protocol does not know is left out.
    #[cfg(feature = "json")]
    Json,
}

/// A setting that cannot work. Whoever wrote the configuration can act on it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The endpoint is no address of a server. It is not repeated: it may hold a password.
    #[error("the endpoint {0}")]
    Endpoint(&'static str),
    /// A header's name cannot be one, or belongs to the protocol.
    #[error("the header {name:?} {problem}")]
    Header {
        /// The name as it was given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A field of [`RetryConfig`](crate::RetryConfig) is outside of its range.
    #[error("{0}")]
    Retry(&'static str),
    /// The settings of a circuit breaker make no sense.
    #[error(transparent)]
    Breaker(#[from] BreakerConfigError),
    /// A wrapper's setting is outside of its range.
    #[error("{0}")]
    Wrapper(&'static str),
    /// Something about TLS: a file that cannot be read, a key that is none.
    #[error("TLS: {0}")]
    Tls(String),
    /// The proxy's address cannot be used. It is not repeated: it may hold a password.
    #[error("the proxy {0}")]
    Proxy(&'static str),
    /// The platform's client could not be set up.
    #[error("the client cannot be set up: {0}")]
    Client(String),
}

#[cfg(any(feature = "grpc", feature = "http"))]
impl Compression {
    /// How many there may be.
    pub(crate) const COUNT: usize = 3;

    /// A small number for tables.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::None => 0,
            #[cfg(feature = "gzip")]
            Self::Gzip => 1,
            #[cfg(feature = "zstd")]
            Self::Zstd => 2,
        }
    }

    /// Its name in headers; `None` has none.
    pub(crate) const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            #[cfg(feature = "gzip")]
            Self::Gzip => Some("gzip"),
            #[cfg(feature = "zstd")]
            Self::Zstd => Some("zstd"),
        }
    }

    /// What is tried where a server does not read this one.
    pub(crate) const fn lower(self) -> Option<Self> {
        match self {
            Self::None => None,
            #[cfg(feature = "gzip")]
            Self::Gzip => Some(Self::None),
            #[cfg(all(feature = "zstd", feature = "gzip"))]
            Self::Zstd => Some(Self::Gzip),
            #[cfg(all(feature = "zstd", not(feature = "gzip")))]
            Self::Zstd => Some(Self::None),
        }
    }

    /// What replies may be compressed with, as a header's value.
    pub(crate) const fn accepted() -> Option<&'static str> {
        match (cfg!(feature = "gzip"), cfg!(feature = "zstd")) {
            (true, true) => Some("gzip,zstd"),
            (true, false) => Some("gzip"),
            (false, true) => Some("zstd"),
            (false, false) => None,
        }
    }
}

#[cfg(any(feature = "grpc", feature = "http"))]
impl Encoding {
    /// How many there may be.
    pub(crate) const COUNT: usize = 2;

    /// A small number for tables.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Protobuf => 0,
            #[cfg(feature = "json")]
            Self::Json => 1,
        }
    }

    /// Its content type over HTTP.
    #[cfg(feature = "http")]
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            #[cfg(feature = "json")]
            Self::Json => "application/json",
        }
    }
}

/// Makes a header map, or says which header cannot be sent. Values are marked as secrets, so that
/// nothing prints them.
#[cfg(any(feature = "grpc", feature = "http"))]
pub(crate) fn headers(given: &[(String, String)]) -> Result<http::HeaderMap, ConfigError> {
    use http::{HeaderMap, HeaderName, HeaderValue};

    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        let refuse = |problem| ConfigError::Header { name: name.clone(), problem };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse("is no name"))?;
        if OURS.contains(&parsed.as_str()) || parsed.as_str().starts_with("grpc-") {
            return Err(refuse("is set by the protocol"));
        }
        let mut value =
            HeaderValue::from_str(value).map_err(|_| refuse("has a value that cannot be sent"))?;
        value.set_sensitive(true);
        headers.append(parsed, value);
    }
    Ok(headers)
}

/// Headers that the protocols or the connection decide.
#[cfg(any(feature = "grpc", feature = "http"))]
const OURS: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
#[cfg(any(feature = "grpc", feature = "http"))]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(name: &str, value: &str) {
        let error = headers(&[(name.into(), value.into())]).unwrap_err();
        assert!(matches!(&error, ConfigError::Header { name: n, .. } if n == name), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }

    #[test]
    fn headers_that_cannot_be_sent_are_refused_without_their_value() {
        refused("", "secret");
        refused("two words", "secret");
        refused("x-token", "secret\r\nx-injected: 1");
        refused("Content-Type", "secret");
        refused("grpc-timeout", "secret");
        refused("te", "secret");
    }

    #[test]
    fn values_are_kept_and_never_printed() {
        let given = [("Authorization".to_owned(), "secret".to_owned())];
        let headers = headers(&given).unwrap();
        assert_eq!(headers["authorization"], "secret");
        assert!(!format!("{headers:?}").contains("secret"));
    }
}
