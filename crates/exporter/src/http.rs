//! OTLP over HTTP, in protobuf or JSON.

use std::fmt;
use std::time::Duration;

use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use teleflow_otlp::{
    DEFAULT_MAX_REQUEST_BYTES, DEFAULT_MAX_RESPONSE_BYTES, ExportResponse, Payload, Signal,
};

use crate::client::{Asked, Client, Protocol, Settings};
use crate::config::{self, Compression, ConfigError, Encoding};
use crate::connection::Connector;
use crate::endpoint::{self, Endpoint};
use crate::outgoing::Form;
use crate::wire::{self, Pieces, USER_AGENT};
use crate::{ConnectionConfig, Delivered, ExportError, Exporter, Outgoing, WireStats};

/// Where and how an [`HttpExporter`] sends.
#[derive(Clone)]
pub struct HttpConfig {
    /// The base URL: `/v1/traces` and its like are appended to its path. `https` is TLS;
    /// `unix:/path` is a socket. Empty where each signal that is sent has a URL of its own.
    pub endpoint: String,
    /// The URL for traces, used as it is.
    pub traces_endpoint: Option<String>,
    /// The URL for metrics, used as it is.
    pub metrics_endpoint: Option<String>,
    /// The URL for logs, used as it is.
    pub logs_endpoint: Option<String>,
    /// How long a request may take, from its first byte to the end of the answer: 30 s, the
    /// Collector's default. Zero means no limit, which no request should have in production.
    pub timeout: Duration,
    /// Sent with every request: names and values. Values are secrets; nothing prints them.
    pub headers: Vec<(String, String)>,
    /// How requests are written: in protobuf.
    pub encoding: Encoding,
    /// How requests are compressed: not at all.
    pub compression: Compression,
    /// Whether to use a better [compression](Self::compression) that the server says it takes, and a
    /// simpler one where it refuses this one: yes. Where there is none, there is none to change.
    pub negotiate: bool,
    /// The most bytes of a request before compression: 64 MiB, as the specification advises. A
    /// larger one is not sent.
    pub max_request_bytes: usize,
    /// The most bytes of an answer, compressed and after decompression: 4 MiB, as the specification
    /// advises. No more are ever read.
    pub max_response_bytes: usize,
    /// Whether to speak HTTP/2 and nothing else: no. With TLS, HTTP/2 is spoken anyway with servers
    /// that offer it; without, this is the only way to it.
    pub http2: bool,
    /// How connections are made and kept.
    pub connection: ConnectionConfig,
}

/// Sends payloads over HTTP/1.1, or HTTP/2 where that is agreed on.
///
/// Connections are kept and used again; over HTTP/1.1 there are as many as there are requests at a
/// time. Redirects are not followed: to a POST they are failures like any other. Of what a server
/// sends with an error nothing is read.
///
/// An answer of another content type than the request's is taken at its status: with success, the
/// payload counts as delivered in full.
pub struct HttpExporter {
    client: Client<Http>,
}

/// The protocol's own part.
struct Http {
    /// By [`Signal::index`].
    uris: [Option<Uri>; 3],
    /// Everything that requests have in common.
    headers: HeaderMap,
    /// What a proxy on the way is told, by [`Signal::index`].
    proxy_authorization: [Option<HeaderValue>; 3],
    encoding: Encoding,
}

// === impl HttpConfig ===

