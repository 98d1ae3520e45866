use teleflow_otlp::{MAX_DEPTH, Problem, Signal, validate};
use teleflow_testkit::mangle::{Damage, mangle, nested_value, unknown_field};
use teleflow_testkit::{differential, ids};

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
fn an_id_has_its_length_or_none_in_every_message_that_has_one() {
    let span = |fields: &[u8]| field(0x0a, &field(0x12, &field(0x12, fields)));
    let point = |kind: u8, exemplars: u8, exemplar: &[u8]| {
        span(&field(kind, &field(0x0a, &field(exemplars, exemplar))))
    };
    // Signal, where it is, the key of the id, its length, and the request around it.
    type Around<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let link = |id: &[u8]| span(&field(0x6a, id));
    let number = |id: &[u8]| point(0x2a, 0x2a, id);
    let sum = |id: &[u8]| point(0x3a, 0x2a, id);
    let histogram = |id: &[u8]| point(0x4a, 0x42, id);
    let exponential = |id: &[u8]| point(0x52, 0x5a, id);
    let cases: &[(Signal, &str, u8, usize, Around<'_>)] = &[
        (Signal::Traces, "Span", 0x0a, 16, &span),
        (Signal::Traces, "Span", 0x12, 8, &span),
        (Signal::Traces, "Span", 0x22, 8, &span),
        (Signal::Traces, "Span.Link", 0x0a, 16, &link),
        (Signal::Traces, "Span.Link", 0x12, 8, &link),
        (Signal::Logs, "LogRecord", 0x4a, 16, &span),
        (Signal::Logs, "LogRecord", 0x52, 8, &span),
        (Signal::Metrics, "Exemplar", 0x22, 8, &number),
        (Signal::Metrics, "Exemplar", 0x2a, 16, &number),
        (Signal::Metrics, "Exemplar", 0x22, 8, &sum),
        (Signal::Metrics, "Exemplar", 0x2a, 16, &histogram),
        (Signal::Metrics, "Exemplar", 0x22, 8, &exponential),
    ];
    for &(signal, message, key, expected, around) in cases {
        for len in [0, 1, 3, 7, 8, 9, 15, 16, 17, 32, 300] {
            for byte in [0, 0x5a] {
                let request = around(&field(key, &vec![byte; len]));
                let reference = Request::decode(signal, &request).unwrap();
                let ours = validate(signal, &request);
                if len == 0 || len == expected {
                    assert_eq!(ours, Ok(reference.count()), "{message} {key:#x} {len}");
                    assert!(ids::are_right(signal, &request));
                    continue;
                }
                let invalid = ours.unwrap_err();
                let problem = Problem::IdLength {
                    field: u32::from(key >> 3),
                    expected: u8::try_from(expected).unwrap(),
                };
                assert_eq!((invalid.message, invalid.problem), (message, problem));
                assert!(!ids::are_right(signal, &request));
            }
        }
    }
    // What a later id replaces has to be right as well.
    let twice = [field(0x0a, &[1; 3]), field(0x0a, &[1; 16])].concat();
    let error = validate(Signal::Traces, &span(&twice)).unwrap_err().to_string();
    let expected =
        "invalid protobuf at byte 6 in Span: field 1 is an id of another length than 16 bytes";
    assert_eq!(error, expected);
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
