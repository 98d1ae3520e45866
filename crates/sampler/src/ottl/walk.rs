//! Single fields of a message, found without reading the others.
//!
//! A condition asks for a name or an attribute of each of a great many spans: what it does not ask
//! for costs its key and its length.

use teleflow_otlp::value::AnyValue;

use crate::wire;

/// How values are laid out.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;

/// A field, and what comes after it.
struct Field<'a> {
    number: u32,
    layout: u8,
    /// The value's bytes, without its length.
    value: &'a [u8],
    rest: &'a [u8],
}

/// The first field.
#[inline]
fn first(message: &[u8]) -> Option<Field<'_>> {
    let &[key, next, ..] = message else { return None };
    let number = u32::from(key >> 3);
    // Key and length take a byte each: nearly always.
    let (layout, (value, rest)) = match key & 0x87 {
        LEN if next < 0x80 => (LEN, message[2..].split_at_checked(next.into())?),
        VARINT if next < 0x80 => (VARINT, message[1..].split_at(1)),
        FIXED64 => (FIXED64, message[1..].split_at_checked(8)?),
        _ => return odd(message),
    };
    Some(Field { number, layout, value, rest })
}

/// The first field, of any shape.
fn odd(message: &[u8]) -> Option<Field<'_>> {
    let field = wire::fields(message).next()?;
    let layout = field.whole.first()? & 7;
    let value = if layout == LEN {
        field.content
    } else {
        let key = field.whole.iter().take_while(|byte| **byte >= 0x80).count();
        field.whole.get(key + 1..)?
    };
    Some(Field { number: field.number, layout, value, rest: &message[field.whole.len()..] })
}

/// The values of all fields of this number that are laid out like this.
fn values(message: &[u8], number: u8, layout: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = message;
    std::iter::from_fn(move || {
        loop {
            let field = first(rest)?;
            rest = field.rest;
            if field.number == u32::from(number) && field.layout == layout {
                return Some(field.value);
            }
        }
    })
}

/// The last text in fields of this number; empty where there is none, or one that is no UTF-8.
pub(super) fn text(message: &[u8], number: u8) -> &str {
    values(message, number, LEN)
        .last()
        .map_or("", |text| std::str::from_utf8(text).unwrap_or_default())
}

/// The last number in fields of this number; 0 where there is none.
pub(super) fn number(message: &[u8], number: u8) -> u64 {
    values(message, number, VARINT).last().map_or(0, varint)
}

/// The value of the first attribute of this name, among those in fields of this number.
pub(super) fn attribute<'a>(message: &'a [u8], number: u8, name: &str) -> Option<AnyValue<'a>> {
    values(message, number, LEN)
        .map(pair)
        .find(|(key, _)| *key == name.as_bytes())
        .map(|(_, value)| AnyValue::read(value))
}

/// A `KeyValue`, its value still on the wire.
fn pair(pair: &[u8]) -> (&[u8], &[u8]) {
    // A key and a value and nothing else, each with a length of one byte.
    if let [0x0a, len @ 0..0x80, rest @ ..] = pair
        && let Some((key, [0x12, len @ 0..0x80, value @ ..])) = rest.split_at_checked((*len).into())
        && value.len() == usize::from(*len)
    {
        return (key, value);
    }
    let last = |number| values(pair, number, LEN).last().unwrap_or_default();
    (last(1), last(2))
}

fn varint(bytes: &[u8]) -> u64 {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
    }
    value
}

#[cfg(test)]
mod tests {
    use teleflow_testkit::mangle::mangle;
    use teleflow_testkit::telemetry::Telemetry;

    use super::*;
    use crate::SpanView;
    use prost::Message as _;

    /// Whether a request could have it.
    fn is_span(message: &[u8]) -> bool {
        let mut request = message.to_vec();
        for number in [2, 2, 1] {
            let mut outer = Vec::new();
            let open = wire::Open::new(&mut outer, number);
            outer.extend_from_slice(&request);
            open.close(&mut outer);
            request = outer;
        }
        teleflow_otlp::validate(teleflow_otlp::Signal::Traces, &request).is_ok()
    }

    #[test]
    fn single_fields_are_those_of_the_whole_span() {
        let mut telemetry = Telemetry::new(3);
        let mut rng = fastrand::Rng::with_seed(3);
        let mut found = 0;
        for _ in 0..20 {
            let request = telemetry.traces(10);
            let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            for span in scopes.flat_map(|scope| &scope.spans) {
                let whole = span.encode_to_vec();
                for round in 0..20 {
                    let message =
                        if round == 0 { whole.clone() } else { mangle(&mut rng, &whole).0 };
                    // What nobody would let in reads as far as it can be read, one way or another.
                    let is_valid = is_span(&message);
                    let view = SpanView { resource: b"", scope: b"", message: &message };
                    for pair in &span.attributes {
                        let value = attribute(&message, 9, &pair.key);
                        if is_valid {
                            let expected = view.attribute(&pair.key);
                            assert_eq!(format!("{value:?}"), format!("{expected:?}"));
                            found += u32::from(value.is_some());
                        }
                    }
                    let (name, kind) = (text(&message, 5), number(&message, 6) as i32);
                    if is_valid {
                        assert_eq!((name, kind), (view.span().name, view.span().kind));
                    }
                }
            }
        }
        assert!(found > 1000);
    }
}
