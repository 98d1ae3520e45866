//! `google.rpc.Status` and its details, as far as OTLP uses them.

use prost::Message;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// A gRPC status; may be absent over HTTP.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For developers.
    #[prost(string, tag = "2")]
    pub message: String,
    /// What else is known.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// What it is: `type.googleapis.com/google.rpc.RetryInfo`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// It itself.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

// === impl Status ===

impl Status {
    /// A status with RetryInfo.
    pub fn retry_after(code: i32, message: &str, delay: std::time::Duration) -> Self {
        let delay = Duration {
            seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            nanos: delay.subsec_nanos().cast_signed(),
        };
        let detail = Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: RetryInfo { retry_delay: Some(delay) }.encode_to_vec(),
        };
        Self { code, message: message.to_owned(), details: vec![detail] }
    }

    /// Whether it has a detail of this type: `RetryInfo`, `BadRequest`.
    pub fn has(&self, detail: &str) -> bool {
        self.details.iter().any(|any| any.type_url.ends_with(&format!("google.rpc.{detail}")))
    }
}
