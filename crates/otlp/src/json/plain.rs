//! Attributes as plain JSON: what people and query languages expect, not the wire's `AnyValue`.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::value::{AnyValue, Attributes};

/// Appends an object with one entry an attribute.
///
/// Whole numbers are written in full, bytes in base64; numbers that JSON cannot write (NaN and the
/// infinities) as strings. Where a key repeats, so does its entry.
pub fn write_attributes(out: &mut String, attributes: Attributes<'_>) {
    out.push('{');
    for (i, (key, value)) in attributes.enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(out, key);
        out.push(':');
        write_value(out, value);
    }
    out.push('}');
}

/// Appends one value.
pub fn write_value(out: &mut String, value: AnyValue<'_>) {
    match value {
        AnyValue::Empty => out.push_str("null"),
        AnyValue::String(text) => write_string(out, text),
        AnyValue::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        AnyValue::Int(value) => {
            let _ = write!(out, "{value}");
        }
        AnyValue::Double(value) => write_double(out, value),
        AnyValue::Array(values) => {
            out.push('[');
            for (i, value) in values.enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(out, value);
            }
            out.push(']');
        }
        AnyValue::Map(values) => write_attributes(out, values),
        AnyValue::Bytes(bytes) => {
            out.push('"');
            BASE64_STANDARD.encode_string(bytes, out);
            out.push('"');
        }
    }
}

/// Appends a number; the three that JSON cannot write become strings, as proto3 prescribes.
pub(crate) fn write_double(out: &mut String, value: f64) {
    let _ = match value {
        _ if value.is_nan() => write!(out, "\"NaN\""),
        f64::INFINITY => write!(out, "\"Infinity\""),
        f64::NEG_INFINITY => write!(out, "\"-Infinity\""),
        // Rust's shortest form that reads back as the same number, in exponent form where large.
        _ if value.abs() >= 1e17 || (value != 0.0 && value.abs() < 1e-7) => {
            write!(out, "{value:e}")
        }
        _ => write!(out, "{value}"),
    };
}

/// Appends a JSON string, quotes and escapes included.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &str = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 | 0x7f => "",
            _ => continue,
        };
        out.push_str(&text[clean..at]);
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
        clean = at + 1;
    }
    out.push_str(&text[clean..]);
    out.push('"');
}
