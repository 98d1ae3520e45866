//! Damage that knows where a request's fields are: what random bytes seldom hit.

use fastrand::Rng;

/// One field of a request, or of a message in it.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Where its key starts, and where that ends.
    key: usize,
    after_key: usize,
    /// Where its value starts, behind the length if it has one.
    value: usize,
    end: usize,
}

/// Gives one field another wire type than its own.
pub(crate) fn wrong_wire_type(rng: &mut Rng, request: &[u8]) -> Vec<u8> {
    let mut bytes = request.to_vec();
    if let Some(field) = rng.choice(fields(request)) {
        bytes[field.key] = (bytes[field.key] & !7) | ((bytes[field.key] + rng.u8(1..8)) & 7);
    }
    bytes
}

/// Lets the length of one field say something else.
pub(crate) fn lying_length(rng: &mut Rng, request: &[u8]) -> Vec<u8> {
    let mut bytes = request.to_vec();
    let sized: Vec<_> = fields(request).into_iter().filter(|f| f.value > f.after_key).collect();
    let Some(field) = rng.choice(sized) else { return bytes };
    let len = (field.end - field.value) as u64;
    let lie = match rng.u8(..6) {
        0 => varint(len + rng.u64(1..4)),
        1 => varint(len.saturating_sub(rng.u64(1..4))),
        2 => varint(u64::from(rng.u32(..))),
        3 => varint(u64::MAX - rng.u64(..16)),
        // More than 64 bits.
        4 => vec![0xff; 11],
        // The truth, in more bytes than it takes: prost has nothing against it.
        _ => {
            let mut long = varint(len);
            if let Some(last) = long.last_mut() {
                *last |= 0x80;
            }
            long.extend([0x80; 2]);
            long.push(0);
            long
        }
    };
    bytes.splice(field.after_key..field.value, lie);
    bytes
}

/// Puts what is not UTF-8 in the place of some text.
pub(crate) fn invalid_utf8(rng: &mut Rng, request: &[u8]) -> Vec<u8> {
    // A byte of no character, an overlong zero, half a surrogate pair, a character too many, and
    // half a character.
    const WRONG: [&[u8]; 5] =
        [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"];
    let wrong = WRONG[rng.usize(..WRONG.len())];
    let mut bytes = request.to_vec();
    let is_text = |part: &[u8]| part.iter().all(u8::is_ascii_alphanumeric);
    let places = (0..bytes.len().saturating_sub(4)).filter(|&at| is_text(&bytes[at..at + 4]));
    if let Some(at) = rng.choice(places.collect::<Vec<_>>()) {
        bytes[at..at + wrong.len()].copy_from_slice(wrong);
    }
    bytes
}

/// Groups of a number that the protocol does not know, in each other; not all closed at times.
pub(crate) fn nested_groups(rng: &mut Rng, depth: usize) -> Vec<u8> {
    const START: [u8; 2] = [0xa3, 0x06];
    const END: [u8; 2] = [0xa4, 0x06];
    let open = if rng.u8(..4) == 0 { 1 } else { 0 };
    [START.repeat(depth), END.repeat(depth - open)].concat()
}

/// All fields, those in messages included. What can be read as a message is taken for one.
fn fields(request: &[u8]) -> Vec<Field> {
    let mut all = Vec::new();
    // A request that is no message has no fields to damage.
    _ = walk(request, 0, request.len(), &mut all);
    all
}

fn walk(request: &[u8], mut at: usize, end: usize, all: &mut Vec<Field>) -> Option<()> {
    let before = all.len();
    while at < end {
        let (key, after_key) = read_varint(request, at)?;
        let (value, to) = match key & 7 {
            0 => (after_key, read_varint(request, after_key)?.1),
            1 => (after_key, after_key + 8),
            2 => {
                let (len, value) = read_varint(request, after_key)?;
                (value, value.checked_add(usize::try_from(len).ok()?)?)
            }
            5 => (after_key, after_key + 4),
            _ => (end, usize::MAX),
        };
        if to > end || key < 8 {
            all.truncate(before);
            return None;
        }
        all.push(Field { key: at, after_key, value, end: to });
        if key & 7 == 2 {
            // Text and bytes that happen to read as fields do no harm: prost is asked anyway.
            _ = walk(request, value, to, all);
        }
        at = to;
    }
    Some(())
}

fn read_varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.get(at..)?.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, at + i + 1));
        }
    }
    None
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}
