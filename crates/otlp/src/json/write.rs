//! Protobuf to OTLP/JSON.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::plain::{write_double, write_string};
use crate::schema::{self, Field, Kind, Message};
use crate::span::text;
use crate::wire::{self, Value};
use crate::{Signal, validate};

/// Writes a request as OTLP/JSON. Fields that the protocol does not know have no name and are left
/// out; so are absent fields.
///
/// # Errors
///
/// If the bytes are not a valid request of `signal`.
pub fn from_protobuf(signal: Signal, request: &[u8]) -> Result<String, crate::Invalid> {
    validate(signal, request)?;
    let mut out = String::with_capacity(request.len() * 2);
    message(&mut out, schema::request(signal), request);
    Ok(out)
}

/// Recursion is safe: validation has bounded the depth.
fn message(out: &mut String, table: &'static Message, data: &[u8]) {
    out.push('{');
    let mut first = true;
    for (i, field) in table.fields.iter().enumerate() {
        let number = i as u32 + 1;
        let mut found = wire::fields(data).filter(|f| f.number == number).peekable();
        if found.peek().is_none() || matches!(field.kind, Kind::Unknown) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        let _ = write!(out, "\"{}\":", field.name);
        if field.repeated {
            out.push('[');
            let mut first = true;
            for value in found {
                each(field, value.value, |value| {
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                    scalar(out, field.kind, value);
                });
            }
            out.push(']');
        } else if let Kind::Message(inner) = field.kind {
            // A message that comes twice counts as merged: the bytes of one behind the other.
            let mut merged = Vec::new();
            let mut parts = found.filter_map(|field| match field.value {
                Value::Len(part) => Some(part),
                _ => None,
            });
            let only = parts.next().unwrap_or_default();
            match parts.next() {
                None => message(out, inner, only),
                Some(second) => {
                    merged.extend_from_slice(only);
                    merged.extend_from_slice(second);
                    parts.for_each(|part| merged.extend_from_slice(part));
                    message(out, inner, &merged);
                }
            }
        } else if let Some(last) = found.last() {
            scalar(out, field.kind, last.value);
        }
    }
    out.push('}');
}

/// Calls `emit` for each value of a repeated field's occurrence: several where it is packed.
fn each<'a>(field: &Field, value: Value<'a>, mut emit: impl FnMut(Value<'a>)) {
    let Value::Len(packed) = value else { return emit(value) };
    match field.kind {
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => packed
            .as_chunks::<8>()
            .0
            .iter()
            .for_each(|bytes| emit(Value::Fixed64(u64::from_le_bytes(*bytes)))),
        Kind::Fixed32 => packed
            .as_chunks::<4>()
            .0
            .iter()
            .for_each(|bytes| emit(Value::Fixed32(u32::from_le_bytes(*bytes)))),
        Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Message(_) | Kind::Unknown => emit(value),
        _ => {
            let mut pos = 0;
            while let Some((value, end)) = wire::varint(packed, pos) {
                emit(Value::Varint(value));
                pos = end;
            }
        }
    }
}

fn scalar(out: &mut String, kind: Kind, value: Value<'_>) {
    let _ = match (kind, value) {
        (Kind::Bool, Value::Varint(bits)) => write!(out, "{}", bits != 0),
        (Kind::Int32 | Kind::Enum, Value::Varint(bits)) => write!(out, "{}", bits as i32),
        (Kind::Uint32, Value::Varint(bits)) => write!(out, "{}", bits as u32),
        (Kind::Sint32, Value::Varint(bits)) => {
            let bits = bits as u32;
            write!(out, "{}", (bits >> 1) as i32 ^ -((bits & 1) as i32))
        }
        (Kind::Int64, Value::Varint(bits)) => write!(out, "\"{}\"", bits as i64),
        (Kind::Uint64, Value::Varint(bits)) => write!(out, "\"{bits}\""),
        (Kind::Fixed64, Value::Fixed64(bits)) => write!(out, "\"{bits}\""),
        (Kind::Sfixed64, Value::Fixed64(bits)) => write!(out, "\"{}\"", bits as i64),
        (Kind::Fixed32, Value::Fixed32(bits)) => write!(out, "{bits}"),
        (Kind::Double, Value::Fixed64(bits)) => {
            write_double(out, f64::from_bits(bits));
            Ok(())
        }
        (Kind::String, Value::Len(bytes)) => {
            write_string(out, text(bytes));
            Ok(())
        }
        (Kind::Bytes, Value::Len(bytes)) => {
            out.push('"');
            BASE64_STANDARD.encode_string(bytes, out);
            out.write_char('"')
        }
        (Kind::Id(_), Value::Len(bytes)) => {
            out.push('"');
            bytes.iter().for_each(|byte| {
                let _ = write!(out, "{byte:02x}");
            });
            out.write_char('"')
        }
        (Kind::Message(inner), Value::Len(data)) => {
            message(out, inner, data);
            Ok(())
        }
        _ => out.write_str("null"),
    };
}
