//! Short cuts for messages of the form that nearly all have: known fields in the order of their
//! numbers, with lengths of one byte where that is usual. Serializers write them so. Where a field
//! stands before its turn, the order is gone through once more.
//!
//! A message that gets to the end of one is valid, and holds no item inside. Of any other, nothing
//! is said: it goes the general way, which knows all forms and names what is wrong. Straight code
//! takes a quarter of the instructions of that, which looks each field up in a table.

use crate::{utf8, wire};

/// What is left of a message, or `None` where it is not of the usual form.
type Rest<'a> = Option<&'a [u8]>;

/// Whether this is a plain `Span`.
#[inline]
pub(super) fn span(span: &[u8]) -> bool {
    is_made_of(span, fields_of_span)
}

/// Whether `fields`, again and again, get to the end of the message.
#[inline(always)]
fn is_made_of(message: &[u8], fields: impl Fn(&[u8]) -> Rest<'_>) -> bool {
    let mut left = message;
    while !left.is_empty() {
        match fields(left) {
            Some(rest) if rest.len() < left.len() => left = rest,
            _ => return false,
        }
    }
    true
}

/// Whether this is a plain `KeyValue`: a key and a single value that is no list.
#[inline]
pub(super) fn attribute(pair: &[u8]) -> bool {
    let [0x0a, length @ 0..0x80, rest @ ..] = pair else { return false };
    let Some((key, [0x12, length, value @ ..])) = rest.split_at_checked(usize::from(*length))
    else {
        return false;
    };
    if usize::from(*length) != value.len() || *length >= 0x80 {
        return false;
    }
    match value {
        [0x0a, length, text @ ..] => {
            // All that is around the two is ASCII as well: one look is enough for most.
            usize::from(*length) == text.len()
                && (utf8::is_ascii(pair) || (utf8::is_valid(key) && utf8::is_valid(text)))
        }
        [0x10, byte] => *byte < 0x80 && utf8::is_valid(key),
        [0x18, ..] => {
            matches!(wire::varint(value, 1), Some((_, end)) if end == value.len())
                && utf8::is_valid(key)
        }
        [0x21, ..] => value.len() == 9 && utf8::is_valid(key),
        _ => false,
    }
}

#[inline]
fn fields_of_span(span: &[u8]) -> Rest<'_> {
    let rest = id::<16>(span, 0x0a)?;
    let rest = id::<8>(rest, 0x12)?;
    let rest = text(rest, 0x1a)?;
    let rest = id::<8>(rest, 0x22)?;
    let rest = text(rest, 0x2a)?;
    let rest = number(rest, 0x30)?;
    let rest = fixed(rest, 0x39)?;
    let rest = fixed(rest, 0x41)?;
    let rest = attributes(rest, 0x4a)?;
    let rest = number(rest, 0x50)?;
    let rest = messages(rest, 0x5a, event)?;
    let rest = number(rest, 0x60)?;
    let rest = messages(rest, 0x6a, link)?;
    let rest = number(rest, 0x70)?;
    let rest = messages(rest, 0x7a, status)?;
    Some(match rest {
        [0x85, 0x01, _, _, _, _, rest @ ..] => rest,
        rest => rest,
    })
}

fn event(event: &[u8]) -> Rest<'_> {
    let rest = fixed(event, 0x09)?;
    let rest = text(rest, 0x12)?;
    let rest = attributes(rest, 0x1a)?;
    number(rest, 0x20)
}

fn link(link: &[u8]) -> Rest<'_> {
    let rest = id::<16>(link, 0x0a)?;
    let rest = id::<8>(rest, 0x12)?;
    let rest = text(rest, 0x1a)?;
    let rest = attributes(rest, 0x22)?;
    let rest = number(rest, 0x28)?;
    Some(match rest {
        [0x35, _, _, _, _, rest @ ..] => rest,
        rest => rest,
    })
}

#[inline]
fn status(status: &[u8]) -> Rest<'_> {
    number(text(status, 0x12)?, 0x18)
}

/// Reads past an id of this key, if it is there.
#[inline(always)]
fn id<const LENGTH: usize>(data: &[u8], key: u8) -> Rest<'_> {
    match data {
        [first, length, rest @ ..] if *first == key && usize::from(*length) == LENGTH => {
            Some(rest.split_first_chunk::<LENGTH>()?.1)
        }
        [first, ..] if *first == key => None,
        rest => Some(rest),
    }
}

#[inline(always)]
fn text(data: &[u8], key: u8) -> Rest<'_> {
    match data {
        [first, length @ 0..0x80, rest @ ..] if *first == key => {
            let (text, rest) = rest.split_at_checked(usize::from(*length))?;
            utf8::is_valid(text).then_some(rest)
        }
        [first, ..] if *first == key => None,
        rest => Some(rest),
    }
}

#[inline(always)]
fn number(data: &[u8], key: u8) -> Rest<'_> {
    match data {
        [first, byte, rest @ ..] if *first == key && *byte < 0x80 => Some(rest),
        [first, ..] if *first == key => data.get(wire::varint(data, 1)?.1..),
        rest => Some(rest),
    }
}

#[inline(always)]
fn fixed(data: &[u8], key: u8) -> Rest<'_> {
    match data {
        [first, rest @ ..] if *first == key => Some(rest.split_first_chunk::<8>()?.1),
        rest => Some(rest),
    }
}

#[inline(always)]
fn attributes(mut data: &[u8], key: u8) -> Rest<'_> {
    while let [first, length @ 0..0x80, rest @ ..] = data
        && *first == key
    {
        let (pair, rest) = rest.split_at_checked(usize::from(*length))?;
        if !attribute(pair) {
            return None;
        }
        data = rest;
    }
    Some(data)
}

