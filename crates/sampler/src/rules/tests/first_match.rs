//! Which rule decides, what is told of it, and what is kept of it when rules change.

use std::cell::Cell;
use std::ops::ControlFlow;

use super::*;
use crate::Spans;
use crate::engine::{Explained, Vote};

fn decide(rules: &mut RuleSet, spans: &[Made]) -> (Option<u16>, bool) {
    let verdict = with([9; 16], spans, |trace| rules.decide(Instant::now(), trace));
    (verdict.by.map(|by| by.rule), verdict.is_kept)
}

fn named(name: &str) -> Made {
    Made::new(name, &[])
}

const ALWAYS: DynamicSampler = DynamicSampler::Always;
const NEVER: DynamicSampler = DynamicSampler::Never;

#[test]
fn the_first_rule_that_matches_decides_wherever_in_the_trace_it_does() {
    let mut rules = RuleSet::new(&[
        rule("bad", &["span.name == \"bad\""], ALWAYS),
        rule("dull", &["span.name == \"dull\""], NEVER),
        rule("good", &["span.name == \"good\""], ALWAYS),
    ])
    .unwrap();
    for (names, expected) in [
        (vec!["bad"], (Some(0), true)),
        (vec!["dull", "bad"], (Some(0), true)),
        (vec!["good", "dull", "bad"], (Some(0), true)),
        (vec!["good", "dull"], (Some(1), false)),
        (vec!["x", "good", "y"], (Some(2), true)),
        (vec!["x", "y"], (None, false)),
        (vec![], (None, false)),
    ] {
        let spans: Vec<_> = names.iter().map(|name| named(name)).collect();
        assert_eq!(decide(&mut rules, &spans), expected, "{names:?}");
    }
    let stats = rules.stats();
    // A rule after the one that decides is not asked.
    let seen: Vec<_> = stats.iter().map(|stats| (&*stats.name, stats.traces_seen)).collect();
    assert_eq!(seen, [("bad", 7), ("dull", 4), ("good", 3)]);
    let kept: Vec<_> = stats.iter().map(|stats| (stats.traces_kept, stats.spans_kept)).collect();
    assert_eq!(kept, [(3, 6), (0, 0), (1, 3)]);
    assert!(stats.iter().all(|stats| stats.traces_sampled == stats.traces_kept));
    assert!(stats.iter().all(|stats| stats.traces_dropped == 0 && stats.errors == 0));
}

#[test]
fn a_rule_without_conditions_matches_all() {
    let mut rules = RuleSet::new(&[
        rule("some", &["span.name == \"a\""], ALWAYS),
        rule("rest", &[], NEVER),
        rule("never asked", &["span.name == \"b\""], ALWAYS),
    ])
    .unwrap();
    assert_eq!(decide(&mut rules, &[named("b")]), (Some(1), false));
    assert_eq!(decide(&mut rules, &[named("b"), named("a")]), (Some(0), true));
    assert_eq!(rules.stats()[2].traces_seen, 0);
    let mut none = RuleSet::new(&[]).unwrap();
    assert_eq!(decide(&mut none, &[named("a")]), (None, false));
}

#[test]
fn conditions_are_met_by_any_span_each_or_by_one_all() {
    let conditions = ["span.name == \"a\"", "span.attributes[\"k\"] == \"v\""];
    let any = rule("any", &conditions, ALWAYS);
    let same = MatchRule { scope: MatchScope::SameSpan, ..rule("same", &conditions, ALWAYS) };
    let with_k = |name| Made::new(name, &[("k", text("v"))]);
    for (spans, is_any, is_same) in [
        (vec![named("a"), with_k("b")], true, false),
        (vec![with_k("b"), named("a")], true, false),
        (vec![with_k("b"), with_k("a")], true, true),
        (vec![with_k("b"), named("c")], false, false),
        (vec![named("a"), named("a")], false, false),
    ] {
        let asked = |rule: &MatchRule| {
            let mut rules = RuleSet::new(std::slice::from_ref(rule)).unwrap();
            decide(&mut rules, &spans).1
        };
        assert_eq!((asked(&any), asked(&same)), (is_any, is_same));
    }
}

