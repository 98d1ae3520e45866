//! The rule, case by case.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

use super::*;

fn two(rules: Vec<Rule>) -> World {
    World::new([shared(rules.clone()), shared(rules)])
}

/// Randomness that a tenth keeps, and that it leaves out.
const HIGH: u64 = 0xf5 << 48;
const LOW: u64 = 0x05 << 48;

#[test]
fn a_reason_that_one_knows_keeps_the_parts_of_all() {
    let mut world = two(errors_and(10.0));
    world.offer(0, vec![span(id(LOW), "plain")]);
    world.offer(1, vec![failed(id(LOW), "failed")]);
    world.pass(SECOND + 10 * MILLI);
    assert_eq!(world.kept(1), BTreeMap::from([("failed", "ot=th:0")]), "that is certain at once");
    assert_eq!(world.kept(0), BTreeMap::new());
    world.pass(SECOND);
    assert_eq!(world.kept(0), BTreeMap::from([("plain", "ot=th:0")]));
    let stats = world.samplers[0].sampler.stats();
    assert_eq!(stats.decisions[Trigger::Learned as usize], 1);
    assert_eq!((stats.sharing.kept_by_others, stats.sharing.alone), (1, 0));
    assert_eq!(world.stats(1).kept_by_others, 0);

    // What comes late follows, wherever it comes.
    world.offer(0, vec![span(id(LOW), "late")]);
    assert_eq!(world.kept(0)["late"], "ot=th:0");
}

#[test]
fn nobody_knows_a_reason_and_all_leave_it_out() {
    let mut world = two(errors_and(10.0));
    world.offer(0, vec![span(id(LOW), "a")]);
    world.offer(1, vec![span(id(LOW), "b")]);
    world.pass(SECOND + 100 * MILLI);
    assert_eq!(world.samplers[0].sampler.held().spans, 1, "it waits for the other");
    assert_eq!(world.places.len(), 0, "and says nothing");
    world.pass(SECOND);
    assert_eq!((world.samplers[0].sampled_out, world.samplers[1].sampled_out), (1, 1));
    assert_eq!(world.places[&id(LOW)], Shared::Dropped);
    for at in [0, 1] {
        let stats = world.samplers[at].sampler.stats();
        assert_eq!(stats.decisions[Trigger::Wait as usize], 1);
        assert_eq!(stats.sharing, SharingStats { asked: 1, ..SharingStats::default() });
    }
}

#[test]
fn of_two_that_keep_it_the_lower_threshold_counts() {
    let half = || vec![Rule::new("half", Policy::percent(50.0, ""))];
    let tenth = || vec![Rule::new("tenth", Policy::percent(10.0, ""))];
    for (first, second, lower) in [
        (half(), tenth(), "ot=th:8"),
        (tenth(), half(), "ot=th:8"),
        (errors_and(10.0), tenth(), "ot=th:0"),
    ] {
        let mut world = World::new([shared(first), shared(second)]);
        world.offer(0, vec![failed(id(HIGH), "a")]);
        world.pass(30 * MILLI);
        world.offer(1, vec![span(id(HIGH), "b")]);
        world.pass(3 * SECOND);
        assert_eq!(world.kept(0)["a"], lower);
        assert_eq!(world.kept(1)["b"], lower);
    }
}

#[test]
fn a_certain_reason_counts_though_another_has_voted_by_chance() {
    let mut world = two(errors_and(10.0));
    world.offer(0, vec![span(id(HIGH), "a")]);
    world.pass(500 * MILLI);
    world.offer(1, vec![failed(id(HIGH), "b")]);
    world.pass(3 * SECOND);
    assert_eq!((world.kept(0)["a"], world.kept(1)["b"]), ("ot=th:0", "ot=th:0"));
}

#[test]
fn a_decision_stays_whoever_comes_later_and_whatever_he_knows() {
    let mut world = two(errors_and(10.0));
    world.offer(0, vec![span(id(LOW), "low"), span(id(HIGH), "high")]);
    world.pass(2 * SECOND);
    world.offer(1, vec![failed(id(LOW), "low"), failed(id(HIGH), "high")]);
    world.pass(3 * SECOND);
    for at in [0, 1] {
        // Of the lower threshold nothing is left that it would be about.
        assert_eq!(world.kept(at), BTreeMap::from([("high", "ot=th:e666")]));
        assert_eq!(world.samplers[at].sampled_out, 1);
    }
    assert_eq!(world.stats(1).dropped_by_others, 1);
    let stats = world.samplers[1].sampler.stats();
    assert_eq!(stats.decisions[Trigger::Learned as usize], 1);
}

