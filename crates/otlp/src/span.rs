//! Spans read in place.

use crate::value::Attributes;
use crate::wire::{self, LEN, Value};

/// What a tail sampler needs of a span, and no more.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TailFields<'a> {
    /// 16 bytes, unless the sender broke the protocol.
    pub trace_id: &'a [u8],
    /// Whether the span names no parent: a trace's root.
    pub is_root: bool,
    /// When it started, in nanoseconds since 1970; 0 where absent.
    pub start: u64,
    /// When it ended, in nanoseconds since 1970; 0 where absent.
    pub end: u64,
    /// Its status.
    pub status: StatusCode,
    /// W3C `tracestate`, as bytes.
    pub trace_state: &'a [u8],
    /// W3C flags and whether the parent is remote.
    pub flags: u32,
}

/// A span's status.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum StatusCode {
    /// Nothing was said, or something that this version does not know.
    #[default]
    Unset,
    /// A success, said so by the application.
    Ok,
    /// A failure.
    Error,
}

/// A whole span, its parts still on the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span<'a> {
    message: &'a [u8],
    /// 16 bytes, unless the sender broke the protocol.
    pub trace_id: &'a [u8],
    /// 8 bytes, unless the sender broke the protocol.
    pub span_id: &'a [u8],
    /// Empty for a root.
    pub parent_span_id: &'a [u8],
    /// W3C `tracestate`.
    pub trace_state: &'a str,
    /// The operation.
    pub name: &'a str,
    /// `SpanKind` as the protocol numbers it.
    pub kind: i32,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// Its status.
    pub status: StatusCode,
    /// What the application says about the status.
    pub status_message: &'a str,
    /// W3C flags and whether the parent is remote.
    pub flags: u32,
}

/// Something that happened during a span.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event<'a> {
    message: &'a [u8],
    /// Nanoseconds since 1970.
    pub time: u64,
    /// What happened.
    pub name: &'a str,
}

/// A reference from a span to another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link<'a> {
    message: &'a [u8],
    /// The other span's trace.
    pub trace_id: &'a [u8],
    /// The other span.
    pub span_id: &'a [u8],
    /// W3C `tracestate`.
    pub trace_state: &'a str,
}

/// The keys of a span's times.
const START: u8 = 7 << 3 | 1;
const END: u8 = 8 << 3 | 1;

// === impl TailFields ===

impl<'a> TailFields<'a> {
    /// Reads a validated span message.
    ///
    /// Most of a span is attributes and events, which are read past: each costs its key and its
    /// length.
    #[inline]
    pub fn read(span: &'a [u8]) -> Self {
        let mut fields = Self { is_root: true, ..Self::default() };
        let mut pos = 0;
        while let Some(&[key, len]) = span.get(pos..).and_then(<[u8]>::first_chunk) {
            // A length-delimited field whose number and length take a byte each: nearly all do.
            if key & 0x87 == LEN && len < 0x80 {
                let end = pos + 2 + usize::from(len);
                let Some(value) = span.get(pos + 2..end) else { break };
                match key {
                    0x0a => fields.trace_id = value,
                    0x1a => fields.trace_state = value,
                    0x22 => fields.set_parent(value),
                    0x7a => fields.status = StatusCode::read(value, fields.status),
                    _ => {}
                }
                pos = end;
            } else if matches!(key, START | END) {
                let Some(time) = span[pos + 1..].first_chunk() else { break };
                let time = u64::from_le_bytes(*time);
                *if key == START { &mut fields.start } else { &mut fields.end } = time;
                pos += 9;
            } else {
                let Some(field) = wire::read(span, pos) else { break };
                fields.set(field);
                pos = field.end;
            }
        }
        fields
    }

    #[inline]
    fn set(&mut self, field: wire::Field<'a>) {
        match (field.number, field.value) {
            (7, Value::Fixed64(time)) => self.start = time,
            (8, Value::Fixed64(time)) => self.end = time,
            (1, Value::Len(id)) => self.trace_id = id,
            (3, Value::Len(state)) => self.trace_state = state,
            (16, Value::Fixed32(flags)) => self.flags = flags,
            (4, Value::Len(id)) => self.set_parent(id),
            (15, Value::Len(status)) => self.status = StatusCode::read(status, self.status),
            _ => {}
        }
    }

    /// A parent of zeros is none.
    fn set_parent(&mut self, id: &[u8]) {
        self.is_root = id.iter().all(|byte| *byte == 0);
    }
}