impl HttpConfig {
    /// The defaults, for this base URL.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            traces_endpoint: None,
            metrics_endpoint: None,
            logs_endpoint: None,
            timeout: Duration::from_secs(30),
            headers: Vec::new(),
            encoding: Encoding::Protobuf,
            compression: Compression::None,
            negotiate: true,
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
            http2: false,
            connection: ConnectionConfig::default(),
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the endpoints, which may hold a password, nor the headers' values.
        f.debug_struct("HttpConfig")
            .field("timeout", &self.timeout)
            .field("encoding", &self.encoding)
            .field("compression", &self.compression)
            .field("negotiate", &self.negotiate)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("max_response_bytes", &self.max_response_bytes)
            .field("http2", &self.http2)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

// === impl HttpExporter ===

impl HttpExporter {
    /// Prepares to send; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where an endpoint is none, a header cannot be sent, or TLS cannot be set up.
    pub fn new(config: HttpConfig) -> Result<Self, ConfigError> {
        let mut uris = [None, None, None];
        let (mut https, mut unix) = (false, None);
        for signal in Signal::ALL {
            let own = match signal {
                Signal::Traces => &config.traces_endpoint,
                Signal::Metrics => &config.metrics_endpoint,
                Signal::Logs => &config.logs_endpoint,
            };
            if let Some(server) = server(&config.endpoint, own.as_deref(), signal)? {
                https |= server.is_https();
                unix = server.unix;
                uris[signal.index()] = Some(server.uri);
            }
        }
        if uris.iter().all(Option::is_none) {
            return Err(ConfigError::Endpoint("is missing"));
        }
        let connector = Connector::new(
            &config.connection,
            https,
            unix,
            config.http2,
            config.max_response_bytes,
        )?;

        let mut headers = config::headers(&config.headers)?;
        let content_type = HeaderValue::from_static(config.encoding.content_type());
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.entry(header::USER_AGENT).or_insert_with(|| HeaderValue::from_static(USER_AGENT));
        if let Some(accepted) = Compression::accepted() {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
        }
        let proxy_authorization =
            uris.each_ref().map(|uri| connector.proxy_authorization(uri.as_ref()?));
        let encoding = config.encoding;
        let protocol = Http { uris, headers, proxy_authorization, encoding };
        let settings = Settings {
            encoding,
            compression: config.compression,
            negotiate: config.negotiate,
            timeout: config.timeout,
            max_request_bytes: config.max_request_bytes,
            max_response_bytes: config.max_response_bytes,
            http2: config.http2,
            connection: config.connection,
        };
        Ok(Self { client: Client::new(protocol, settings, connector) })
    }

    /// What was sent so far.
    pub fn stats(&self) -> WireStats {
        self.client.stats()
    }

    /// The compression that the next request of this signal goes out with.
    pub fn compression(&self, signal: Signal) -> Compression {
        self.client.compression(signal)
    }
}

impl fmt::Debug for HttpExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Paths and queries may hold tokens.
        let uris = self.client.protocol().uris.iter().flatten();
        let authorities: Vec<_> = uris.map(endpoint::peer).collect();
        f.debug_struct("HttpExporter")
            .field("endpoints", &authorities)
            .field("client", &self.client)
            .finish()
    }
}

impl Exporter for HttpExporter {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.client.send(Outgoing::new(payload)).await
    }

    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        self.client.send(outgoing).await
    }

    async fn shutdown(&self) -> Result<(), ExportError> {
        self.client.disconnect();
        Ok(())
    }
}

// === impl Http ===

impl Protocol for Http {
    const ACCEPTS: HeaderName = header::ACCEPT_ENCODING;
    const OVERHEAD: usize = 0;

    fn request(
        &self,
        signal: Signal,
        form: Form,
        compression: Compression,
    ) -> Option<Request<Pieces>> {
        let uri = self.uris[signal.index()].clone()?;
        let mut request = Request::new(Pieces::new(&[], form.pieces));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        if let Some(name) = compression.name() {
            request.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        if let Some(value) = &self.proxy_authorization[signal.index()] {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, value.clone());
        }
        Some(request)
    }

    fn head(&self, head: &Parts) -> Result<Option<Delivered>, ExportError> {
        if head.status.is_success() { Ok(None) } else { Err(wire::http_error(head)) }
    }

    fn answer(
        &self,
        head: &Parts,
        body: Vec<u8>,
        _: &HeaderMap,
        asked: Asked,
    ) -> Result<Delivered, ExportError> {
        let ours = self.encoding.content_type();
        let headers = &head.headers;
        if headers.get(header::CONTENT_TYPE).is_some_and(|given| !is_type(given, ours)) {
            return Ok(Delivered::ALL);
        }
        let encoding = headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
        let body = match encoding {
            None | Some(b"identity") => body,
            Some(encoding) => wire::inflated(encoding, &body, asked.max_response_bytes)?,
        };
        let reply = match self.encoding {
            Encoding::Protobuf => ExportResponse::decode(&body),
            // Nothing at all says no more than the status.
            #[cfg(feature = "json")]
            Encoding::Json if body.is_empty() => Some(ExportResponse::default()),
            #[cfg(feature = "json")]
            Encoding::Json => ExportResponse::from_json(asked.signal, &body),
        };
        wire::delivered(reply, asked.items)
    }

