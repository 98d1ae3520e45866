use teleflow_otlp::{MAX_DEPTH, Problem, Signal, validate};
use teleflow_testkit::differential;
use teleflow_testkit::mangle::{Damage, mangle, nested_value, unknown_field};

use teleflow_testkit::reference::{Request, each_generated};

#[test]
fn a_generated_request_is_valid_and_counted_as_prost_counts_it() {
    let mut items = 0;
    each_generated(|signal, _, request| {
        let bytes = request.encode();
        assert_eq!(validate(signal, &bytes), Ok(request.count()), "{signal}: {request:?}");
        items += request.count();
    });
    assert!(items > 10_000, "the generator makes telemetry: {items} items");
}

/// With a thousand requests of each signal, sixty thousand messages; all of them with
/// `TELEFLOW_GENERATED=17000` are a million.
#[test]
fn a_damaged_request_is_to_us_what_it_is_to_prost() {
    let (mut accepted, mut refused) = (0, 0);
    let mut valid_of = std::collections::HashMap::new();
    each_generated(|signal, telemetry, request| {
        let bytes = request.encode();
        for _ in 0..20 {
            let (damaged, damage) = mangle(telemetry.rng(), &bytes);
            match differential::check(signal, &damaged) {
                Some(_) => {
                    *valid_of.entry(format!("{damage:?}")).or_insert(0) += 1;
                    accepted += 1;
                }
                None => refused += 1,
            }
        }
    });
    assert!(accepted > 5_000 && refused > 20_000, "{accepted} accepted, {refused} refused");
    for damage in [Damage::UnknownField, Damage::Nested, Damage::BitsFlipped] {
        assert!(valid_of.contains_key(&format!("{damage:?}")), "some of {damage:?} are valid");
    }
}

#[test]
fn depth_is_limited_where_prost_limits_it() {
    for depth in 1..300 {
        let request = nested_value(depth);
        let reference = Request::decode(Signal::Traces, &request).is_ok();
        let ours = validate(Signal::Traces, &request);
        assert_eq!(ours.is_ok(), reference, "{depth} arrays: {ours:?}");
        if depth > MAX_DEPTH as usize {
            assert_eq!(ours.unwrap_err().problem, Problem::TooDeep);
        }
    }
    // A million levels must not reach the end of the stack.
    let mut groups = vec![0x13; 1_000_000];
    groups.extend(std::iter::repeat_n(0x14, 1_000_000));
    assert_eq!(validate(Signal::Traces, &groups).unwrap_err().problem, Problem::TooDeep);
}

#[test]
fn unknown_fields_are_fine_anywhere() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..1000 {
        // ResourceSpans { unknown, ScopeSpans { unknown, Span { unknown } } }
        let span = unknown_field(&mut rng);
        let mut scope = unknown_field(&mut rng);
        scope.extend(field(0x12, &span));
        let mut resource = unknown_field(&mut rng);
        resource.extend(field(0x12, &scope));
        let request = field(0x0a, &resource);
        assert_eq!(validate(Signal::Traces, &request), Ok(1));
    }
}

#[test]
fn an_error_names_the_byte_the_message_and_the_cause() {
    // ResourceSpans { ScopeSpans { Span { name: 0xff } } }
    let request = field(0x0a, &field(0x12, &field(0x12, &field(0x2a, &[0xff]))));
    let invalid = validate(Signal::Traces, &request).unwrap_err();
    assert_eq!(invalid.to_string(), "invalid protobuf at byte 6 in Span: field 5 is not UTF-8");
}

#[test]
fn the_last_kind_of_a_metric_is_the_one_that_counts() {
    let point = field(0x0a, &[]);
    let two = [&point[..], &point].concat();
    for (metric, expected) in [
        // A gauge of two points, then a sum of one.
        ([field(0x2a, &two), field(0x3a, &point)].concat(), 1),
        // The same kind twice adds up.
        ([field(0x2a, &two), field(0x2a, &point)].concat(), 3),
        // A gauge, a sum, and again a gauge, which starts anew.
        ([field(0x2a, &two), field(0x3a, &point), field(0x2a, &point)].concat(), 1),
    ] {
        let request = field(0x0a, &field(0x12, &field(0x12, &metric)));
        let reference = Request::decode(Signal::Metrics, &request).unwrap();
        assert_eq!(reference.count(), expected);
        assert_eq!(validate(Signal::Metrics, &request), Ok(expected));
    }
}

pub(crate) fn field(key: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![key];
    prost::encoding::encode_varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}
