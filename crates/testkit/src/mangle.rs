//! Turns valid requests into broken ones.

use fastrand::Rng;

/// How bytes were broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// Cut off somewhere.
    Truncated,
    /// One to eight bits flipped.
    BitsFlipped,
    /// A run of bytes replaced by random ones.
    Overwritten,
    /// A run of bytes taken out of the middle.
    Cut,
    /// Random bytes put into the middle.
    Inserted,
    /// A field that the protocol does not know put in front: still valid.
    UnknownField,
    /// Bytes that were never a request.
    Noise,
    /// Messages nested around the limit of depth: some still valid.
    Nested,
}

/// Damages `request` in one of the ways of [`Damage`].
pub fn mangle(rng: &mut Rng, request: &[u8]) -> (Vec<u8>, Damage) {
    let mut bytes = request.to_vec();
    let len = bytes.len();
    if len < 2 {
        return (noise(rng), Damage::Noise);
    }
    let damage = match rng.u8(..16) {
        0..3 => {
            bytes.truncate(rng.usize(..len));
            Damage::Truncated
        }
        3..7 => {
            for _ in 0..rng.usize(1..=8) {
                bytes[rng.usize(..len)] ^= 1 << rng.u8(..8);
            }
            Damage::BitsFlipped
        }
        7..9 => {
            let start = rng.usize(..len);
            let end = len.min(start + rng.usize(1..16));
            rng.fill(&mut bytes[start..end]);
            Damage::Overwritten
        }
        9..11 => {
            let start = rng.usize(..len);
            bytes.drain(start..len.min(start + rng.usize(1..16)));
            Damage::Cut
        }
        11..13 => {
            let mut extra = vec![0; rng.usize(1..16)];
            rng.fill(&mut extra);
            let at = rng.usize(..len);
            bytes.splice(at..at, extra);
            Damage::Inserted
        }
        13 => {
            bytes.splice(0..0, unknown_field(rng));
            Damage::UnknownField
        }
        14 => {
            bytes = nested_value(rng.usize(80..120));
            Damage::Nested
        }
        _ => {
            bytes = noise(rng);
            Damage::Noise
        }
    };
    (bytes, damage)
}

/// A field of a number that OTLP does not use, of any wire type, groups included.
pub fn unknown_field(rng: &mut Rng) -> Vec<u8> {
    let number = rng.u32(100..1000);
    let mut out = Vec::new();
    match rng.u8(..5) {
        0 => {
            varint(&mut out, u64::from(number << 3));
            varint(&mut out, rng.u64(..));
        }
        1 => {
            varint(&mut out, u64::from(number << 3 | 1));
            out.extend_from_slice(&rng.u64(..).to_le_bytes());
        }
        2 => {
            varint(&mut out, u64::from(number << 3 | 2));
            let len = rng.usize(..20);
            varint(&mut out, len as u64);
            out.extend((0..len).map(|_| rng.u8(..)));
        }
        3 => {
            varint(&mut out, u64::from(number << 3 | 3));
            out.extend_from_slice(&[0x08, 0x01]);
            varint(&mut out, u64::from(number << 3 | 4));
        }
        _ => {
            varint(&mut out, u64::from(number << 3 | 5));
            out.extend_from_slice(&rng.u32(..).to_le_bytes());
        }
    }
    out
}

/// A trace request whose resource has an attribute with `depth` arrays in each other, each of two
/// messages. Any depth will do: it takes time in proportion.
pub fn nested_value(depth: usize) -> Vec<u8> {
    // From the inside out, backwards, as each length depends on what is within.
    let mut reversed = vec![b'x', 0x01, 0x0a];
    let mut wrap = |key: u8| {
        let mut head = vec![key];
        varint(&mut head, reversed.len() as u64);
        reversed.extend(head.iter().rev());
    };
    // AnyValue { string_value: "x" }, then AnyValue { array_value { values } } around it.
    for _ in 0..depth / 2 {
        [0x0a, 0x2a].into_iter().for_each(&mut wrap);
    }
    // KeyValue { value }, Resource { attributes }, ResourceSpans { resource }, and the request.
    [0x12, 0x0a, 0x0a, 0x0a].into_iter().for_each(&mut wrap);
    reversed.reverse();
    reversed
}

fn noise(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
