//! Requests of one size, whose spans can be told apart.

use bytes::Bytes;
use teleflow::{Payload, Signal};

/// Spans of a request.
pub(crate) const SPANS: u64 = 4;

/// Digits of a span's name, zeros in front.
const DIGITS: usize = 500;

/// About the bytes of a request.
pub(crate) const REQUEST: usize = 2030;

/// A request with the spans of these numbers: the first, and those that follow.
pub(crate) fn request(first: u64) -> Payload {
    let mut spans = Vec::new();
    for number in first..first + SPANS {
        let name = format!("{number:0DIGITS$}");
        put(&mut spans, 2, &field(5, name.as_bytes()));
    }
    let request = field(1, &field(2, &spans));
    assert_eq!(request.len(), REQUEST);
    Payload::parse(Signal::Traces, Bytes::from(request)).unwrap()
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    put(&mut field, number, bytes);
    field
}

/// A length-delimited field of protobuf, shorter than 16 KiB.
fn put(to: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    let length = bytes.len();
    to.push(number << 3 | 2);
    to.extend([length as u8 | 0x80, (length >> 7) as u8]);
    to.extend_from_slice(bytes);
}
