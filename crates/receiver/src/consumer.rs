//! Where payloads go.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use teleflow_otlp::{ExportResponse, Payload};
use thiserror::Error;

/// Takes what clients send.
pub trait Consumer: Send + Sync + 'static {
    /// Takes one validated payload. The client is answered when the future ends, and told success
    /// if it is `Ok`: of all items, unless the response counts some as rejected. A payload may hold
    /// no items; one without any bytes does not get here.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the payload was not taken. The client may send it again.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped where it stands if the client leaves, or if the grace of
    /// [`Receiver::serve`](crate::Receiver::serve) is over. A payload must by then be taken or not,
    /// never in part. A panic costs the client its answer, and nobody else anything.
    fn consume(
        &self,
        payload: Payload,
    ) -> impl Future<Output = Result<ExportResponse, Refused>> + Send;
}

/// The payload was not taken, and may be sent again.
///
/// Over gRPC the client is told `UNAVAILABLE`, with `RetryInfo` if `retry_after` is there; over HTTP
/// 503, with `Retry-After` in whole seconds, rounded up and never 0.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{message}")]
pub struct Refused {
    /// What stands in the way.
    pub reason: RefusedReason,
    /// The client must not come back sooner; it is told up to half as much again, at random, so that
    /// those who were refused together do not come back together. With `None` the receiver says what
    /// it says when it has no room itself; but for [`RefusedReason::ShuttingDown`], which leaves it
    /// to the client's back-off: another process may be there at once.
    pub retry_after: Option<Duration>,
    /// For people, in English.
    pub message: Cow<'static, str>,
}

/// What kept a consumer from taking a payload.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RefusedReason {
    /// There is no room at the moment.
    Overloaded,
    /// The process is about to end; another one may answer.
    ShuttingDown,
    /// What the consumer itself depends on is not there at the moment.
    Unavailable,
}

// === impl Consumer ===

impl<C: Consumer> Consumer for Arc<C> {
    fn consume(
        &self,
        payload: Payload,
    ) -> impl Future<Output = Result<ExportResponse, Refused>> + Send {
        C::consume(self, payload)
    }
}

// === impl Refused ===

impl Refused {
    /// There is no room at the moment.
    pub const fn overloaded(retry_after: Option<Duration>) -> Self {
        let message = Cow::Borrowed("overloaded: send it again later");
        Self { reason: RefusedReason::Overloaded, retry_after, message }
    }

    /// The process is about to end.
    pub const fn shutting_down() -> Self {
        let message = Cow::Borrowed("shutting down: send it again");
        Self { reason: RefusedReason::ShuttingDown, retry_after: None, message }
    }
}