    fn refuses_compression(&self, error: &ExportError) -> bool {
        matches!(error, ExportError::Http { status: 415, .. })
    }
}

/// A signal's URL: its own as it is, or the base with the signal's path appended.
fn server(base: &str, own: Option<&str>, signal: Signal) -> Result<Option<Endpoint>, ConfigError> {
    let given = own.unwrap_or(base);
    if given.is_empty() {
        return Ok(None);
    }
    let mut server = Endpoint::parse(given)?;
    match own {
        Some(_) if server.unix.is_some() => {
            return Err(ConfigError::Endpoint("of one signal is a socket; only the base can be"));
        }
        Some(_) if base.starts_with("unix:") => {
            return Err(ConfigError::Endpoint("is a socket, and a signal has another"));
        }
        Some(_) => {}
        None => {
            let path = format!("{}{}", server.uri.path().trim_end_matches('/'), signal.http_path());
            server.uri = endpoint::with_path(&server.uri, &path)?;
        }
    }
    Ok(Some(server))
}

/// Whether a content type is this one. Parameters may follow.
fn is_type(given: &HeaderValue, expected: &str) -> bool {
    let bytes = given.as_bytes();
    let end = bytes.iter().position(|&byte| byte == b';').unwrap_or(bytes.len());
    bytes[..end].trim_ascii().eq_ignore_ascii_case(expected.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signals_path_is_appended_to_a_base_and_to_nothing_else() {
        for (base, own, expected) in [
            ("http://c:4318", None, "http://c:4318/v1/traces"),
            ("http://c:4318/", None, "http://c:4318/v1/traces"),
            ("http://c:4318//", None, "http://c:4318/v1/traces"),
            ("http://c/otlp", None, "http://c/otlp/v1/traces"),
            ("http://c/otlp/", None, "http://c/otlp/v1/traces"),
            ("http://c/a/b?tenant=7", None, "http://c/a/b/v1/traces?tenant=7"),
            ("http://[::1]:4318", None, "http://[::1]:4318/v1/traces"),
            ("http://c", Some("http://d"), "http://d/"),
            ("http://c", Some("http://d/in?x=1"), "http://d/in?x=1"),
            ("", Some("http://d/v1/traces/"), "http://d/v1/traces/"),
        ] {
            let server = server(base, own, Signal::Traces).unwrap().unwrap();
            assert_eq!(server.uri.to_string(), expected, "{base} {own:?}");
        }
        assert!(server("", None, Signal::Logs).unwrap().is_none());
        let metrics = server("http://c", None, Signal::Metrics).unwrap().unwrap();
        assert_eq!(metrics.uri.path(), "/v1/metrics");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_being_repeated() {
        for base in ["c:4318", "/v1/traces", "ftp://c", "http://u:secret@c", "http://"] {
            let error = server(base, None, Signal::Traces).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{base}: {error}");
        }
        assert!(HttpExporter::new(HttpConfig::new("")).is_err());
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn without_tls_built_in_an_endpoint_that_asks_for_it_is_refused() {
        let error = HttpExporter::new(HttpConfig::new("https://collector")).unwrap_err();
        assert!(error.to_string().contains("TLS, which is not built in"), "{error}");
    }

    #[test]
    fn a_content_type_may_have_parameters() {
        for (value, expected) in [
            ("application/x-protobuf", true),
            ("Application/X-Protobuf ; charset=utf-8", true),
            ("application/json", false),
            ("application/x-protobuffer", false),
        ] {
            assert_eq!(
                is_type(&HeaderValue::from_static(value), "application/x-protobuf"),
                expected,
                "{value}"
            );
        }
    }
}
