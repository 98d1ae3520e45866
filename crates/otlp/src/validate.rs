//! One linear pass that tells whether bytes are an OTLP request, and how many items it holds.
//!
//! Accepts what prost accepts for the same message: known fields have the wire type of their kind
//! (numbers also packed where they repeat), strings are UTF-8, lengths add up, groups are closed,
//! and no more than [`MAX_DEPTH`] messages or groups are nested. Nothing is decoded and nothing is
//! allocated. After this, views over the same bytes need no error path.
//!
//! One rule is OTLP's own: a trace id has 16 bytes and a span id 8, as in JSON. An empty one is one
//! that is not there, which protobuf cannot tell apart; an id of zeros is invalid to those who read
//! it, but of the right length. Ids that a later one replaces have to be right, too.

mod plain;

use thiserror::Error;

use crate::schema::{self, Kind, Message};
use crate::wire::{self, FIXED32, FIXED64, GROUP_END, GROUP_START, LEN, VARINT};
use crate::{Signal, utf8};

/// How deep messages may nest, the request itself not counted. prost's limit, so that whatever
/// passes here can be decoded by it.
pub const MAX_DEPTH: u32 = 100;

/// Why bytes are not a valid request, and where.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("invalid protobuf at byte {offset} in {message}: {problem}")]
pub struct Invalid {
    /// Where the field at fault starts, in bytes from the start of the request.
    pub offset: usize,
    /// The innermost message around it.
    pub message: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a field.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Problem {
    /// The request was cut short, or a length lies.
    #[error("a length or value reaches past the end of its message")]
    Truncated,
    /// A field number of zero, an unknown wire type, or a key of more than 32 bits.
    #[error("not a field key")]
    Key,
    /// A varint of more than 64 bits.
    #[error("a number of more than 64 bits")]
    Overlong,
    /// A known field, but not laid out as the protocol says.
    #[error("field {0} has the wrong wire type")]
    WireType(u32),
    /// A string that is not UTF-8.
    #[error("field {0} is not UTF-8")]
    Utf8(u32),
    /// A trace id that has not 16 bytes, or a span id that has not 8, and is not empty.
    #[error("field {field} is an id of another length than {expected} bytes")]
    IdLength {
        /// The field's number.
        field: u32,
        /// How many bytes it has to have.
        expected: u8,
    },
    /// A group that is closed without having been opened, or by another number.
    #[error("a group is closed that is not open")]
    Group,
    /// More than [`MAX_DEPTH`] messages in each other.
    #[error("nested deeper than {MAX_DEPTH} messages")]
    TooDeep,
}

/// Checks a request of `signal` and counts its items: spans, data points or log records.
///
/// # Errors
///
/// The first thing that is wrong with the bytes, and where it is.
pub fn validate(signal: Signal, request: &[u8]) -> Result<u64, Invalid> {
    let mut pass = Pass { data: request, items: 0 };
    pass.message(schema::request(signal), 0, request.len(), MAX_DEPTH)?;
    Ok(pass.items)
}

/// What a message that takes a short cut may nest: a span its event's attribute's value.
const SHORT_CUT_DEPTH: u32 = 4;

struct Pass<'a> {
    data: &'a [u8],
    items: u64,
}

// === impl Pass ===

