//! Spans that carry a number, so that a test knows each of them again.

use teleflow_otlp::{Payload, Signal, tree};

/// What a numbered span takes: key, length, and a name of eight bytes.
pub(crate) const SPAN: usize = 12;

/// A request of one resource with so large an envelope, one scope, and these spans.
pub(crate) fn numbered(numbers: impl IntoIterator<Item = u64>, envelope: usize) -> Payload {
    let mut scope = Vec::new();
    for number in numbers {
        // Span { name }: in letters, as a name is text; numbers of 32 bits.
        field(&mut scope, 2, &message(5, &letters(number)));
    }
    let mut resource = Vec::new();
    // ResourceSpans { schema_url }
    field(&mut resource, 3, &vec![b'u'; envelope]);
    field(&mut resource, 2, &scope);
    Payload::parse(Signal::Traces, message(1, &resource).into()).unwrap()
}

/// A request of one gauge with a name of so many bytes and so many points, each with a time alone.
pub(crate) fn gauge(name: usize, points: usize) -> Payload {
    // NumberDataPoint { time_unix_nano }, field 3 as a fixed64.
    let point = [&[0x0a, 9, 0x19][..], &7u64.to_le_bytes()].concat();
    let mut metric = message(1, &vec![b'n'; name]);
    field(&mut metric, 5, &point.repeat(points));
    let request = message(1, &message(2, &message(2, &metric)));
    Payload::parse(Signal::Metrics, request.into()).unwrap()
}

/// The numbers of all spans, in order.
pub(crate) fn numbers(payload: &Payload) -> Vec<u64> {
    payload
        .segments()
        .iter()
        .flat_map(|segment| tree::resources(segment))
        .flat_map(|resource| resource.scopes())
        .flat_map(|scope| scope.items())
        .map(|item| item.message[2..].iter().fold(0, |all, &b| all * 16 + u64::from(b - b'a')))
        .collect()
}

fn letters(number: u64) -> Vec<u8> {
    (0..8).rev().map(|place| b'a' + (number >> (4 * place) & 15) as u8).collect()
}

fn message(number: u32, content: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    field(&mut message, number, content);
    message
}

fn field(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    out.push((number << 3 | 2) as u8);
    let mut length = content.len();
    while length > 127 {
        out.push(length as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
}
