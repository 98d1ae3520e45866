//! OTLP/JSON: proto3's JSON mapping with the protocol's own exceptions.
//!
//! Trace and span ids are hexadecimal, enumerations are numbers and never names, keys are
//! lowerCamelCase, 64-bit integers are written as strings and read as either, unknown keys are
//! ignored at any depth. Both directions follow the tables that validation uses.

mod plain;
mod read;
mod reply;
mod write;

pub use plain::{write_attributes, write_string, write_value};
pub use read::{Error, to_protobuf};
pub use write::from_protobuf;

use crate::status::BAD_REQUEST;
use crate::{ExportResponse, Signal, Status};

// === impl Status ===

impl Status {
    /// Encodes it as JSON.
    pub fn to_json(&self) -> String {
        let mut out = format!("{{\"code\":{},\"message\":", self.code.number());
        write_string(&mut out, &self.message);
        if let Some(delay) = self.retry_delay {
            let nanos = delay.subsec_nanos();
            let seconds = delay.as_secs();
            out.push_str(",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",");
            out.push_str(&match nanos {
                0 => format!("\"retryDelay\":\"{seconds}s\"}}]"),
                _ => format!("\"retryDelay\":\"{seconds}.{nanos:09}s\"}}]"),
            });
        }
        if self.is_bad_request() {
            out.push_str(",\"details\":[{\"@type\":\"");
            out.push_str(BAD_REQUEST);
            out.push_str("\",\"fieldViolations\":[{\"description\":");
            write_string(&mut out, &self.message);
            out.push_str("}]}]");
        }
        out.push('}');
        out
    }
}

// === impl ExportResponse ===

impl ExportResponse {
    /// Encodes it as JSON; full success is an empty object.
    pub fn to_json(&self, signal: Signal) -> String {
        if self.is_full_success() {
            return "{}".to_owned();
        }
        let rejected = signal.rejected_key();
        let mut out = format!("{{\"partialSuccess\":{{\"{rejected}\":\"{}\"", self.rejected);
        if !self.message.is_empty() {
            out.push_str(",\"errorMessage\":");
            write_string(&mut out, &self.message);
        }
        out.push_str("}}");
        out
    }
}

// === impl Signal ===

impl Signal {
    /// What a reply calls the count of items that were refused.
    const fn rejected_key(self) -> &'static str {
        match self {
            Self::Traces => "rejectedSpans",
            Self::Metrics => "rejectedDataPoints",
            Self::Logs => "rejectedLogRecords",
        }
    }
}
