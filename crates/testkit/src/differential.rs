//! Our reading of any bytes against prost's.

use bytes::Bytes;
use teleflow_otlp::log::LogRecord;
use teleflow_otlp::metric::Metric;
use teleflow_otlp::span::{Span, TailFields};
use teleflow_otlp::value::Attributes;
use teleflow_otlp::{Invalid, Limits, Payload, Problem, Signal, json, split, tree, validate};

use crate::ids;
use crate::reference::Request;

/// How long a request in JSON may be.
const JSON_LIMIT: usize = 64 << 20;

/// Checks that bytes are a request to us exactly when they are one to prost whose ids have the
/// length of ids, that both count the same items, and that what is cut, and what goes through JSON,
/// is still the same. Returns the number of items of a valid request.
///
/// # Panics
///
/// If anything differs.
pub fn check(signal: Signal, bytes: &[u8]) -> Option<u64> {
    let ours = validate(signal, bytes);
    let reference = Request::decode(signal, bytes);
    let (items, reference) = match (ours, reference) {
        (Err(Invalid { problem: Problem::IdLength { .. }, .. }), Ok(_))
            if !ids::are_right(signal, bytes) =>
        {
            read_all(signal, bytes);
            return None;
        }
        (Ok(_), Ok(_)) if !ids::are_right(signal, bytes) => {
            panic!("{signal}: an id of a wrong length was taken")
        }
        (Err(_), Err(_)) => {
            // Views of what is not valid end early, and nothing worse.
            read_all(signal, bytes);
            return None;
        }
        (Ok(items), Ok(reference)) => (items, reference),
        (ours, reference) => panic!("{signal}: ours {ours:?}, prost {reference:?}"),
    };
    assert_eq!(items, reference.count(), "{signal}: {reference:?}");
    read_all(signal, bytes);

    let expected = reference.items();
    let request = Bytes::copy_from_slice(bytes);
    let limits = Limits { items: items / 3 + 1, bytes: bytes.len() / 2 + 1 };
    let mut cut = Vec::new();
    for piece in split(Payload::trusted(signal, request, items), limits, limits) {
        let bytes = piece.to_bytes();
        assert_eq!(validate(signal, &bytes), Ok(piece.items()), "a piece is a request");
        let piece = Request::decode(signal, &bytes).expect("what is valid can be decoded");
        cut.extend(piece.items());
    }
    assert!(cut == expected, "{signal}: {} items of {}", cut.len(), expected.len());
    Some(items)
}

/// Checks that a text which is a request in JSON is one in protobuf, and the same when it has come
/// back from there. Returns the number of items.
///
/// # Errors
///
/// What is wrong with a text that is no request.
///
/// # Panics
///
/// If anything differs.
pub fn check_json(signal: Signal, text: &[u8]) -> Result<u64, json::Error> {
    let (bytes, items) = json::to_protobuf(signal, text, JSON_LIMIT)?;
    assert_eq!(validate(signal, &bytes), Ok(items));
    let again = json::from_protobuf(signal, &bytes).expect("it is valid");
    let (again, items_again) =
        json::to_protobuf(signal, again.as_bytes(), JSON_LIMIT).expect("we wrote it");
    assert_eq!(items, items_again);
    // The order of fields may differ, and a NaN is not equal to itself.
    let decoded = |bytes: &[u8]| format!("{:?}", Request::decode(signal, bytes));
    assert!(decoded(&bytes) == decoded(&again), "{signal}: {}", String::from_utf8_lossy(text));
    Ok(items)
}

/// Reads everything that there is a view of.
pub fn read_all(signal: Signal, bytes: &[u8]) -> usize {
    let mut seen = 0;
    let mut attributes = |attributes: Attributes<'_>| {
        let mut text = String::new();
        json::write_attributes(&mut text, attributes);
        seen += text.len();
    };
    for group in tree::resources(bytes) {
        group.resource().for_each(|resource| attributes(Attributes::of_resource(resource)));
        for scope in group.scopes() {
            for item in scope.items() {
                match signal {
                    Signal::Traces => {
                        let span = Span::read(item.message);
                        attributes(span.attributes());
                        let _ = TailFields::read(item.message);
                    }
                    Signal::Metrics => {
                        let metric = Metric::read(item.message);
                        metric.points().for_each(|point| attributes(point.attributes()));
                    }
                    Signal::Logs => attributes(LogRecord::read(item.message).attributes()),
                }
            }
        }
    }
    seen
}
