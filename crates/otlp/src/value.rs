//! Attributes and their values, read in place.

use crate::MAX_DEPTH;
use crate::span::text;
use crate::wire::{self, Value};

/// Iterates over the attributes of a message: key and value.
///
/// Keys may repeat: what that means is up to the reader (the protocol forbids it).
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    fields: wire::Fields<'a>,
    number: u32,
    depth: u32,
}

/// An attribute's value or a log's body.
#[derive(Clone, Debug)]
pub enum AnyValue<'a> {
    /// Nothing, or a kind that this version does not know.
    Empty,
    /// Text.
    String(&'a str),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Values in order.
    Array(Array<'a>),
    /// Named values.
    Map(Attributes<'a>),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// Iterates over the values of an array.
#[derive(Clone, Debug)]
pub struct Array<'a> {
    fields: wire::Fields<'a>,
    depth: u32,
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    /// The attributes in field `number` of `message`.
    pub(crate) fn of(message: &'a [u8], number: u32) -> Self {
        Self { fields: wire::fields(message), number, depth: MAX_DEPTH }
    }

    /// The attributes of a `Resource`.
    pub fn of_resource(resource: &'a [u8]) -> Self {
        Self::of(resource, 1)
    }

    /// The attributes of an `InstrumentationScope`.
    pub fn of_scope(scope: &'a [u8]) -> Self {
        Self::of(scope, 3)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, AnyValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let Self { fields, number, depth } = self;
        fields.find_map(|field| match field.value {
            Value::Len(pair) if field.number == *number => Some(key_value(pair, *depth)),
            _ => None,
        })
    }
}

// === impl Array ===

impl<'a> Iterator for Array<'a> {
    type Item = AnyValue<'a>;

    fn next(&mut self) -> Option<AnyValue<'a>> {
        let depth = self.depth;
        self.fields.find_map(|field| match field.value {
            Value::Len(value) if field.number == 1 => Some(AnyValue::nested(value, depth)),
            _ => None,
        })
    }
}

// === impl AnyValue ===

impl<'a> AnyValue<'a> {
    /// Reads an `AnyValue` message.
    pub fn read(message: &'a [u8]) -> Self {
        Self::nested(message, MAX_DEPTH)
    }

    /// Values nested deeper than validation lets pass read as empty, so that a reader may recurse
    /// on whatever it gets.
    fn nested(message: &'a [u8], depth: u32) -> Self {
        let Some(depth) = depth.checked_sub(1) else { return Self::Empty };
        let mut value = AnyValue::Empty;
        for field in wire::fields(message) {
            value = match (field.number, field.value) {
                (1, Value::Len(bytes)) => Self::String(text(bytes)),
                (2, Value::Varint(bits)) => Self::Bool(bits != 0),
                (3, Value::Varint(bits)) => Self::Int(bits as i64),
                (4, Value::Fixed64(bits)) => Self::Double(f64::from_bits(bits)),
                (5, Value::Len(array)) => Self::Array(Array { fields: wire::fields(array), depth }),
                (6, Value::Len(list)) => {
                    Self::Map(Attributes { fields: wire::fields(list), number: 1, depth })
                }
                (7, Value::Len(bytes)) => Self::Bytes(bytes),
                _ => value,
            };
        }
        value
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

fn key_value(pair: &[u8], depth: u32) -> (&str, AnyValue<'_>) {
    let mut found = ("", AnyValue::Empty);
    for field in wire::fields(pair) {
        match (field.number, field.value) {
            (1, Value::Len(key)) => found.0 = text(key),
            (2, Value::Len(value)) => found.1 = AnyValue::nested(value, depth),
            _ => {}
        }
    }
    found
}