/// Reads past the messages of this key, which may be long.
#[inline(always)]
fn messages<'a>(mut data: &'a [u8], key: u8, inside: impl Fn(&[u8]) -> Rest<'_>) -> Rest<'a> {
    while let [first, ..] = data
        && *first == key
    {
        let (start, end) = wire::len(data, 1)?;
        if !is_made_of(&data[start..end], &inside) {
            return None;
        }
        data = &data[end..];
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{MAX_DEPTH, Pass};
    use super::*;
    use crate::schema;
    use crate::wire::{LEN, VARINT, put_key, put_len, put_uint};

    /// What the general way says, in which no short cut is taken for the message itself.
    fn is_valid(message: &'static schema::Message, data: &[u8]) -> bool {
        let mut pass = Pass { data, items: 0 };
        pass.message(message, 0, data.len(), MAX_DEPTH).is_ok() && pass.items == 0
    }

    fn pair(key: &str, value: &[u8]) -> Vec<u8> {
        let mut pair = Vec::new();
        put_len(&mut pair, 1, key.as_bytes());
        put_len(&mut pair, 2, value);
        pair
    }

    /// A span with everything in it.
    fn full() -> Vec<u8> {
        let text = [&[0x0a, 5][..], b"value"].concat();
        let double = [&[0x21][..], &[0xff; 8]].concat();
        let attributes = [
            pair("http.route", &text),
            pair("schön", &text),
            pair("flag", &[0x10, 1]),
            pair("size", &[0x18, 0x80, 0x80, 4]),
            pair("share", &double),
        ];
        let fixed =
            |out: &mut Vec<u8>, key: u8| out.extend_from_slice(&[key, 1, 2, 3, 4, 5, 6, 7, 0xff]);
        let (mut span, mut event, mut link) = (Vec::new(), Vec::new(), Vec::new());
        for (out, attributes_at) in [(&mut span, 9), (&mut link, 4)] {
            put_len(out, 1, &[0xf1; 16]);
            put_len(out, 2, &[0xf2; 8]);
            put_len(out, 3, b"vendor=1");
            if attributes_at == 9 {
                put_len(out, 4, &[0xf4; 8]);
                put_len(out, 5, b"/orders/{order}");
                put_uint(out, 6, 3);
                fixed(out, 0x39);
                fixed(out, 0x41);
            }
            attributes.iter().for_each(|pair| put_len(out, attributes_at, pair));
            put_uint(out, attributes_at + 1, 1000);
        }
        link.extend_from_slice(&[0x35, 1, 2, 3, 4]);
        fixed(&mut event, 0x09);
        put_len(&mut event, 2, "größer".as_bytes());
        attributes.iter().for_each(|pair| put_len(&mut event, 3, pair));
        put_uint(&mut event, 4, 7);
        put_len(&mut span, 11, &event);
        put_len(&mut span, 11, &event);
        put_uint(&mut span, 12, 1);
        put_len(&mut span, 13, &link);
        put_uint(&mut span, 14, u64::MAX);
        put_len(&mut span, 15, &[0x12, 2, b'n', b'o', 0x18, 2]);
        span.extend_from_slice(&[0x85, 0x01, 1, 0, 0, 0]);
        span
    }

    #[test]
    fn usual_spans_take_the_short_cut() {
        let full = full();
        assert!(span(&full) && is_valid(&schema::SPAN, &full));
        assert!(span(&[]));
        let least = [&[0x0a, 16][..], &[1; 16], &[0x12, 8], &[1; 8]].concat();
        assert!(span(&least));
    }

    #[test]
    fn an_unusual_or_broken_one_does_not() {
        let full = full();
        for cut in 1..full.len() {
            let start = &full[..cut];
            assert!(!span(start) || is_valid(&schema::SPAN, start), "{cut}");
        }
        let mut bad_key = Vec::new();
        put_len(&mut bad_key, 9, &[0x0a, 1, 0xff, 0x12, 3, 0x0a, 1, b'x']);
        let mut bad_text = Vec::new();
        put_len(&mut bad_text, 9, &[0x0a, 1, b'x', 0x12, 3, 0x0a, 1, 0xff]);
        let mut group = Vec::new();
        put_key(&mut group, 9, VARINT);
        let mut short_id = Vec::new();
        put_len(&mut short_id, 1, &[1; 15]);
        let mut twice = [&full[..], &full].concat();
        assert!(span(&twice) && is_valid(&schema::SPAN, &twice), "a later one replaces it");
        twice.reverse();
        let mut unknown = full;
        put_key(&mut unknown, 17, LEN);
        unknown.push(0);
        for bytes in [bad_key, bad_text, group, short_id, unknown, twice] {
            assert!(!span(&bytes), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_takes_the_short_cut_is_valid(
            changes in prop::collection::vec((0..1000_usize, any::<u8>()), 0..4),
            cut in 0..2000_usize,
        ) {
            let mut bytes = full();
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(cut.max(1));
            prop_assert!(!span(&bytes) || is_valid(&schema::SPAN, &bytes));
        }

        #[test]
        fn so_it_is_with_attributes(
            key in "\\PC{0,20}",
            value: Vec<u8>,
            at in 0..200_usize,
            byte: u8,
        ) {
            let mut bytes = pair(&key, &[&[0x0a, value.len() as u8][..], &value].concat());
            prop_assert!(!attribute(&bytes) || is_valid(&schema::KEY_VALUE, &bytes));
            let at = at % bytes.len();
            bytes[at] = byte;
            prop_assert!(!attribute(&bytes) || is_valid(&schema::KEY_VALUE, &bytes));
        }
    }
}
