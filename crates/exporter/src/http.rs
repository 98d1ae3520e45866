//! OTLP over HTTP, in protobuf.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use teleflow_otlp::{DEFAULT_MAX_REQUEST_BYTES, DEFAULT_MAX_RESPONSE_BYTES, Payload, Signal};

use crate::config::{self, Compression, ConfigError};
use crate::wire::{self, Pieces, USER_AGENT};
use crate::{Delivered, ExportError, Exporter, MAX_SERVER_DELAY};

/// Where and how an [`HttpExporter`] sends.
#[derive(Clone)]
pub struct HttpConfig {
    /// The base URL: `/v1/traces` and its like are appended to its path. Empty where each signal
    /// that is sent has a URL of its own. There is no TLS yet: `https` is refused.
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
    /// How requests are compressed: not at all.
    pub compression: Compression,
    /// The most bytes of a request before compression: 64 MiB, as the specification advises. A
    /// larger one is not sent.
    pub max_request_bytes: usize,
    /// The most bytes of an answer, compressed and after decompression: 4 MiB, as the specification
    /// advises.
    pub max_response_bytes: usize,
}

/// Sends payloads over HTTP/1.1.
///
/// Connections are kept and used again; there are as many as there are requests at a time. Proxies
/// that the environment names are not used, and redirects are not followed: to a POST they are
/// failures like any other. Of what a server sends with an error nothing is read.
///
/// An answer of another content type than protobuf is taken at its status: with success, the
/// payload counts as delivered in full.
pub struct HttpExporter {
    client: Client,
    /// By [`Signal::index`].
    urls: [Option<Url>; 3],
    /// Everything that requests have in common.
    headers: HeaderMap,
    timeout: Option<Duration>,
    #[cfg(feature = "gzip")]
    gzip: Option<crate::gzip::Gzip>,
    max_request_bytes: usize,
    max_response_bytes: usize,
}

const PROTOBUF: &str = "application/x-protobuf";

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
            compression: Compression::None,
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the endpoints, which may hold a password, nor the headers' values.
        f.debug_struct("HttpConfig")
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("max_response_bytes", &self.max_response_bytes)
            .finish_non_exhaustive()
    }
}

// === impl HttpExporter ===

impl HttpExporter {
    /// Prepares to send; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where an endpoint is none or a header cannot be sent.
    pub fn new(config: HttpConfig) -> Result<Self, ConfigError> {
        let mut urls = [None, None, None];
        for signal in Signal::ALL {
            let own = match signal {
                Signal::Traces => &config.traces_endpoint,
                Signal::Metrics => &config.metrics_endpoint,
                Signal::Logs => &config.logs_endpoint,
            };
            urls[signal.index()] = url(&config.endpoint, own.as_deref(), signal)?;
        }
        if urls.iter().all(Option::is_none) {
            return Err(ConfigError::Endpoint("is missing"));
        }

        let mut headers = config::headers(&config.headers)?;
        headers.insert("content-type", HeaderValue::from_static(PROTOBUF));
        headers.entry("user-agent").or_insert_with(|| HeaderValue::from_static(USER_AGENT));
        #[cfg(feature = "gzip")]
        {
            headers.insert("accept-encoding", HeaderValue::from_static("gzip"));
            if config.compression == Compression::Gzip {
                headers.insert("content-encoding", HeaderValue::from_static("gzip"));
            }
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(|error| ConfigError::Client(wire::root_cause(&error).to_string()))?;
        Ok(Self {
            client,
            urls,
            headers,
            timeout: Some(config.timeout).filter(|timeout| !timeout.is_zero()),
            #[cfg(feature = "gzip")]
            gzip: (config.compression == Compression::Gzip).then(Default::default),
            max_request_bytes: config.max_request_bytes,
            max_response_bytes: config.max_response_bytes,
        })
    }

    async fn send(&self, url: &Url, payload: Payload) -> Result<Delivered, ExportError> {
        let items = payload.items();
        let segments = self.compress(payload.into_segments()).await;
        let request = self
            .client
            .post(url.clone())
            .headers(self.headers.clone())
            .body(reqwest::Body::wrap(Pieces::new(&[], segments)));
        let response = request.send().await.map_err(|error| broken(url, error))?;
        let status = response.status();
        if !status.is_success() {
            let retry_after = response
                .headers()
                .get("retry-after")
                .and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
            return Err(ExportError::Http { status: status.as_u16(), retry_after });
        }
        self.read(url, response, items).await
    }

    #[cfg(feature = "gzip")]
    async fn compress(&self, segments: Vec<Bytes>) -> Vec<Bytes> {
        match &self.gzip {
            Some(gzip) => vec![gzip.compress(&segments).await],
            None => segments,
        }
    }

    #[cfg(not(feature = "gzip"))]
    async fn compress(&self, segments: Vec<Bytes>) -> Vec<Bytes> {
        segments
    }

    async fn read(
        &self,
        url: &Url,
        mut response: reqwest::Response,
        items: u64,
    ) -> Result<Delivered, ExportError> {
        let limit = self.max_response_bytes;
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(wire::too_long(limit));
        }
        let mut reply = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(url, error))? {
            if chunk.len() > limit - reply.len() {
                return Err(wire::too_long(limit));
            }
            reply.extend_from_slice(&chunk);
        }
        let headers = response.headers();
        if headers.get("content-type").is_some_and(|given| !is_protobuf(given)) {
            return Ok(Delivered::ALL);
        }
        match headers.get("content-encoding").map_or(&b"identity"[..], HeaderValue::as_bytes) {
            b"identity" => wire::delivered(&reply, items),
            #[cfg(feature = "gzip")]
            b"gzip" => {
                use crate::gzip::{InflateError, inflate};

                let reply = inflate(&reply, limit).map_err(|error| match error {
                    InflateError::TooLong => wire::too_long(limit),
                    InflateError::Broken => {
                        ExportError::BadAnswer("it cannot be inflated".to_owned())
                    }
                })?;
                wire::delivered(&reply, items)
            }
            _ => Err(ExportError::BadAnswer("its compression is unknown".to_owned())),
        }
    }
}

