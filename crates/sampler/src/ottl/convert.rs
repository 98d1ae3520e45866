//! Values as other kinds of values, as the Collector converts them.

use std::borrow::Cow;
use std::fmt::Write as _;

use teleflow_otlp::value::AnyValue;

use super::error::Problem;
use super::value::Value;

/// The text that stands for a value; none for nil. Maps and lists are JSON.
pub(super) fn text<'a>(value: Value<'a>) -> Result<Option<Cow<'a, str>>, Problem> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Text(text) => text,
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Int(value) | Value::Duration(value) => Cow::Owned(value.to_string()),
        Value::Double(value) => {
            let mut out = String::new();
            double(value, &mut out)?;
            Cow::Owned(out)
        }
        Value::Bytes(bytes) => Cow::Owned(hex(bytes)),
        Value::Map(map) => {
            let mut out = String::new();
            json(AnyValue::Map(map), &mut out)?;
            Cow::Owned(out)
        }
        Value::List(list) => {
            let mut out = String::new();
            json(AnyValue::Array(list), &mut out)?;
            Cow::Owned(out)
        }
        other => return Err(Problem::NoText(other.kind())),
    }))
}

/// The text that stands for a value in a list of the span's: other than elsewhere bytes are in base
/// 64, and nil is nothing.
pub(super) fn item_text(value: AnyValue<'_>) -> Result<Cow<'_, str>, Problem> {
    match value {
        AnyValue::Empty => Ok(Cow::Borrowed("")),
        AnyValue::Bytes(bytes) => {
            let mut out = String::new();
            base64(bytes, &mut out);
            Ok(Cow::Owned(out))
        }
        // There are two ways to write numbers here, and only one of them is ours.
        AnyValue::Map(_) => Err(Problem::NoText("a map in a list")),
        AnyValue::Array(_) => Err(Problem::NoText("a list in a list")),
        AnyValue::Double(value) => {
            let mut out = String::new();
            double(value, &mut out)?;
            Ok(Cow::Owned(out.replace("e-0", "e-")))
        }
        other => Ok(text(other.into())?.unwrap_or_default()),
    }
}

/// Hexadecimal digits, in lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string never fails.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// What hexadecimal digits stand for, if they are so many bytes and nothing else.
pub(super) fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(out)
}

/// As a whole number; none for nil.
pub(super) fn int(value: &Value<'_>) -> Result<Option<i64>, Problem> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Int(value) => *value,
        Value::Double(value) => truncated(*value),
        Value::Bool(value) => i64::from(*value),
        Value::Text(text) => text.parse().map_err(|_| Problem::Unreadable("Int"))?,
        other => return Err(wants("Int", "a number, a truth value or a text", other)),
    }))
}

/// Without its fraction. What does not fit, or is no number, is the least of all, as on most machines
/// that the Collector runs on.
fn truncated(value: f64) -> i64 {
    const LIMIT: f64 = (1_u64 << 63) as f64;
    if (-LIMIT..LIMIT).contains(&value) { value as i64 } else { i64::MIN }
}

/// As a floating point number; none for nil.
pub(super) fn float(value: &Value<'_>) -> Result<Option<f64>, Problem> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Int(value) => *value as f64,
        Value::Double(value) => *value,
        Value::Bool(value) => f64::from(*value),
        Value::Text(text) => {
            let value: f64 = text.parse().map_err(|_| Problem::Unreadable("Double"))?;
            // Too large is an error, infinity is not.
            if value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) {
                return Err(Problem::Unreadable("Double"));
            }
            value
        }
        other => return Err(wants("Double", "a number, a truth value or a text", other)),
    }))
}

/// As a truth value; none for nil.
pub(super) fn bool(value: &Value<'_>) -> Result<Option<bool>, Problem> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Double(value) => *value != 0.0,
        Value::Text(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => return Err(Problem::Unreadable("Bool")),
        },
        other => return Err(wants("Bool", "a number, a truth value or a text", other)),
    }))
}

