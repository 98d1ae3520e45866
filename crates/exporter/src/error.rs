//! Why a payload was not delivered, and whether it may be tried again.

use std::time::Duration;

use teleflow_otlp::{Code, Status, is_retryable_http};
use thiserror::Error;

/// Why a payload was not delivered.
///
/// Messages name the cause and the destination, and never hold what a server sent as its body or a
/// secret from a header.
#[derive(Debug, Error)]
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
    /// Whether the same payload may be sent again: the specification's table.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Status(status) => status.code.is_retryable(status.retry_delay.is_some()),
            Self::Http { status, .. } => is_retryable_http(*status),
            Self::Unreachable(_) | Self::Timeout(_) | Self::Transient(_) => true,
            Self::TooLarge { .. }
            | Self::BadAnswer(_)
            | Self::Permanent(_)
            | Self::Panicked
            | Self::Closed => false,
        }
    }

    /// How long the destination asks to be left alone, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(status) => status.retry_delay,
            Self::Http { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A short name for counters: the same for every cause of a kind.
    pub fn kind(&self) -> &'static str {
        match self {
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
            Self::Panicked => "panicked",
            Self::Closed => "closed",
        }
    }
}
