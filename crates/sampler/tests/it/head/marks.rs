//! What is written to what is kept: the rules of consistent probability sampling, on payloads.

use std::time::Instant;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_otlp::Signal;
use teleflow_sampler::head::{Always, HeadConfig, HeadSampler, RateLimit, RateLimitConfig};
use teleflow_sampler::{Randomness, TraceState};

use super::gateway::{attribute, id, logs, ratio, sample, span, states, th};

#[test]
fn rule_71_72_73_what_is_kept_says_how_likely_it_was() {
    const HIGH: u64 = 0xff_0000_0000_0000;
    for (own, before, after) in [
        ("8", "", "ot=th:8"),
        ("8", "a=b", "ot=th:8,a=b"),
        ("8", "a=b,ot=th:8", "a=b,ot=th:8"),
        ("8", "a=b,ot=th:c", "a=b,ot=th:c"),
        ("c", "a=b,ot=th:8,c=d", "ot=th:c,a=b,c=d"),
        ("c", "ot=rv:ffffffffffffff;th:8", "ot=rv:ffffffffffffff;th:c"),
        // Contradicted by ff0000….
        ("8", "a=b,ot=th:ff1", "a=b"),
        ("8", "ot=th:ff1;rv:fefefefefefefe", "ot=rv:fefefefefefefe"),
        // Never sampled: nothing to say.
        ("0", "", ""),
        ("0", "a=b", "a=b"),
        ("0", "ot=th:0", "ot=th:0"),
        ("0", "ot=th:c", "ot=th:c"),
    ] {
        assert_eq!(states(&mut ratio(own), vec![span(HIGH, before)]), [after], "{own}: {before}");
    }
    let mut sampler = ratio("8");
    states(&mut sampler, vec![span(HIGH, "ot=th:ff1"), span(HIGH, ""), span(1, "ot=th:c")]);
    let stats = sampler.stats();
    assert_eq!((stats.kept, stats.sampled_out), (2, 1));
    assert_eq!((stats.unknown, stats.inconsistent), (1, 2));
    assert_eq!(stats.adjusted_count, 2.0);
    // The probability of a limit is unknown, and a threshold that was there no longer true.
    let config = RateLimitConfig { spans_per_second: Some(1.0), ..RateLimitConfig::default() };
    let limit = RateLimit::new(config, Instant::now()).unwrap();
    let mut sampler = HeadSampler::new(HeadConfig::new(limit));
    assert_eq!(states(&mut sampler, vec![span(HIGH, "ot=th:8"), span(HIGH, "a=b")]), ["", "a=b"]);
}

#[test]
fn rule_73_without_room_for_a_threshold_none_stays() {
    let full = format!("x:{}", "y".repeat(250));
    let mut sampler = ratio("c");
    let high = 0xff_0000_0000_0000;
    let long = format!("ot={full}");
    assert_eq!(states(&mut sampler, vec![span(high, &long)]), [long.as_str()]);
    let replaced = format!("ot=th:8;x:{}", "y".repeat(249));
    let mut finer = ratio("c00000001");
    let expected = format!("ot=x:{}", "y".repeat(249));
    assert_eq!(states(&mut finer, vec![span(high, &replaced)]), [expected]);
    assert_eq!((sampler.stats().without_room, finer.stats().without_room), (1, 1));
}

#[test]
fn rule_75_presumed_randomness_is_warned_of_once() {
    let flagged = |flags| Span { flags, ..span(1, "") };
    let mut sampler = ratio("8");
    // Said to be random, and with randomness of its own.
    states(&mut sampler, vec![flagged(0x2), flagged(0x103), span(1, "ot=rv:00000000000000")]);
    assert_eq!(sampler.take_warning(), None);
    for flags in [0, 0x1, 0x300] {
        states(&mut sampler, vec![flagged(flags)]);
    }
    assert_eq!(sampler.stats().presumed_random, 3);
    let warning = sampler.take_warning().unwrap().to_string();
    assert!(warning.contains("random trace flag"), "{warning}");
    states(&mut sampler, vec![flagged(0)]);
    assert_eq!(sampler.take_warning(), None, "once");
    // Where all is kept, chance has no say.
    let mut all = HeadSampler::new(HeadConfig::new(Always));
    states(&mut all, vec![flagged(0)]);
    assert_eq!(all.take_warning(), None);
}

