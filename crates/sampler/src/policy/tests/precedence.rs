//! What becomes of a trace by the votes about it.

use opentelemetry_proto::tonic::trace::v1::span::Event;

use super::*;
use crate::Threshold;
use crate::engine::{By, Vote};

/// Every vote, from a policy about a trace with the attribute `yes`.
fn voters() -> Vec<(Vote, Policy)> {
    vec![
        (Vote::Dropped, drop_if(vec![has("yes")])),
        // A policy that drops, and does not: it does not vote against the trace.
        (Vote::NotSampled, drop_if(vec![has("no")])),
        (Vote::Sampled, has("yes")),
        (Vote::NotSampled, has("no")),
        (Vote::InvertSampled, has_not("no")),
        (Vote::InvertNotSampled, has_not("yes")),
        (Vote::Sampled, and(vec![has("yes"), has_not("no")])),
        (Vote::NotSampled, and(vec![has("yes"), has_not("yes")])),
        // Not: the votes of inverted policies stay as they are.
        (Vote::InvertSampled, not(has_not("no"))),
        (Vote::Error, and(vec![has("yes"), broken(OnError::Propagate), has("no")])),
    ]
}

fn yes() -> Gathered {
    trace_of(vec![], vec![span(vec![attribute("yes", Value::BoolValue(true))])])
}

/// What the Collector makes of votes, in the order in which it asks: whether the trace is kept, which
/// vote did it, and how many votes it took.
fn expected(votes: &[(Vote, bool)], first_match: bool) -> (bool, Option<usize>, usize) {
    let mut asked = votes.len();
    for (at, (vote, _)) in votes.iter().enumerate() {
        if *vote == Vote::Dropped || first_match && *vote == Vote::Sampled {
            asked = at + 1;
            break;
        }
    }
    let votes = &votes[..asked];
    let first = |wanted: Vote| votes.iter().position(|(vote, _)| *vote == wanted);
    let is_against = votes.iter().any(|(vote, drops)| *vote == Vote::NotSampled && !drops);
    let (is_kept, by) = if let Some(at) = first(Vote::Dropped) {
        (false, Some(at))
    } else if first(Vote::InvertNotSampled).is_some() {
        (false, None)
    } else if let Some(at) = first(Vote::Sampled) {
        (true, Some(at))
    } else if let Some(at) = first(Vote::InvertSampled).filter(|_| !is_against) {
        (true, Some(at))
    } else {
        (false, None)
    };
    (is_kept, by, asked)
}

#[test]
fn every_combination_of_votes_ends_as_the_collector_has_it() {
    let trace = yes();
    let voters = voters();
    let count = voters.len();
    // Up to four voters, in every order, with repetition.
    let mut combinations: Vec<Vec<usize>> = vec![vec![]];
    let mut last = combinations.clone();
    for _ in 0..4 {
        last = last
            .iter()
            .flat_map(|before| (0..count).map(|next| [before.as_slice(), &[next]].concat()))
            .collect();
        combinations.extend(last.iter().cloned());
    }
    for combination in &combinations {
        for first_match in [false, true] {
            let policies = combination.iter().map(|&at| voters[at].1.clone()).collect();
            let config = Policies { policies: named(policies), first_match, inverted_votes: true };
            let mut set = PolicySet::new(&config).unwrap();
            let verdict = decide(&mut set, &trace);

            // Those that drop are asked first.
            let drops = |at: usize| matches!(voters[at].1, Policy::Drop(_));
            let mut order: Vec<usize> = (0..combination.len()).collect();
            order.sort_by_key(|&place| !drops(combination[place]));
            let votes: Vec<_> = order
                .iter()
                .map(|&place| (voters[combination[place]].0, drops(combination[place])))
                .collect();
            let (is_kept, by, asked) = expected(&votes, first_match);
            let by = by.map(|at| By { rule: order[at] as u16, part: None });
            assert_eq!((verdict.is_kept, verdict.by), (is_kept, by), "{combination:?}");
            assert_eq!(verdict.threshold, is_kept.then_some(Threshold::ALL), "{combination:?}");

            for (at, (&place, (vote, _))) in order.iter().zip(&votes).enumerate() {
                let stats = &set.stats()[place];
                let is_asked = at < asked;
                let counts =
                    |vote: &[Vote], this: Vote| u64::from(is_asked && vote.contains(&this));
                let is_by = is_kept && by.is_some_and(|by| usize::from(by.rule) == place);
                assert_eq!(stats.traces_seen, u64::from(is_asked));
                assert_eq!(
                    stats.traces_sampled,
                    counts(&[Vote::Sampled, Vote::InvertSampled], *vote)
                );
                assert_eq!(stats.traces_dropped, counts(&[Vote::Dropped], *vote));
                assert_eq!(
                    (stats.traces_kept, stats.spans_kept),
                    (u64::from(is_by), u64::from(is_by))
                );
                assert_eq!(stats.errors, counts(&[Vote::Error], *vote));
            }
        }
    }
}