// === impl StatusCode ===

impl StatusCode {
    /// From the number that the protocol gives it.
    pub const fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }

    /// The number that the protocol gives it.
    pub const fn number(self) -> i32 {
        self as i32
    }

    fn read(status: &[u8], before: Self) -> Self {
        wire::fields(status)
            .filter_map(|field| match (field.number, field.value) {
                (3, Value::Varint(code)) => Some(Self::from_number(code as i32)),
                _ => None,
            })
            .last()
            .unwrap_or(before)
    }
}

// === impl Span ===

impl<'a> Span<'a> {
    /// Reads a validated span message.
    pub fn read(message: &'a [u8]) -> Self {
        let mut span = Self { message, ..Self::default() };
        for field in wire::fields(message) {
            match (field.number, field.value) {
                (1, Value::Len(id)) => span.trace_id = id,
                (2, Value::Len(id)) => span.span_id = id,
                (3, Value::Len(state)) => span.trace_state = text(state),
                (4, Value::Len(id)) => span.parent_span_id = id,
                (5, Value::Len(name)) => span.name = text(name),
                (6, Value::Varint(kind)) => span.kind = kind as i32,
                (7, Value::Fixed64(time)) => span.start = time,
                (8, Value::Fixed64(time)) => span.end = time,
                (15, Value::Len(status)) => {
                    span.status = StatusCode::read(status, span.status);
                    for field in wire::fields(status) {
                        if let (2, Value::Len(message)) = (field.number, field.value) {
                            span.status_message = text(message);
                        }
                    }
                }
                (16, Value::Fixed32(flags)) => span.flags = flags,
                _ => {}
            }
        }
        span
    }

    /// Its attributes.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.message, 9)
    }

    /// Its events, in the sender's order.
    pub fn events(&self) -> impl Iterator<Item = Event<'a>> + use<'a> {
        messages(self.message, 11).map(Event::read)
    }

    /// Its links, in the sender's order.
    pub fn links(&self) -> impl Iterator<Item = Link<'a>> + use<'a> {
        messages(self.message, 13).map(Link::read)
    }
}

// === impl Event ===

impl<'a> Event<'a> {
    fn read(message: &'a [u8]) -> Self {
        let mut event = Self { message, ..Self::default() };
        for field in wire::fields(message) {
            match (field.number, field.value) {
                (1, Value::Fixed64(time)) => event.time = time,
                (2, Value::Len(name)) => event.name = text(name),
                _ => {}
            }
        }
        event
    }

    /// Its attributes.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.message, 3)
    }
}

// === impl Link ===

impl<'a> Link<'a> {
    fn read(message: &'a [u8]) -> Self {
        let mut link = Self { message, ..Self::default() };
        for field in wire::fields(message) {
            match (field.number, field.value) {
                (1, Value::Len(id)) => link.trace_id = id,
                (2, Value::Len(id)) => link.span_id = id,
                (3, Value::Len(state)) => link.trace_state = text(state),
                _ => {}
            }
        }
        link
    }

    /// Its attributes.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.message, 4)
    }
}

/// The trace id of a validated span message, and nothing else of it: empty where there is none, and
/// the last where a sender repeats it.
#[inline]
pub fn trace_id(span: &[u8]) -> &[u8] {
    last(span, 1)
}

/// The last value of a length-delimited field; empty where there is none.
#[inline]
pub(crate) fn last(message: &[u8], number: u32) -> &[u8] {
    let mut found = &message[..0];
    let mut pos = 0;
    while let Some(&[key, len]) = message.get(pos..).and_then(<[u8]>::first_chunk) {
        // As in `TailFields::read`: what most fields look like first.
        if key & 0x87 == LEN && len < 0x80 {
            let end = pos + 2 + usize::from(len);
            let Some(value) = message.get(pos + 2..end) else { break };
            if u32::from(key >> 3) == number {
                found = value;
            }
            pos = end;
        } else {
            let Some(field) = wire::read(message, pos) else { break };
            if let (true, Value::Len(value)) = (field.number == number, field.value) {
                found = value;
            }
            pos = field.end;
        }
    }
    found
}

/// The messages of a repeated field.
pub(crate) fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    wire::fields(message).filter_map(move |field| match field.value {
        Value::Len(inner) if field.number == number => Some(inner),
        _ => None,
    })
}

/// Text that validation has seen; empty where nobody validated and it is not UTF-8.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