impl Pass<'_> {
    /// Checks the fields of one message, which takes `pos..end`; `depth` more may be nested in it.
    fn message(
        &mut self,
        message: &'static Message,
        mut pos: usize,
        end: usize,
        depth: u32,
    ) -> Result<(), Invalid> {
        // The arm of the `oneof` that holds so far, and the count before it.
        let mut arm = (0, self.items);
        while pos < end {
            let start = pos;
            let fail = |problem| Invalid { offset: start, message: message.name, problem };
            let (number, wire_type, after) = self.key(pos).map_err(fail)?;
            let Some(field) = message.field(number) else {
                pos = self.skip(number, wire_type, after, depth).map_err(fail)?;
                continue;
            };
            pos = match field.kind {
                Kind::Message(inner) => {
                    let (from, to) = self.len(number, wire_type, after, end).map_err(fail)?;
                    if depth == 0 {
                        return Err(fail(Problem::TooDeep));
                    }
                    if message.last_message_holds && !field.repeated && arm.0 != number {
                        self.items = if arm.0 == 0 { self.items } else { arm.1 };
                        arm = (number, self.items);
                    }
                    self.items += u64::from(field.item);
                    if !(depth >= SHORT_CUT_DEPTH && is_plain(inner, &self.data[from..to])) {
                        self.message(inner, from, to, depth - 1)?;
                    }
                    to
                }
                Kind::String => {
                    let (from, to) = self.len(number, wire_type, after, end).map_err(fail)?;
                    if !utf8::is_valid(&self.data[from..to]) {
                        return Err(fail(Problem::Utf8(number)));
                    }
                    to
                }
                Kind::Bytes => self.len(number, wire_type, after, end).map_err(fail)?.1,
                Kind::Id(expected) => {
                    let (from, to) = self.len(number, wire_type, after, end).map_err(fail)?;
                    if to - from != usize::from(expected) && to != from {
                        return Err(fail(Problem::IdLength { field: number, expected }));
                    }
                    to
                }
                Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => self
                    .fixed(8, FIXED64, number, wire_type, field.repeated, after)
                    .map_err(fail)?,
                Kind::Fixed32 => self
                    .fixed(4, FIXED32, number, wire_type, field.repeated, after)
                    .map_err(fail)?,
                _ => self.varints(number, wire_type, field.repeated, after).map_err(fail)?,
            };
            if pos > end {
                return Err(fail(Problem::Truncated));
            }
        }
        if pos > end {
            return Err(Invalid {
                offset: end,
                message: message.name,
                problem: Problem::Truncated,
            });
        }
        Ok(())
    }

    #[inline]
    fn key(&self, pos: usize) -> Result<(u32, u8, usize), Problem> {
        match wire::key(self.data, pos) {
            Some(key) => Ok(key),
            None => Err(self.varint(pos).err().unwrap_or(Problem::Key)),
        }
    }

    #[inline]
    fn varint(&self, pos: usize) -> Result<usize, Problem> {
        match wire::varint(self.data, pos) {
            Some((_, end)) => Ok(end),
            None if self.data.len() - pos < 10 => Err(Problem::Truncated),
            None => Err(Problem::Overlong),
        }
    }

    /// A length-delimited value that ends within `limit`.
    #[inline]
    fn len(
        &self,
        number: u32,
        wire_type: u8,
        pos: usize,
        limit: usize,
    ) -> Result<(usize, usize), Problem> {
        if wire_type != LEN {
            return Err(Problem::WireType(number));
        }
        wire::len(self.data, pos).filter(|&(_, end)| end <= limit).ok_or(Problem::Truncated)
    }

    #[inline]
    fn fixed(
        &self,
        size: usize,
        expected: u8,
        number: u32,
        wire_type: u8,
        repeated: bool,
        pos: usize,
    ) -> Result<usize, Problem> {
        if wire_type == expected {
            return self.advance(pos, size);
        }
        if !repeated || wire_type != LEN {
            return Err(Problem::WireType(number));
        }
        let (start, end) = wire::len(self.data, pos).ok_or(Problem::Truncated)?;
        if (end - start) % size != 0 {
            return Err(Problem::Truncated);
        }
        Ok(end)
    }

    #[inline]
    fn varints(
        &self,
        number: u32,
        wire_type: u8,
        repeated: bool,
        pos: usize,
    ) -> Result<usize, Problem> {
        if wire_type == VARINT {
            return self.varint(pos);
        }
        if !repeated || wire_type != LEN {
            return Err(Problem::WireType(number));
        }
        let (mut at, end) = wire::len(self.data, pos).ok_or(Problem::Truncated)?;
        while at < end {
            at = self.varint(at)?;
        }
        if at == end { Ok(end) } else { Err(Problem::Truncated) }
    }

    #[inline]
    fn advance(&self, pos: usize, by: usize) -> Result<usize, Problem> {
        if self.data.len() - pos < by { Err(Problem::Truncated) } else { Ok(pos + by) }
    }

    /// Reads past a field that the protocol does not know.
    #[cold]
    fn skip(&self, number: u32, wire_type: u8, pos: usize, depth: u32) -> Result<usize, Problem> {
        // prost spends its depth on unknown fields too, whatever they hold.
        if depth == 0 {
            return Err(Problem::TooDeep);
        }
        match wire_type {
            VARINT => self.varint(pos),
            FIXED64 => self.advance(pos, 8),
            FIXED32 => self.advance(pos, 4),
            LEN => wire::len(self.data, pos).map(|(_, end)| end).ok_or(Problem::Truncated),
            GROUP_START => {
                let mut pos = pos;
                loop {
                    let (inner, wire_type, after) = self.key(pos)?;
                    if wire_type == GROUP_END {
                        return if inner == number { Ok(after) } else { Err(Problem::Group) };
                    }
                    pos = self.skip(inner, wire_type, after, depth - 1)?;
                }
            }
            _ => Err(Problem::Group),
        }
    }
}

/// Whether there is a short cut for this message, and it is of the form for that.
#[inline]
fn is_plain(message: &'static Message, data: &[u8]) -> bool {
    match message {
        _ if std::ptr::eq(message, &raw const schema::KEY_VALUE) => plain::attribute(data),
        _ if std::ptr::eq(message, &raw const schema::SPAN) => plain::span(data),
        _ => false,
    }
}