#[test]
fn a_policy_that_drops_counts_for_all_unless_a_certain_reason_was_first() {
    let drops = || {
        let health = Policy::StringAttribute {
            key: "http.route".into(),
            values: vec!["/health".into()],
            is_regex: false,
            is_inverted: false,
        };
        let mut rules = errors_and(10.0);
        rules.push(Rule::new("no health", Policy::Drop(vec![Rule::new("health", health)])));
        rules
    };
    let mut health = span(id(HIGH), "health");
    let value = AnyValue { value: Some(Value::StringValue("/health".into())) };
    health.attributes.push(KeyValue {
        key: "http.route".into(),
        value: Some(value),
        ..KeyValue::default()
    });
    for (first, keeps) in [(0, false), (1, true)] {
        let mut world = two(drops());
        for at in [first, 1 - first] {
            let spans = if at == 0 { health.clone() } else { failed(id(HIGH), "failed") };
            world.offer(at, vec![spans]);
            world.pass(100 * MILLI);
        }
        world.pass(1200 * MILLI);
        let counts = [0, 1].map(|at| world.samplers[at].kept.len());
        assert_eq!(counts, [usize::from(keeps); 2]);
    }
}

#[test]
fn without_an_answer_each_decides_by_itself_and_says_so() {
    let mut world = two(errors_and(10.0));
    world.is_down = true;
    world.offer(0, vec![span(id(LOW), "plain")]);
    world.offer(1, vec![failed(id(LOW), "failed")]);
    world.pass(2 * SECOND + 100 * MILLI);
    assert_eq!((world.kept(1).len(), world.samplers[0].sampled_out), (1, 1));
    assert_eq!((world.stats(0).alone, world.stats(1).alone), (1, 1));

    // Answers that never come are waited for as long as there is patience.
    let mut world = two(errors_and(10.0));
    world.delay = 100 * SECOND;
    world.offer(0, vec![span(id(LOW), "plain")]);
    world.offer(1, vec![failed(id(LOW), "failed"), span(id(HIGH), "high")]);
    world.pass(2 * SECOND + 100 * MILLI);
    assert_eq!(world.kept(1).len(), 1);
    assert_eq!(world.samplers[0].sampled_out, 0);
    world.pass(SECOND);
    assert_eq!((world.kept(1).len(), world.samplers[0].sampled_out), (2, 1));
    assert_eq!((world.stats(0).alone, world.stats(1).alone), (1, 2));
}

#[test]
fn kept_counts_for_what_is_to_come_where_two_have_decided_otherwise() {
    let mut world = two(errors_and(10.0));
    world.is_down = true;
    world.offer(0, vec![span(id(LOW), "plain")]);
    world.offer(1, vec![failed(id(LOW), "failed")]);
    world.pass(3 * SECOND);
    assert_eq!((world.kept(0).len(), world.kept(1).len()), (0, 1));
    // Sampler 0 is told afterwards, and 1 of what 0 thinks.
    let kept = Shared::Kept(teleflow_sampler::Reason {
        threshold: Some(teleflow_sampler::Threshold::ALL),
        policy: Some("errors".into()),
        part: None,
    });
    let now = world.now;
    for (at, shared) in [(0, kept), (1, Shared::Dropped)] {
        let node = &mut world.samplers[at];
        node.sampler.learn(now, [Answer { id: id(LOW), shared: Some(shared) }], &mut node.out);
    }
    for at in [0, 1] {
        world.offer(at, vec![span(id(LOW), "late")]);
        assert_eq!(world.kept(at)["late"], "ot=th:0");
    }
    assert_eq!(world.samplers[0].sampled_out, 1, "what was left out stays out");
}

