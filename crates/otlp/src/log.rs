//! Log records read in place.

use crate::span::{last, text};
use crate::value::{AnyValue, Attributes};
use crate::wire::{self, Value};

/// A log record, its parts still on the wire.
#[derive(Clone, Debug, Default)]
pub struct LogRecord<'a> {
    message: &'a [u8],
    /// When it happened, in nanoseconds since 1970; 0 where unknown.
    pub time: u64,
    /// When it was seen, in nanoseconds since 1970.
    pub observed_time: u64,
    /// `SeverityNumber`, 1 (trace) to 24 (fatal); 0 where unknown.
    pub severity_number: i32,
    /// The source's own name of the severity.
    pub severity_text: &'a str,
    /// The record's trace, or empty.
    pub trace_id: &'a [u8],
    /// The record's span, or empty.
    pub span_id: &'a [u8],
    /// Names the kind of event, where the record is one.
    pub event_name: &'a str,
    /// W3C trace flags in the lowest eight bits.
    pub flags: u32,
    body: Option<&'a [u8]>,
}

// === impl LogRecord ===

impl<'a> LogRecord<'a> {
    /// Reads a validated log record message.
    pub fn read(message: &'a [u8]) -> Self {
        let mut record = Self { message, ..Self::default() };
        for field in wire::fields(message) {
            match (field.number, field.value) {
                (1, Value::Fixed64(time)) => record.time = time,
                (2, Value::Varint(number)) => record.severity_number = number as i32,
                (3, Value::Len(name)) => record.severity_text = text(name),
                (5, Value::Len(body)) => record.body = Some(body),
                (8, Value::Fixed32(flags)) => record.flags = flags,
                (9, Value::Len(id)) => record.trace_id = id,
                (10, Value::Len(id)) => record.span_id = id,
                (11, Value::Fixed64(time)) => record.observed_time = time,
                (12, Value::Len(name)) => record.event_name = text(name),
                _ => {}
            }
        }
        record
    }

    /// What was logged; usually text.
    pub fn body(&self) -> AnyValue<'a> {
        self.body.map_or(AnyValue::Empty, AnyValue::read)
    }

    /// Its attributes.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.message, 6)
    }
}

/// The trace id of a validated log record message, and nothing else of it: empty where there is
/// none, and the last where a sender repeats it.
#[inline]
pub fn trace_id(record: &[u8]) -> &[u8] {
    last(record, 9)
}
