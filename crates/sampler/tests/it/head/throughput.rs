use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use teleflow_sampler::head::{Candidate, Goal, HeadConfigError, Throughput, ThroughputConfig};

use super::{decide, key, trace};

const WINDOW: Duration = Duration::from_secs(10);

fn throughput(goal: Goal, max_keys: usize, start: Instant) -> Throughput {
    Throughput::new(ThroughputConfig { goal, window: WINDOW, max_keys }, start).unwrap()
}

/// Windows of traffic: of each key so many traces a window, spread over it in turns. Returns how many
/// of each were kept in each window.
fn simulate(
    sampler: &Throughput,
    start: Instant,
    windows: u32,
    traces: impl Fn(u32) -> Vec<(u64, u32)>,
) -> Vec<BTreeMap<u64, u32>> {
    let mut rng = fastrand::Rng::with_seed(3);
    (0..windows)
        .map(|window| {
            let mut arrivals: Vec<u64> = traces(window)
                .into_iter()
                .flat_map(|(key, count)| std::iter::repeat_n(key, count as usize))
                .collect();
            rng.shuffle(&mut arrivals);
            let mut kept = BTreeMap::new();
            let count = arrivals.len() as u32;
            for (n, name) in arrivals.into_iter().enumerate() {
                let now = start + WINDOW * window + WINDOW * n as u32 / count;
                let candidate = Candidate { key: key(name), ..trace(&mut rng) };
                let is_kept = decide(sampler, now, &candidate).is_kept();
                *kept.entry(name).or_default() += u32::from(is_kept);
            }
            kept
        })
        .collect()
}

fn sum(windows: &[BTreeMap<u64, u32>], key: Option<u64>) -> f64 {
    let of = |window: &BTreeMap<u64, u32>| match key {
        Some(key) => window.get(&key).copied().unwrap_or_default(),
        None => window.values().sum(),
    };
    f64::from(windows.iter().map(of).sum::<u32>())
}

#[test]
fn s3_each_key_keeps_to_its_goal_and_rare_ones_are_all_kept() {
    let start = Instant::now();
    let sampler = throughput(Goal::PerKey(5.0), 500, start);
    // 5 a second are 50 a window.
    let traces = vec![(0, 1), (1, 30), (2, 500), (3, 5000)];
    let windows = simulate(&sampler, start, 25, |_| traces.clone());
    // The first window is the one nobody expected, the next ones pay for it.
    let steady = &windows[5..];
    assert_eq!(sum(&windows, Some(0)), 25.0, "of a trace a window each is kept");
    assert_eq!(sum(&windows, Some(1)), 25.0 * 30.0);
    for frequent in [2, 3] {
        let mean = sum(steady, Some(frequent)) / 20.0;
        assert!((45.0..54.0).contains(&mean), "{frequent}: {mean}");
        assert!(sum(&windows, Some(frequent)) <= 25.0 * 50.0 * 1.02 + 50.0);
    }
    let stats = sampler.stats();
    assert_eq!((stats.keys, stats.others, stats.seen), (4, 0, 25 * 5531));
    assert_eq!(stats.kept as f64, sum(&windows, None));
}

#[test]
fn s3_a_burst_keeps_at_most_three_budgets_and_is_paid_back() {
    for burst in [1_000, 10_000, 60_000] {
        let start = Instant::now();
        let sampler = throughput(Goal::PerKey(5.0), 500, start);
        let windows =
            simulate(&sampler, start, 13, |window| vec![(1, if window == 2 { burst } else { 30 })]);
        let in_burst = sum(&windows[2..3], None);
        // What was left of the windows before makes two budgets, of 50 each.
        assert!(in_burst <= 3.0 * 100.0 + 4.0 * 300f64.sqrt(), "{burst}: {in_burst}");
        assert!(in_burst >= 50.0, "{burst}: {in_burst}");
        let all = sum(&windows, None);
        assert!(all <= 13.0 * 50.0 + 50.0, "{burst}: {all}");
    }
}

#[test]
fn s3_a_goal_for_all_is_shared_and_the_rare_keep_what_they_have() {
    let start = Instant::now();
    let sampler = throughput(Goal::Total(20.0), 500, start);
    // 200 a window: 10 keys of 5 keep theirs, the other 150 are for two large ones.
    let mut traces: Vec<_> = (0..10).map(|key| (key, 5)).collect();
    traces.extend([(10, 1000), (11, 4000)]);
    let windows = simulate(&sampler, start, 30, |_| traces.clone());
    let steady = &windows[5..];
    for rare in 0..10 {
        assert!(sum(steady, Some(rare)) / 25.0 > 4.6, "{rare}: {steady:?}");
    }
    for frequent in [10, 11] {
        let mean = sum(steady, Some(frequent)) / 25.0;
        assert!((65.0..82.0).contains(&mean), "{frequent}: {mean}");
    }
    let all = sum(&windows, None);
    assert!(all <= 30.0 * 200.0 * 1.02 + 200.0, "{all}");
    assert!(all >= 30.0 * 200.0 * 0.9, "{all}");
}

