//! Writes protobuf messages in one pass, field by field.

use crate::wire::{self, FIXED32, FIXED64, LEN, VARINT};

/// Appends the fields of a message to a vector.
///
/// It knows the wire format and not OTLP: the caller gives field numbers. Defaults are left out as
/// proto3 does, except in [`message`](Self::message), whose presence says something by itself.
///
/// ```
/// use teleflow_otlp::{Signal, Writer, validate};
///
/// let mut request = Vec::new();
/// Writer::new(&mut request).message(1, |resource_spans| {
///     resource_spans.message(2, |scope_spans| {
///         scope_spans.message(2, |span| span.str(5, "GET /"));
///     });
/// });
/// assert_eq!(validate(Signal::Traces, &request), Ok(1));
/// ```
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

/// An attribute's value, to be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// Text.
    Str(&'a str),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating point number.
    Double(f64),
}

// === impl Writer ===

impl<'o> Writer<'o> {
    /// Appends to `out`.
    pub const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// A nested message, with the fields that `fill` writes.
    pub fn message(&mut self, number: u32, fill: impl FnOnce(&mut Writer<'_>)) {
        wire::put_key(self.out, number, LEN);
        let at = self.out.len();
        // One byte is room enough for the length of most; the content moves if it is not.
        self.out.push(0);
        fill(&mut Writer { out: self.out });
        let len = self.out.len() - at - 1;
        if len < 0x80 {
            self.out[at] = len as u8;
        } else {
            let mut prefix = Vec::with_capacity(10);
            wire::put_varint(&mut prefix, len as u64);
            self.out.splice(at..=at, prefix);
        }
    }

    /// A string.
    pub fn str(&mut self, number: u32, value: &str) {
        wire::put_str(self.out, number, value);
    }

    /// Bytes.
    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        if !value.is_empty() {
            wire::put_len(self.out, number, value);
        }
    }

    /// An unsigned number, an enumeration or a truth value, as a varint.
    pub fn uint(&mut self, number: u32, value: u64) {
        wire::put_uint(self.out, number, value);
    }

    /// Eight bytes: a `fixed64`.
    pub fn fixed64(&mut self, number: u32, value: u64) {
        if value != 0 {
            wire::put_key(self.out, number, FIXED64);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Four bytes: a `fixed32`.
    pub fn fixed32(&mut self, number: u32, value: u32) {
        if value != 0 {
            wire::put_key(self.out, number, FIXED32);
            self.out.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A floating point number; written also where it is zero, for a member of a `oneof` and an
    /// `optional` field say something by being there.
    pub fn double(&mut self, number: u32, value: f64) {
        wire::put_key(self.out, number, FIXED64);
        self.out.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// A whole number as an `sfixed64`; written also where it is zero.
    pub fn sfixed64(&mut self, number: u32, value: i64) {
        wire::put_key(self.out, number, FIXED64);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A `KeyValue`.
    pub fn attribute(&mut self, number: u32, key: &str, value: Scalar<'_>) {
        self.message(number, |pair| {
            pair.str(1, key);
            pair.message(2, |any| match value {
                // A member of a `oneof` is written also where it is empty.
                Scalar::Str(text) => wire::put_len(any.out, 1, text.as_bytes()),
                Scalar::Bool(value) => {
                    wire::put_key(any.out, 2, VARINT);
                    any.out.push(u8::from(value));
                }
                Scalar::Int(value) => {
                    wire::put_key(any.out, 3, VARINT);
                    wire::put_varint(any.out, value as u64);
                }
                Scalar::Double(value) => any.double(4, value),
            });
        });
    }
}

// === impl Scalar ===

impl<'a> From<&'a str> for Scalar<'a> {
    fn from(value: &'a str) -> Self {
        Self::Str(value)
    }
}

impl From<i64> for Scalar<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Scalar<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Scalar<'_> {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}
