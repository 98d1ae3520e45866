//! Policies of one's own.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::policy::{Custom, Decider};
use crate::{Config, Strategy, TailSampler, Threshold, Trace};

/// Keeps traces of so many spans or more, and cannot tell of a trace of 13.
#[derive(Debug)]
struct Long(u64);

impl Decider for Long {
    fn keeps(&self, _: Instant, trace: &Trace<'_>) -> Option<bool> {
        (trace.summary.spans != 13).then_some(trace.summary.spans >= self.0)
    }
}

/// Keeps every second trace.
#[derive(Debug, Default)]
struct Second(AtomicU64);

impl Decider for Second {
    fn keeps(&self, _: Instant, _: &Trace<'_>) -> Option<bool> {
        Some(self.0.fetch_add(1, Ordering::Relaxed) % 2 == 1)
    }

    fn is_certain(&self) -> bool {
        false
    }
}

fn long(spans: u64) -> Policy {
    Policy::Custom(Custom::new(format!("{spans} spans"), move || Long(spans)))
}

fn second(name: &str) -> Policy {
    Policy::Custom(Custom::new(name, Second::default))
}

#[test]
fn it_votes_as_others_do_alone_and_in_parts() {
    let now = Instant::now();
    let kept = |policy: Policy, spans| {
        let mut set = set(vec![policy, drop_if(vec![Policy::SpanCount { min: 20, max: None }])]);
        let verdict = set.decide(now, &plain(ID, spans).trace());
        (verdict.is_kept, verdict.threshold, set.stats()[0].errors)
    };
    let all = Some(Threshold::ALL);
    assert_eq!(kept(long(5), 5), (true, all, 0));
    assert_eq!(kept(long(5), 4), (false, None, 0));
    assert_eq!(kept(long(5), 13), (false, None, 1));
    assert_eq!(kept(long(5), 20), (false, None, 0), "it was dropped");
    assert_eq!(kept(not(long(5)), 4), (true, all, 0));
    assert_eq!(kept(not(long(5)), 13), (false, None, 1));
    assert_eq!(kept(and(vec![long(5), long(7)]), 7), (true, all, 0));
    assert_eq!(kept(and(vec![long(5), long(7)]), 6), (false, None, 0));
}

#[test]
fn what_depends_on_more_than_the_trace_is_asked_once_and_has_no_threshold() {
    let now = Instant::now();
    let mut counting = set(vec![second("second"), long(5)]);
    let mut ask = |spans| {
        let verdict = counting.decide(now, &plain(ID, spans).trace());
        (verdict.is_kept, verdict.threshold)
    };
    let all = Some(Threshold::ALL);
    let votes = [ask(1), ask(1), ask(1), ask(5), ask(5)];
    assert_eq!(votes, [(false, None), (true, None), (false, None), (true, all), (true, all)]);
    assert_eq!(counting.stats()[0].traces_sampled, 2);
}

#[test]
fn of_the_same_name_it_keeps_what_it_counted() {
    let now = Instant::now();
    let kept = |set: &mut PolicySet| set.decide(now, &plain(ID, 1).trace()).is_kept;
    let mut before = set(vec![second("second"), second("other")]);
    assert!(!kept(&mut before));
    let mut after = set(vec![second("second"), second("another")]);
    after.adopt(before);
    assert!(kept(&mut after));
    let stats = after.stats();
    assert_eq!((stats[0].traces_sampled, stats[1].traces_sampled), (1, 0));
    assert_eq!(second("second"), second("second"));
    assert_ne!(second("second"), second("other"));
    assert_eq!(format!("{:?}", second("second")), r#"Custom(Custom("second"))"#);
}

#[test]
fn it_is_explained_without_that_it_counts() {
    let now = Instant::now();
    let trace = plain(ID, 6);
    let rules = vec![Rule::new("own", second("second")), Rule::new("long", long(5))].into();
    for _ in 0..2 {
        let explanation = crate::explain(&rules, now, &trace.trace()).unwrap();
        let whys: Vec<_> = explanation.votes.iter().map(|vote| &*vote.why).collect();
        assert_eq!(whys, ["`second` does not keep it", "`5 spans` keeps it"]);
    }
    let thirteen = crate::explain(&rules, now, &plain(ID, 13).trace()).unwrap();
    assert_eq!(thirteen.votes[1].why, "`5 spans` cannot tell");
}

#[test]
fn of_parts_of_traces_only_what_depends_on_them_alone_is_asked() {
    let config = |policy| Config {
        rules: vec![Rule::new("own", policy)].into(),
        strategy: Strategy::SpanIngest,
        ..Config::default()
    };
    TailSampler::new(config(long(5))).unwrap();
    let error = TailSampler::new(config(and(vec![second("second")]))).unwrap_err();
    let why = "it depends on more than the trace";
    assert_eq!(
        error.to_string(),
        format!("own/0: it cannot be asked about a part of a trace: {why}")
    );
}
