//! OTLP as bytes.
//!
//! A request is [validated](validate) once, in one pass that decodes nothing, and travels as a
//! [`Payload`]: counted, merged by [appending](Payload::append), cut by [`split`], and read in
//! place where something has to be known of it. Nothing here does I/O or reads a clock, and
//! prost's structs are not needed.
//!
//! ```
//! use bytes::Bytes;
//! use teleflow_otlp::{Payload, Signal, span::TailFields, tree};
//!
//! // ExportTraceServiceRequest { ResourceSpans { ScopeSpans { Span { name: "GET /" } } } }
//! let request = Bytes::from_static(b"\x0a\x0b\x12\x09\x12\x07\x2a\x05GET /");
//! let payload = Payload::parse(Signal::Traces, request)?;
//! assert_eq!(payload.items(), 1);
//!
//! for span in tree::resources(&payload.segments()[0]).flat_map(|r| r.scopes()).flat_map(|s| s.items()) {
//!     assert!(TailFields::read(span.message).is_root);
//! }
//! # Ok::<(), teleflow_otlp::Invalid>(())
//! ```
//!
//! # Features
//!
//! - `json` (default): OTLP/JSON to protobuf and back, by the protocol's rules.

#![forbid(unsafe_code)]

mod ack;
mod assemble;
mod payload;
mod response;
mod row;
mod schema;
mod signal;
mod split;
mod status;
mod utf8;
mod validate;
mod wire;
mod write;

#[cfg(feature = "json")]
pub mod json;
pub mod log;
pub mod metric;
pub mod span;
pub mod tree;
pub mod value;

pub use ack::{Ack, Answer};
pub use assemble::Assembler;
pub use payload::Payload;
pub use response::ExportResponse;
pub use row::Row;
pub use signal::Signal;
pub use split::{Limits, split};
pub use status::{Code, Status, is_retryable_http};
pub use validate::{Invalid, MAX_DEPTH, Problem, validate};
pub use write::{Scalar, Writer};

/// The most bytes of a request, compressed and after decompression: what the specification advises.
pub const DEFAULT_MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// The most bytes of a reply, compressed and after decompression: what the specification advises.
pub const DEFAULT_MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;
