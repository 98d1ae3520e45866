//! OTLP over gRPC.
//!
//! The gRPC framing is done here, over hyper: tonic's client copies each message, compresses it at a
//! level that costs several times ours, makes a status of its own of every local failure, and
//! panics on a status whose details are not base64.

use std::fmt;
use std::time::Duration;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use http::response::Parts;
use http::uri::Uri;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use teleflow_otlp::{
    Code, DEFAULT_MAX_REQUEST_BYTES, DEFAULT_MAX_RESPONSE_BYTES, ExportResponse, Payload, Signal,
    Status,
};

use crate::client::{Asked, Client, Protocol, Settings};
use crate::config::{self, Compression, ConfigError, Encoding};
use crate::connection::Connector;
use crate::endpoint::{self, Endpoint};
use crate::outgoing::Form;
use crate::wire::{self, Pieces, USER_AGENT};
use crate::{
    ConnectionConfig, Delivered, ExportError, Exporter, MAX_SERVER_DELAY, Outgoing, WireStats,
};

/// Where and how a [`GrpcExporter`] sends.
#[derive(Clone)]
pub struct GrpcConfig {
    /// `http://host:port` or `host:port` alone; `https://host:port` with TLS; `unix:/path` for a
    /// socket.
    pub endpoint: String,
    /// How long a request may take, from its first byte to the end of the answer: 5 s, the
    /// Collector's default. Zero means no limit, which no request should have in production.
    pub timeout: Duration,
    /// Sent with every request: names and values. Values are secrets; nothing prints them.
    pub headers: Vec<(String, String)>,
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
    /// How connections are made and kept.
    pub connection: ConnectionConfig,
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
    client: Client<Grpc>,
    /// For messages.
    authority: String,
}

/// The protocol's own part.
struct Grpc {
    /// By [`Signal::index`].
    uris: [Uri; 3],
    /// Everything that requests have in common.
    headers: HeaderMap,
}

/// A flag and a length stand before each message.
const HEAD: usize = 5;

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
            negotiate: true,
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
            connection: ConnectionConfig::default(),
        }
    }
}

impl fmt::Debug for GrpcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the endpoint, which may hold a password, nor the headers' values.
        f.debug_struct("GrpcConfig")
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .field("negotiate", &self.negotiate)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("max_response_bytes", &self.max_response_bytes)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

// === impl GrpcExporter ===

impl GrpcExporter {
    /// Prepares to send; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where the endpoint is none, a header cannot be sent, or TLS cannot be set up.
    pub fn new(config: GrpcConfig) -> Result<Self, ConfigError> {
        let endpoint = server(&config.endpoint)?;
        let authority = endpoint::peer(&endpoint.uri).to_owned();
        let connector = Connector::new(
            &config.connection,
            endpoint.is_https(),
            endpoint.unix,
            true,
            config.max_response_bytes,
        )?;

        let mut headers = config::headers(&config.headers)?;
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.entry("user-agent").or_insert_with(|| HeaderValue::from_static(USER_AGENT));
        if let Some(accepted) = Compression::accepted() {
            headers.insert("grpc-accept-encoding", HeaderValue::from_static(accepted));
        }
        if !config.timeout.is_zero() {
            headers.insert("grpc-timeout", grpc_timeout(config.timeout));
        }
        let mut uris = [Uri::default(), Uri::default(), Uri::default()];
        for signal in Signal::ALL {
            uris[signal.index()] = endpoint::with_path(&endpoint.uri, signal.grpc_path())?;
        }
        let settings = Settings {
            encoding: Encoding::Protobuf,
            compression: config.compression,
            negotiate: config.negotiate,
            timeout: config.timeout,
            // A message's length is written in 32 bits.
            max_request_bytes: config.max_request_bytes.min(u32::MAX as usize),
            max_response_bytes: config.max_response_bytes.min(u32::MAX as usize),
            http2: true,
            connection: config.connection,
        };
        let client = Client::new(Grpc { uris, headers }, settings, connector);
        Ok(Self { client, authority })
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

impl fmt::Debug for GrpcExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcExporter")
            .field("endpoint", &self.authority)
            .field("client", &self.client)
            .finish()
    }
}