impl fmt::Debug for HttpExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Paths and queries may hold tokens.
        let authorities: Vec<_> = self.urls.iter().flatten().map(Url::authority).collect();
        f.debug_struct("HttpExporter")
            .field("endpoints", &authorities)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Exporter for HttpExporter {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let signal = payload.signal();
        let Some(url) = &self.urls[signal.index()] else {
            return Err(ExportError::Permanent(format!("no endpoint takes {signal}")));
        };
        let (bytes, limit) = (payload.bytes(), self.max_request_bytes);
        if bytes > limit {
            return Err(ExportError::TooLarge { bytes, limit });
        }
        match self.timeout {
            Some(timeout) => tokio::time::timeout(timeout, self.send(url, payload))
                .await
                .unwrap_or(Err(ExportError::Timeout(timeout))),
            None => self.send(url, payload).await,
        }
    }
}

/// A signal's URL: its own as it is, or the base with the signal's path appended.
fn url(base: &str, own: Option<&str>, signal: Signal) -> Result<Option<Url>, ConfigError> {
    let refuse = |problem| Err(ConfigError::Endpoint(problem));
    let given = own.unwrap_or(base);
    if given.is_empty() {
        return Ok(None);
    }
    let Ok(mut url) = Url::parse(given) else { return refuse("is no URL") };
    match url.scheme() {
        "http" => {}
        "https" => return refuse("asks for TLS, which is not built in"),
        _ => return refuse("has a scheme other than http"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("holds a user name: credentials belong into a header");
    }
    if own.is_none() {
        let path = format!("{}{}", url.path().trim_end_matches('/'), signal.http_path());
        url.set_path(&path);
    }
    Ok(Some(url))
}

/// There was no answer, or only the beginning of one.
fn broken(url: &Url, error: reqwest::Error) -> ExportError {
    // With its URL the error would print what may be a token.
    let error = error.without_url();
    ExportError::Unreachable(format!("{}: {}", url.authority(), wire::root_cause(&error)))
}

/// `Retry-After`, in seconds or as a date. A date that has passed is no delay.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let delay = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // So many digits that they are no number are a long time all the same.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(delay.min(MAX_SERVER_DELAY))
}

/// Parameters may follow.
fn is_protobuf(content_type: &HeaderValue) -> bool {
    let bytes = content_type.as_bytes();
    let end = bytes.iter().position(|&byte| byte == b';').unwrap_or(bytes.len());
    bytes[..end].trim_ascii().eq_ignore_ascii_case(PROTOBUF.as_bytes())
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
            let url = url(base, own, Signal::Traces).unwrap().unwrap();
            assert_eq!(url.as_str(), expected, "{base} {own:?}");
        }
        assert_eq!(url("", None, Signal::Logs), Ok(None));
        let metrics = url("http://c", None, Signal::Metrics).unwrap().unwrap();
        assert_eq!(metrics.path(), "/v1/metrics");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_being_repeated() {
        for base in ["c:4318", "/v1/traces", "https://c", "ftp://c", "http://u:secret@c", "http://"]
        {
            let error = url(base, None, Signal::Traces).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{base}: {error}");
        }
        assert!(HttpExporter::new(HttpConfig::new("")).is_err());
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_never_negative() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:00 GMT").unwrap();
        for (value, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(3600)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn a_content_type_may_have_parameters() {
        for (value, expected) in [
            ("application/x-protobuf", true),
            ("Application/X-Protobuf ; charset=utf-8", true),
            ("application/json", false),
            ("application/x-protobuffer", false),
        ] {
            assert_eq!(is_protobuf(&HeaderValue::from_static(value)), expected, "{value}");
        }
    }
}
