//! Policies that count.

use super::*;

#[track_caller]
fn ask(set: &mut PolicySet, now: Instant, spans: usize) -> bool {
    set.decide(now, &plain(ID, spans).trace()).is_kept
}

#[test]
fn spans_and_bytes_are_limited_to_a_rate_and_a_burst() {
    let start = Instant::now();
    let mut limited = set(vec![spans_a_second(10, 20)]);
    assert!(!ask(&mut limited, start, 21), "never more than the burst");
    assert!(ask(&mut limited, start, 20));
    assert!(!ask(&mut limited, start, 1));
    assert!(ask(&mut limited, start + ms(500), 5));
    assert!(!ask(&mut limited, start + ms(500), 1));

    let one = plain(ID, 1).trace().summary.bytes;
    let mut limited = set(vec![Policy::ByteLimit { bytes_per_second: one, burst: 2 * one }]);
    assert!(!ask(&mut limited, start, 3));
    assert!(ask(&mut limited, start, 2));
    assert!(!ask(&mut limited, start + ms(999), 1));
    assert!(ask(&mut limited, start + ms(1000), 1));
}

#[test]
fn a_composite_counts_by_part_and_second_and_asks_no_further_once_a_part_keeps() {
    let start = Instant::now();
    let mut set =
        set(vec![composite(5, vec![(has("no"), 5), (Policy::Always, 3), (Policy::Always, 9)])]);
    assert!(ask(&mut set, start, 2));
    assert!(!ask(&mut set, start, 2), "the second part is over, and the third is not asked");
    assert!(ask(&mut set, start + ms(999), 1));
    assert!(!ask(&mut set, start + ms(999), 1));
    assert!(ask(&mut set, start + ms(1000), 3));
    assert!(!ask(&mut set, start + ms(500), 1), "a step back starts no second");

    // A part may have more than the whole, and brings no more than that.
    let mut set = super::set(vec![composite(5, vec![(Policy::Always, 9)])]);
    assert!(!ask(&mut set, start, 6));
    assert!(ask(&mut set, start, 5));
}

#[test]
fn only_what_is_asked_counts() {
    let start = Instant::now();
    // The limit comes second: what the first leaves out costs nothing.
    let mut set =
        set(vec![and(vec![Policy::SpanCount { min: 2, max: None }, spans_a_second(1, 2)])]);
    for _ in 0..10 {
        assert!(!ask(&mut set, start, 1));
    }
    assert!(ask(&mut set, start, 2));
    // The limit comes first: it counts what the second leaves out.
    let mut set =
        super::set(vec![and(vec![spans_a_second(1, 2), Policy::SpanCount { min: 2, max: None }])]);
    assert!(!ask(&mut set, start, 1));
    assert!(!ask(&mut set, start, 2));

    // All policies are asked, unless the first match is enough.
    for first_match in [false, true] {
        let policies = named(vec![Policy::Always, spans_a_second(1, 1)]);
        let config = Policies { policies, first_match, ..Policies::default() };
        let mut set = PolicySet::new(&config).unwrap();
        for _ in 0..3 {
            assert!(ask(&mut set, start, 1));
        }
        let limit = &set.stats()[1];
        let seen = if first_match { (0, 0) } else { (3, 1) };
        assert_eq!((limit.traces_seen, limit.traces_sampled), seen);
        assert_eq!((limit.traces_kept, set.stats()[0].spans_kept), (0, 3));
    }

    // What is dropped is asked about no further.
    let mut set = super::set(vec![spans_a_second(1, 1), drop_if(vec![Policy::Always])]);
    assert!(!ask(&mut set, start, 1));
    assert_eq!((set.stats()[0].traces_seen, set.stats()[1].traces_dropped), (0, 1));
}

#[test]
fn what_is_the_same_by_name_and_definition_goes_on_counting() {
    let start = Instant::now();
    let one = |name: &str, policy: Policy| Rule::new(name, policy);
    let limits = |burst| and(vec![has_not("x"), not(not(spans_a_second(1, burst)))]);
    let shared = composite(4, vec![(never(), 1), (spans_a_second(9, 9), 4)]);
    let old_rules = vec![
        one("same", limits(5)),
        one("changed", limits(5)),
        one("shared", shared.clone()),
        one("gone", has("y")),
        one("renamed", limits(5)),
    ];
    let build = |rules: Vec<Rule>| {
        PolicySet::new(&Policies { policies: rules, ..Policies::default() }).unwrap()
    };
    let mut old = build(old_rules);
    assert!(ask(&mut old, start, 4));
    let before = old.stats();

    let mut new = build(vec![
        one("other", has("z")),
        one("shared", shared),
        one("new name", limits(5)),
        one("changed", limits(6)),
        one("same", limits(5)),
    ]);
    new.adopt(old);
    let stats = new.stats();
    assert_eq!(stats[1], before[2]);
    assert_eq!(stats[4], before[0]);
    for (at, name) in [(0, "other"), (2, "new name"), (3, "changed")] {
        assert_eq!(stats[at], crate::RuleStats { name: name.into(), ..Default::default() });
    }
    // What is left of each: one of five, none of the second, and all where it is new.
    new.decide(start, &plain(ID, 2).trace());
    let sampled = |set: &PolicySet| -> Vec<u64> {
        set.stats().iter().map(|stats| stats.traces_sampled).collect()
    };
    assert_eq!(sampled(&new), [0, 1, 1, 1, 1]);
    new.decide(start, &plain(ID, 1).trace());
    assert_eq!(sampled(&new), [0, 1, 2, 2, 2]);
    new.decide(start + ms(1000), &plain(ID, 1).trace());
    assert_eq!(sampled(&new), [0, 2, 3, 3, 3]);
}
