//! OTLP/HTTP: three paths to post to, in protobuf or JSON.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use teleflow_otlp::{Payload, json};
use tokio::time;

use crate::auth::{Identity, Peer};
use crate::body::Metered;
use crate::inflate::Encoding;
use crate::rejection::Rejection;
use crate::reply::Reply;
use crate::request::{InFlight, deliver};
use crate::serve::Server;
use crate::watch::Activity;
use crate::{Consumer, Transport};

/// How a message is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Protobuf,
    Json,
}

/// Answers one request. An error is told in the request's format; in protobuf if that is not known.
pub(crate) async fn answer<C: Consumer>(
    server: &Server<C>,
    peer: &Peer,
    activity: &Activity,
    request: Request<Incoming>,
) -> Response<Reply> {
    let core = &*server.core;
    let Some(cors) = &core.cors else { return route(server, peer, activity, request).await };
    if let Some(response) = cors.preflight(request.method(), request.headers()) {
        return response;
    }
    let allowed = cors.allow(request.headers());
    let mut response = route(server, peer, activity, request).await;
    if let Some(allowed) = allowed {
        allowed.apply(response.headers_mut());
    }
    response
}

async fn route<C: Consumer>(
    server: &Server<C>,
    peer: &Peer,
    activity: &Activity,
    request: Request<Incoming>,
) -> Response<Reply> {
    let core = &*server.core;
    let (head, mut body) = request.into_parts();
    let format = Format::of(&head.headers);
    let in_error = format.unwrap_or(Format::Protobuf);
    let signal = core.paths.signal(head.uri.path());
    let Some(signal) = signal.filter(|&signal| core.takes(signal)) else {
        core.count_unrouted();
        discard(&head, body);
        return error(in_error, Rejection::http(StatusCode::NOT_FOUND, "no such path"));
    };
    if head.method != Method::POST {
        core.count_unrouted();
        discard(&head, body);
        let why = Rejection::http(StatusCode::METHOD_NOT_ALLOWED, "only POST is served here");
        let mut response = error(in_error, why);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let mut in_flight = InFlight::new(core, activity, Transport::Http, signal);
    let outcome = match read(&head.headers, peer, format, &mut body, &mut in_flight).await {
        Ok((identity, payload)) => {
            drop(body);
            deliver(&server.consumer, core, identity, payload).await
        }
        Err(rejection) => {
            discard(&head, body);
            Err(rejection)
        }
    };
    in_flight.end(&outcome);
    match outcome {
        Ok(taken) => {
            let reply = taken.response;
            match in_error {
                Format::Protobuf => response(StatusCode::OK, in_error, reply.encode()),
                Format::Json => response(StatusCode::OK, in_error, reply.to_json(signal)),
            }
        }
        Err(rejection) => {
            let is_unknown = rejection.http == StatusCode::UNAUTHORIZED;
            let mut response = error(in_error, rejection);
            if let Some(auth) = core.auth(Transport::Http).filter(|_| is_unknown) {
                response.headers_mut().insert(WWW_AUTHENTICATE, auth.challenge());
            }
            response
        }
    }
}

async fn read(
    headers: &HeaderMap,
    peer: &Peer,
    format: Option<Format>,
    body: &mut Incoming,
    in_flight: &mut InFlight<'_>,
) -> Result<(Option<Identity>, Payload), Rejection> {
    let identity = in_flight.identify(headers, peer).await?;
    let format = format.ok_or_else(|| {
        Rejection::http(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the content type must be application/x-protobuf or application/json",
        )
    })?;
    let encoding = encoding(headers)?;
    let (signal, limit) = (in_flight.signal(), in_flight.limit());

    let mut bytes = Metered::new(body, in_flight).read_to_end().await?;
    // Nothing is an empty request in protobuf. In JSON it is no document.
    if bytes.is_empty() && format == Format::Protobuf {
        return Ok((identity, Payload::empty(signal)));
    }
    if let Some(encoding) = encoding {
        bytes = encoding.inflate(&bytes, in_flight).await?;
    }
    let payload = match format {
        Format::Protobuf => Payload::parse(signal, bytes)
            .map_err(|invalid| Rejection::invalid(invalid.to_string()))?,
        Format::Json => {
            let (request, items) =
                json::to_protobuf(signal, &bytes, limit).map_err(|error| match error {
                    json::Error::TooLarge(limit) => Rejection::too_large(limit),
                    invalid => Rejection::invalid(invalid.to_string()),
                })?;
            in_flight.hold(request.len())?;
            Payload::trusted(signal, crate::body::exact(request), items)
        }
    };
    in_flight.shrink_to(payload.bytes());
    Ok((identity, payload))
}

// === impl Format ===

impl Format {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        // Parameters, such as a charset, say nothing that these two types leave open.
        let essence = value.split(';').next().unwrap_or(value).trim();
        if essence.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Self::Protobuf)
        } else if essence.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }

    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Protobuf => HeaderValue::from_static("application/x-protobuf"),
            Self::Json => HeaderValue::from_static("application/json"),
        }
    }
}

fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Rejection> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let (first, second) = (values.next(), values.next());
    let Some(name) = first else { return Ok(None) };
    match Encoding::of(name.as_bytes()) {
        // Twice compressed is twice as much of a bomb, and nobody does it.
        Ok(encoding) if second.is_none() => Ok(encoding),
        _ => Err(Rejection::http(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the content encoding must be one of {}", Encoding::NAMES),
        )),
    }
}

fn response(status: StatusCode, format: Format, body: impl Into<Bytes>) -> Response<Reply> {
    let mut response = Response::new(Reply::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, format.content_type());
    response
}

fn error(format: Format, rejection: Rejection) -> Response<Reply> {
    let Rejection { http, status, .. } = rejection;
    let mut response = match format {
        Format::Protobuf => response(http, format, status.encode()),
        Format::Json => response(http, format, status.to_json()),
    };
    if let Some(delay) = status.retry_delay {
        // Rounding has put many together whom the wait had spread: one more second for every other.
        let seconds = whole_seconds(delay).saturating_add(fastrand::u64(..2));
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    if http == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(Encoding::NAMES));
    }
    response
}

/// Rounded up, and never 0, which would mean "at once".
fn whole_seconds(delay: Duration) -> u64 {
    let up = u64::from(delay.subsec_nanos() > 0);
    delay.as_secs().saturating_add(up).max(1)
}

/// Reads the rest of a body that is of no use, for a while.
///
/// A client of HTTP/1.1 that is still sending when the connection is closed is reset, and may lose
/// the answer that says why. HTTP/2 can answer and end one stream. A client that waits for `100
/// Continue` has not sent anything.
fn discard(head: &Parts, mut body: Incoming) {
    const MAX_BYTES: usize = 16 * 1024 * 1024;
    const MAX_TIME: Duration = Duration::from_secs(5);

    if head.version >= Version::HTTP_2 || body.is_end_stream() || head.headers.contains_key(EXPECT)
    {
        return;
    }
    tokio::spawn(time::timeout(MAX_TIME, async move {
        let mut left = MAX_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            match left.checked_sub(data.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        for (delay, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (2000, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(delay)), seconds);
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}
