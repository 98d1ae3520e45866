//! `google.rpc.Status` and what the protocol makes of each code.

use std::time::Duration;

use crate::span::text;
use crate::wire::{self, LEN, Value};

/// A gRPC status code.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(missing_docs, reason = "the names are gRPC's and documented there")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// What a server says of a request that it did not take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// What kind of failure.
    pub code: Code,
    /// For people, in English.
    pub message: String,
    /// `RetryInfo`: the request may be sent again, and not before this has passed.
    pub retry_delay: Option<Duration>,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
pub(crate) const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

// === impl Code ===

impl Code {
    /// From gRPC's number; a number that it does not have is `Unknown`, as gRPC prescribes.
    pub const fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Ok,
            1 => Self::Cancelled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => Self::Unknown,
        }
    }

    /// gRPC's number.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// Whether a client may send the same request again.
    ///
    /// `ResourceExhausted` may only where the server says when, in `RetryInfo`. From the table
    /// "Failures" of the OTLP specification 1.11.0.
    pub const fn is_retryable(self, has_retry_info: bool) -> bool {
        match self {
            Self::Cancelled
            | Self::DeadlineExceeded
            | Self::Aborted
            | Self::OutOfRange
            | Self::Unavailable
            | Self::DataLoss => true,
            Self::ResourceExhausted => has_retry_info,
            _ => false,
        }
    }

    /// The code that says the same as an HTTP status.
    pub const fn from_http(status: u16) -> Self {
        match status {
            200..=299 => Self::Ok,
            400 | 405 | 415 => Self::InvalidArgument,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            413 | 429 => Self::ResourceExhausted,
            502..=504 => Self::Unavailable,
            500..=599 => Self::Internal,
            _ => Self::Unknown,
        }
    }
}

/// Whether a client may send a request again that was answered with this HTTP status: 429, 502, 503
/// and 504, and no other.
pub const fn is_retryable_http(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

// === impl Status ===

impl Status {
    /// Creates a status that says nothing about retrying.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_delay: None }
    }

    /// Encodes it as protobuf. What is [`Code::InvalidArgument`] has a `BadRequest` in its details, as
    /// OTLP asks for, and what says when to come back a `RetryInfo`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_uint(&mut out, 1, self.code.number() as u64);
        wire::put_str(&mut out, 2, &self.message);
        if let Some(delay) = self.retry_delay {
            let mut duration = Vec::new();
            wire::put_uint(&mut duration, 1, delay.as_secs());
            wire::put_uint(&mut duration, 2, u64::from(delay.subsec_nanos()));
            let mut info = Vec::new();
            wire::put_len(&mut info, 1, &duration);
            put_detail(&mut out, RETRY_INFO, &info);
        }
        if self.is_bad_request() {
            let mut violation = Vec::new();
            wire::put_str(&mut violation, 2, &self.message);
            let mut bad_request = Vec::new();
            wire::put_len(&mut bad_request, 1, &violation);
            put_detail(&mut out, BAD_REQUEST, &bad_request);
        }
        out
    }

    /// Whether details say more than the code and the message do.
    pub fn has_details(&self) -> bool {
        self.retry_delay.is_some() || self.is_bad_request()
    }

    pub(crate) fn is_bad_request(&self) -> bool {
        // With a delay it is no such thing, whatever the code.
        self.code == Code::InvalidArgument && self.retry_delay.is_none() && !self.message.is_empty()
    }

    /// Reads a status, as far as it can be read: peers may send anything. A failure whose code is
    /// missing, or that of success, is [`Code::Unknown`].
    pub fn decode(message: &[u8]) -> Self {
        let mut status = Self::new(Code::Unknown, "");
        for field in wire::fields(message) {
            match (field.number, field.value) {
                (1, Value::Varint(code)) => {
                    let code = Code::from_number(code as i32);
                    status.code = if code == Code::Ok { Code::Unknown } else { code };
                }
                (2, Value::Len(message)) => status.message = text(message).to_owned(),
                (3, Value::Len(any)) => status.retry_delay = retry_info(any).or(status.retry_delay),
                _ => {}
            }
        }
        status
    }
}

