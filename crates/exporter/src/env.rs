//! The environment variables of the specification, `OTEL_EXPORTER_OTLP_*`, as settings.
//!
//! Reading is pure: where the variables come from is an argument. An empty variable is one that is
//! not set, and space around a value does not count. What cannot be used is an [`EnvWarning`] and
//! otherwise as if it were not there, as the specification asks; an endpoint that is none is an
//! error, because telemetry must not go to the default place in its stead.

mod batch;
mod headers;
mod source;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use teleflow_otlp::Signal;
use thiserror::Error;

pub use self::batch::BatchEnv;
use self::source::Source;
use crate::endpoint::Endpoint;
use crate::{AnyExporter, Compression, ConfigError, ConnectionConfig};
#[cfg(feature = "http")]
use crate::{Encoding, HttpConfig, HttpExporter};
#[cfg(feature = "grpc")]
use crate::{GrpcConfig, GrpcExporter};
#[cfg(feature = "tls")]
use crate::{Identity, Pem};

/// The longest value of a variable that is looked at, in bytes: 64 KiB. A longer one cannot be used.
pub const MAX_ENV_BYTES: usize = 64 * 1024;

/// What the environment says of the exporter of one signal.
///
/// | `OTEL_EXPORTER_OTLP_` | value | when not set |
/// |---|---|---|
/// | `ENDPOINT` | a URL; over HTTP a base, to which `v1/traces` and its like are appended | `http://localhost:4318`, over gRPC port 4317 |
/// | `INSECURE` | `true`: no TLS for an endpoint without a scheme, over gRPC | `false` |
/// | `CERTIFICATE`, `CLIENT_KEY`, `CLIENT_CERTIFICATE` | files in PEM | the system's, none |
/// | `HEADERS` | `name=value,name=value` | none |
/// | `COMPRESSION` | `gzip`, `none`, and `zstd`, which is ours | none |
/// | `TIMEOUT` | milliseconds, up to 2³² − 1; 0 for no limit | 10 000 |
/// | `PROTOCOL` | `grpc`, `http/protobuf`, `http/json` | `http/protobuf` |
///
/// Each has one for a signal as well, which beats it: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`. That URL
/// is used as it is over HTTP, with `/` where it has no path. The names of protocols and compressions
/// may be in either case.
///
/// # Headers
///
/// In the form of W3C Baggage without its properties: `%` and two hexadecimal digits are a byte of a
/// value, `+` is a plus, a name is as it stands and may be there once: the last one counts. An entry
/// that is none, whose escapes are none, or whose value cannot be a header's (with a line break, say)
/// is left out, with a warning.
///
/// ```
/// use teleflow_exporter::{OtlpConfig, OtlpEnv};
/// use teleflow_otlp::Signal;
///
/// let variables = |name: &str| match name {
///     "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("https://collector:4318/base".to_owned()),
///     "OTEL_EXPORTER_OTLP_HEADERS" => Some("authorization=Basic%20dXNlcg==".to_owned()),
///     "OTEL_EXPORTER_OTLP_TIMEOUT" => Some("soon".to_owned()),
///     _ => None,
/// };
/// let env = OtlpEnv::read(Signal::Traces, variables)?;
/// # #[cfg(feature = "http")]
/// assert_eq!(env.endpoint, "https://collector:4318/base/v1/traces");
/// assert_eq!(env.headers, [("authorization".to_owned(), "Basic dXNlcg==".to_owned())]);
/// let warning = "OTEL_EXPORTER_OTLP_TIMEOUT is no number of milliseconds up to 4294967295";
/// assert_eq!(env.warnings[0].to_string(), warning);
/// // Of the process itself:
/// let env = OtlpEnv::read(Signal::Logs, |name| std::env::var(name).ok());
/// # Ok::<(), teleflow_exporter::EnvError>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct OtlpEnv {
    /// What is sent.
    pub signal: Signal,
    /// How it is sent.
    pub protocol: OtlpProtocol,
    /// Where to, complete: over HTTP with the path of the signal, over gRPC with a scheme. `unix:`
    /// and the path of a socket are taken as well.
    pub endpoint: String,
    /// Sent with every request: names and values, which are secrets.
    pub headers: Vec<(String, String)>,
    /// How requests are compressed.
    pub compression: Compression,
    /// How long a request may take; zero is no limit.
    pub timeout: Duration,
    /// The file with the certificates that may have signed the server's.
    pub certificate: Option<PathBuf>,
    /// The files with our certificate and its key. One without the other is left out.
    pub client: Option<ClientFiles>,
    /// What could not be used. Whoever starts the program should see it.
    pub warnings: Vec<EnvWarning>,
}

/// Our own certificate, for servers that ask for one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientFiles {
    /// `…_CLIENT_CERTIFICATE`.
    pub certificate: PathBuf,
    /// `…_CLIENT_KEY`.
    pub key: PathBuf,
}

