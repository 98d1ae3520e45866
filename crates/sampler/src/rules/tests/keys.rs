//! What tells traces apart, as texts.

use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};

use super::super::fingerprint::{Fingerprint, Scratch};
use super::*;

/// The key of a trace, and whether something was cut.
fn key_with(scratch: &mut Scratch, attributes: &[&str], spans: &[Made]) -> (String, bool) {
    let fingerprint = Fingerprint::new(&Keys::new(attributes.iter().copied())).unwrap();
    with([1; 16], spans, |trace| {
        let (key, is_cut) = fingerprint.of(trace, scratch);
        (key.to_owned(), is_cut)
    })
}

fn key(attributes: &[&str], spans: &[Made]) -> String {
    let (key, is_cut) = key_with(&mut Scratch::default(), attributes, spans);
    assert!(!is_cut);
    key
}

#[test]
fn each_scope_is_looked_for_where_it_says() {
    let spans = [
        Made::root("a", &[("k", text("root"))]).below(&[("k", text("r1"))], &[("k", text("s1"))]),
        Made::new("b", &[("k", text("span"))]).below(&[("k", text("r2"))], &[("k", text("s2"))]),
        Made::new("c", &[("other", text("x"))]).below(&[("k", text("r2"))], &[]),
    ];
    assert_eq!(key(&["resource.k"], &spans), "r1,r2");
    assert_eq!(key(&["scope.k"], &spans), "s1,s2");
    assert_eq!(key(&["span.k"], &spans), "root,span");
    assert_eq!(key(&["root.k"], &spans), "root");
    assert_eq!(key(&["any.k"], &spans), "r1,r2,root,s1,s2,span");
    assert_eq!(key(&["root.other"], &spans), "<missing>");
    assert_eq!(key(&["span.k", "span.none", "resource.k"], &spans), "root,span•<missing>•r1,r2");
    assert_eq!(key(&[], &spans), "", "all traces are one key");
}

#[test]
fn attributes_are_named_as_in_conditions_too() {
    let spans = [Made::new("a", &[("http.route", text("/")), ("name", text("n"))])];
    assert_eq!(key(&["span.attributes[\"http.route\"]"], &spans), "/");
    assert_eq!(key(&["span.http.route"], &spans), "/");
    assert_eq!(key(&["span.name"], &spans), "n", "an attribute, and not the span's own name");
}

#[test]
fn a_key_does_not_depend_on_the_order_of_spans() {
    let mut rng = fastrand::Rng::with_seed(3);
    let long = "ä".repeat(300);
    let mut spans: Vec<_> = (0..40)
        .map(|n| Made::new("a", &[("k", text(&format!("{n:02}"))), ("l", text(&long[n * 2..]))]))
        .collect();
    let mut scratch = Scratch::default();
    let attributes = ["span.k", "span.l", "span.k"];
    let first = key_with(&mut scratch, &attributes, &spans);
    assert!(first.1);
    let values: Vec<_> = (0..16).map(|n| format!("{n:02}")).collect();
    assert!(first.0.starts_with(&format!("{}…•ä", values.join(","))), "{}", first.0);
    for _ in 0..20 {
        rng.shuffle(&mut spans);
        assert_eq!(key_with(&mut scratch, &attributes, &spans), first);
    }
}

#[test]
fn the_number_of_spans_is_a_part_where_it_is_asked_for() {
    let key = |attributes: &[&str], count: usize| {
        let keys = Keys { trace_length: true, ..Keys::new(attributes.iter().copied()) };
        let fingerprint = Fingerprint::new(&keys).unwrap();
        with([1; 16], &vec![of_key(7); count], |trace| {
            fingerprint.of(trace, &mut Scratch::default()).0.to_owned()
        })
    };
    assert_eq!(key(&["span.k"], 1), "7•1");
    assert_eq!(key(&["span.k", "span.none"], 12), "7•<missing>•12");
    assert_eq!(key(&[], 3), "3");
    // So traces of other sizes have rates of their own.
    let of_length = Keys { trace_length: true, ..keys(500) };
    let sampler = DynamicSampler::PerKeyThroughput {
        goal: 2.0,
        unit: Unit::Traces,
        keys: of_length,
        interval: INTERVAL,
    };
    let mut rules = only(sampler);
    let now = Instant::now();
    for id in 0..300u128 {
        let spans = vec![of_key(1); 1 + id as usize % 3];
        with((id + 1).to_be_bytes(), &spans, |trace| rules.decide(now, trace));
    }
    assert_eq!(rules.stats()[0].sampler.keys, 3);
}

