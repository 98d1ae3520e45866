//! Values in values: kept as deep as prost goes, refused beyond, and never the end of a stack.

use teleflow_otlp::{MAX_DEPTH, Problem, Signal, json, validate};
use teleflow_testkit::reference::Request;

/// What threads of tokio have, and what a receiver decodes on.
const STACK: usize = 2 * 1024 * 1024;

/// The `AnyValue`s in each other below an attribute of a resource, lists of lists, that are kept:
/// each takes two messages, and the request's own three and the attribute are above them.
const MOST: usize = 49;

#[derive(Clone, Copy, Debug)]
enum Of {
    Lists,
    Maps,
}

/// A request whose resource has an attribute of `depth` values in each other. From the inside out,
/// as the lengths outside depend on it.
fn nested(signal_key: u8, of: Of, depth: usize) -> Vec<u8> {
    // Written backwards: what is in front is known last.
    let mut reversed: Vec<u8> = b"\x0a\x01x".iter().rev().copied().collect();
    let wrap = |reversed: &mut Vec<u8>, key: u8| {
        let mut head = vec![key];
        prost::encoding::encode_varint(reversed.len() as u64, &mut head);
        reversed.extend(head.iter().rev());
    };
    for _ in 1..depth {
        match of {
            // AnyValue { array_value { values } }
            Of::Lists => [0x0a, 0x2a].into_iter().for_each(|key| wrap(&mut reversed, key)),
            // AnyValue { kvlist_value { values { value } } }
            Of::Maps => [0x12, 0x0a, 0x32].into_iter().for_each(|key| wrap(&mut reversed, key)),
        }
    }
    // KeyValue.value, Resource.attributes, the resource, its group.
    [0x12, 0x0a, 0x0a, signal_key].into_iter().for_each(|key| wrap(&mut reversed, key));
    reversed.reverse();
    reversed
}

fn nested_json(of: Of, depth: usize) -> String {
    let (open, close) = match of {
        Of::Lists => ("{\"arrayValue\":{\"values\":[", "]}}"),
        Of::Maps => ("{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":", "}]}}"),
    };
    format!(
        "{{\"resourceSpans\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"k\",\"value\":{}{{\"stringValue\":\"x\"}}{}}}]}}}}]}}",
        open.repeat(depth - 1),
        close.repeat(depth - 1)
    )
}

fn read(signal: Signal, text: &str) -> Result<Vec<u8>, json::Error> {
    json::to_protobuf(signal, text.as_bytes(), usize::MAX).map(|(request, _)| request)
}

/// Runs on a thread with a stack of 2 MiB.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap();
}

#[test]
fn a_value_is_kept_as_deep_as_prost_goes_and_refused_beyond() {
    on_a_small_stack(|| {
        for depth in 1..200 {
            for of in [Of::Lists, Of::Maps] {
                let request = nested(0x0a, of, depth);
                let ours = validate(Signal::Traces, &request);
                let reference = Request::decode(Signal::Traces, &request);
                assert_eq!(ours.is_ok(), reference.is_ok(), "{depth} {of:?}: {ours:?}");
                match ours {
                    // All of it is there in JSON, and again in what is made of that.
                    Ok(_) => {
                        let text = json::from_protobuf(Signal::Traces, &request).unwrap();
                        let kept = text.matches("Value\":").count();
                        assert!(kept >= depth, "{depth} {of:?}: {text}");
                        let again = read(Signal::Traces, &text).unwrap();
                        assert_eq!(again, request, "{depth} {of:?}");
                    }
                    Err(invalid) => assert_eq!(invalid.problem, Problem::TooDeep, "{depth}"),
                }
            }
        }
        // The figure that the documents name.
        assert!(validate(Signal::Traces, &nested(0x0a, Of::Lists, MOST)).is_ok());
        assert!(validate(Signal::Traces, &nested(0x0a, Of::Lists, MOST + 1)).is_err());
        assert_eq!(MAX_DEPTH, 100);
    });
}

#[test]
fn json_is_kept_and_refused_where_protobuf_is() {
    on_a_small_stack(|| {
        for depth in 1..200 {
            for of in [Of::Lists, Of::Maps] {
                let ours = read(Signal::Traces, &nested_json(of, depth));
                let reference = Request::decode(Signal::Traces, &nested(0x0a, of, depth));
                assert_eq!(ours.is_ok(), reference.is_ok(), "{depth} {of:?}: {ours:?}");
            }
        }
    });
}

#[test]
fn a_million_values_in_each_other_are_refused_on_a_small_stack() {
    on_a_small_stack(|| {
        for of in [Of::Lists, Of::Maps] {
            // The first field of each signal's request is the group of a resource.
            for signal in Signal::ALL {
                let request = nested(0x0a, of, 1_000_000);
                assert!(request.len() > 8_000_000);
                let invalid = validate(signal, &request).unwrap_err();
                assert_eq!(invalid.problem, Problem::TooDeep, "{signal}");
                assert!(json::from_protobuf(signal, &request).is_err(), "{signal}");
            }
            let text = nested_json(of, 1_000_000);
            assert!(read(Signal::Traces, &text).is_err());
        }
        // Nor what is skipped: unknown fields of JSON, and groups that nobody knows.
        for open in ["[", "{\"a\":", "[[{\"a\":["] {
            let text = format!("{{\"unknown\":{}", open.repeat(1_000_000));
            assert!(read(Signal::Logs, &text).is_err());
        }
        let groups = [vec![0x13; 1_000_000], vec![0x14; 1_000_000]].concat();
        assert_eq!(validate(Signal::Logs, &groups).unwrap_err().problem, Problem::TooDeep);
    });
}