/// The value of `OTEL_EXPORTER_OTLP_PROTOCOL`. What the features leave out is not known.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum OtlpProtocol {
    /// `grpc`.
    #[cfg(feature = "grpc")]
    Grpc,
    /// `http/protobuf`.
    #[cfg(feature = "http")]
    HttpProtobuf,
    /// `http/json`.
    #[cfg(all(feature = "http", feature = "json"))]
    HttpJson,
}

/// The settings of an exporter, by protocol. What no variable says may still be changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OtlpConfig {
    /// Of a [`GrpcExporter`].
    #[cfg(feature = "grpc")]
    Grpc(GrpcConfig),
    /// Of an [`HttpExporter`].
    #[cfg(feature = "http")]
    Http(HttpConfig),
}

/// A variable that was not used, and why. Values are in no message: they may be secrets.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{variable} {problem}")]
pub struct EnvWarning {
    /// Its name.
    pub variable: String,
    /// What is wrong with its value.
    pub problem: String,
}

/// A variable without which nothing can be sent. The value is not repeated: it may hold a password.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{variable} {problem}")]
pub struct EnvError {
    /// Its name.
    pub variable: String,
    /// What is wrong with its value.
    pub problem: String,
}

// === impl OtlpEnv ===

impl OtlpEnv {
    /// Reads what `lookup` knows of the variables for `signal`.
    ///
    /// # Errors
    ///
    /// [`EnvError`] where an endpoint is none.
    pub fn read(signal: Signal, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, EnvError> {
        let (general, own) = ("OTEL_EXPORTER_OTLP_", signal.name().to_uppercase());
        let own = format!("{general}{own}_");
        let prefixes = [own.as_str(), general];
        let mut source = Source::new(&lookup, &prefixes);
        let protocol = source.choice("PROTOCOL", PROTOCOLS).unwrap_or_default();
        let insecure = source.flag("INSECURE");
        let endpoint = match source.url("ENDPOINT")? {
            Some(given) => {
                let is_own = given.name.starts_with(&own);
                protocol
                    .endpoint(signal, &given.value, is_own, insecure)
                    .map_err(|problem| EnvError { variable: given.name, problem: problem.into() })?
            }
            None => protocol.default_endpoint(signal),
        };
        let headers = match source.value("HEADERS") {
            Some(given) => headers::parse(&given, &mut source),
            None => Vec::new(),
        };
        let compression = source.choice("COMPRESSION", COMPRESSIONS).unwrap_or_default();
        let timeout = source.millis("TIMEOUT").unwrap_or(Duration::from_secs(10));
        let certificate = source.value("CERTIFICATE").map(|file| file.value.into());
        let client = match (source.value("CLIENT_CERTIFICATE"), source.value("CLIENT_KEY")) {
            (Some(certificate), Some(key)) => {
                Some(ClientFiles { certificate: certificate.value.into(), key: key.value.into() })
            }
            (Some(alone), None) => {
                source.warn(alone.name, "is left out: no …_CLIENT_KEY is set");
                None
            }
            (None, Some(alone)) => {
                source.warn(alone.name, "is left out: no …_CLIENT_CERTIFICATE is set");
                None
            }
            (None, None) => None,
        };
        Ok(Self {
            signal,
            protocol,
            endpoint,
            headers,
            compression,
            timeout,
            certificate,
            client,
            warnings: source.into_warnings(),
        })
    }

    /// The settings of the exporter, for this signal alone over HTTP.
    pub fn config(&self) -> OtlpConfig {
        match self.protocol {
            #[cfg(feature = "grpc")]
            OtlpProtocol::Grpc => OtlpConfig::Grpc(GrpcConfig {
                timeout: self.timeout,
                headers: self.headers.clone(),
                compression: self.compression,
                connection: self.connection(),
                ..GrpcConfig::new(&self.endpoint)
            }),
            #[cfg(feature = "http")]
            OtlpProtocol::HttpProtobuf => OtlpConfig::Http(self.http(Encoding::Protobuf)),
            #[cfg(all(feature = "http", feature = "json"))]
            OtlpProtocol::HttpJson => OtlpConfig::Http(self.http(Encoding::Json)),
        }
    }

    #[cfg(feature = "http")]
    fn http(&self, encoding: Encoding) -> HttpConfig {
        let mut config = HttpConfig {
            timeout: self.timeout,
            headers: self.headers.clone(),
            encoding,
            compression: self.compression,
            connection: self.connection(),
            ..HttpConfig::new("")
        };
        if self.endpoint.starts_with("unix:") {
            config.endpoint.clone_from(&self.endpoint);
            return config;
        }
        let own = Some(self.endpoint.clone());
        match self.signal {
            Signal::Traces => config.traces_endpoint = own,
            Signal::Metrics => config.metrics_endpoint = own,
            Signal::Logs => config.logs_endpoint = own,
        }
        config
    }

    fn connection(&self) -> ConnectionConfig {
        #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "there is no TLS to set up"))]
        let mut connection = ConnectionConfig::default();
        #[cfg(feature = "tls")]
        {
            connection.tls.ca = self.certificate.clone().map(Pem::File);
            connection.tls.identity = self.client.clone().map(|files| Identity {
                certificate: Pem::File(files.certificate),
                key: Pem::File(files.key),
            });
        }
        connection
    }
}

impl fmt::Debug for OtlpEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the endpoint, which may hold a token, nor the headers' values.
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("OtlpEnv")
            .field("signal", &self.signal)
            .field("protocol", &self.protocol)
            .field("headers", &names)
            .field("compression", &self.compression)
            .field("timeout", &self.timeout)
            .field("certificate", &self.certificate)
            .field("client", &self.client)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

// === impl OtlpProtocol ===

/// The names of the protocols.
const PROTOCOLS: &[(&str, OtlpProtocol)] = &[
    #[cfg(feature = "grpc")]
    ("grpc", OtlpProtocol::Grpc),
    #[cfg(feature = "http")]
    ("http/protobuf", OtlpProtocol::HttpProtobuf),
    #[cfg(all(feature = "http", feature = "json"))]
    ("http/json", OtlpProtocol::HttpJson),
];

/// The names of the compressions.
const COMPRESSIONS: &[(&str, Compression)] = &[
    ("none", Compression::None),
    #[cfg(feature = "gzip")]
    ("gzip", Compression::Gzip),
    #[cfg(feature = "zstd")]
    ("zstd", Compression::Zstd),
];

impl Default for OtlpProtocol {
    /// `http/protobuf`, or `grpc` where only that is built in.
    fn default() -> Self {
        #[cfg(feature = "http")]
        return Self::HttpProtobuf;
        #[cfg(not(feature = "http"))]
        return Self::Grpc;
    }
}

impl OtlpProtocol {
    fn is_grpc(self) -> bool {
        #[cfg(feature = "grpc")]
        return self == Self::Grpc;
        #[cfg(not(feature = "grpc"))]
        return false;
    }

