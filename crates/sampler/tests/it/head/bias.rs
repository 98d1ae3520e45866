//! What is kept stands for what came: over a million traces the sum of the adjusted counts is the true
//! count, within four sigma.

use std::time::{Duration, Instant};

use teleflow_sampler::head::{
    self, Adaptive, AdaptiveConfig, Always, Candidate, Controller, Goal, Parent, ParentBased,
    Ratio, Sampler, Throughput, ThroughputConfig,
};
use teleflow_sampler::{Composition, Decision, Threshold};

use super::key;

const TRACES: u32 = 1_000_000;

/// Twelve minutes of traffic that swells and ebbs, of many keys, a part of which was sampled
/// before.
fn check(name: &str, sampler: &dyn Sampler, composition: Composition, start: Instant) {
    // A minute each, from 33 to 3333 a second.
    run(name, sampler, composition, start, &[6, 30, 3, 300, 12, 3, 150], 0.05);
}

/// So many tenths of a millisecond between two traces, and how large sigma may be, as a share of all:
/// otherwise the test would say little.
fn run(
    name: &str,
    sampler: &dyn Sampler,
    composition: Composition,
    start: Instant,
    paces: &[u64],
    most_sigma: f64,
) {
    let mut rng = fastrand::Rng::with_seed(5);
    let upstream: [Option<Threshold>; 4] =
        [None, Some(Threshold::ALL), Some("8".parse().unwrap()), Some("c".parse().unwrap())];
    let (mut estimate, mut variance, mut kept) = (0.0, 0.0, 0);
    let mut now = start;
    for n in 0..TRACES {
        let pace = paces[(now - start).as_secs() as usize / 60 % paces.len()];
        now += Duration::from_micros(pace * 100);
        // The smaller the number, the more often.
        let name = rng.u64(..40) * rng.u64(..40) * rng.u64(..2);
        let mut candidate = Candidate::of_trace(rng.u128(1..).to_be_bytes());
        candidate.key = key(name);
        candidate.before =
            upstream[n as usize % 4].filter(|_| composition != Composition::Independent);
        if candidate.before.is_some_and(|before| !before.keeps(candidate.randomness)) {
            // It stands for nothing any more, and is counted all the same.
            continue;
        }
        match head::sample(sampler, composition, now, &candidate) {
            Decision::Drop => {}
            Decision::Keep(None) => panic!("{name} loses what is known"),
            Decision::Keep(Some(threshold)) => {
                let count = threshold.adjusted_count();
                estimate += count;
                variance += count * (count - 1.0);
                kept += 1;
            }
        }
    }
    let sigma = variance.sqrt();
    let off = estimate - f64::from(TRACES);
    assert!(off.abs() <= 4.0 * sigma, "{name}: {estimate} ± {sigma} of {TRACES}, {kept} kept");
    let share = sigma / f64::from(TRACES);
    assert!(share <= most_sigma, "{name}: {estimate} ± {sigma}, {kept} kept");
    assert!(kept > 1000, "{name}: {kept} kept");
}

#[test]
fn s1_all_are_all() {
    let start = Instant::now();
    check("always", &Always, Composition::Equalizing, start);
}

#[test]
fn s1_a_ratio_after_other_samplers_counts_right() {
    let start = Instant::now();
    for composition in [Composition::Equalizing, Composition::Proportional] {
        check("a tenth", &Ratio::new(0.1).unwrap(), composition, start);
    }
}

#[test]
fn s1_a_ratio_at_the_root_counts_right() {
    let start = Instant::now();
    let sampler = ParentBased::new(Ratio::new(1.0 / 300.0).unwrap());
    check("one in 300", &sampler, Composition::Independent, start);
}

#[test]
fn s2_steps_count_right() {
    adaptive(Controller::Steps);
}

#[test]
fn s2_a_proportional_controller_counts_right() {
    adaptive(Controller::Proportional);
}

fn adaptive(controller: Controller) {
    let start = Instant::now();
    let config = AdaptiveConfig {
        target: 0.05,
        window: Duration::from_secs(7),
        controller,
        ..AdaptiveConfig::default()
    };
    let sampler = Adaptive::new(config, start).unwrap();
    check("adaptive", &sampler, Composition::Equalizing, start);
    assert!(sampler.stats().windows > 50);
}

#[test]
fn s3_a_goal_for_each_key_counts_right() {
    throughput(Goal::PerKey(4.0));
}

#[test]
fn s3_a_goal_for_all_keys_counts_right() {
    throughput(Goal::Total(100.0));
}

#[test]
fn s3_a_goal_for_each_key_counts_finely_without_surprises() {
    steady_throughput(Goal::PerKey(4.0));
}

#[test]
fn s3_a_goal_for_all_keys_counts_finely_without_surprises() {
    steady_throughput(Goal::Total(100.0));
}

fn throughput(goal: Goal) {
    let start = Instant::now();
    let sampler = few_keys(goal, start);
    check("throughput", &sampler, Composition::Equalizing, start);
    let stats = sampler.stats();
    assert!(stats.others > 10_000 && stats.windows > 50, "{stats:?}");
}

fn steady_throughput(goal: Goal) {
    let start = Instant::now();
    run("steady", &few_keys(goal, start), Composition::Equalizing, start, &[10], 0.015);
}

/// Fewer keys than there are: the others are one, and in the count all the same.
fn few_keys(goal: Goal, start: Instant) -> Throughput {
    let config = ThroughputConfig { goal, window: Duration::from_secs(10), max_keys: 100 };
    Throughput::new(config, start).unwrap()
}

#[test]
fn children_stand_for_what_their_roots_do() {
    // The sum over children with the parent's threshold is the number of all children.
    let root = Ratio::new(0.05).unwrap();
    let sampler = ParentBased::new(root);
    let mut rng = fastrand::Rng::with_seed(6);
    let now = Instant::now();
    let (mut estimate, mut variance, mut all) = (0.0, 0.0, 0.0);
    for _ in 0..100_000 {
        let candidate = Candidate::of_trace(rng.u128(1..).to_be_bytes());
        let decision = head::sample(&sampler, Composition::Independent, now, &candidate);
        let children = rng.u8(..10);
        all += f64::from(children);
        let Decision::Keep(before) = decision else { continue };
        let parent = Parent::Remote { is_sampled: true };
        let child = Candidate { before, parent, ..candidate };
        let decision = head::sample(&sampler, Composition::Independent, now, &child);
        assert_eq!(decision, Decision::Keep(before));
        let count = decision.adjusted_count();
        let children = f64::from(children);
        estimate += children * count;
        variance += children * children * count * (count - 1.0);
    }
    assert!((estimate - all).abs() <= 4.0 * variance.sqrt(), "{estimate} of {all}");
}