/// Counts how many spans are looked at.
struct Counted<'a>(&'a [SpanView<'a>], Cell<usize>);

impl Spans for Counted<'_> {
    fn visit(&self, visit: &mut dyn FnMut(SpanView<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.0.iter().try_for_each(|span| {
            self.1.set(self.1.get() + 1);
            visit(*span)
        })
    }
}

#[test]
fn a_span_is_looked_at_once_whatever_the_number_of_rules_and_not_in_vain() {
    let spans: Vec<_> = ["x", "c", "b", "a", "y", "z"].map(named).into();
    let views: Vec<_> = spans.iter().map(Made::view).collect();
    let looked_at = |names: &[&str]| {
        let rules: Vec<_> = names
            .iter()
            .map(|name| rule(name, &[&format!("span.name == \"{name}\"")], ALWAYS))
            .collect();
        let mut rules = RuleSet::new(&rules).unwrap();
        let counted = Counted(&views, Cell::new(0));
        let trace = Trace { id: [1; 16], summary: TraceSummary::default(), spans: &counted };
        rules.decide(Instant::now(), &trace);
        counted.1.get()
    };
    assert_eq!(looked_at(&["a", "b", "c"]), 4, "the first rule matches: nothing else matters");
    assert_eq!(looked_at(&["b", "c"]), 3);
    assert_eq!(looked_at(&["none", "c"]), 6, "the first might still match");
    let mut all = only(ALWAYS);
    let counted = Counted(&views, Cell::new(0));
    let trace = Trace { id: [1; 16], summary: TraceSummary::default(), spans: &counted };
    assert!(all.decide(Instant::now(), &trace).is_kept);
    assert_eq!(counted.1.get(), 0, "all match");
}

#[test]
fn what_cannot_be_evaluated_is_not_met_and_counted_once_a_trace() {
    let mut rules = RuleSet::new(&[
        rule("prefix", &["HasPrefix(span.attributes[\"k\"], \"v\")"], ALWAYS),
        rule("rest", &[], ALWAYS),
    ])
    .unwrap();
    let number = Made::new("a", &[("k", Value::IntValue(1))]);
    let word = Made::new("a", &[("k", text("vw"))]);
    assert_eq!(decide(&mut rules, &[number.clone(), number.clone()]), (Some(1), true));
    assert_eq!(rules.stats()[0].errors, 1);
    // Another span may still meet it.
    assert_eq!(decide(&mut rules, &[number.clone(), word.clone()]), (Some(0), true));
    assert_eq!(decide(&mut rules, &[word]), (Some(0), true));
    let stats = rules.stats();
    assert_eq!((stats[0].errors, stats[0].traces_seen, stats[1].errors), (2, 3, 0));

    let (why, _) = with([1; 16], &[number], |trace| rules.explain(Instant::now(), trace));
    let expected = "no span meets `HasPrefix(span.attributes[\"k\"], \"v\")`; of some span \
                    `HasPrefix(span.attributes[\"k\"], \"v\")` could not be evaluated: ";
    assert!(why[0].why.starts_with(expected), "{}", why[0].why);
}

#[test]
fn the_verdict_names_the_rule_and_the_samplers_own_threshold() {
    let mut rules = only(DynamicSampler::Ratio(0.25));
    for (id, is_kept) in [([0xff; 16], true), ([0xbf; 16], false)] {
        let verdict = with(id, &[named("a")], |trace| rules.decide(Instant::now(), trace));
        assert_eq!(verdict.threshold, Some("c".parse().unwrap()));
        assert_eq!(verdict.is_kept, is_kept);
        assert_eq!(verdict.by.map(|by| (by.rule, by.part)), Some((0, None)));
    }
    // The randomness that a trace came with decides, and not its id.
    let mut rules = only(DynamicSampler::Ratio(0.25));
    let summary =
        TraceSummary { randomness: Some("ff000000000000".parse().unwrap()), ..Default::default() };
    let views = [SpanView { resource: &[], scope: &[], message: &[] }];
    let trace = Trace { id: [0; 16], summary, spans: &&views[..] };
    assert!(rules.decide(Instant::now(), &trace).is_kept);
}

#[test]
fn what_is_explained_says_why_and_changes_nothing() {
    let sampler = DynamicSampler::AdaptiveThroughput {
        goal: 1.0,
        unit: Unit::Traces,
        keys: Keys { max_keys: 1, ..Keys::new(["resource.service.name", "span.k"]) },
        initial: 0.5,
        algorithm: Algorithm::Ema { interval: INTERVAL, weight: 0.5 },
    };
    let same = ["span.name == \"a\"", "span.name == \"b\""];
    let mut rules = RuleSet::new(&[
        rule("missed", &["span.name == \"a\"", "span.name == \"no\""], ALWAYS),
        MatchRule { scope: MatchScope::SameSpan, ..rule("both", &same, ALWAYS) },
        rule("found", &["span.name == \"a\""], sampler),
        rule("rest", &[], NEVER),
    ])
    .unwrap();
    let span = |key| Made::new("a", &[("k", text(key))]).below(&[("service.name", text("s"))], &[]);
    let now = Instant::now();
    let explain = |rules: &RuleSet, key, id| {
        let before = format!("{rules:?}");
        let spans = [span(key)];
        let (explained, verdict) = with(id, &spans, |trace| rules.explain(now, trace));
        assert_eq!(format!("{rules:?}"), before);
        assert_eq!(verdict.by.map(|by| by.rule), Some(2));
        explained.into_iter().map(|one| (one.rule, one.vote, one.why)).collect::<Vec<_>>()
    };
    let own = |(rule, vote, why): (&str, Vote, &str)| (rule.to_owned(), vote, why.to_owned());
    let first = "some span meets each condition; key `s•1` (new, the first of it in this interval); \
                 kept with probability 1: threshold 0, and the trace's randomness 00000000000000 \
                 is at or above it";
    let expected = [
        ("missed", Vote::NotSampled, "no span meets `span.name == \"no\"`"),
        (
            "both",
            Vote::NotSampled,
            "no span meets all of `span.name == \"a\"`, `span.name == \"b\"`",
        ),
        ("found", Vote::Sampled, first),
        ("rest", Vote::NotSampled, "is not asked: `found` decides"),
    ];
    assert_eq!(explain(&rules, "1", [0; 16]), expected.map(own));

    with([0; 16], &[span("1")], |trace| rules.decide(now, trace));
    let why = explain(&rules, "1", [0; 16]).swap_remove(2);
    assert_eq!(why.1, Vote::NotSampled);
    let expected = "key `s•1` (new); kept with probability 0.5: threshold 8, and the trace's \
                    randomness 00000000000000 is below it";
    assert!(why.2.ends_with(expected), "{}", why.2);
    let why = explain(&rules, "2", [0; 16]).swap_remove(2);
    let expected = "key `s•2` (beyond the keys that are told apart";
    assert!(why.2.contains(expected), "{}", why.2);
    let why = explain(&rules, &"x".repeat(300), [0; 16]).swap_remove(2);
    assert!(why.2.contains("…`, cut to 16 values and 256 bytes an attribute (b"), "{}", why.2);
}

#[test]
fn an_explanation_foretells_the_decision() {
    let mut rng = fastrand::Rng::with_seed(8);
    for sampler in [percentage(0.2, 5), ema(3.0, 5), windowed(3.0, 5), per_key(1.0, 5)] {
        let mut rules = only(sampler);
        let start = Instant::now();
        let spans: Vec<_> = (0..10).map(of_key).collect();
        for n in 0..3000u32 {
            // No interval ends between the two.
            let now = start + Duration::from_millis(u64::from(n) * 10);
            let span = std::slice::from_ref(&spans[rng.usize(..10) * rng.usize(..10) / 10]);
            with(rng.u128(1..).to_be_bytes(), span, |trace| {
                if n % 100 == 0 {
                    rules.decide(now, trace);
                    return;
                }
                let (mut explained, foretold) = rules.explain(now, trace);
                let Explained { vote, why, .. } = explained.swap_remove(0);
                let verdict = rules.decide(now, trace);
                assert_eq!(foretold, verdict);
                assert_eq!(vote == Vote::Sampled, verdict.is_kept, "{why}");
                assert!(why.contains(&format!("threshold {},", verdict.threshold.unwrap())));
            });
        }
    }
}

#[test]
fn changed_rules_go_on_with_what_the_old_ones_learned() {
    let learning = |name: &str, span: &str, goal| {
        rule(name, &[&format!("span.name == \"{span}\"")], ema(goal, 500))
    };
    let old =
        [learning("moved", "m", 10.0), learning("changed", "c", 10.0), learning("gone", "g", 10.0)];
    let mut old = RuleSet::new(&old).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let start = Instant::now();
    let of_key = |name, key: u64| Made::new(name, &[("k", text(&key.to_string()))]);
    for n in 0..60_000u64 {
        let span = of_key(["m", "c", "g"][n as usize % 3], n / 3 % 3);
        ask(&mut old, &mut rng, start + Duration::from_micros(n * 333), &span);
    }
    let learned = old.stats()[0].sampler;
    assert!(learned.keys == 3 && learned.intervals == 3, "{learned:?}");
    assert!(learned.last_seen > 1000 && learned.last_kept < 200, "{learned:?}");
    let seen = old.stats()[0].traces_seen;
    let peek = |rules: &RuleSet, index: usize| {
        let spans = [of_key("m", 1), of_key("new", 1)];
        let (why, _) = with([0; 16], &spans, |trace| rules.explain(start, trace));
        why[index].why.clone()
    };
    let before = peek(&old, 0);

    let mut new = RuleSet::new(&[
        learning("new", "n", 10.0),
        // Other conditions.
        learning("moved", "new", 10.0),
        learning("changed", "c", 11.0),
    ])
    .unwrap();
    new.adopt(old);
    let stats = new.stats();
    assert_eq!((stats[1].sampler, stats[1].traces_seen), (learned, seen));
    assert_eq!(stats[0].sampler, SamplerStats::default(), "a new one has learned nothing");
    assert_eq!((stats[0].traces_seen, &*stats[0].name), (0, "new"));
    assert_eq!(stats[2].sampler, SamplerStats::default(), "nor has one with another goal");
    assert!(stats[2].traces_seen > 0, "but its name is the same");
    let tail = |why: &str| why.split_once("key").unwrap().1.to_owned();
    let after = peek(&new, 1);
    assert_eq!(tail(&after), tail(&before), "the same rate as before");
    assert!(after.contains("(known"), "{after}");
}

#[test]
fn what_makes_no_sense_is_named() {
    let refused = |rules: &[MatchRule]| RuleSet::new(rules).unwrap_err().to_string();
    let of = |sampler| refused(&[rule("r", &[], sampler)]);
    assert_eq!(refused(&[rule("", &[], ALWAYS)]), "rule 1: it needs a name");
    let twice = [rule("r", &[], ALWAYS), rule("r", &[], NEVER)];
    assert_eq!(refused(&twice), "r: another rule has this name, too");
    let bad = refused(&[rule("r", &["span.name == \"a\"", "nonsense("], ALWAYS)]);
    assert!(bad.starts_with("r: condition `nonsense(`: "), "{bad}");
    for ratio in [-0.1, 1.1, f64::NAN] {
        let expected = format!("r: the share is {ratio}: it has to be within 0 and 1");
        assert_eq!(of(DynamicSampler::Ratio(ratio)), expected);
    }
    let expected = "r: the goal is 2: it has to be above 0 and at most 1";
    assert_eq!(of(percentage(2.0, 1)), expected);
    for goal in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for sampler in [percentage(goal, 1), ema(goal, 1), windowed(goal, 1), per_key(goal, 1)] {
            assert!(of(sampler).starts_with(&format!("r: the goal is {goal}: ")));
        }
    }
    for (max_keys, expected) in [
        (0, "r: the number of keys is 0: it has to be within 1 and 100000"),
        (100_001, "r: the number of keys is 100001: it has to be within 1 and 100000"),
    ] {
        for sampler in [percentage(0.5, max_keys), ema(1.0, max_keys), per_key(1.0, max_keys)] {
            assert_eq!(of(sampler), expected);
        }
    }
    let throughput = |initial, algorithm| {
        of(DynamicSampler::AdaptiveThroughput {
            goal: 1.0,
            unit: Unit::Traces,
            keys: keys(1),
            initial,
            algorithm,
        })
    };
    let second = Duration::from_secs(1);
    let ema = |interval, weight| throughput(0.1, Algorithm::Ema { interval, weight });
    assert_eq!(
        throughput(0.0, Algorithm::Ema { interval: second, weight: 0.5 }),
        "r: the initial share is 0: it has to be above 0 and at most 1"
    );
    assert_eq!(ema(second, 0.0), "r: the weight is 0: it has to be above 0 and at most 1");
    assert_eq!(
        ema(Duration::ZERO, 0.5),
        "r: the interval is 0ns: it has to be above 0 and at most a day"
    );
    let windowed = |update, lookback| throughput(0.1, Algorithm::Windowed { update, lookback });
    assert_eq!(
        windowed(second, second * 301),
        "r: the lookback of 301s is 301 updates of 1s: it has to be within 1 and 300"
    );
    assert!(windowed(second, second / 2).contains("is 0 updates of 1s"));
    assert!(windowed(Duration::ZERO, second).starts_with("r: the update is 0ns"));
    let keys = Keys::new(["service.name"]);
    let (unit, interval) = (Unit::Spans, INTERVAL);
    let of_what = of(DynamicSampler::PerKeyThroughput { goal: 1.0, unit, keys, interval });
    assert!(of_what.starts_with("r: `service.name` in the key: "), "{of_what}");
    for (spans_per_second, burst) in [(0, 1), (1, 0)] {
        let limit = of(DynamicSampler::RateLimit { spans_per_second, burst });
        assert!(limit.starts_with("r: a rate limit of no spans"), "{limit}");
    }
    let error = RuleSet::new(&[rule("r", &[], DynamicSampler::Ratio(2.0))]).unwrap_err();
    assert!(matches!(error, ConfigError::Rule { rule, .. } if rule == "r"));
}
