//! How likely it was that a trace was kept.

use super::*;
use crate::{Randomness, Threshold};

/// The threshold with which a trace is kept whose randomness is a share of all there are.
#[track_caller]
fn threshold(config: &Policies, share: f64) -> Option<Threshold> {
    let mut set = PolicySet::new(config).unwrap();
    let verdict = decide(&mut set, &plain(id_at(share), 1));
    assert!(verdict.is_kept, "{share}");
    verdict.threshold
}

fn t(probability: f64) -> Option<Threshold> {
    Some(Threshold::from_probability(probability).unwrap())
}

#[track_caller]
fn check(policies: Vec<Policy>, share: f64, expected: Option<Threshold>) {
    for first_match in [false, true] {
        let config = Policies { first_match, ..config(policies.clone()) };
        assert_eq!(threshold(&config, share), expected, "first match: {first_match}");
    }
}

#[track_caller]
fn left_out(policies: Vec<Policy>, share: f64) {
    assert!(!decide(&mut set(policies), &plain(id_at(share), 1)).is_kept, "{share}");
}

#[test]
fn the_lowest_of_what_keeps_a_trace_counts() {
    check(vec![ratio(0.1)], 0.95, t(0.1));
    check(vec![ratio(0.1), ratio(0.5)], 0.95, t(0.5));
    check(vec![ratio(0.5), ratio(0.1)], 0.95, t(0.5));
    check(vec![ratio(0.1), ratio(0.5)], 0.6, t(0.5));
    left_out(vec![ratio(0.1), ratio(0.5)], 0.4);
    check(vec![ratio(0.1), Policy::Always], 0.95, t(1.0));
    check(vec![ratio(0.1), has_not("x"), spans_a_second(1, 1)], 0.95, t(1.0));
    check(vec![ratio(1.0)], 0.0, t(1.0));
    left_out(vec![ratio(0.0)], 1.0);
    left_out(vec![ratio(1e-20)], 1.0);
}

#[test]
fn the_highest_of_all_that_have_to_keep_it_counts() {
    check(vec![and(vec![ratio(0.1), ratio(0.5), Policy::Always])], 0.95, t(0.1));
    check(vec![and(vec![has_not("x"), ratio(0.5)])], 0.95, t(0.5));
    check(vec![and(vec![ratio(0.5), ratio(1.0)]), and(vec![ratio(0.7)])], 0.95, t(0.7));
    check(vec![not(not(ratio(0.5)))], 0.95, t(0.5));
    check(vec![and(vec![not(and(vec![ratio(0.3), has("x")])), ratio(0.5)])], 0.95, t(0.5));
}

#[test]
fn an_inverted_policy_within_others_counts_by_its_vote() {
    for policy in [has_not("x"), not(has_not("x")), not(not(has_not("x")))] {
        let policies = vec![and(vec![policy.clone(), ratio(0.5)])];
        let inverted = Policies { inverted_votes: true, ..config(policies) };
        assert_eq!(threshold(&inverted, 0.6), t(0.5), "{policy:?}");
    }
}

#[test]
fn what_depends_on_more_has_no_threshold() {
    check(vec![spans_a_second(1, 1)], 0.95, None);
    check(vec![composite(9, vec![(ratio(0.5), 9)])], 0.95, None);
    check(vec![and(vec![ratio(0.5), spans_a_second(1, 1)])], 0.95, None);
    check(vec![not(ratio(0.5))], 0.4, None);
    check(vec![and(vec![ratio(0.5), not(ratio(0.1))])], 0.6, None);
    // Beside something that has one, that counts.
    check(vec![spans_a_second(1, 1), ratio(0.5)], 0.6, t(0.5));
    check(vec![ratio(0.5), spans_a_second(1, 1)], 0.6, t(0.5));
    check(vec![spans_a_second(1, 1), ratio(0.5)], 0.4, None);
    check(vec![not(ratio(0.1)), ratio(0.5)], 0.6, t(0.5));
    check(vec![not(ratio(0.1)), ratio(0.5)], 0.4, None);
    // What would be kept in any case is certain, whatever it is made of.
    check(vec![not(and(vec![ratio(0.5), has("x")]))], 0.95, t(1.0));
    check(vec![not(and(vec![spans_a_second(1, 1), has("x")]))], 0.95, t(1.0));
}

