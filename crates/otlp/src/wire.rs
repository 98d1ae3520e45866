//! Protobuf's wire format: reading fields from a slice, writing them to a vector.

use crate::MAX_DEPTH;

/// How a field's value is laid out. Groups (3 and 4) have no variant of their own: they are read
/// past, never into.
pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const LEN: u8 = 2;
pub(crate) const GROUP_START: u8 = 3;
pub(crate) const GROUP_END: u8 = 4;
pub(crate) const FIXED32: u8 = 5;

/// Reads a varint at `pos`, with prost's rules: at most ten bytes, and the tenth at most 1.
///
/// Returns the value and the position behind it, or `None` where it is cut short or too large.
#[inline]
pub(crate) fn varint(data: &[u8], pos: usize) -> Option<(u64, usize)> {
    let first = *data.get(pos)?;
    if first < 0x80 {
        return Some((u64::from(first), pos + 1));
    }
    let second = *data.get(pos + 1)?;
    if second < 0x80 {
        return Some((u64::from(first & 0x7f) | u64::from(second) << 7, pos + 2));
    }
    long_varint(data, pos)
}

fn long_varint(data: &[u8], pos: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, &byte) in data[pos..].iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return (i < 9 || byte < 2).then_some((value, pos + i + 1));
        }
    }
    None
}

/// Reads a field's key at `pos`: the field number, the wire type and the position behind them.
#[inline]
pub(crate) fn key(data: &[u8], pos: usize) -> Option<(u32, u8, usize)> {
    let (key, pos) = varint(data, pos)?;
    let key = u32::try_from(key).ok()?;
    let (number, wire_type) = (key >> 3, (key & 7) as u8);
    (number != 0 && wire_type <= FIXED32).then_some((number, wire_type, pos))
}

/// Reads a length at `pos` and checks that so many bytes follow.
///
/// Returns the position of the first and of the one past the last.
#[inline]
pub(crate) fn len(data: &[u8], pos: usize) -> Option<(usize, usize)> {
    let (len, start) = varint(data, pos)?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    (end <= data.len()).then_some((start, end))
}

/// A field's value, as far as the wire format alone can tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Len(&'a [u8]),
    Fixed32(u32),
    /// A group: old, and never part of OTLP; kept only in the bytes around it.
    Group,
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
    /// Where the field starts (its key) and ends, in the message.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Iterates over a message's fields. On bytes that are not a message it ends early; it never
/// panics, so it may be used on bytes that nobody has validated.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    data: &'a [u8],
    pos: usize,
}

pub(crate) fn fields(data: &[u8]) -> Fields<'_> {
    Fields { data, pos: 0 }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        let start = self.pos;
        if start >= self.data.len() {
            return None;
        }
        let field = read(self.data, start);
        // A broken field ends the iteration for good.
        self.pos = field.as_ref().map_or(self.data.len(), |field| field.end);
        field
    }
}

/// Reads the field at `start`.
#[inline]
pub(crate) fn read(data: &[u8], start: usize) -> Option<Field<'_>> {
    let (number, wire_type, pos) = key(data, start)?;
    let (value, end) = match wire_type {
        VARINT => varint(data, pos).map(|(value, end)| (Value::Varint(value), end))?,
        FIXED64 => (Value::Fixed64(u64::from_le_bytes(array(data, pos)?)), pos + 8),
        LEN => len(data, pos).map(|(start, end)| (Value::Len(&data[start..end]), end))?,
        GROUP_START => (Value::Group, skip_group(data, pos, number)?),
        FIXED32 => (Value::Fixed32(u32::from_le_bytes(array(data, pos)?)), pos + 4),
        _ => return None,
    };
    Some(Field { number, value, start, end })
}

/// A field with a message in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    /// Where the field starts, and its message.
    pub(crate) start: usize,
    pub(crate) body: usize,
    /// Where both end.
    pub(crate) end: usize,
}

/// Iterates over the fields of one number that hold messages, as [`fields`] does, past all others.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a> {
    data: &'a [u8],
    pos: usize,
    number: u32,
}

/// Iterates over the fields of this number, which is below 16, that hold messages.
pub(crate) fn messages(data: &[u8], number: u32) -> Messages<'_> {
    Messages { data, pos: 0, number }
}

impl Messages<'_> {
    /// As [`next`](Self::next), whatever the fields look like.
    #[inline(never)]
    fn find(&mut self) -> Option<Message> {
        while self.pos < self.data.len() {
            let start = self.pos;
            let field = read(self.data, start);
            self.pos = field.as_ref().map_or(self.data.len(), |field| field.end);
            let field = field?;
            if let (true, Value::Len(body)) = (field.number == self.number, field.value) {
                return Some(Message { start, body: field.end - body.len(), end: field.end });
            }
        }
        None
    }
}