    fn default_endpoint(self, signal: Signal) -> String {
        if self.is_grpc() {
            "http://localhost:4317".to_owned()
        } else {
            format!("http://localhost:4318{}", signal.http_path())
        }
    }

    /// The whole endpoint, or what is wrong with what was given.
    fn endpoint(
        self,
        signal: Signal,
        given: &str,
        is_own: bool,
        insecure: bool,
    ) -> Result<String, &'static str> {
        if given.starts_with("unix:") {
            check(given)?;
            return Ok(given.to_owned());
        }
        let given = match given.split_once("://") {
            // A scheme is the same in either case.
            Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
            None if self.is_grpc() && insecure => format!("http://{given}"),
            None if self.is_grpc() => format!("https://{given}"),
            None => given.to_owned(),
        };
        let parsed = check(&given)?;
        let Some(authority) = parsed.uri.authority() else { return Err("names no host") };
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !port.trim_start_matches(':').is_empty() && authority.port_u16().is_none() {
            return Err("has a port that is none");
        }
        let (path, query) = (parsed.uri.path(), parsed.uri.query());
        if self.is_grpc() {
            let bare = path == "/" && query.is_none();
            return if bare { Ok(given) } else { Err("has a path, which gRPC does not") };
        }
        // A fragment is never sent.
        let whole = given.split('#').next().unwrap_or(&given);
        let (before, query) = match whole.split_once('?') {
            Some((before, query)) => (before, format!("?{query}")),
            None => (whole, String::new()),
        };
        if !is_own {
            let base = before.trim_end_matches('/');
            return Ok(format!("{base}{}{query}", signal.http_path()));
        }
        let has_path = before.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        Ok(format!("{before}{}{query}", if has_path { "" } else { "/" }))
    }
}

/// What the exporters themselves think of an endpoint.
fn check(endpoint: &str) -> Result<Endpoint, &'static str> {
    Endpoint::parse(endpoint).map_err(|error| match error {
        ConfigError::Endpoint(problem) => problem,
        _ => "is no URL",
    })
}

// === impl OtlpConfig ===

impl OtlpConfig {
    /// Prepares to send; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where TLS cannot be set up, and where what was changed by hand cannot work.
    pub fn exporter(self) -> Result<AnyExporter, ConfigError> {
        Ok(match self {
            #[cfg(feature = "grpc")]
            Self::Grpc(config) => AnyExporter::new(GrpcExporter::new(config)?),
            #[cfg(feature = "http")]
            Self::Http(config) => AnyExporter::new(HttpExporter::new(config)?),
        })
    }
}