/// Adds one of the details, an `Any`.
fn put_detail(out: &mut Vec<u8>, url: &str, message: &[u8]) {
    let mut any = Vec::new();
    wire::put_str(&mut any, 1, url);
    wire::put_len(&mut any, 2, message);
    wire::put_key(out, 3, LEN);
    wire::put_varint(out, any.len() as u64);
    out.extend_from_slice(&any);
}

/// The delay in an `Any` that holds a `RetryInfo`. A negative one counts as none at all.
fn retry_info(any: &[u8]) -> Option<Duration> {
    let mut is_retry_info = false;
    let mut info: &[u8] = &[];
    for field in wire::fields(any) {
        match (field.number, field.value) {
            (1, Value::Len(url)) => is_retry_info = text(url).ends_with("/google.rpc.RetryInfo"),
            (2, Value::Len(value)) => info = value,
            _ => {}
        }
    }
    if !is_retry_info {
        return None;
    }
    let mut delay = Duration::ZERO;
    for field in wire::fields(info) {
        let (1, Value::Len(duration)) = (field.number, field.value) else { continue };
        let (mut seconds, mut nanos) = (0, 0);
        for field in wire::fields(duration) {
            match (field.number, field.value) {
                (1, Value::Varint(value)) => seconds = value as i64,
                (2, Value::Varint(value)) => nanos = value as i32,
                _ => {}
            }
        }
        let nanos = u32::try_from(nanos).unwrap_or(0).min(999_999_999);
        delay = Duration::new(u64::try_from(seconds).unwrap_or(0), nanos);
    }
    Some(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_request_says_what_is_bad_in_its_details() {
        let status = Status::new(Code::InvalidArgument, "byte 6: \"x\"");
        let bytes = status.encode();
        let at = bytes.windows(BAD_REQUEST.len()).position(|part| part == BAD_REQUEST.as_bytes());
        // Any { value: BadRequest { field_violations: { description } } }
        let value = &bytes[at.unwrap() + BAD_REQUEST.len()..];
        assert_eq!(value[..6], [0x12, 15, 0x0a, 13, 0x12, 11]);
        assert_eq!(&value[6..], b"byte 6: \"x\"");
        assert_eq!(Status::decode(&bytes), status);
        assert!(!Status::new(Code::Unavailable, "later").has_details());
    }

    #[test]
    fn a_status_comes_back_as_it_went() {
        for retry_delay in [None, Some(Duration::from_millis(1500)), Some(Duration::ZERO)] {
            let status =
                Status { code: Code::Unavailable, message: "come back later".into(), retry_delay };
            assert_eq!(Status::decode(&status.encode()), status);
        }
    }

    #[test]
    fn only_what_the_specification_names_is_retried() {
        let retried: Vec<_> =
            (0..=16).filter(|&n| Code::from_number(n).is_retryable(false)).collect();
        assert_eq!(retried, [1, 4, 10, 11, 14, 15]);
        assert!(Code::ResourceExhausted.is_retryable(true));
        let retried: Vec<_> = (100..600).filter(|&n| is_retryable_http(n)).collect();
        assert_eq!(retried, [429, 502, 503, 504]);
    }

    #[test]
    fn a_hostile_retry_delay_is_read_without_a_panic() {
        // Seconds and nanoseconds are both negative, which a varint writes in ten bytes.
        let minus_one = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let mut duration = vec![0x08];
        duration.extend_from_slice(&minus_one);
        duration.push(0x10);
        duration.extend_from_slice(&minus_one);
        let mut info = Vec::new();
        wire::put_len(&mut info, 1, &duration);
        let mut any = Vec::new();
        wire::put_str(&mut any, 1, RETRY_INFO);
        wire::put_len(&mut any, 2, &info);
        assert_eq!(retry_info(&any), Some(Duration::ZERO));
    }
}
