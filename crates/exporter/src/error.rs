//! Why a payload was not delivered, and whether it may be tried again.

use std::time::Duration;

use teleflow_otlp::{Code, Status, is_retryable_http};
use thiserror::Error;

use crate::Undelivered;

/// Why a payload was not delivered.
///
/// Messages name the cause and the destination, and never hold what a server sent as its body or a
/// secret from a header.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The destination answered with an error over gRPC. The destination's operator can act on it,
    /// or the sender where the code says that the data is at fault.
    #[error("the destination answered {:?}: {}", .0.code, .0.message)]
    Status(Status),
    /// The destination answered with an HTTP error.
    #[error("the destination answered HTTP {status}")]
    Http {
        /// The HTTP status.
        status: u16,
        /// From `Retry-After`, where it was sent.
        retry_after: Option<Duration>,
    },
    /// No connection, or it broke before the answer: tried again.
    #[error("the destination cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time: tried again, and so the payload may arrive twice.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The request is over the limit that was set for it; it was not sent.
    #[error("the request takes {bytes} bytes, over the limit of {limit}")]
    TooLarge {
        /// The size before compression.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The answer is too long or is none. Whether the payload was taken is unknown; it is not sent
    /// again.
    #[error("the answer cannot be read: {0}")]
    BadAnswer(String),
    /// The destination will never take this payload.
    #[error("{0}")]
    Permanent(String),
    /// The destination cannot take the payload now.
    #[error("{0}")]
    Transient(String),
    /// The circuit breaker lets nothing through for now: tried again, when it says so.
    #[error("the circuit breaker is open")]
    CircuitOpen {
        /// When it lets one through, to see.
        retry_after: Duration,
    },
    /// Some of it was not delivered; the parts and their errors are in here. The whole is not sent
    /// again, but the parts may be.
    #[error("{0}")]
    Undelivered(Box<Undelivered>),
    /// Another destination of the same payload took it, and this is the worst answer of the others.
    /// Not sent again, or the other would have it twice.
    #[error("one of several destinations failed: {0}")]
    Diverged(Box<Self>),
    /// The exporter panicked, which is a defect of its own. Whether the payload was taken is
    /// unknown; it is not sent again.
    #[error("the exporter panicked")]
    Panicked,
    /// The exporter was shut down.
    #[error("the exporter is shut down")]
    Closed,
}

// === impl ExportError ===

impl ExportError {
    /// Whether the same payload may be sent again: the specification's table, but for what is
    /// [too large](Self::is_too_large).
    pub fn is_retryable(&self) -> bool {
        match self {
            _ if self.is_too_large() => false,
            Self::Status(status) => status.code.is_retryable(status.retry_delay.is_some()),
            Self::Http { status, .. } => is_retryable_http(*status),
            Self::Unreachable(_)
            | Self::Timeout(_)
            | Self::Transient(_)
            | Self::CircuitOpen { .. } => true,
            Self::TooLarge { .. }
            | Self::BadAnswer(_)
            | Self::Permanent(_)
            | Self::Undelivered(_)
            | Self::Diverged(_)
            | Self::Panicked
            | Self::Closed => false,
        }
    }

    /// Whether the payload is over a limit, ours or the destination's: in pieces, it may be sent.
    ///
    /// A server says so with 413, or with `RESOURCE_EXHAUSTED` or `OUT_OF_RANGE` (tonic's) and the
    /// words of the common implementations. With a delay in its status it means something else: that
    /// there is too much of everything.
    pub fn is_too_large(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Http { status: 413, .. } => true,
            Self::Status(status) => {
                matches!(status.code, Code::ResourceExhausted | Code::OutOfRange)
                    && status.retry_delay.is_none()
                    && speaks_of_size(&status.message)
            }
            _ => false,
        }
    }

    /// Whether the destination itself has said that it will never take the items.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Status(_) | Self::Http { .. } | Self::Permanent(_) => {
                !self.is_retryable() && !self.is_too_large()
            }
            Self::Diverged(error) => error.is_refusal(),
            _ => false,
        }
    }

    /// How long the destination asks to be left alone, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(status) => status.retry_delay,
            Self::Http { retry_after, .. } => *retry_after,
            Self::CircuitOpen { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the destination says that it has too much to do: what asks for less of everything,
    /// and not of this payload alone.
    pub fn is_overload(&self) -> bool {
        match self {
            _ if self.is_too_large() => false,
            Self::Status(status) => {
                matches!(status.code, Code::ResourceExhausted | Code::Unavailable)
            }
            Self::Http { status, .. } => matches!(status, 429 | 503),
            _ => false,
        }
    }

    /// A short name for counters: the same for every cause of a kind.
    pub fn kind(&self) -> &'static str {
        match self {
            _ if self.is_too_large() => "too_large",
            Self::Status(status) => match status.code {
                Code::Unauthenticated | Code::PermissionDenied => "unauthorized",
                Code::ResourceExhausted | Code::Unavailable => "overloaded",
                _ => "status",
            },
            Self::Http { .. } => "http",
            Self::Unreachable(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::TooLarge { .. } => "too_large",
            Self::BadAnswer(_) => "bad_answer",
            Self::Permanent(_) => "permanent",
            Self::Transient(_) => "transient",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::Undelivered(_) => "undelivered",
            Self::Diverged(error) => error.kind(),
            Self::Panicked => "panicked",
            Self::Closed => "closed",
        }
    }
}

/// Whether a server's message is about the size of one message: in the words of gRPC's C, Go, Java
/// and Rust implementations, and of ours.
fn speaks_of_size(message: &str) -> bool {
    const WORDS: [&str; 7] = [
        "message larger than max",
        "message length too large",
        "message exceeds maximum size",
        "message size exceeds",
        "message is too large",
        "request is larger than",
        "request is too large",
    ];
    let message = message.to_ascii_lowercase();
    WORDS.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code, message: &str, retry_delay: Option<Duration>) -> ExportError {
        ExportError::Status(Status { code, message: message.into(), retry_delay })
    }

    #[test]
    fn a_message_over_the_limit_is_told_from_too_much_of_everything() {
        for message in [
            "Error, decoded message length too large: found 5242880 bytes, the limit is: 4194304 bytes",
            "grpc: received message larger than max (5242880 vs. 4194304)",
            "gRPC message exceeds maximum size 4194304: 5242880",
            "SERVER: Received message larger than max (5242880 vs. 4194304)",
        ] {
            for code in [Code::ResourceExhausted, Code::OutOfRange] {
                let error = status(code, message, None);
                assert!(error.is_too_large() && !error.is_retryable(), "{error}");
                assert_eq!(error.kind(), "too_large");
                assert!(!error.is_refusal());
            }
            let later = status(Code::ResourceExhausted, message, Some(Duration::from_secs(1)));
            assert!(!later.is_too_large() && later.is_retryable());
        }
        assert!(!status(Code::ResourceExhausted, "too many requests", None).is_too_large());
        assert!(status(Code::OutOfRange, "", None).is_retryable());
        assert!(!status(Code::Internal, "message larger than max", None).is_too_large());
        let http = ExportError::Http { status: 413, retry_after: None };
        assert!(http.is_too_large() && !http.is_retryable() && !http.is_refusal());
    }
}