#[test]
fn s3_keys_beyond_the_cap_are_one_that_obeys_the_goal() {
    let start = Instant::now();
    for (goal, most) in [(Goal::PerKey(2.0), 3.0 * 20.0), (Goal::Total(6.0), 60.0)] {
        let sampler = throughput(goal, 2, start);
        // Two keys with a place, and a thousand new ones in each window.
        let windows = simulate(&sampler, start, 20, |window| {
            let mut traces = vec![(0, 300), (1, 300)];
            let new = u64::from(window + 1) * 1000;
            if window > 0 {
                traces.extend((new..new + 1000).map(|key| (key, 2)));
            }
            traces
        });
        let stats = sampler.stats();
        assert_eq!((stats.keys, stats.others), (2, 19 * 2000), "{goal:?}");
        let mean = sum(&windows[6..], None) / 14.0;
        assert!(mean <= most * 1.1, "{goal:?}: {mean}");
        assert!(mean >= most * 0.75, "{goal:?}: {mean}");
        let all = sum(&windows, None);
        assert!(all <= most * 20.0 * 1.02 + most, "{goal:?}: {all}");
        // Those with a place have their part, all the same.
        assert!(sum(&windows[6..], Some(0)) / 14.0 >= 12.0, "{goal:?}: {windows:?}");
    }
}

#[test]
fn s3_more_keys_than_the_goal_has_traces_do_not_break_it() {
    let start = Instant::now();
    let sampler = throughput(Goal::Total(2.0), 10_000, start);
    let windows = simulate(&sampler, start, 30, |_| (0..500).map(|key| (key, 4)).collect());
    let all = sum(&windows, None);
    assert!(all <= 30.0 * 20.0 * 1.05 + 60.0, "{all}");
    assert!(all >= 30.0 * 20.0 * 0.6, "{all}");
}

#[test]
fn s3_over_time_whatever_comes_the_goal_is_kept_to() {
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let per_second = 1.0 + rng.f64() * 9.0;
        let is_total = seed % 2 == 0;
        let goal = if is_total { Goal::Total(per_second) } else { Goal::PerKey(per_second) };
        let max_keys = rng.usize(1..6);
        let sampler = throughput(goal, max_keys, start);
        let mut now = start;
        let mut kept = 0;
        for _ in 0..200 {
            // Bursts and pauses, of a few keys.
            now += Duration::from_millis(rng.u64(..30_000));
            let key_of_burst = rng.u64(..8);
            for _ in 0..rng.u32(..400) {
                now += Duration::from_micros(rng.u64(..2000));
                let name = if rng.bool() { key_of_burst } else { rng.u64(..8) };
                let candidate = Candidate { key: key(name), ..trace(&mut rng) };
                kept += u32::from(decide(&sampler, now, &candidate).is_kept());
            }
        }
        let budget = per_second * 10.0 * if is_total { 1.0 } else { (max_keys + 1) as f64 };
        let windows = (now - start).as_secs_f64() / 10.0;
        assert!(f64::from(kept) <= budget * (windows + 4.0), "seed {seed}: {kept}");
    }
}

#[test]
fn s3_what_does_not_stand_for_a_trace_is_sampled_as_its_key_is_and_not_counted() {
    let start = Instant::now();
    let sampler = throughput(Goal::PerKey(1.0), 10, start);
    let windows = simulate(&sampler, start, 5, |_| vec![(1, 1000)]);
    assert!(sum(&windows[4..], None) < 40.0);
    let before = sampler.stats();
    let mut rng = fastrand::Rng::with_seed(1);
    let now = start + WINDOW * 5;
    let kept = (0..10_000)
        .filter(|_| {
            let inner = Candidate { key: key(1), is_entry: false, ..trace(&mut rng) };
            decide(&sampler, now, &inner).is_kept()
        })
        .count();
    assert!(kept < 400, "{kept}");
    let after = sampler.stats();
    assert_eq!((after.seen, after.kept), (before.seen, before.kept));
}

#[test]
fn s3_quiet_keys_make_room() {
    let start = Instant::now();
    let sampler = throughput(Goal::PerKey(1.0), 4, start);
    simulate(&sampler, start, 1, |_| (0..4).map(|key| (key, 3)).collect());
    let later = start + WINDOW * 20;
    simulate(&sampler, later, 1, |_| (10..13).map(|key| (key, 3)).collect());
    assert_eq!((sampler.stats().keys, sampler.stats().others), (3, 0));
}

#[test]
fn s3_what_cannot_work_is_refused() {
    let now = Instant::now();
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for goal in [Goal::PerKey(bad), Goal::Total(bad)] {
            let config = ThroughputConfig { goal, ..ThroughputConfig::default() };
            assert!(matches!(Throughput::new(config, now), Err(HeadConfigError::Range { .. })));
        }
    }
    let config = ThroughputConfig { window: Duration::ZERO, ..ThroughputConfig::default() };
    assert_eq!(Throughput::new(config, now).unwrap_err(), HeadConfigError::Window);
}