#[test]
fn who_decides_early_tells_the_others() {
    let spans = Config { max_trace_spans: Some(2), ..shared(errors_and(10.0)) };
    let mut world = World::new([spans, shared(errors_and(10.0))]);
    world.offer(1, vec![span(id(LOW), "x")]);
    world.offer(0, vec![span(id(LOW), "a"), failed(id(LOW), "b")]);
    assert_eq!(world.kept(0).len(), 2, "at once");
    world.offer(0, vec![span(id(LOW + 1), "c"), span(id(LOW + 1), "d")]);
    world.offer(1, vec![failed(id(LOW + 1), "y")]);
    world.pass(3 * SECOND);
    assert_eq!(world.kept(1), BTreeMap::from([("x", "ot=th:0")]));
    assert_eq!((world.samplers[0].sampled_out, world.samplers[1].sampled_out), (2, 1));

    // The end, too; and it does not wait.
    let mut world = two(errors_and(10.0));
    world.offer(0, vec![failed(id(LOW), "a"), span(id(LOW + 1), "b"), span(id(HIGH), "c")]);
    world.pass(1500 * MILLI);
    world.offer(1, vec![span(id(LOW), "x"), failed(id(LOW + 1), "y"), span(id(HIGH), "z")]);
    let (now, node) = (world.now, &mut world.samplers[0]);
    while !node.sampler.drain(now, &mut node.out) {}
    world.collect(0);
    assert_eq!((world.kept(0).len(), world.samplers[0].sampled_out), (2, 1));
    world.pass(3 * SECOND);
    assert_eq!(world.kept(1), BTreeMap::from([("x", "ot=th:0"), ("z", "ot=th:e666")]));
}

#[test]
fn what_one_keeps_early_takes_the_place_of_what_others_have_left_out() {
    let spans = Config { max_trace_spans: Some(2), ..shared(errors_and(10.0)) };
    let plain = || shared(errors_and(10.0));
    let mut world = World::new([plain(), spans, plain()]);
    world.offer(0, vec![span(id(LOW), "a")]);
    world.pass(3 * SECOND);
    assert_eq!(world.places[&id(LOW)], Shared::Dropped);
    world.offer(1, vec![span(id(LOW), "b"), failed(id(LOW), "c")]);
    world.pass(SECOND);
    world.offer(2, vec![span(id(LOW), "d")]);
    world.pass(3 * SECOND);
    assert_eq!((world.kept(1).len(), world.kept(2)["d"]), (2, "ot=th:0"));
}

#[test]
fn a_root_that_comes_while_others_are_waited_for_does_not_hurry_them() {
    let wait = Some(SECOND / 10);
    let config = Config { decision_wait_after_root: wait, ..shared(errors_and(10.0)) };
    let mut child = span(id(LOW), "child");
    child.parent_span_id = vec![1; 8];
    let mut world = World::new([config.clone(), config]);
    world.offer(0, vec![child.clone()]);
    world.pass(SECOND + 100 * MILLI);
    world.offer(0, vec![span(id(LOW), "root")]);
    child.name = "failed".into();
    child.status = failed(id(1), "").status;
    world.offer(1, vec![child]);
    world.pass(500 * MILLI);
    assert_eq!(world.samplers[0].sampler.held().spans, 2);
    world.pass(3 * SECOND);
    assert_eq!(world.samplers[0].sampled_out + world.samplers[1].sampled_out, 3, "0 was first");

    // Where the root is, the trace is decided earlier; who has none follows.
    let mut world = World::new(
        world
            .samplers
            .iter()
            .map(|_| Config { decision_wait_after_root: wait, ..shared(errors_and(10.0)) }),
    );
    world.offer(0, vec![failed(id(LOW), "root")]);
    let mut child = span(id(LOW), "child");
    child.parent_span_id = vec![1; 8];
    world.offer(1, vec![child]);
    world.pass(200 * MILLI);
    assert_eq!(world.kept(0).len(), 1);
    world.pass(2 * SECOND);
    assert_eq!(world.kept(1), BTreeMap::from([("child", "ot=th:0")]));
    assert_eq!(world.samplers[0].sampler.stats().decisions[Trigger::AfterRoot as usize], 1);
}

#[test]
fn rules_may_change_while_others_are_waited_for() {
    let both = || {
        vec![Rule::new("tenth", Policy::percent(10.0, "")), Rule::new("errors", Policy::errors())]
    };
    let named = |rules| Config { records_policy: true, ..shared(rules) };
    let mut world = World::new([named(both()), named(both())]);
    world.offer(0, vec![span(id(HIGH), "a")]);
    world.offer(1, vec![span(id(HIGH), "b")]);
    world.pass(SECOND + 100 * MILLI);
    world.samplers[0].sampler.reconfigure(named(errors_and(0.0))).unwrap();
    let mut turned = both();
    turned.reverse();
    world.samplers[1].sampler.reconfigure(named(turned)).unwrap();
    world.pass(2 * SECOND);
    assert_eq!((world.kept(0)["a"], world.kept(1)["b"]), ("ot=th:e666", "ot=th:e666"));
    // And sharing may end meanwhile.
    world.offer(0, vec![span(id(HIGH + 1), "c")]);
    world.pass(SECOND + 100 * MILLI);
    world.samplers[0].sampler.reconfigure(config(errors_and(0.0))).unwrap();
    world.pass(3 * SECOND);
    assert_eq!(world.samplers[0].sampler.held().spans, 0);
}

