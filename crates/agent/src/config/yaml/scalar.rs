//! What an unquoted scalar means: YAML 1.2's core schema, with what Go's parser adds or we refuse.
//!
//! A number with a leading zero (`010`) stays text: it is 8 to some parsers and 10 to others.
//! `yes`, `no`, `on`, `off` are text, as they are for the Collector.

use super::super::node::Value;

/// Reads a scalar that has neither quotes nor a tag.
pub(in super::super) fn resolve_plain(text: &str) -> Value {
    resolve_null(text)
        .or_else(|| resolve_bool(text))
        .or_else(|| resolve_integer(text))
        .or_else(|| resolve_float(text))
        .unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// Reads a scalar whose tag says what it is, or `None` if it is not that, or the tag is unknown.
pub(super) fn resolve_as(tag: &str, text: &str) -> Option<Value> {
    match tag {
        "null" => resolve_null(text),
        "bool" => resolve_bool(text),
        "int" => resolve_integer(text),
        "float" => resolve_float(text).or_else(|| match resolve_integer(text)? {
            Value::Integer(number) => Some(Value::Float(number as f64)),
            _ => None,
        }),
        _ => None,
    }
}

fn resolve_null(text: &str) -> Option<Value> {
    matches!(text, "" | "~" | "null" | "Null" | "NULL").then_some(Value::Null)
}

fn resolve_bool(text: &str) -> Option<Value> {
    match text {
        "true" | "True" | "TRUE" => Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => Some(Value::Bool(false)),
        _ => None,
    }
}

fn resolve_integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    if radix == 10 && digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    let number = i128::from_str_radix(&digits.replace('_', ""), radix).ok()?;
    Some(Value::Integer(if negative { -number } else { number }))
}

fn resolve_float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(Value::Float(sign * f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" if unsigned == text => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    let whole_digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let ambiguous = whole_digits > 1 && unsigned.starts_with('0');
    let starts_like_one =
        unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if ambiguous || !starts_like_one || !unsigned.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    // `parse` knows neither underscores nor hexadecimal, and words cannot get here.
    text.parse().ok().map(Value::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Value) {
        assert_eq!(resolve_plain(text), expected, "{text}");
    }

    #[test]
    fn the_core_schema_decides() {
        for text in ["", "~", "null", "NULL"] {
            check(text, Value::Null);
        }
        check("true", Value::Bool(true));
        check("False", Value::Bool(false));
        check("0", Value::Integer(0));
        check("-5", Value::Integer(-5));
        check("+5", Value::Integer(5));
        check("1_000", Value::Integer(1000));
        check("0x1F", Value::Integer(31));
        check("0o17", Value::Integer(15));
        check("0b11", Value::Integer(3));
        check("18446744073709551616", Value::Integer(1 << 64));
        check("0.5", Value::Float(0.5));
        check(".5", Value::Float(0.5));
        check("5.", Value::Float(5.0));
        check("1e3", Value::Float(1000.0));
        check("-.inf", Value::Float(f64::NEG_INFINITY));
    }

    #[test]
    fn what_is_not_in_the_schema_is_text() {
        for text in [
            "yes",
            "on",
            "No",
            "010",
            "00.5",
            "-010",
            "inf",
            "nan",
            "infinity",
            ".",
            "-",
            "+",
            "e5",
            "1m",
            "5s",
            "0x",
            "0xg",
            "_1",
            "--1",
            "+-1",
            "1.2.3",
            "::1",
            "2001-01-01",
            "é",
            "0é",
            "1,5",
            "nULL",
            "-.nan",
            "0o8",
            "0b2",
            ".e5",
            "- 5",
        ] {
            check(text, Value::Text(text.to_owned()));
        }
    }

    #[test]
    fn a_number_too_long_for_any_integer_is_a_float() {
        check(&"9".repeat(60), Value::Float(1e60));
    }

    #[test]
    fn a_tag_that_does_not_fit_its_scalar_resolves_to_nothing() {
        assert_eq!(resolve_as("int", "five"), None);
        assert_eq!(resolve_as("float", "5"), Some(Value::Float(5.0)));
        assert_eq!(resolve_as("timestamp", "2001-01-01"), None);
    }
}
