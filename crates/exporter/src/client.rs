//! What the two protocols have in common: one request, its limits, its answer.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use http::response::Parts;
use http::{HeaderMap, HeaderName, Request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use teleflow_otlp::Signal;

use crate::connection::{Connector, Endless};
use crate::endpoint::peer;
use crate::negotiate::Negotiation;
use crate::outgoing::{Form, Maker};
use crate::wire::{self, Pieces};
use crate::{
    Compression, ConnectionConfig, ConnectionStats, Delivered, Encoding, ExportError, Outgoing,
};

/// So many requests in a row without an answer, and connections are made anew: a peer that vanished
/// without a word would otherwise hold one for a quarter of an hour.
const MAX_TIMEOUTS_IN_A_ROW: u32 = 5;

/// Answers are short: more than this is not buffered unread.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of a server's headers and trailers.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// Sends requests of one protocol to one server, or to one for each signal.
pub(crate) struct Client<P> {
    protocol: P,
    settings: Settings,
    connector: Connector,
    /// Made by the first request, and again where connections are given up.
    pool: Mutex<Option<Pool>>,
    timeouts_in_a_row: AtomicU32,
    maker: Maker,
    negotiation: Negotiation,
    counters: Counters,
}

/// What both protocols' configurations say.
pub(crate) struct Settings {
    pub(crate) encoding: Encoding,
    pub(crate) compression: Compression,
    pub(crate) negotiate: bool,
    /// Zero for no limit.
    pub(crate) timeout: Duration,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_response_bytes: usize,
    pub(crate) http2: bool,
    pub(crate) connection: ConnectionConfig,
}

/// How a protocol writes requests and reads answers.
pub(crate) trait Protocol: Send + Sync {
    /// The header in which a server says what compressions it reads.
    const ACCEPTS: HeaderName;

    /// What stands around a message: that many bytes more than the limit are read of an answer.
    const OVERHEAD: usize;

    /// A request, or `None` where no server takes this signal.
    fn request(
        &self,
        signal: Signal,
        form: Form,
        compression: Compression,
    ) -> Option<Request<Pieces>>;

    /// Judges an answer by its head alone, where that says it all: then its body is not read.
    fn head(&self, head: &Parts) -> Result<Option<Delivered>, ExportError>;

    /// Judges an answer that was read to its end.
    fn answer(
        &self,
        head: &Parts,
        body: Vec<u8>,
        trailers: &HeaderMap,
        request: Asked,
    ) -> Result<Delivered, ExportError>;

    /// Whether servers refuse so what is compressed in a way that they do not know.
    fn refuses_compression(&self, error: &ExportError) -> bool;
}

/// What has to be known of a request to read its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) signal: Signal,
    pub(crate) items: u64,
    /// The most bytes of an answer after decompression.
    pub(crate) max_response_bytes: usize,
}

/// What an exporter has sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct WireStats {
    /// Requests handed to a connection, retries included.
    pub requests: u64,
    /// Their bytes before compression.
    pub bytes: u64,
    /// Their bytes as they went over the wire, without what a protocol puts around them.
    pub wire_bytes: u64,
    /// Requests that were encoded anew, as JSON is. Less than were sent, where a form was shared by
    /// retries or destinations.
    pub encoded: u64,
    /// Requests that were compressed here.
    pub compressed: u64,
    /// Requests that were sent once more in a simpler compression, for the server refused the other.
    pub fallbacks: u64,
    /// Connections.
    pub connections: ConnectionStats,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    bytes: AtomicU64,
    wire_bytes: AtomicU64,
    fallbacks: AtomicU64,
}

type Pool = legacy::Client<Connector, Pieces>;

// === impl WireStats ===

impl WireStats {
    /// Bytes before compression for each byte on the wire; 1 where nothing was sent.
    pub fn ratio(&self) -> f64 {
        if self.wire_bytes == 0 { 1.0 } else { self.bytes as f64 / self.wire_bytes as f64 }
    }
}

// === impl Client ===

impl<P: Protocol> Client<P> {
    pub(crate) fn new(protocol: P, settings: Settings, connector: Connector) -> Self {
        Self {
            protocol,
            connector,
            pool: Mutex::new(None),
            timeouts_in_a_row: AtomicU32::new(0),
            maker: Maker::default(),
            negotiation: Negotiation::new(settings.compression, settings.negotiate),
            counters: Counters::default(),
            settings,
        }
    }

    #[cfg(feature = "http")]
    pub(crate) fn protocol(&self) -> &P {
        &self.protocol
    }

    pub(crate) fn stats(&self) -> WireStats {
        let (encoded, compressed) = self.maker.counts();
        WireStats {
            requests: self.counters.requests.load(Ordering::Relaxed),
            bytes: self.counters.bytes.load(Ordering::Relaxed),
            wire_bytes: self.counters.wire_bytes.load(Ordering::Relaxed),
            encoded,
            compressed,
            fallbacks: self.counters.fallbacks.load(Ordering::Relaxed),
            connections: self.connector.stats(),
        }
    }

    /// The compression that the next request of this signal is sent with.
    pub(crate) fn compression(&self, signal: Signal) -> Compression {
        self.negotiation.current(signal)
    }

