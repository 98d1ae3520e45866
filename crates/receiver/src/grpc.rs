//! OTLP/gRPC: three unary calls.

use std::error::Error;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use teleflow_otlp::{Code, Payload, Signal, Status};
use tonic::Streaming;
use tonic::codec::{BufferSettings, CompressionEncoding, DecodeBuf, Decoder};

use crate::body::Metered;
use crate::rejection::Rejection;
use crate::reply::Reply;
use crate::request::{InFlight, deliver};
use crate::serve::Server;
use crate::{Consumer, Transport};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const STATUS: &str = "grpc-status";

/// The bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Answers one call.
pub(crate) async fn answer<C: Consumer>(
    server: &Server<C>,
    request: Request<Incoming>,
) -> Response<Reply> {
    if !is_grpc(request.headers()) {
        server.core.count_unrouted();
        return unsupported_media_type();
    }
    let path = request.uri().path();
    let signal = Signal::ALL.into_iter().find(|signal| signal.grpc_path() == path);
    let is_call = request.method() == Method::POST;
    let Some(signal) = signal.filter(|&signal| is_call && server.core.takes(signal)) else {
        server.core.count_unrouted();
        return error(Status::new(Code::Unimplemented, "no such method"));
    };
    let in_flight = InFlight::new(&server.core, Transport::Grpc, signal);
    let outcome = match read(request, &in_flight).await {
        Ok(payload) => deliver(&server.consumer, payload).await,
        Err(rejection) => Err(rejection),
    };
    in_flight.end(&outcome);
    match outcome {
        Ok(_) => success(),
        Err(rejection) => error(rejection.status),
    }
}

/// Reads the one message of the call.
async fn read(request: Request<Incoming>, in_flight: &Arc<InFlight>) -> Result<Payload, Rejection> {
    let encoding = encoding(request.headers())?;
    let limit = in_flight.core().max_request_bytes(Transport::Grpc);
    let body = Metered::new(request.into_body(), Arc::clone(in_flight), limit + PREFIX);
    let mut messages = Streaming::new_request(Whole, body, encoding, Some(limit));
    let fail = |status| rejection(status, limit);
    let message = messages
        .message()
        .await
        .map_err(fail)?
        .ok_or_else(|| Rejection::protocol(Code::Internal, "the call has no message"))?;
    if encoding.is_some() {
        in_flight.hold(message.len())?;
    }
    if messages.message().await.map_err(fail)?.is_some() {
        return Err(Rejection::protocol(Code::Internal, "the call has more than one message"));
    }
    drop(messages);
    in_flight.lease.shrink_to(message.len());
    Payload::parse(in_flight.signal(), message)
        .map_err(|invalid| Rejection::invalid(invalid.to_string()))
}

/// What tonic found wrong with the call. Its words are the only place where it tells some errors
/// from others; a test holds them fast.
fn rejection(status: tonic::Status, limit: usize) -> Rejection {
    if let Some(rejection) = status.source().and_then(|source| source.downcast_ref::<Rejection>()) {
        return match rejection.status.code {
            // The limit of the body is that of the message and its prefix.
            Code::ResourceExhausted => Rejection::too_large(limit),
            _ => rejection.clone(),
        };
    }
    match status.code() {
        // The specification wants RESOURCE_EXHAUSTED: a client would retry OUT_OF_RANGE for ever.
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => Rejection::too_large(limit),
        tonic::Code::Internal if status.message().starts_with("Error decompressing") => {
            Rejection::invalid("invalid gzip")
        }
        code => Rejection::protocol(Code::from_number(code.into()), status.message()),
    }
}

/// How the message is compressed. The answer never is: it has no bytes.
fn encoding(headers: &HeaderMap) -> Result<Option<CompressionEncoding>, Rejection> {
    match headers.get(ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(None),
        Some(b"gzip") => Ok(Some(CompressionEncoding::Gzip)),
        Some(_) => Err(Rejection::protocol(
            Code::Unimplemented,
            "the message is compressed in a way that is not known; gzip and identity are",
        )),
    }
}

/// Whether the request says that it is a call with messages in protobuf.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(GRPC.as_bytes()))
        .is_some_and(|rest| {
            let rest = rest.strip_prefix(b"+proto").unwrap_or(rest);
            rest.is_empty() || rest[0] == b';'
        })
}

fn success() -> Response<Reply> {
    // An `Export…ServiceResponse` without a word, uncompressed.
    const EMPTY_MESSAGE: Bytes = Bytes::from_static(&[0; PREFIX]);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let mut response = Response::new(Reply::with_trailers(EMPTY_MESSAGE, trailers));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

fn error(status: Status) -> Response<Reply> {
    let unimplemented = status.code == Code::Unimplemented;
    let details = match status.retry_delay {
        Some(_) => Bytes::from(status.encode()),
        None => Bytes::new(),
    };
    let code = tonic::Code::from_i32(status.code.number());
    let mut response: Response<Reply> =
        tonic::Status::with_details(code, status.message, details).into_http();
    if unimplemented {
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip,identity"));
    }
    response
}

/// What gRPC prescribes for a request that is not a call at all.
fn unsupported_media_type() -> Response<Reply> {
    let mut response = Response::new(Reply::default());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

/// Takes each message as it is.
#[derive(Debug)]
struct Whole;

// === impl Whole ===

impl Decoder for Whole {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        // Copied into a piece of its own: tonic's buffer has grown by doubling, and all of it would
        // stay for as long as the payload lives.
        let message = Bytes::copy_from_slice(source.chunk());
        source.advance(message.len());
        Ok(Some(message))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(1024, 32 * 1024)
    }
}
