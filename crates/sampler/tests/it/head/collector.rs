//! The same decisions as the Collector's `probabilistic_sampler`, which has made those in
//! `collector.txt` about the same spans and records.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_otlp::Signal;
use teleflow_sampler::head::{
    HashSource, HeadConfig, HeadSampler, Never, Priority, Ratio, Source, Undecidable,
};
use teleflow_sampler::{Composition, Threshold, TraceState};

use super::gateway::{logs, sample, states, traces};

const ITEMS: u64 = 256;

const KEPT: &str = include_str!("collector.txt");

/// Trace ids that a program in any language makes alike.
fn ids() -> impl Iterator<Item = [u8; 16]> {
    let mut state = 1_u64;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    (0..ITEMS).map(move |_| (u128::from(next()) << 64 | u128::from(next())).to_be_bytes())
}

fn with(key: &str, value: Value) -> Vec<KeyValue> {
    let value = Some(AnyValue { value: Some(value) });
    vec![KeyValue { key: key.into(), value, ..KeyValue::default() }]
}

fn text(text: impl Into<String>) -> Value {
    Value::StringValue(text.into())
}

fn randomness(at: u64) -> String {
    format!("{at:02x}{:012x}", 7)
}

fn spans() -> Vec<Span> {
    let span = |(at, id): (u64, [u8; 16])| {
        let mut span = Span { trace_id: id.to_vec(), start_time_unix_nano: at, ..Span::default() };
        let rv = randomness(at);
        let priority = |value| with("sampling.priority", value);
        match at % 16 {
            0 => span.trace_id.fill(0),
            1 => span.trace_state = "ot=th:8".into(),
            2 => span.trace_state = format!("a=b,ot=rv:{rv}"),
            3 => span.trace_state = format!("ot=th:c;rv:{rv}"),
            4 => span.trace_state = "ot=th:zz".into(),
            5 => span.attributes = priority(Value::IntValue(0)),
            6 => span.attributes = priority(Value::DoubleValue(0.5)),
            7 => span.attributes = priority(text("2")),
            8 => span.attributes = priority(text("high")),
            9 => span.attributes = priority(Value::IntValue(-1)),
            10 => span.trace_state = "vendor=x".into(),
            _ => {}
        }
        span
    };
    std::iter::zip(0.., ids()).map(span).collect()
}

fn records() -> Vec<LogRecord> {
    let record = |(at, id): (u64, [u8; 16])| {
        let mut record =
            LogRecord { trace_id: id.to_vec(), time_unix_nano: at, ..LogRecord::default() };
        let key = |value| with("key", value);
        record.attributes = match at % 16 {
            1 | 2 => key(text(format!("text {at}"))),
            3 => key(Value::IntValue(at as i64 - 100)),
            4 => key(Value::DoubleValue(at as f64 * 1e-9)),
            5 => key(Value::BoolValue(at % 32 == 5)),
            6 => key(Value::BytesValue(vec![at as u8, 200])),
            7 => key(text("")),
            8 => with("sampling.threshold", text("8")),
            9 => with("sampling.randomness", text(randomness(at))),
            10 => with("sampling.threshold", text("zz")),
            11 => [with("prio", Value::IntValue(30)), key(text(format!("text {at}")))].concat(),
            12 => with("prio", Value::DoubleValue(100.0)),
            13 => [with("prio", text("100")), key(Value::DoubleValue(at as f64 * 0.25))].concat(),
            _ => Vec::new(),
        };
        if at % 16 < 2 {
            record.trace_id.fill(0);
        }
        record
    };
    std::iter::zip(0.., ids()).map(record).collect()
}

/// The sampler of a line.
fn sampler(mode: &str, seed: u32, percentage: f64, closed: bool, of: [&str; 2]) -> HeadSampler {
    let [source, priority] = of;
    let is_hash = mode == "hash_seed";
    let threshold = match is_hash {
        true => HashSource::threshold(percentage),
        false => Threshold::from_probability(percentage / 100.0).ok(),
    };
    let config = match threshold {
        Some(threshold) => HeadConfig::new(Ratio::of(threshold)),
        None => HeadConfig::new(Never),
    };
    let hash =
        HashSource { seed, takes_trace_id: source != "record", attribute: Some("key".into()) };
    HeadSampler::new(HeadConfig {
        composition: match mode {
            "proportional" => Composition::Proportional,
            _ => Composition::Equalizing,
        },
        source: if is_hash { Source::Hash(hash) } else { Source::Trace },
        undecidable: if closed { Undecidable::Drop } else { Undecidable::Keep },
        priority: Priority {
            of_spans: true,
            of_records: (priority != "-").then(|| priority.into()),
            ..Priority::default()
        },
        ..config
    })
}

