//! What a client is told when its request was not taken, over either protocol.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use teleflow_otlp::{Code, Status};

use crate::Refused;

/// A request that was not taken: the answer, and how it is counted.
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    /// The status over HTTP.
    pub(crate) http: StatusCode,
    /// The status over gRPC, and the body over HTTP.
    pub(crate) status: Status,
    pub(crate) cause: Cause,
    /// The items that were read before that.
    pub(crate) items: u64,
}

/// Whose doing it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// Ours: the client may send the same again.
    Refused,
    /// The client's: the same will never be taken.
    Invalid,
    /// The client's: it may not send.
    Denied,
    /// The request did not arrive in full.
    Incomplete,
}

// === impl Rejection ===

impl Rejection {
    fn new(http: StatusCode, code: Code, message: impl Into<String>, cause: Cause) -> Self {
        Self { http, status: Status::new(code, message), cause, items: 0 }
    }

    /// The consumer did not take it.
    pub(crate) fn refused(refused: Refused) -> Self {
        let Refused { reason: _, retry_after, message } = refused;
        Self {
            http: StatusCode::SERVICE_UNAVAILABLE,
            status: Status {
                code: Code::Unavailable,
                message: message.into_owned(),
                retry_delay: retry_after,
            },
            cause: Cause::Refused,
            items: 0,
        }
    }

    /// Too much is in flight at the moment.
    pub(crate) fn over_budget(retry_after: Option<Duration>) -> Self {
        Self::refused(Refused {
            message: "too many bytes of requests in flight: send it again later".into(),
            ..Refused::overloaded(retry_after)
        })
    }

    /// The client has not shown who it is.
    pub(crate) fn unauthenticated(message: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, message, Cause::Denied)
    }

    /// Who the client is cannot be said at the moment.
    pub(crate) fn unverified(retry_after: Option<Duration>) -> Self {
        Self::refused(Refused {
            message: "credentials cannot be verified at the moment: send it again later".into(),
            ..Refused::overloaded(retry_after)
        })
    }

    /// The client may not send.
    pub(crate) fn forbidden(message: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::PermissionDenied, message, Cause::Denied)
    }

    /// The request alone is more than will ever be taken.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::ResourceExhausted,
            format!("the request is larger than {limit} bytes"),
            Cause::Invalid,
        )
    }

    /// The bytes are not what they are said to be.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidArgument, message, Cause::Invalid)
    }

    /// The headers or the path are wrong.
    pub(crate) fn http(http: StatusCode, message: impl Into<String>) -> Self {
        Self::new(http, Code::from_http(http.as_u16()), message, Cause::Invalid)
    }

    /// The protocol below was broken.
    pub(crate) fn protocol(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message, Cause::Invalid)
    }

    /// The body took too long. Not 408: a client of OTLP/HTTP would drop the data at that.
    pub(crate) fn timed_out(after: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded,
            format!("the request did not arrive in full within {after:?}"),
            Cause::Incomplete,
        )
    }

    /// The client stopped in the middle of its request.
    pub(crate) fn cut_off(error: &dyn fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Code::Cancelled,
            format!("the request did not arrive in full: {error}"),
            Cause::Incomplete,
        )
    }
}
