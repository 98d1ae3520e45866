//! What the sampler remembers of decided traces, seen from outside.

use std::time::{Duration, Instant};

use teleflow_otlp::span::StatusCode;
use teleflow_sampler::{Config, Output, Policy, Remembered, Rule};

use crate::{errors_only, request, sampler, span};

#[test]
fn whoever_knows_the_hash_function_cannot_have_new_traces_taken_for_old_ones() {
    // One half of the ids is a constant of the hash function.
    let id = |n: u64| (0xc0ac_29b7_c97c_50dd_u128 << 64 | u128::from(n)).to_le_bytes();
    let (mut sampler, mut out, now) = (errors_only(), Output::default(), Instant::now());
    sampler.offer(now, request(vec![span(id(1), "first", StatusCode::Ok)]), &mut out);
    sampler.poll(now + Duration::from_secs(1), &mut out);
    assert_eq!(out.sampled_out, 1);

    let later = now + Duration::from_secs(2);
    let others = (2..1000).map(|n| span(id(n), "other", StatusCode::Error)).collect();
    sampler.offer(later, request(others), &mut out);
    assert_eq!((sampler.held().traces, out.sampled_out), (998, 1));
}

#[test]
fn as_many_are_remembered_of_each_kind_as_was_asked_for() {
    let mut sampler = sampler(Config {
        rules: vec![Rule::new("errors", Policy::errors())].into(),
        decision_wait: Duration::from_secs(1),
        remembered: Remembered { kept: 10, dropped: 1000 },
        ..Config::default()
    });
    let (mut out, now) = (Output::default(), Instant::now());
    let id = |n: u128| n.to_be_bytes();
    let status = |n: u128| if n.is_multiple_of(2) { StatusCode::Error } else { StatusCode::Ok };
    for n in 1..=2000 {
        sampler.offer(now, request(vec![span(id(n), "x", status(n))]), &mut out);
    }
    while sampler.next_deadline().is_some() {
        sampler.poll(now + Duration::from_secs(1), &mut out);
    }
    assert_eq!(out.sampled_out, 1000);

    // One late span each: those that are remembered follow, the others start a trace of their own.
    let late = (1..=2000).map(|n| span(id(n), "late", StatusCode::Unset)).collect();
    sampler.offer(now + Duration::from_secs(2), request(late), &mut out);
    let stats = sampler.stats();
    assert_eq!(stats.late_sampled_out, 1000);
    assert!((10..=20).contains(&stats.late_kept), "{}", stats.late_kept);
    assert_eq!(sampler.held().traces, 1000 - stats.late_kept);
}