impl Exporter for GrpcExporter {
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

// === impl Grpc ===

impl Protocol for Grpc {
    const ACCEPTS: HeaderName = HeaderName::from_static("grpc-accept-encoding");
    const OVERHEAD: usize = HEAD;

    fn request(
        &self,
        signal: Signal,
        form: Form,
        compression: Compression,
    ) -> Option<Request<Pieces>> {
        let mut head = [u8::from(compression != Compression::None), 0, 0, 0, 0];
        // Within 32 bits: bounded before compression, which adds no more than a little to noise.
        head[1..].copy_from_slice(&(form.bytes() as u32).to_be_bytes());

        let mut request = Request::new(Pieces::new(&head, form.pieces));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uris[signal.index()].clone();
        *request.headers_mut() = self.headers.clone();
        if let Some(name) = compression.name() {
            request.headers_mut().insert("grpc-encoding", HeaderValue::from_static(name));
        }
        Some(request)
    }

    fn head(&self, head: &Parts) -> Result<Option<Delivered>, ExportError> {
        // Headers and trailers in one: no message follows.
        match status(&head.headers) {
            Some(status) if status.code == Code::Ok => Ok(Some(Delivered::ALL)),
            Some(status) => Err(ExportError::Status(status)),
            None if head.status == StatusCode::OK => Ok(None),
            // Not a gRPC server, but a proxy on the way.
            None => Err(wire::http_error(head)),
        }
    }

    fn answer(
        &self,
        head: &Parts,
        body: Vec<u8>,
        trailers: &HeaderMap,
        asked: Asked,
    ) -> Result<Delivered, ExportError> {
        let bad = |what: &str| Err(ExportError::BadAnswer(what.to_owned()));
        let Some(status) = status(trailers) else { return bad("it ends without a status") };
        if status.code != Code::Ok {
            return Err(ExportError::Status(status));
        }
        let message = match *body {
            // The status says that it was taken; a missing message adds nothing.
            [] => return Ok(Delivered::ALL),
            [_, a, b, c, d, ref message @ ..]
                if message.len() == u32::from_be_bytes([a, b, c, d]) as usize =>
            {
                message
            }
            [_, _, _, _, _, ..] => return bad("it is not one message"),
            _ => return bad("it is cut short"),
        };
        let reply = match body[0] {
            0 => ExportResponse::decode(message),
            1 => {
                let encoding = head.headers.get("grpc-encoding").map(HeaderValue::as_bytes);
                let encoding = encoding.unwrap_or_default();
                let message = wire::inflated(encoding, message, asked.max_response_bytes)?;
                ExportResponse::decode(&message)
            }
            _ => return bad("it is no message"),
        };
        wire::delivered(reply, asked.items)
    }

    fn refuses_compression(&self, error: &ExportError) -> bool {
        matches!(error, ExportError::Status(status) if status.code == Code::Unimplemented)
    }
}

/// The server, from a URL or from host and port.
fn server(given: &str) -> Result<Endpoint, ConfigError> {
    let endpoint = if given.contains("://") || given.starts_with("unix:") {
        Endpoint::parse(given)?
    } else {
        Endpoint::parse(&format!("http://{given}"))?
    };
    if endpoint.uri.path() != "/" || endpoint.uri.query().is_some() {
        return Err(ConfigError::Endpoint("has a path, which gRPC does not"));
    }
    Ok(endpoint)
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
            let uri = server(given).unwrap().uri;
            assert_eq!(uri.authority().unwrap(), authority);
            assert_eq!(uri.scheme_str(), Some("http"));
        }
        let socket = server("unix:///run/otel.sock").unwrap();
        assert_eq!(socket.unix.unwrap().to_str(), Some("/run/otel.sock"));
        for given in [
            "",
            "unix:",
            "http://",
            "ftp://collector",
            "http://collector/v1/traces",
            "http://user:secret@collector:4317",
            "two words",
        ] {
            let error = server(given).unwrap_err().to_string();
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