#[test]
fn what_the_collector_keeps_is_kept() {
    let (spans, records) = (traces(spans()), logs(records()));
    let mut lines = 0;
    for line in KEPT.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<_> = line.split(' ').collect();
        let [signal, mode, seed, percentage, closed, source, priority, theirs] = columns[..] else {
            panic!("eight columns: {line}")
        };
        let [seed, percentage] = [seed, percentage].map(|number| number.parse::<f64>().unwrap());
        let of = [source, priority];
        let mut sampler = sampler(mode, seed as u32, percentage, closed == "true", of);
        let kept: Vec<u64> = if signal == "spans" {
            let (kept, _) = sample(&mut sampler, Signal::Traces, &spans);
            let scopes = kept.resource_spans.into_iter().flat_map(|group| group.scope_spans);
            scopes.flat_map(|scope| scope.spans).map(|span| span.start_time_unix_nano).collect()
        } else {
            let (kept, _) = sample(&mut sampler, Signal::Logs, &records);
            let scopes = kept.resource_logs.into_iter().flat_map(|group| group.scope_logs);
            scopes.flat_map(|scope| scope.log_records).map(|record| record.time_unix_nano).collect()
        };
        let is_theirs = |at: u64| {
            let digit = char::from(theirs.as_bytes()[at as usize / 4]).to_digit(16).unwrap();
            digit >> (3 - at % 4) & 1 == 1
        };
        // Of a share of 0 nothing is kept here but what asks for it, in the share that it asks for.
        // There what cannot be read is, and all that asks for a share.
        let on_purpose = match (percentage == 0.0, signal) {
            (false, _) => &[][..],
            (true, "spans") => &[4],
            (true, _) => &[10, 11],
        };
        let differ: Vec<_> = (0..ITEMS)
            .filter(|at| kept.contains(at) != is_theirs(*at))
            .map(|at| at % 16)
            .filter(|kind| !on_purpose.contains(kind))
            .collect();
        assert!(differ.is_empty(), "{line}: {} kept; kinds {differ:?}", kept.len());
        lines += 1;
    }
    assert_eq!(lines, 128);
}

/// Those that the Collector's own function has made.
#[test]
fn hashes_and_thresholds_are_those_of_the_collector() {
    let count: Vec<u8> = (1..=16).collect();
    let hash = |seed, bytes: &[u8]| {
        HashSource { seed, ..HashSource::default() }.randomness(bytes).to_string()
    };
    for (seed, bytes, randomness) in [
        (0, &b"0123456789abcdef"[..], "20c8022a8ab7cd"),
        (0, &count, "976837c4f25a25"),
        (0, b"logID", "c1ac26649b4f94"),
        (0, b"", "2ba812e1b97515"),
        (1, &count, "e0ac019c6707d4"),
        (22, b"0123456789abcdef", "3400272bc8b2ff"),
        (22, b"17", "0bb0046619fd13"),
        (u32::MAX, b"0123456789abcdef", "fdf8294a500081"),
        (u32::MAX, b"logID", "b51c34c93112b8"),
    ] {
        assert_eq!(hash(seed, bytes), randomness, "{seed} {bytes:?}");
    }
    for (percentage, threshold) in [
        (0.0, None),
        (0.0061, None),
        (0.0062, Some("fffc")),
        (0.1, Some("ffc")),
        (1.0, Some("fd74")),
        (10.0, Some("e668")),
        (12.5, Some("e")),
        (33.333, Some("aaac")),
        (50.0, Some("8")),
        (66.6, Some("5584")),
        (99.999, Some("0004")),
        (100.0, Some("0")),
        (150.0, Some("0")),
    ] {
        let threshold = threshold.map(|text| text.parse::<Threshold>().unwrap());
        assert_eq!(HashSource::threshold(percentage), threshold, "{percentage}");
    }
}

/// Where nothing else is asked for, what was sampled before goes by its own randomness, and what is
/// kept by a hash says so.
#[test]
fn what_was_sampled_before_is_decided_by_its_own_randomness() {
    let source = Source::Hash(HashSource::default());
    let ratio = Ratio::of(HashSource::threshold(50.0).unwrap());
    let mut sampler = HeadSampler::new(HeadConfig { source, ..HeadConfig::new(ratio) });
    let span = |state: &str| Span {
        // By its hash, 9768…, it is kept.
        trace_id: (1..=16).collect(),
        trace_state: state.into(),
        ..Span::default()
    };
    for (state, expected) in [
        ("", Some("ot=rv:976837c4f25a25;th:8")),
        ("ot=rv:90000000000000", Some("ot=th:8;rv:90000000000000")),
        ("ot=rv:70000000000000", None),
        // Its id ends with 0a0b…: it was not to be kept by a threshold of 8.
        ("ot=th:08", None),
    ] {
        let states = states(&mut sampler, vec![span(state)]);
        let expected: Vec<_> = expected.into_iter().collect();
        let parse = |text: &String| {
            (TraceState::parse(text).threshold(), TraceState::parse(text).randomness())
        };
        let wanted: Vec<_> = expected.iter().map(|text| parse(&(*text).to_owned())).collect();
        assert_eq!(states.iter().map(parse).collect::<Vec<_>>(), wanted, "{state}: {states:?}");
    }
    assert_eq!(sampler.stats().presumed_random, 1, "of the last alone the id decided");
}

#[test]
fn a_record_may_say_which_share_of_its_like_is_kept() {
    for (value, expected) in [
        (Value::IntValue(0), 0..=0),
        (Value::DoubleValue(25.0), 190..=310),
        (Value::IntValue(250), 1000..=1000),
        (Value::IntValue(-3), 430..=570),
        (text("100"), 430..=570),
    ] {
        let mut sampler = sampler("equalizing", 0, 50.0, false, ["traceID", "prio"]);
        let mut rng = fastrand::Rng::with_seed(3);
        let records = (0..1000).map(|_| LogRecord {
            trace_id: rng.u128(1..).to_be_bytes().to_vec(),
            attributes: with("prio", value.clone()),
            ..LogRecord::default()
        });
        let request = logs(records.collect());
        let (_, out) = sample(&mut sampler, Signal::Logs, &request);
        let kept = 1000 - out.sampled_out;
        assert!(expected.contains(&kept), "{value:?}: {kept}");
        let stats = sampler.stats();
        let off = (stats.adjusted_count - 1000.0).abs();
        assert!(kept == 0 || off < 250.0, "{value:?}: stands for {}", stats.adjusted_count);
    }
}
