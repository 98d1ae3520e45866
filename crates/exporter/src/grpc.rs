//! OTLP over gRPC.
//!
//! The gRPC framing is done here, over tonic's channel: its client copies each message, compresses
//! it at a level that costs several times ours, makes a status of its own of every local failure,
//! and panics on a status whose details are not base64.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;
use teleflow_otlp::{Code, DEFAULT_MAX_REQUEST_BYTES, DEFAULT_MAX_RESPONSE_BYTES, Payload, Status};
use tonic::TimeoutExpired;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service as _;

use crate::config::{self, Compression, ConfigError};
use crate::wire::{self, Pieces, USER_AGENT};
use crate::{Delivered, ExportError, Exporter, MAX_SERVER_DELAY};

/// Where and how a [`GrpcExporter`] sends.
#[derive(Clone)]
pub struct GrpcConfig {
    /// `http://host:port`, or `host:port` alone. There is no TLS yet: `https` is refused.
    pub endpoint: String,
    /// How long a request may take, from its first byte to the end of the answer: 5 s, the
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

/// Sends payloads over gRPC.
///
/// One HTTP/2 connection carries any number of requests at a time. It is made when the first
/// payload comes, and again after it broke: what was on its way then is
/// [unreachable](ExportError::Unreachable) and may be sent again. When several requests in a row get
/// no answer in time, the connection is taken for dead.
///
/// A payload in large segments is sent without being copied.
///
/// # Errors
///
/// [`ExportError::Status`] is what the server said; what went wrong on this side of it is one of
/// the others, never a status. Messages of servers are cut to 256 characters and escaped.
pub struct GrpcExporter {
    endpoint: Endpoint,
    /// For messages.
    authority: String,
    /// Made by the first export: it needs a runtime.
    channel: Mutex<Option<Channel>>,
    timeouts_in_a_row: AtomicU32,
    /// Everything that requests have in common.
    headers: HeaderMap,
    timeout: Option<Duration>,
    #[cfg(feature = "gzip")]
    gzip: Option<crate::gzip::Gzip>,
    max_request_bytes: usize,
    max_response_bytes: usize,
}

/// A flag and a length stand before each message.
const HEAD: usize = 5;

/// So many requests in a row without an answer, and the connection is made anew: a peer that
/// vanished without a word would otherwise hold it for a quarter of an hour.
const MAX_TIMEOUTS_IN_A_ROW: u32 = 5;

/// Answers are short: more than this is not buffered unread.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of a server's headers and trailers.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// Takes base64 with and without padding, as gRPC asks of receivers.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

// === impl GrpcConfig ===

impl GrpcConfig {
    /// The defaults, for this endpoint.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            timeout: Duration::from_secs(5),
            headers: Vec::new(),
            compression: Compression::None,
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
        }
    }
}

impl fmt::Debug for GrpcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the endpoint, which may hold a password, nor the headers' values.
        f.debug_struct("GrpcConfig")
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("max_response_bytes", &self.max_response_bytes)
            .finish_non_exhaustive()
    }
}

// === impl GrpcExporter ===

impl GrpcExporter {
    /// Prepares to send; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where the endpoint is none or a header cannot be sent.
    pub fn new(config: GrpcConfig) -> Result<Self, ConfigError> {
        let uri = endpoint(&config.endpoint)?;
        let authority = uri.authority().map_or_else(String::new, ToString::to_string);
        let timeout = Some(config.timeout).filter(|timeout| !timeout.is_zero());

        let mut headers = config::headers(&config.headers)?;
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        #[cfg(feature = "gzip")]
        {
            headers.insert("grpc-accept-encoding", HeaderValue::from_static("gzip,identity"));
            if config.compression == Compression::Gzip {
                headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
            }
        }
        if let Some(timeout) = timeout {
            headers.insert("grpc-timeout", grpc_timeout(timeout));
        }

        let endpoint = Endpoint::from(uri)
            .user_agent(USER_AGENT)
            .map_err(|error| ConfigError::Client(error.to_string()))?
            .connect_timeout(timeout.unwrap_or(Duration::from_secs(10)))
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(MAX_HEADER_LIST);
        Ok(Self {
            endpoint,
            authority,
            channel: Mutex::new(None),
            timeouts_in_a_row: AtomicU32::new(0),
            headers,
            timeout,
            #[cfg(feature = "gzip")]
            gzip: (config.compression == Compression::Gzip).then(Default::default),
            // A message's length is written in 32 bits.
            max_request_bytes: config.max_request_bytes.min(u32::MAX as usize),
            max_response_bytes: config.max_response_bytes.min(u32::MAX as usize),
        })
    }

    async fn send(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let items = payload.items();
        let request = self.request(payload).await;
        let mut channel = self.channel();
        if let Err(error) = poll_fn(|cx| channel.poll_ready(cx)).await {
            // The task behind the channel is gone, with its runtime perhaps: the next export makes
            // another.
            *self.lock() = None;
            return Err(self.broken(&error));
        }
        let response = channel.call(request).await.map_err(|error| self.broken(&error))?;
        self.read(response, items).await
    }

