//! What spans tell of the decision.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use teleflow_sampler::{
    Answer, Config, DynamicSampler, Eviction, FingerprintNote, Keys, MatchRule, Notes, Output,
    Policy, Proposal, Rule, Rules, Sharing, TailSampler, Unit,
};

use super::{SECOND, config, failed, id, offer, requests, span};

const PREFIX: &str = "otelcol.processor.adaptive_tail_sampling.";

/// What the spans that were kept tell, by the span's name: what is named, and what is said.
fn told(out: &mut Output) -> BTreeMap<String, Vec<(String, String)>> {
    let spans = requests(out)
        .into_iter()
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans);
    let of = |span: &Span| {
        let pairs = span.attributes.iter().filter_map(|pair| {
            let name = pair.key.strip_prefix(PREFIX)?;
            let Some(Value::StringValue(text)) = pair.value.clone()?.value else { panic!() };
            Some((name.to_owned(), text))
        });
        pairs.collect()
    };
    spans.map(|span| (span.name.clone(), of(&span))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, said)| ((*name).into(), (*said).into())).collect()
}

fn attribute(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn routed(n: u64, name: &str, route: &str) -> Span {
    let attributes = vec![attribute("route", route)];
    Span { parent_span_id: vec![1; 8], attributes, ..span(id(n), name) }
}

/// Errors are all kept, and of the rest all, by what is learned of their routes.
fn adaptive(notes: Notes) -> Config {
    let errors = vec!["span.status.code == STATUS_CODE_ERROR".to_owned()];
    let rules = vec![
        MatchRule { conditions: errors, ..MatchRule::new("errors", DynamicSampler::Always) },
        MatchRule::new(
            "rest",
            DynamicSampler::AdaptivePercentage {
                goal: 1.0,
                unit: Unit::Spans,
                keys: Keys::new(["span.route", "span.none"]),
                interval: SECOND,
                weight: 0.5,
            },
        ),
    ];
    let decision_wait_after_root = Some(SECOND / 2);
    Config { rules: Rules::FirstMatch(rules), notes, decision_wait_after_root, ..config(vec![]) }
}

const ALL: Notes = Notes { decision: true, fingerprint: FingerprintNote::Value };

#[test]
fn each_span_tells_the_rule_the_trigger_and_the_key() {
    let mut sampler = TailSampler::new(adaptive(ALL)).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let spans = vec![
        failed(id(1), "bad"),
        routed(1, "of bad", "/a"),
        routed(2, "a", "/a"),
        routed(2, "b", "/b"),
        routed(3, "c", "/a"),
    ];
    offer(&mut sampler, now, spans, &mut out);
    sampler.poll(now + SECOND, &mut out);
    offer(&mut sampler, now + SECOND, vec![routed(2, "late", "/c")], &mut out);
    offer(&mut sampler, now + SECOND, vec![routed(4, "last", "/d")], &mut out);
    assert!(sampler.drain(now + SECOND, &mut out));
    let errors = pairs(&[("rule", "errors"), ("trigger", "root_span")]);
    let rest =
        |key: &str| pairs(&[("rule", "rest"), ("trigger", "trace_timeout"), ("fingerprint", key)]);
    let expected = [
        ("bad", errors.clone()),
        ("of bad", errors),
        ("a", rest("/a,/b•<missing>")),
        ("b", rest("/a,/b•<missing>")),
        ("c", rest("/a•<missing>")),
        ("late", pairs(&[("rule", "rest")])),
        (
            "last",
            pairs(&[("rule", "rest"), ("trigger", "shutdown"), ("fingerprint", "/d•<missing>")]),
        ),
    ];
    assert_eq!(told(&mut out), expected.map(|(name, told)| (name.to_owned(), told)).into());
}

#[test]
fn a_key_can_be_told_by_its_hash_alone() {
    let notes = Notes { decision: false, fingerprint: FingerprintNote::Hash };
    let mut sampler = TailSampler::new(adaptive(notes)).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let spans = vec![routed(1, "a", "/a"), routed(2, "b", "/b"), failed(id(3), "bad")];
    offer(&mut sampler, now, spans, &mut out);
    sampler.poll(now + SECOND, &mut out);
    let told = told(&mut out);
    let [of_a, of_b] = ["a", "b"].map(|name| {
        let [(what, hash)] = &told[name][..] else { panic!("{told:?}") };
        assert_eq!((&**what, hash.len()), ("fingerprint", 16));
        assert!(hash.bytes().all(|digit| digit.is_ascii_hexdigit()));
        hash
    });
    assert_ne!(of_a, of_b);
    assert_eq!(told["bad"], []);
}

#[test]
fn a_trace_that_waits_for_others_tells_its_own_key() {
    let sharing = Some(Sharing { grace: Duration::ZERO, ..Sharing::default() });
    let mut sampler = TailSampler::new(Config { sharing, ..adaptive(ALL) }).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let spans = vec![routed(1, "a", "/a"), routed(2, "b", "/b"), routed(3, "c", "/c")];
    offer(&mut sampler, now, spans, &mut out);
    sampler.poll(now + SECOND, &mut out);
    let asked = std::mem::take(&mut out.proposals);
    assert_eq!((asked.len(), out.kept.len()), (3, 0));
    let answers =
        asked.into_iter().map(|Proposal { id, shared, .. }| Answer { id, shared: Some(shared) });
    sampler.learn(now + SECOND, answers, &mut out);
    let told = told(&mut out);
    for (name, key) in [("a", "/a"), ("b", "/b"), ("c", "/c")] {
        let key = format!("{key}•<missing>");
        assert_eq!(told[name].last(), Some(&("fingerprint".into(), key)), "{name}");
    }
}

#[test]
fn what_was_told_before_is_replaced_and_all_else_stays() {
    let mut sampler = TailSampler::new(adaptive(ALL)).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let mut one = failed(id(9), "one");
    one.trace_state = "vendor=x".into();
    one.attributes = vec![
        attribute("first", "1"),
        attribute(&format!("{PREFIX}rule"), "of the gateway before"),
        attribute("last", "2"),
    ];
    offer(&mut sampler, now, vec![one.clone()], &mut out);
    sampler.poll(now + SECOND, &mut out);
    let [request] = &requests(&mut out)[..] else { panic!() };
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    let keys: Vec<_> = span.attributes.iter().map(|pair| &*pair.key).collect();
    let [rule, trigger] = ["rule", "trigger"].map(|name| format!("{PREFIX}{name}"));
    assert_eq!(keys, ["first", "last", &rule, &trigger]);
    assert_eq!(span.attributes[2], attribute(&rule, "errors"));
    assert_eq!(span.trace_state, "ot=th:0,vendor=x");
    // But for that it is as it came.
    let (attributes, trace_state) = (one.attributes.clone(), one.trace_state.clone());
    assert_eq!(Span { attributes, trace_state, ..span.clone() }, one);
}

#[test]
fn what_goes_early_and_what_belongs_to_no_trace_tells_what_there_is() {
    let rules = vec![Rule::new("all", Policy::Always)];
    let notes = Notes { decision: true, ..Notes::default() };
    let (max_traces, eviction) = (1, Eviction::Ratio(1.0));
    let config = Config { max_traces, eviction, notes, writes_threshold: false, ..config(rules) };
    let mut sampler = TailSampler::new(config).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    offer(&mut sampler, now, vec![span(id(1), "early")], &mut out);
    let mut alone = span(id(0), "alone");
    alone.trace_id = vec![];
    alone.trace_state = "ot=th:8".into();
    offer(&mut sampler, now, vec![span(id(2), "next"), alone], &mut out);
    let told = told(&mut out);
    assert_eq!(told["early"], pairs(&[("rule", "_eviction"), ("trigger", "eviction")]));
    assert_eq!(told["alone"], pairs(&[("rule", "all")]));
    assert_eq!(told.len(), 2);
}

#[test]
fn traces_that_were_kept_alike_tell_the_same_and_others_not() {
    let mut sampler = TailSampler::new(adaptive(ALL)).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    let mut rng = fastrand::Rng::with_seed(1);
    let mut expected = BTreeMap::new();
    for round in 0..20u32 {
        let now = now + round * SECOND;
        let mut spans = Vec::new();
        for n in 0..rng.u64(1..30) {
            let trace = u64::from(round) * 100 + n + 1;
            let name = trace.to_string();
            let (one, said) = match rng.u8(..3) {
                0 => (failed(id(trace), &name), vec![("rule", "errors"), ("trigger", "root_span")]),
                1 => (
                    Span { parent_span_id: vec![1; 8], ..failed(id(trace), &name) },
                    vec![("rule", "errors"), ("trigger", "trace_timeout")],
                ),
                _ => (
                    routed(trace, &name, "/r"),
                    vec![
                        ("rule", "rest"),
                        ("trigger", "trace_timeout"),
                        ("fingerprint", "/r•<missing>"),
                    ],
                ),
            };
            expected.insert(name, pairs(&said));
            spans.push(one);
        }
        offer(&mut sampler, now, spans, &mut out);
        sampler.poll(now + SECOND, &mut out);
    }
    assert_eq!(told(&mut out), expected);
}
