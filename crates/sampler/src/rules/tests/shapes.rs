//! Rules about traces as wholes.

use teleflow_otlp::span::TailFields;

use super::*;
use crate::engine::{Explained, Vote};

const ALWAYS: DynamicSampler = DynamicSampler::Always;

/// Shows a trace as it is seen when its spans came one by one.
fn seen<R>(spans: &[Made], then: impl FnOnce(&Trace<'_>) -> R) -> R {
    with([9; 16], spans, |trace| {
        let mut summary = TraceSummary::default();
        for made in spans {
            summary.add(&TailFields::read(&made.span), made.span.len() as u64);
        }
        then(&Trace { summary, ..*trace })
    })
}

fn of_shape(name: &str, shape: Shape, conditions: &[&str]) -> MatchRule {
    MatchRule { shape, ..rule(name, conditions, ALWAYS) }
}

/// The place of the rule that decides.
fn decides(rules: &mut RuleSet, spans: &[Made]) -> Option<u16> {
    seen(spans, |trace| rules.decide(Instant::now(), trace)).by.map(|by| by.rule)
}

fn child(name: &str) -> Made {
    Made::new(name, &[])
}

fn root(name: &str) -> Made {
    Made::root(name, &[])
}

#[test]
fn a_rule_can_ask_for_a_root_and_for_none() {
    let with_root = Shape { has_root: Some(true), ..Shape::default() };
    let without = Shape { has_root: Some(false), ..Shape::default() };
    let mut rules = RuleSet::new(&[
        of_shape("bad and whole", with_root, &["span.name == \"bad\""]),
        of_shape("torn", without, &[]),
        rule("rest", &[], ALWAYS),
    ])
    .unwrap();
    for (spans, expected) in [
        (vec![child("bad"), root("x")], Some(0)),
        (vec![root("bad")], Some(0)),
        (vec![child("bad")], Some(1)),
        (vec![child("x"), child("y")], Some(1)),
        (vec![root("x"), child("y")], Some(2)),
    ] {
        assert_eq!(decides(&mut rules, &spans), expected);
    }
    let seen: Vec<_> = rules.stats().iter().map(|stats| stats.traces_seen).collect();
    assert_eq!(seen, [5, 3, 1]);
}

#[test]
fn a_rule_can_ask_how_many_spans_there_are() {
    let shape = |min_spans, max_spans| Shape { min_spans, max_spans, ..Shape::default() };
    let mut rules = RuleSet::new(&[
        of_shape("large", shape(10, None), &[]),
        of_shape("two or three", shape(2, Some(3)), &["span.name == \"a\""]),
        of_shape("one", shape(0, Some(1)), &[]),
    ])
    .unwrap();
    for (count, expected) in [
        (1, Some(2)),
        (2, Some(1)),
        (3, Some(1)),
        (4, None),
        (9, None),
        (10, Some(0)),
        (50, Some(0)),
    ] {
        assert_eq!(decides(&mut rules, &vec![child("a"); count]), expected, "{count}");
    }
    assert_eq!(decides(&mut rules, &[child("b"), child("b")]), None);
}

#[test]
fn no_span_is_looked_at_for_rules_of_other_shapes() {
    let large = Shape { min_spans: 10, ..Shape::default() };
    // A condition that cannot be evaluated would be counted.
    let mut rules = RuleSet::new(&[
        of_shape("large", large, &["IsMatch(span.attributes[\"k\"], \"a\") == \"b\" or true"]),
        of_shape("also", large, &[]),
    ])
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(decides(&mut rules, &[child("a")]), None);
    assert_eq!(rules.stats()[0].errors, 0);
}

#[test]
fn explained_it_says_what_the_trace_is_not() {
    let shape = |has_root, min_spans, max_spans| Shape { has_root, min_spans, max_spans };
    let rules = RuleSet::new(&[
        of_shape("torn", shape(Some(false), 0, None), &[]),
        of_shape("large", shape(None, 3, None), &["true"]),
        of_shape("small", shape(None, 0, Some(1)), &[]),
        of_shape("pair", shape(Some(true), 2, Some(2)), &[]),
        of_shape("not asked", shape(Some(false), 9, None), &[]),
    ])
    .unwrap();
    let spans = [root("a"), child("b")];
    let (votes, verdict) = seen(&spans, |trace| rules.explain(Instant::now(), trace));
    let said: Vec<_> =
        votes.iter().map(|Explained { rule, vote, why }| (&**rule, *vote, &**why)).collect();
    assert_eq!(
        said,
        [
            ("torn", Vote::NotSampled, "its root is there"),
            ("large", Vote::NotSampled, "it has 2 spans, and not 3"),
            ("small", Vote::NotSampled, "it has 2 spans, more than 1"),
            ("pair", Vote::Sampled, "matches every such trace; all are kept"),
            ("not asked", Vote::NotSampled, "is not asked: `pair` decides"),
        ]
    );
    assert_eq!(verdict.by.map(|by| by.rule), Some(3));
    let (votes, _) = seen(&spans[1..], |trace| rules.explain(Instant::now(), trace));
    assert!(votes[3].why.starts_with("is not asked: `torn`"), "{votes:?}");
}

#[test]
fn a_shape_that_no_trace_has_is_refused() {
    let shape = Shape { min_spans: 3, max_spans: Some(2), ..Shape::default() };
    let error = RuleSet::new(&[of_shape("none", shape, &[])]).unwrap_err();
    assert_eq!(error.to_string(), "none: at least 3 spans and at most 2: no trace has");
}

#[test]
fn roots_of_keys_are_those_that_a_condition_says() {
    let spans = [
        Made::root("a", &[("k", text("real"))]),
        Made::new("b", &[("k", text("gate")), ("is_root", Value::BoolValue(true))]),
    ];
    let mut keys = Keys::new(["root.k"]);
    let mut key = |condition: Option<&str>| {
        keys.root_condition = condition.map(Into::into);
        let sampler = DynamicSampler::AdaptivePercentage {
            goal: 1.0,
            unit: Unit::Spans,
            keys: keys.clone(),
            interval: INTERVAL,
            weight: 0.5,
        };
        let rules =
            RuleSet::new(&[rule("only", &[], sampler)]).map_err(|error| error.to_string())?;
        let (votes, _) = seen(&spans, |trace| rules.explain(Instant::now(), trace));
        Ok::<_, String>(votes[0].why.split('`').nth(1).unwrap().to_owned())
    };
    assert_eq!(key(None).unwrap(), "real");
    assert_eq!(key(Some("span.attributes[\"is_root\"] == true")).unwrap(), "gate");
    let both = "IsRootSpan() or span.attributes[\"is_root\"] == true";
    assert_eq!(key(Some(both)).unwrap(), "gate,real");
    let error = key(Some("nonsense(")).unwrap_err();
    assert!(error.starts_with("only: the condition of root spans does not work: "), "{error}");
}