    async fn request(&self, payload: Payload) -> Request<Body> {
        let path = PathAndQuery::from_static(payload.signal().grpc_path());
        let (compressed, segments) = self.compress(payload.into_segments()).await;
        let len: usize = segments.iter().map(Bytes::len).sum();
        let mut head = [u8::from(compressed), 0, 0, 0, 0];
        // Within 32 bits: bounded before compression, which adds no more than a little to noise.
        head[1..].copy_from_slice(&(len as u32).to_be_bytes());

        let mut request = Request::new(Body::new(Pieces::new(&head, segments)));
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from(path);
        *request.headers_mut() = self.headers.clone();
        request
    }

    #[cfg(feature = "gzip")]
    async fn compress(&self, segments: Vec<Bytes>) -> (bool, Vec<Bytes>) {
        match &self.gzip {
            Some(gzip) => (true, vec![gzip.compress(&segments).await]),
            None => (false, segments),
        }
    }

    #[cfg(not(feature = "gzip"))]
    async fn compress(&self, segments: Vec<Bytes>) -> (bool, Vec<Bytes>) {
        (false, segments)
    }

    async fn read(&self, response: Response<Body>, items: u64) -> Result<Delivered, ExportError> {
        let (parts, mut body) = response.into_parts();
        if let Some(status) = status(&parts.headers) {
            // Headers and trailers in one: no message follows.
            return self.judge(status, &parts.headers, &[], items);
        }
        if parts.status != StatusCode::OK {
            // Not a gRPC server, but a proxy on the way.
            return Err(ExportError::Http { status: parts.status.as_u16(), retry_after: None });
        }
        let mut reply = Vec::new();
        let mut trailers = HeaderMap::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            match frame.map_err(|error| self.broken(&error))?.into_data() {
                Ok(data) => {
                    reply.extend_from_slice(&data);
                    let too_long = match *reply {
                        [_, a, b, c, d, ..] => {
                            u32::from_be_bytes([a, b, c, d]) as usize > self.max_response_bytes
                        }
                        _ => false,
                    };
                    if too_long || reply.len() > HEAD + self.max_response_bytes {
                        return Err(wire::too_long(self.max_response_bytes));
                    }
                }
                Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        match status(&trailers) {
            Some(status) => self.judge(status, &parts.headers, &reply, items),
            None => Err(ExportError::BadAnswer("it ends without a status".to_owned())),
        }
    }

    fn judge(
        &self,
        status: Status,
        headers: &HeaderMap,
        reply: &[u8],
        items: u64,
    ) -> Result<Delivered, ExportError> {
        if status.code != Code::Ok {
            return Err(ExportError::Status(status));
        }
        let bad = |what: &str| Err(ExportError::BadAnswer(what.to_owned()));
        match *reply {
            // The status says that it was taken; a missing message adds nothing.
            [] => Ok(Delivered::ALL),
            [flag, a, b, c, d, ref message @ ..] => {
                if message.len() != u32::from_be_bytes([a, b, c, d]) as usize {
                    return bad("it is not one message");
                }
                match flag {
                    0 => wire::delivered(message, items),
                    1 => wire::delivered(&self.inflate(headers, message)?, items),
                    _ => bad("it is no message"),
                }
            }
            _ => bad("it is cut short"),
        }
    }

    #[cfg(feature = "gzip")]
    fn inflate(&self, headers: &HeaderMap, message: &[u8]) -> Result<Vec<u8>, ExportError> {
        use crate::gzip::{InflateError, inflate};

        if headers.get("grpc-encoding").is_none_or(|encoding| encoding != "gzip") {
            return Err(ExportError::BadAnswer("its compression is unknown".to_owned()));
        }
        inflate(message, self.max_response_bytes).map_err(|error| match error {
            InflateError::TooLong => wire::too_long(self.max_response_bytes),
            InflateError::Broken => ExportError::BadAnswer("it cannot be inflated".to_owned()),
        })
    }

    #[cfg(not(feature = "gzip"))]
    fn inflate(&self, _: &HeaderMap, _: &[u8]) -> Result<Vec<u8>, ExportError> {
        Err(ExportError::BadAnswer("it is compressed".to_owned()))
    }

    /// The connection failed before there was a status.
    fn broken(&self, error: &(dyn Error + 'static)) -> ExportError {
        let mut source = Some(error);
        while let Some(error) = source {
            // The channel reads `grpc-timeout` too, and may be a moment earlier than we are.
            if error.is::<TimeoutExpired>() {
                return ExportError::Timeout(self.timeout.unwrap_or_default());
            }
            source = error.source();
        }
        ExportError::Unreachable(format!("{}: {}", self.authority, wire::root_cause(error)))
    }

    fn channel(&self) -> Channel {
        self.lock().get_or_insert_with(|| self.endpoint.connect_lazy()).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Channel>> {
        self.channel.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl fmt::Debug for GrpcExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcExporter")
            .field("endpoint", &self.authority)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Exporter for GrpcExporter {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let (bytes, limit) = (payload.bytes(), self.max_request_bytes);
        if bytes > limit {
            return Err(ExportError::TooLarge { bytes, limit });
        }
        let result = match self.timeout {
            Some(timeout) => tokio::time::timeout(timeout, self.send(payload))
                .await
                .unwrap_or(Err(ExportError::Timeout(timeout))),
            None => self.send(payload).await,
        };
        if matches!(result, Err(ExportError::Timeout(_))) {
            if self.timeouts_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_TIMEOUTS_IN_A_ROW {
                self.timeouts_in_a_row.store(0, Ordering::Relaxed);
                *self.lock() = None;
            }
        } else {
            self.timeouts_in_a_row.store(0, Ordering::Relaxed);
        }
        result
    }

    async fn shutdown(&self) -> Result<(), ExportError> {
        *self.lock() = None;
        Ok(())
    }
}

/// The server's URI, from a URL or from host and port.
fn endpoint(given: &str) -> Result<Uri, ConfigError> {
    let refuse = |problem| Err(ConfigError::Endpoint(problem));
    let url = match given.split_once("://") {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => given.to_owned(),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return refuse("asks for TLS, which is not built in");
        }
        Some(_) => return refuse("has a scheme other than http"),
        None => format!("http://{given}"),
    };
    let Ok(uri) = url.parse::<Uri>() else { return refuse("is no URL") };
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            return refuse("holds a user name: credentials belong into a header");
        }
        Some(authority) if !authority.host().is_empty() => {}
        _ => return refuse("names no host"),
    }
    if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
        return refuse("has a path, which gRPC does not");
    }
    Ok(uri)
}