    /// Sends a payload, once; and once more where only its compression was refused.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves it open whether the payload was delivered.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        let timeout = self.settings.timeout;
        let result = if timeout.is_zero() {
            self.send_in_any_compression(&outgoing).await
        } else {
            let send = self.send_in_any_compression(&outgoing);
            let result = tokio::time::timeout(timeout, send).await;
            result.unwrap_or(Err(ExportError::Timeout(timeout)))
        };
        if matches!(result, Err(ExportError::Timeout(_))) {
            if self.timeouts_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_TIMEOUTS_IN_A_ROW {
                self.timeouts_in_a_row.store(0, Ordering::Relaxed);
                self.disconnect();
            }
        } else {
            self.timeouts_in_a_row.store(0, Ordering::Relaxed);
        }
        result
    }

    async fn send_in_any_compression(&self, outgoing: &Outgoing) -> Result<Delivered, ExportError> {
        let signal = outgoing.payload().signal();
        let first = self.negotiation.current(signal);
        let mut compression = first;
        loop {
            let result = self.send_in(outgoing, compression).await;
            let refused = match &result {
                Err(error) => self.protocol.refuses_compression(error),
                Ok(_) => false,
            };
            if !refused {
                // An answer of any other kind may come from something that did not look at it.
                if result.is_ok() && compression != first {
                    self.negotiation.taken(signal, first, compression);
                }
                return result;
            }
            let Some(lower) = self.negotiation.instead(signal, compression) else {
                if compression != first {
                    self.negotiation.refused_anyway(signal);
                }
                return result;
            };
            self.counters.fallbacks.fetch_add(1, Ordering::Relaxed);
            compression = lower;
        }
    }

    async fn send_in(
        &self,
        outgoing: &Outgoing,
        compression: Compression,
    ) -> Result<Delivered, ExportError> {
        let payload = outgoing.payload();
        let limit = self.settings.max_request_bytes;
        // Before anything is made of it: what is over in protobuf is hardly less in JSON.
        let too_large = |bytes| ExportError::TooLarge { bytes, limit };
        if payload.bytes() > limit {
            return Err(too_large(payload.bytes()));
        }
        let form = outgoing.form(self.settings.encoding, compression, &self.maker).await?;
        if form.plain_bytes > limit {
            return Err(too_large(form.plain_bytes));
        }
        let asked = Asked {
            signal: payload.signal(),
            items: payload.items(),
            max_response_bytes: self.settings.max_response_bytes,
        };
        let (plain_bytes, wire_bytes) = (form.plain_bytes as u64, form.bytes() as u64);
        let Some(request) = self.protocol.request(asked.signal, form, compression) else {
            return Err(ExportError::Permanent(format!("no endpoint takes {}", asked.signal)));
        };
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(plain_bytes, Ordering::Relaxed);
        self.counters.wire_bytes.fetch_add(wire_bytes, Ordering::Relaxed);

        let server = request.uri().clone();
        let pool = self.pool();
        let answer = pool.request(request).await;
        let answer = answer.map_err(|error| broken(peer(&server), &error))?;
        let (head, body) = answer.into_parts();
        for accepts in head.headers.get_all(P::ACCEPTS) {
            self.negotiation.heard(asked.signal, accepts.as_bytes());
        }
        if let Some(delivered) = self.protocol.head(&head)? {
            return Ok(delivered);
        }
        let limit = asked.max_response_bytes;
        let (body, trailers) = read(body, limit, P::OVERHEAD, peer(&server)).await?;
        self.protocol.answer(&head, body, &trailers, asked)
    }

    /// Lets go of connections; requests that are under way keep theirs until they are over.
    pub(crate) fn disconnect(&self) {
        drop(self.lock().take());
    }

    fn pool(&self) -> Pool {
        self.lock().get_or_insert_with(|| self.settings.pool(self.connector.clone())).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pool>> {
        self.pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<P> fmt::Debug for Client<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.settings.timeout).finish_non_exhaustive()
    }
}

// === impl Settings ===

impl Settings {
    fn pool(&self, connector: Connector) -> Pool {
        let connection = &self.connection;
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(connection.max_idle_per_host)
            .pool_idle_timeout(Some(connection.idle_timeout).filter(|idle| !idle.is_zero()))
            .http1_max_buf_size(MAX_HEADER_LIST as usize)
            .http2_only(self.http2)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(MAX_HEADER_LIST);
        if let Some(keep_alive) = connection.keep_alive {
            builder
                .http2_keep_alive_interval(keep_alive.interval)
                .http2_keep_alive_timeout(keep_alive.timeout)
                .http2_keep_alive_while_idle(true);
        }
        builder.build(connector)
    }
}

/// Reads an answer to its end, but never more than `limit` and `overhead`.
async fn read(
    mut body: Incoming,
    limit: usize,
    overhead: usize,
    peer: &str,
) -> Result<(Vec<u8>, HeaderMap), ExportError> {
    let most = limit.saturating_add(overhead);
    if body.size_hint().lower() > most as u64 {
        return Err(wire::too_long(limit));
    }
    let mut reply = Vec::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = wire::next_frame(&mut body).await {
        match frame.map_err(|error| broken(peer, &error))?.into_data() {
            Ok(data) if data.len() > most - reply.len() => return Err(wire::too_long(limit)),
            Ok(data) => reply.extend_from_slice(&data),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((reply, trailers))
}

/// There was no answer, or only the beginning of one.
fn broken(peer: &str, error: &(dyn Error + 'static)) -> ExportError {
    let mut source = Some(error);
    while let Some(error) = source {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return ExportError::BadAnswer("it is no HTTP".to_owned());
        }
        let io = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if io.is_some_and(|error| error.is::<Endless>()) {
            return ExportError::BadAnswer("it has no end".to_owned());
        }
        source = error.source();
    }
    // A peer can have had its say in it: names of its certificate, a reason for going away.
    let cause = wire::said(&wire::root_cause(error).to_string());
    ExportError::Unreachable(format!("{peer}: {cause}"))
}