#[test]
fn chance_of_another_salt_than_the_first_has_no_threshold() {
    let salted_at = |policies: Vec<Policy>| {
        let mut set = set(policies);
        let mut rng = fastrand::Rng::with_seed(5);
        let mut seen = Vec::new();
        for _ in 0..2000 {
            let trace = plain(rng.u128(1..).to_be_bytes(), 1);
            let verdict = decide(&mut set, &trace);
            if verdict.is_kept {
                let own = Randomness::from_trace_id(trace.trace().id);
                if let (Some(threshold), Some(randomness)) = (verdict.threshold, verdict.randomness)
                {
                    assert!(threshold.keeps(randomness));
                    assert_ne!(randomness, own);
                } else {
                    assert!(verdict.threshold.is_none_or(|threshold| threshold.keeps(own)));
                }
                seen.push((verdict.threshold, verdict.randomness.is_some()));
            }
        }
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    assert_eq!(salted_at(vec![salted(0.5, "a")]), [(t(0.5), true)]);
    assert_eq!(salted_at(vec![salted(1.0, "a")]), [(t(1.0), false)]);
    assert_eq!(salted_at(vec![salted(0.5, "a"), salted(0.1, "a")]), [(t(0.5), true)]);
    assert_eq!(
        salted_at(vec![salted(0.5, "a"), salted(0.1, "b")]),
        [(None, false), (t(0.5), true)]
    );
    assert_eq!(salted_at(vec![salted(0.5, "a"), ratio(0.1)]), [(None, false), (t(0.5), true)]);
    assert_eq!(salted_at(vec![ratio(0.1), salted(0.5, "a")]), [(None, false), (t(0.1), false)]);
    assert_eq!(salted_at(vec![and(vec![ratio(0.5), salted(0.5, "a")])]), [(None, false)]);
    // Those that keep all or nothing are no chance.
    assert_eq!(salted_at(vec![ratio(0.0), salted(0.5, "a")]), [(t(0.5), true)]);
    assert_eq!(salted_at(vec![salted(0.5, "a"), Policy::Always]), [(t(1.0), false)]);
}

#[test]
fn what_says_how_it_was_sampled_before_goes_by_its_own_randomness() {
    let trace = |state: &str| {
        let id = id_at(0.25).to_vec();
        let span = |state: &str| Span {
            trace_id: id.clone(),
            trace_state: state.into(),
            ..Span::default()
        };
        trace_of(vec![], vec![span(""), span("other=1"), span(state), span("ot=rv:00000000000000")])
    };
    let verdict = |state: &str, policies: Vec<Policy>| decide(&mut set(policies), &trace(state));
    // The first rv counts; a th before it does not keep it from being found.
    let kept = verdict("ot=rv:e0000000000000", vec![ratio(0.2)]);
    assert_eq!((kept.threshold, kept.randomness), (t(0.2), None));
    assert!(!verdict("ot=th:8", vec![ratio(0.2)]).is_kept);
    // Salts no longer matter.
    let both = vec![salted(0.2, "a"), salted(0.5, "b"), ratio(0.3)];
    let kept = verdict("ot=rv:e0000000000000", both);
    assert_eq!((kept.threshold, kept.randomness), (t(0.5), None));
}

#[test]
fn what_may_be_dropped_by_chance_counts_only_for_what_is_left() {
    // Kept from a half on, and half of those dropped from the lower end.
    let lower = drop_if(vec![not(ratio(0.25))]);
    check(vec![ratio(0.5), lower.clone()], 0.8, t(0.25));
    check(vec![Policy::Always, lower.clone()], 0.8, t(0.25));
    check(vec![ratio(0.1), lower.clone()], 0.95, t(0.1));
    left_out(vec![Policy::Always, lower], 0.7);
    // From the upper end: what is left is no threshold.
    let upper = drop_if(vec![ratio(0.25)]);
    check(vec![Policy::Always, upper.clone()], 0.7, None);
    left_out(vec![Policy::Always, upper], 0.8);
    // It could not be dropped after all, and is not, for any randomness.
    check(vec![Policy::Always, drop_if(vec![ratio(0.25), has("x")])], 0.7, t(1.0));
    check(vec![Policy::Always, drop_if(vec![ratio(0.25), has("x")])], 0.8, t(1.0));
    check(vec![Policy::Always, drop_if(vec![spans_a_second(0, 0), has("x")])], 0.8, t(1.0));
    check(vec![Policy::Always, drop_if(vec![spans_a_second(0, 0)])], 0.8, None);
}

#[test]
fn a_first_match_counts_what_was_not_asked_up_to_what_would_have_left_it_out() {
    let inverted = |policies: Vec<Policy>| Policies {
        first_match: true,
        inverted_votes: true,
        ..config(policies)
    };
    let yes = |id: [u8; 16]| Span {
        trace_id: id.to_vec(),
        attributes: vec![attribute("yes", Value::BoolValue(true))],
        ..Span::default()
    };
    let trace = trace_of(vec![], vec![yes(id_at(0.95))]);
    let of = |policies| {
        PolicySet::new(&inverted(policies)).unwrap().decide(Instant::now(), &trace.trace())
    };
    let verdict = of(vec![ratio(0.1), has_not("yes"), ratio(0.5)]);
    assert_eq!((verdict.is_kept, verdict.threshold), (true, t(0.1)), "below, it is left out");
    let verdict = of(vec![ratio(0.1), has_not("no"), ratio(0.5)]);
    assert_eq!(verdict.threshold, t(0.5), "to keep it if no other is against it is not to keep it");
    let verdict = of(vec![spans_a_second(1, 1), has_not("yes"), Policy::Always]);
    assert_eq!((verdict.is_kept, verdict.threshold), (true, None));
}