#[test]
fn without_inverted_votes_an_inverted_policy_is_like_any_other() {
    let trace = yes();
    let mut set = set(vec![has_not("yes"), has("yes")]);
    let verdict = decide(&mut set, &trace);
    assert_eq!(verdict.by, Some(By { rule: 1, part: None }));
    let mut set = super::set(vec![has("no"), has_not("no")]);
    assert_eq!(decide(&mut set, &trace).by, Some(By { rule: 1, part: None }));
    assert!(!keeps(&not(has_not("no")), &trace));
}

#[test]
fn a_trace_that_no_policy_asks_about_is_left_out() {
    assert_eq!(decide(&mut set(vec![]), &yes()), Verdict::LEFT_OUT);
}

fn conditions(spans: &[&str], events: &[&str], on_error: OnError) -> Policy {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
    Policy::Conditions(Conditions { spans: texts(spans), events: texts(events), on_error })
}

#[test]
fn a_condition_keeps_any_trace_in_which_it_is_true() {
    assert!(keeps(&conditions(&["false", "true"], &[], OnError::Silent), &yes()));
    assert!(!keeps(&conditions(&["false"], &[], OnError::Silent), &yes()));
    let of_events = conditions(&[], &["true"], OnError::Ignore);
    assert!(!keeps(&of_events, &yes()), "it has no event");
    let with_event = Span { events: vec![Event::default()], ..span(vec![]) };
    let other = trace_of(vec![], vec![span(vec![]), with_event]);
    assert!(keeps(&of_events, &other));
    // What was found in one trace is nothing to the next.
    let mut set = set(vec![of_events]);
    for _ in 0..2 {
        assert!(decide(&mut set, &other).is_kept);
        assert!(!decide(&mut set, &yes()).is_kept);
    }
}

#[test]
fn an_error_is_counted_once_a_trace_and_ends_the_vote_or_does_not() {
    let trace = plain(ID, 3);
    for (on_error, vote, errors) in [
        (OnError::Propagate, None, 1),
        (OnError::Ignore, Some(true), 1),
        (OnError::Silent, Some(true), 0),
    ] {
        // Before a condition that is true.
        let mut set = set(vec![conditions(&["broken", "true"], &[], on_error)]);
        let is_kept = decide(&mut set, &trace).is_kept;
        let stats = &set.stats()[0];
        assert_eq!(is_kept, vote == Some(true), "{on_error:?}");
        assert_eq!((stats.traces_seen, stats.errors), (1, errors), "{on_error:?}");
        assert_eq!(stats.traces_sampled, u64::from(is_kept), "{on_error:?}");
        // After one that is true it is not asked.
        let mut set = super::set(vec![conditions(&["true", "broken"], &[], on_error)]);
        assert!(decide(&mut set, &trace).is_kept);
        assert_eq!(set.stats()[0].errors, 0);
        // What is counted is what a policy was asked about, not what a threshold needs to know.
        let of_chance = and(vec![ratio(0.0), conditions(&["broken"], &[], on_error)]);
        let config = Policies {
            first_match: true,
            ..config(vec![Policy::Always, conditions(&["broken"], &[], on_error), of_chance])
        };
        let mut set = PolicySet::new(&config).unwrap();
        assert!(decide(&mut set, &trace).is_kept);
        assert!(set.stats().iter().all(|stats| stats.errors == 0));
    }
}

#[test]
fn an_error_before_the_end_of_a_policy_of_policies_ends_it() {
    let trace = plain(ID, 1);
    let broken = || broken(OnError::Propagate);
    for (policy, errors) in [
        (and(vec![never(), broken()]), 0),
        (and(vec![broken(), never()]), 1),
        (not(broken()), 1),
        (drop_if(vec![broken()]), 1),
        (composite(9, vec![(broken(), 9), (Policy::Always, 9)]), 1),
        (composite(9, vec![(Policy::Always, 9), (broken(), 9)]), 0),
    ] {
        let mut set = set(vec![policy.clone()]);
        let verdict = decide(&mut set, &trace);
        assert_eq!(set.stats()[0].errors, errors, "{policy:?}");
        assert!(errors == 0 || verdict == Verdict::LEFT_OUT, "{policy:?}");
    }
    // Spans behind the one with the error are not asked.
    let with_event = Span { events: vec![Event::default()], ..span(vec![]) };
    let trace = trace_of(vec![], vec![with_event, span(vec![])]);
    let mut set = set(vec![not(conditions(&[], &["broken"], OnError::Propagate))]);
    assert_eq!(decide(&mut set, &trace), Verdict::LEFT_OUT);
    assert_eq!(set.stats()[0].errors, 1);
}

#[test]
fn the_part_of_a_composite_policy_is_known() {
    let mut set = set(vec![
        never(),
        composite(10, vec![(has("no"), 10), (has("yes"), 10)]),
        and(vec![composite(10, vec![(Policy::Always, 10)])]),
    ]);
    let verdict = decide(&mut set, &yes());
    assert_eq!(verdict.by, Some(By { rule: 1, part: Some(1) }));
    assert_eq!(set.name(verdict.by.unwrap()), "1/1");
    let mut nested = super::set(vec![and(vec![composite(10, vec![(Policy::Always, 10)])])]);
    assert_eq!(decide(&mut nested, &yes()).by, Some(By { rule: 0, part: None }));
}
