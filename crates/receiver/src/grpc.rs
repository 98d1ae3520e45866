//! OTLP/gRPC: three unary calls.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use teleflow_otlp::{Code, ExportResponse, Payload, Signal, Status};

use crate::auth::{Identity, Peer};
use crate::body::{Metered, PREFIX};
use crate::inflate::Encoding;
use crate::rejection::Rejection;
use crate::reply::Reply;
use crate::request::{InFlight, deliver};
use crate::serve::Server;
use crate::watch::Activity;
use crate::{Consumer, Transport};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const STATUS: &str = "grpc-status";

/// Answers one call.
pub(crate) async fn answer<C: Consumer>(
    server: &Server<C>,
    peer: &Peer,
    activity: &Activity,
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
    let core = &*server.core;
    let mut in_flight = InFlight::new(core, activity, Transport::Grpc, signal);
    let outcome = match read(request, peer, &mut in_flight).await {
        Ok((identity, payload)) => deliver(&server.consumer, core, identity, payload).await,
        Err(rejection) => Err(rejection),
    };
    in_flight.end(&outcome);
    match outcome {
        Ok(taken) => success(&taken.response),
        Err(rejection) => {
            let mut response = error(rejection.status);
            if let Some(auth) = core.auth(Transport::Grpc)
                && rejection.http == StatusCode::UNAUTHORIZED
            {
                response.headers_mut().insert(WWW_AUTHENTICATE, auth.challenge());
            }
            response
        }
    }
}

/// Reads the one message of the call.
async fn read(
    request: Request<Incoming>,
    peer: &Peer,
    in_flight: &mut InFlight<'_>,
) -> Result<(Option<Identity>, Payload), Rejection> {
    let (head, mut body) = request.into_parts();
    let identity = in_flight.identify(&head.headers, peer).await?;
    let encoding = encoding(&head.headers)?;
    let message = Metered::new(&mut body, in_flight).read_message().await?;
    let bytes = match (message.is_compressed, encoding) {
        (false, _) => message.bytes,
        (true, Some(encoding)) => encoding.inflate(&message.bytes, in_flight).await?,
        (true, None) => {
            return Err(Rejection::protocol(
                Code::Internal,
                "the message is compressed, and no grpc-encoding says how",
            ));
        }
    };
    in_flight.shrink_to(bytes.len());
    match Payload::parse(in_flight.signal(), bytes) {
        Ok(payload) => Ok((identity, payload)),
        Err(invalid) => Err(Rejection::invalid(invalid.to_string())),
    }
}

/// How the message may be compressed. The answer never is: it has no bytes.
fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Rejection> {
    headers.get(ENCODING).map_or(Ok(None), |name| Encoding::of(name.as_bytes())).map_err(|_| {
        Rejection::protocol(
            Code::Unimplemented,
            format!(
                "the message is compressed in a way that is not known: {} are",
                Encoding::NAMES
            ),
        )
    })
}

/// Whether the request says that it is a call with messages in protobuf.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(GRPC.as_bytes()))
        .is_some_and(|rest| {
            let rest = rest.strip_prefix(b"+proto").unwrap_or(rest);
            rest.is_empty() || rest[0] == b';'
        })
}

fn success(response: &ExportResponse) -> Response<Reply> {
    // An `Export…ServiceResponse` without a word, uncompressed.
    const EMPTY_MESSAGE: Bytes = Bytes::from_static(&[0; PREFIX]);
    let message = if response.is_full_success() { EMPTY_MESSAGE } else { framed(response) };
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let mut response = Response::new(Reply::with_trailers(message, trailers));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// A partial success as a message of a call, uncompressed.
fn framed(response: &ExportResponse) -> Bytes {
    let message = response.encode();
    let length = u32::try_from(message.len()).expect("a consumer says less than 4 GiB");
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

fn error(status: Status) -> Response<Reply> {
    let unimplemented = status.code == Code::Unimplemented;
    let details = if status.has_details() { Bytes::from(status.encode()) } else { Bytes::new() };
    let code = tonic::Code::from_i32(status.code.number());
    let mut response: Response<Reply> =
        tonic::Status::with_details(code, status.message, details).into_http();
    if unimplemented {
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(Encoding::NAMES));
    }
    response
}

/// What gRPC prescribes for a request that is not a call at all.
fn unsupported_media_type() -> Response<Reply> {
    let mut response = Response::new(Reply::default());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}