/// `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(timeout: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    let value = if millis <= MOST {
        format!("{millis}m")
    } else {
        format!("{}S", u128::from(timeout.as_secs()).min(MOST))
    };
    HeaderValue::try_from(value).expect("digits and a letter are a header's value")
}

/// The status in trailers, or in the headers of an answer without a body.
fn status(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get("grpc-status")?.to_str().ok().and_then(|code| code.parse().ok());
    let mut status = Status::new(code.map_or(Code::Unknown, Code::from_number), "");
    if let Some(message) = headers.get("grpc-message") {
        status.message = wire::said(&percent_decoded(message.as_bytes()));
    }
    let details = headers.get("grpc-status-details-bin");
    if let Some(Ok(details)) = details.map(|details| BASE64.decode(details)) {
        let delay = Status::decode(&details).retry_delay;
        status.retry_delay = delay.map(|delay| delay.min(MAX_SERVER_DELAY));
    }
    Some(status)
}

/// What is not properly encoded stays as it is, as gRPC asks of receivers.
fn percent_decoded(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|&digit| (digit as char).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (byte, hex(0), hex(1)) {
            out.push((high * 16 + low) as u8);
            rest = &after[2..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_perhaps_a_port() {
        for (given, authority) in [
            ("http://collector:4317", "collector:4317"),
            ("HTTP://collector:4317/", "collector:4317"),
            ("collector:4317", "collector:4317"),
            ("127.0.0.1:4317", "127.0.0.1:4317"),
            ("[::1]:4317", "[::1]:4317"),
            ("collector", "collector"),
        ] {
            let uri = endpoint(given).unwrap();
            assert_eq!(uri.authority().unwrap(), authority);
            assert_eq!(uri.scheme_str(), Some("http"));
        }
        for given in [
            "",
            "http://",
            "https://collector:4317",
            "ftp://collector",
            "http://collector/v1/traces",
            "http://user:secret@collector:4317",
            "two words",
        ] {
            let error = endpoint(given).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{given}");
        }
    }

    #[test]
    fn a_timeout_has_at_most_eight_digits() {
        for (timeout, value) in [
            (Duration::from_secs(5), "5000m"),
            (Duration::from_nanos(1), "1m"),
            (Duration::from_secs(99_999), "99999000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::MAX, "99999999S"),
        ] {
            assert_eq!(grpc_timeout(timeout), value);
        }
    }

    #[test]
    fn messages_are_decoded_as_far_as_they_can_be() {
        for (encoded, text) in [
            ("plain", "plain"),
            ("100%25 k%C3%A4se", "100% käse"),
            ("50% %zz %4", "50% %zz %4"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(percent_decoded(encoded.as_bytes()), text);
        }
    }

    #[test]
    fn details_that_are_no_base64_are_ignored() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("8"));
        headers.insert("grpc-status-details-bin", HeaderValue::from_static("!!"));
        headers.insert("grpc-message", HeaderValue::from_static("%1b[2J"));
        let status = status(&headers).unwrap();
        assert_eq!(status, Status::new(Code::ResourceExhausted, "\\u{1b}[2J"));
    }
}