#[test]
fn rule_76_logs_say_it_in_attributes() {
    const HIGH: u64 = 0xff_0000_0000_0000;
    type Attributes<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(&str, Attributes<'_>, Option<Attributes<'_>>)] = &[
        ("8", &[], Some(&[("sampling.threshold", "8")])),
        ("8", &[("a", "b")], Some(&[("a", "b"), ("sampling.threshold", "8")])),
        (
            "c",
            &[("sampling.threshold", "8"), ("a", "b")],
            Some(&[("a", "b"), ("sampling.threshold", "c")]),
        ),
        (
            "8",
            &[("sampling.threshold", "c"), ("a", "b")],
            Some(&[("sampling.threshold", "c"), ("a", "b")]),
        ),
        // Its own randomness counts, and stays.
        ("8", &[("sampling.randomness", "7fffffffffffff")], None),
        (
            "8",
            &[("sampling.randomness", "80000000000000"), ("a", "b")],
            Some(&[
                ("sampling.randomness", "80000000000000"),
                ("a", "b"),
                ("sampling.threshold", "8"),
            ]),
        ),
        // What cannot be true, or read, goes.
        ("8", &[("sampling.threshold", "ff1"), ("a", "b")], Some(&[("a", "b")])),
        ("0", &[("sampling.threshold", "X"), ("a", "b")], Some(&[("a", "b")])),
        ("0", &[("a", "b")], Some(&[("a", "b")])),
    ];
    for (own, before, after) in cases {
        let attributes = |of: Attributes<'_>| of.iter().map(|(k, v)| attribute(k, v)).collect();
        let record = LogRecord {
            trace_id: id(HIGH),
            attributes: attributes(before),
            ..LogRecord::default()
        };
        let (request, _) = sample(&mut ratio(own), Signal::Logs, &logs(vec![record.clone()]));
        let expected = after.map(|after| LogRecord { attributes: attributes(after), ..record });
        let expected = expected.map_or_else(Default::default, |record| logs(vec![record]));
        assert_eq!(request, expected, "{own}: {before:?}");
    }
}

#[test]
fn rule_76_a_record_without_a_trace_gets_randomness_of_its_own() {
    let records = (0..2000).map(|n| LogRecord { time_unix_nano: n, ..LogRecord::default() });
    let (request, out) = sample(&mut ratio("c"), Signal::Logs, &logs(records.collect()));
    assert!((1400..1600).contains(&out.sampled_out), "{}", out.sampled_out);
    let records = &request.resource_logs[0].scope_logs[0].log_records;
    for record in records {
        let find = |key: &str| {
            let found = record.attributes.iter().find(|attribute| attribute.key == key).unwrap();
            match found.value.as_ref().unwrap().value.as_ref().unwrap() {
                Value::StringValue(text) => text.clone(),
                other => panic!("{other:?}"),
            }
        };
        let randomness: Randomness = find("sampling.randomness").parse().unwrap();
        assert!(th(&find("sampling.threshold")).keeps(randomness));
    }
    // Who samples after that decides with the same randomness: an eighth of all is left.
    let kept = records.len();
    let (after, out) = sample(&mut ratio("e"), Signal::Logs, &request);
    assert_eq!(
        out.sampled_out as usize,
        kept - after.resource_logs[0].scope_logs[0].log_records.len()
    );
    assert!((0.4..0.6).contains(&(out.sampled_out as f64 / kept as f64)));
}

#[test]
fn rule_68_a_span_without_a_usable_id_gets_randomness_of_its_own() {
    for trace_id in [Vec::new(), vec![0; 16]] {
        let spans = (0..200).map(|n| Span {
            trace_id: trace_id.clone(),
            start_time_unix_nano: n,
            trace_state: "a=b".into(),
            ..Span::default()
        });
        let mut sampler = ratio("8");
        let states = states(&mut sampler, spans.collect());
        assert!((60..140).contains(&states.len()), "{}", states.len());
        for state in states {
            let read = TraceState::parse(&state);
            assert_eq!(read.threshold(), Some(th("8")));
            assert!(th("8").keeps(read.randomness().unwrap()), "{state}");
            assert!(state.ends_with(",a=b"), "{state}");
        }
        assert_eq!(sampler.stats().without_trace, 200);
    }
}