pub(super) const fn wants(who: &'static str, wanted: &'static str, found: &Value<'_>) -> Problem {
    Problem::Wants { who, wanted, found: found.kind() }
}

/// Each letter in the other case, where that is one letter.
pub(super) fn lower(text: &str) -> String {
    text.chars()
        .map(|char| match char {
            // The only letter whose lower case takes more than one.
            'İ' => 'i',
            _ => char.to_lowercase().next().unwrap_or(char),
        })
        .collect()
}

/// Each letter in the other case, where that is one letter.
pub(super) fn upper(text: &str) -> String {
    let one = |char: char| {
        let mut upper = char.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(upper), None) => upper,
            _ => char,
        }
    };
    text.chars().map(one).collect()
}

/// A number as JSON has it, with an exponent where it is very large or very small.
fn double(value: f64, out: &mut String) -> Result<(), Problem> {
    if !value.is_finite() {
        return Err(Problem::NoText("a number that is not finite"));
    }
    let size = value.abs();
    // Writing to a string never fails.
    let _ = if size == 0.0 || (1e-6..1e21).contains(&size) {
        write!(out, "{value}")
    } else {
        // An exponent has a sign and two digits at least.
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        write!(out, "{digits}e{sign}{exponent:0>2}")
    };
    Ok(())
}

/// As Go writes it: keys sorted, the signs of HTML escaped. Nested no deeper than the protocol's
/// reader lets values be.
fn json(value: AnyValue<'_>, out: &mut String) -> Result<(), Problem> {
    match value {
        AnyValue::Empty => out.push_str("null"),
        AnyValue::String(text) => json_text(text, out),
        AnyValue::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        AnyValue::Int(value) => {
            let _ = write!(out, "{value}");
        }
        AnyValue::Double(value) => double(value, out)?,
        AnyValue::Array(list) => {
            out.push('[');
            for (index, value) in list.enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json(value, out)?;
            }
            out.push(']');
        }
        AnyValue::Map(map) => {
            let mut entries: Vec<_> = map.collect();
            // Of a key that repeats the last counts here.
            entries.reverse();
            entries.sort_by_key(|(key, _)| *key);
            entries.dedup_by_key(|(key, _)| *key);
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json_text(key, out);
                out.push(':');
                json(value, out)?;
            }
            out.push('}');
        }
        AnyValue::Bytes([]) => out.push_str("null"),
        AnyValue::Bytes(bytes) => {
            out.push('"');
            base64(bytes, out);
            out.push('"');
        }
    }
    Ok(())
}

fn base64(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let group =
            (0..3).fold(0, |group, at| group << 8 | u32::from(*three.get(at).unwrap_or(&0)));
        for digit in 0..4 {
            // One byte takes two digits, two take three: the rest is filled up.
            let is_there = digit <= three.len();
            let index = (group >> (18 - 6 * digit) & 63) as usize;
            out.push(if is_there { char::from(DIGITS[index]) } else { '=' });
        }
    }
}

fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            _ => out.push(char),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_filled_up_to_four_digits() {
        let cases: [(&[u8], &str); 6] = [
            (b"", ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"\xff\xfe\xfd\xfc\xfb", "//79/Ps="),
        ];
        for (bytes, expected) in cases {
            let mut out = String::new();
            base64(bytes, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn letters_of_several_letters_stay() {
        assert_eq!(lower("ÄİΣ"), "äiσ");
        assert_eq!(upper("äßŉ"), "Äßŉ");
    }

    #[test]
    fn numbers_are_truncated_as_most_machines_do_it() {
        let cases = [
            (2.9, 2),
            (-2.9, -2),
            (9.3e18, i64::MIN),
            (-9.3e18, i64::MIN),
            (f64::NAN, i64::MIN),
            (-9_223_372_036_854_775_808.0, i64::MIN),
            (9_223_372_036_854_774_784.0, 9_223_372_036_854_774_784),
        ];
        for (value, expected) in cases {
            assert_eq!(truncated(value), expected, "{value}");
        }
    }
}
