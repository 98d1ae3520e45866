//! Fields of a message, each with its bytes, for messages that are written anew with a field more or
//! less.

/// A field. The fields of a message end to end are the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// 0 for a rest that cannot be read: validated messages have none.
    pub(crate) number: u32,
    /// Key and value.
    pub(crate) whole: &'a [u8],
    /// What a length-delimited field holds; else nothing.
    pub(crate) content: &'a [u8],
}

/// Iterates over the fields.
pub(crate) fn fields(mut message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        let (number, content, end) = read(message).unwrap_or((0, &[], message.len()));
        let (whole, rest) = message.split_at(end);
        message = rest;
        Some(Field { number, whole, content })
    })
}

/// Iterates over the length-delimited fields: number and content. Most of a message is such fields,
/// and most of those take a byte for the key and one for the length.
#[inline]
pub(crate) fn contents(message: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let &[key, len] = message.get(at..)?.first_chunk()?;
            let start = at + 2;
            match key & 0x87 {
                2 if len < 0x80 => {
                    at = start + usize::from(len);
                    return Some((u32::from(key >> 3), message.get(start..at)?));
                }
                // A time, an id as a number or the flags; no look at the value is needed.
                1 => at += 9,
                5 => at += 5,
                0 if len < 0x80 => at = start,
                _ => {
                    let (number, content, end) = read(&message[at..])?;
                    at += end;
                    if key & 7 == 2 {
                        return Some((number, content));
                    }
                }
            }
        }
    })
}

/// A message whose content is being appended to a vector, as a field whose number is below 16.
#[must_use = "its length is missing until it is closed"]
#[derive(Debug)]
pub(crate) struct Open {
    /// Where the length goes.
    at: usize,
}

/// The most bytes of a length.
const LEN: usize = 10;

// === impl Open ===

impl Open {
    pub(crate) fn new(out: &mut Vec<u8>, number: u8) -> Self {
        out.push(number << 3 | 2);
        let at = out.len();
        out.extend_from_slice(&[0; LEN]);
        Self { at }
    }

    /// Writes the length, and moves the content up to it.
    pub(crate) fn close(self, out: &mut Vec<u8>) {
        let start = self.at + LEN;
        let mut len = out.len() - start;
        let mut at = self.at;
        while len >= 0x80 {
            out[at] = len as u8 | 0x80;
            len >>= 7;
            at += 1;
        }
        out[at] = len as u8;
        out.drain(at + 1..start);
    }
}

/// The first field's number and content, and where it ends.
fn read(message: &[u8]) -> Option<(u32, &[u8], usize)> {
    let (key, mut at) = varint(message, 0)?;
    let number = u32::try_from(key >> 3).ok()?;
    let mut content = &message[..0];
    match key & 7 {
        2 => {
            let (len, start) = varint(message, at)?;
            at = start.checked_add(usize::try_from(len).ok()?)?;
            content = message.get(start..at)?;
        }
        3 => {
            // Groups are old and no part of the protocol, and yet may be there.
            let mut depth = 1;
            while depth > 0 {
                let (key, after) = varint(message, at)?;
                at = match key & 7 {
                    3 => {
                        depth += 1;
                        after
                    }
                    4 => {
                        depth -= 1;
                        after
                    }
                    kind => scalar(message, after, kind)?,
                };
            }
        }
        kind => at = scalar(message, at, kind)?,
    }
    Some((number, content, at))
}

/// Where a value that is no group ends.
fn scalar(message: &[u8], at: usize, kind: u64) -> Option<usize> {
    let end = match kind {
        0 => return Some(varint(message, at)?.1),
        1 => at.checked_add(8)?,
        2 => {
            let (len, start) = varint(message, at)?;
            start.checked_add(usize::try_from(len).ok()?)?
        }
        5 => at.checked_add(4)?,
        _ => return None,
    };
    (end <= message.len()).then_some(end)
}

fn varint(message: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, &byte) in message.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((value, at + index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_the_fields_that_have_some() {
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..20_000 {
            let mut message = Vec::new();
            for _ in 0..rng.usize(..6) {
                let number = [1, 3, 9, 15, 16, 100][rng.usize(..6)];
                let put = |value: u64, out: &mut Vec<u8>| {
                    let mut value = value;
                    while value >= 0x80 {
                        out.push(value as u8 | 0x80);
                        value >>= 7;
                    }
                    out.push(value as u8);
                };
                match rng.u64(..5) {
                    0 => {
                        put(number << 3, &mut message);
                        put(rng.u64(..) >> rng.u32(..64), &mut message);
                    }
                    1 => {
                        put(number << 3 | 1, &mut message);
                        message.extend(rng.u64(..).to_le_bytes());
                    }
                    2 => {
                        put(number << 3 | 5, &mut message);
                        message.extend(rng.u32(..).to_le_bytes());
                    }
                    3 => {
                        put(number << 3 | 3, &mut message);
                        put(number << 3 | 4, &mut message);
                    }
                    _ => {
                        let len = [0, 1, 5, 127, 128, 300][rng.usize(..6)];
                        put(number << 3 | 2, &mut message);
                        put(len, &mut message);
                        message.extend((0..len).map(|_| rng.u8(..)));
                    }
                }
            }
            let length_delimited = |field: &Field<'_>| field.whole[0] & 7 == 2;
            let expected = fields(&message).filter(length_delimited);
            let expected: Vec<_> = expected.map(|field| (field.number, field.content)).collect();
            assert_eq!(contents(&message).collect::<Vec<_>>(), expected);
            // Cut short, it ends early, and is no trouble.
            message.truncate(rng.usize(..=message.len()));
            assert!(contents(&message).count() <= fields(&message).count());
        }
    }
}