#[test]
fn without_grace_the_first_decides_for_all() {
    let sharing = Some(Sharing { grace: Duration::ZERO, patience: SECOND });
    let config = || Config { sharing, ..config(errors_and(10.0)) };
    let mut world = World::new([config(), config()]);
    world.offer(0, vec![span(id(LOW), "a")]);
    world.pass(100 * MILLI);
    world.offer(1, vec![failed(id(LOW), "b")]);
    world.pass(2 * SECOND);
    assert_eq!((world.samplers[0].sampled_out, world.samplers[1].sampled_out), (1, 1));
}

#[test]
fn what_chance_decided_with_is_the_same_for_all_where_policies_have_a_salt() {
    let salted = || {
        let some = Rule::new("some", Policy::percent(50.0, "salt"));
        vec![some, Rule::new("errors", Policy::errors())]
    };
    let (mut learned, mut world) = (0, two(salted()));
    for n in 1..=40 {
        world.offer(0, vec![span(id(n), &format!("{n}"))]);
    }
    world.pass(2 * SECOND + 100 * MILLI);
    for n in 1..=40 {
        world.offer(1, vec![span(id(n), &format!("{n}"))]);
    }
    world.pass(3 * SECOND);
    assert_eq!(world.kept(0), world.kept(1));
    for state in world.kept(0).values() {
        let state = TraceState::parse(state);
        let (threshold, randomness) = (state.threshold().unwrap(), state.randomness().unwrap());
        assert!(threshold.keeps(randomness));
        learned += 1;
    }
    assert!((8..=32).contains(&learned), "{learned} of 40");
}

#[test]
fn what_came_sampled_keeps_its_threshold_where_others_decide() {
    let mut world = two(errors_and(10.0));
    let mut sampled = span(id(0xc0 << 48), "sampled");
    sampled.trace_state = "ot=th:8".into();
    world.offer(0, vec![sampled]);
    world.offer(1, vec![failed(id(0xc0 << 48), "failed")]);
    world.pass(3 * SECOND);
    assert_eq!(world.kept(0)["sampled"], "ot=th:8");
    assert_eq!(world.kept(1)["failed"], "ot=th:0");
}

#[test]
fn of_more_than_can_be_told_at_a_time_the_rest_is_decided_alone() {
    let mut sampler = TailSampler::new(shared(errors_and(0.0))).unwrap();
    let (now, mut out) = (Instant::now(), Output::default());
    super::super::offer(
        &mut sampler,
        now,
        (1..=20_000).map(|n| span(id(n), "x")).collect(),
        &mut out,
    );
    while !sampler.drain(now, &mut out) {}
    assert_eq!((out.sampled_out, sampler.held().spans), (20_000, 0));
    let told = out.proposals.len();
    assert_eq!(told, 16 * 1024);
    assert_eq!(sampler.stats().sharing.untold, 20_000 - told as u64);
}

#[test]
fn what_another_had_to_let_go_early_is_by_the_own_chance_of_the_trace() {
    // Salted, policies decide by another randomness, and write it.
    let rules = vec![Rule::new("tenth", Policy::percent(10.0, "salt"))];
    let mut world = World::new([shared(rules)]);
    world.offer(0, vec![span(id(HIGH), "held")]);
    let reason = teleflow_sampler::Reason {
        threshold: teleflow_sampler::Threshold::from_probability(0.5).ok(),
        policy: Some("_eviction".into()),
        part: None,
    };
    let (now, node) = (world.now, &mut world.samplers[0]);
    let answer = Answer { id: id(HIGH), shared: Some(Shared::Kept(reason)) };
    node.sampler.learn(now, [answer], &mut node.out);
    world.collect(0);
    world.offer(0, vec![span(id(HIGH), "late")]);
    assert_eq!(world.kept(0), BTreeMap::from([("held", "ot=th:8"), ("late", "ot=th:8")]));
}