#[test]
fn what_is_long_is_cut_between_characters() {
    for length in [255, 256, 257, 300, 100_000] {
        let value = format!("{}é", "x".repeat(length - 2));
        let spans = [Made::new("a", &[("k", text(&value))])];
        let (key, is_cut) = key_with(&mut Scratch::default(), &["span.k"], &spans);
        assert_eq!(is_cut, length > 256);
        if is_cut {
            let kept = key.strip_suffix('…').unwrap();
            assert!(kept.len() <= 256 && value.starts_with(kept), "{length}: {}", kept.len());
        } else {
            assert_eq!(key, value);
        }
    }
    // Several that fit one by one, and not together.
    let spans = ["a", "b", "c"].map(|x| Made::new("a", &[("k", text(&x.repeat(100)))]));
    let (key, is_cut) = key_with(&mut Scratch::default(), &["span.k"], &spans);
    let (a, b, c) = ("a".repeat(100), "b".repeat(100), "c".repeat(54));
    assert_eq!((key, is_cut), (format!("{a},{b},{c}…"), true));
}

#[test]
fn every_kind_of_value_has_a_text() {
    let list = |values: Vec<Value>| {
        let values = values.into_iter().map(|value| AnyValue { value: Some(value) }).collect();
        Value::ArrayValue(ArrayValue { values })
    };
    let map = Value::KvlistValue(KeyValueList { values: pairs(&[("a", Value::IntValue(1))]) });
    for (value, expected) in [
        (text(""), ""),
        (text("a b"), "a b"),
        (Value::BoolValue(true), "true"),
        (Value::IntValue(-7), "-7"),
        (Value::DoubleValue(0.5), "0.5"),
        (Value::DoubleValue(1e300), "1e300"),
        (Value::DoubleValue(f64::NAN), "NaN"),
        (Value::BytesValue(vec![0, 255]), "00ff"),
        (list(vec![text("a,b"), Value::IntValue(1), map.clone()]), "[\"a,b\",1,{\"a\":1}]"),
        (list(vec![]), "[]"),
        (map, "{\"a\":1}"),
    ] {
        assert_eq!(key(&["span.k"], &[Made::new("a", &[("k", value)])]), expected);
    }
}

#[test]
fn what_names_no_attribute_is_refused() {
    for (text, problem) in [
        (
            "service.name",
            "`service.name` in the key: attributes begin with `resource.`, `scope.`, `span.`, \
             `root.` or `any.`",
        ),
        ("span", "`span` in the key names no attribute"),
        ("span.", "`span.` in the key names no attribute"),
        ("any.attributes[\"\"]", "`any.attributes[\"\"]` in the key names no attribute"),
    ] {
        assert_eq!(Fingerprint::new(&Keys::new([text])).unwrap_err(), problem);
    }
    let problem = Fingerprint::new(&Keys::new(["span.k"; 33])).unwrap_err();
    assert_eq!(problem, "a key of 33 attributes: 32 are the most");
}

/// The same, written plainly.
fn model(spans: &[Vec<&str>]) -> String {
    let mut values: Vec<&str> = spans.iter().flatten().copied().collect();
    values.sort_unstable();
    values.dedup();
    if values.is_empty() { "<missing>".into() } else { values.join(",") }
}

#[test]
fn keys_are_those_of_a_plain_model() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut scratch = Scratch::default();
    let names = ["a", "b", "cc", "d", "e,f", "", "ü"];
    for _ in 0..300 {
        let values: Vec<Vec<&str>> = (0..rng.usize(..6))
            .map(|_| (0..rng.usize(..3)).map(|_| names[rng.usize(..names.len())]).collect())
            .collect();
        let spans: Vec<_> = values
            .iter()
            .map(|values| {
                let pairs: Vec<_> = values.iter().map(|value| ("k", text(value))).collect();
                if rng.bool() {
                    Made::new("x", &pairs)
                } else {
                    Made::new("x", &[]).below(&pairs, &[])
                }
            })
            .collect();
        assert_eq!(key_with(&mut scratch, &["any.k"], &spans), (model(&values), false));
    }
}