impl Iterator for Messages<'_> {
    type Item = Message;

    #[inline]
    fn next(&mut self) -> Option<Message> {
        loop {
            let start = self.pos;
            let Some(&[key, low, high]) = self.data.get(start..).and_then(<[u8]>::first_chunk)
            else {
                break;
            };
            // A key of one byte and a length of one or two: nearly all have that.
            if key & 0x87 != LEN || low & high & 0x80 != 0 {
                break;
            }
            let (body, len) = match low < 0x80 {
                true => (start + 2, usize::from(low)),
                false => (start + 3, usize::from(low & 0x7f) | usize::from(high) << 7),
            };
            let end = body + len;
            if end > self.data.len() {
                break;
            }
            self.pos = end;
            if u32::from(key >> 3) == self.number {
                return Some(Message { start, body, end });
            }
        }
        if self.pos < self.data.len() { self.find() } else { None }
    }
}

#[inline]
fn array<const N: usize>(data: &[u8], pos: usize) -> Option<[u8; N]> {
    data.get(pos..pos.checked_add(N)?)?.try_into().ok()
}

/// Finds the end of a group. A stack of numbers instead of recursion: depth costs no stack. Deeper
/// than [`MAX_DEPTH`] there is nothing that was validated.
fn skip_group(data: &[u8], mut pos: usize, number: u32) -> Option<usize> {
    let mut open = vec![number];
    while let Some(&innermost) = open.last() {
        let (number, wire_type, after) = key(data, pos)?;
        pos = match wire_type {
            VARINT => varint(data, after)?.1,
            FIXED64 => after.checked_add(8).filter(|&end| end <= data.len())?,
            LEN => len(data, after)?.1,
            GROUP_START if open.len() <= MAX_DEPTH as usize => {
                open.push(number);
                after
            }
            GROUP_END if number == innermost => {
                open.pop();
                after
            }
            FIXED32 => after.checked_add(4).filter(|&end| end <= data.len())?,
            _ => return None,
        };
    }
    Some(pos)
}

/// How many bytes a varint takes.
#[inline]
pub(crate) const fn varint_len(value: u64) -> usize {
    // Seven bits a byte; zero takes one.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(crate) fn put_key(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number << 3 | u32::from(wire_type)));
}

/// Writes a length-delimited field.
pub(crate) fn put_len(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_key(out, number, LEN);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Writes a varint field, or nothing where it has proto3's default, zero.
pub(crate) fn put_uint(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_key(out, number, VARINT);
        put_varint(out, value);
    }
}

/// Writes a string field, or nothing where it is empty.
pub(crate) fn put_str(out: &mut Vec<u8>, number: u32, value: &str) {
    if !value.is_empty() {
        put_len(out, number, value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_come_back_as_they_went(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(varint(&out, 0), Some((value, out.len())));
        }

        #[test]
        fn reading_any_bytes_ends_without_a_panic(data: Vec<u8>) {
            let read: usize = fields(&data).map(|field| field.end - field.start).sum();
            prop_assert!(read <= data.len());
        }
    }

    proptest! {
        #[test]
        fn messages_of_a_number_are_those_among_all_fields(
            parts in proptest::collection::vec((1u32..5, 0usize..300, any::<bool>()), 0..20),
            cut: proptest::sample::Index,
        ) {
            let mut data = Vec::new();
            for (number, len, is_message) in parts {
                match is_message {
                    true => put_len(&mut data, number, &vec![7; len]),
                    false => put_uint(&mut data, number, len as u64),
                }
            }
            let whole = data.len();
            for data in [&data[..], &data[..cut.index(whole + 1)]] {
                let all = fields(data).filter(|field| field.number == 2);
                let expected: Vec<_> = all
                    .filter_map(|field| match field.value {
                        Value::Len(body) => Some((field.start, field.end - body.len(), field.end)),
                        _ => None,
                    })
                    .collect();
                let found: Vec<_> =
                    messages(data, 2).map(|it| (it.start, it.body, it.end)).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        assert_eq!(varint(&[0xff; 11], 0), None);
        let mut largest = [0xff; 10];
        largest[9] = 1;
        assert_eq!(varint(&largest, 0), Some((u64::MAX, 10)));
        largest[9] = 2;
        assert_eq!(varint(&largest, 0), None);
    }

    #[test]
    fn a_group_is_read_past_and_a_broken_one_ends_the_message() {
        // Field 1 as a group that holds field 2 = 5, then field 3 = 7.
        let data = [0x0b, 0x10, 5, 0x0c, 0x18, 7];
        let numbers: Vec<_> = fields(&data).map(|field| field.number).collect();
        assert_eq!(numbers, [1, 3]);
        assert_eq!(fields(&data[..3]).count(), 0);
    }
}
