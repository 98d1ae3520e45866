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

/// A trace request whose resource has an attribute with `depth` arrays in each other.
pub fn nested_value(depth: usize) -> Vec<u8> {
    // AnyValue { string_value: "x" }, then AnyValue { array_value { values } } around it.
    let mut value = vec![0x0a, 0x01, b'x'];
    for _ in 0..depth / 2 {
        value = len_field(0x2a, &len_field(0x0a, &value));
    }
    let pair = len_field(0x12, &value);
    let resource = len_field(0x0a, &pair);
    len_field(0x0a, &len_field(0x0a, &resource))
}

fn noise(rng: &mut Rng) -> Vec<u8> {
    (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect()
}

fn len_field(key: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![key];
    varint(&mut out, value.len() as u64);
    out.extend_from_slice(value);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
