//! As many are kept as wanted.

use std::collections::BTreeMap;

use super::*;

/// What came and was kept of each key in an interval.
type Kept = BTreeMap<u64, (u32, u32)>;

/// Intervals of traffic: of each key so many traces an interval, mixed and spread over it.
fn simulate(
    rules: &mut RuleSet,
    start: Instant,
    intervals: u32,
    mut traffic: impl FnMut(u32) -> Vec<(u64, u32)>,
) -> Vec<Kept> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut spans = BTreeMap::new();
    let mut one = |interval: u32| {
        let mut arrivals: Vec<u64> = traffic(interval)
            .into_iter()
            .flat_map(|(key, count)| std::iter::repeat_n(key, count as usize))
            .collect();
        rng.shuffle(&mut arrivals);
        let count = arrivals.len() as u32;
        let mut kept = Kept::new();
        for (n, key) in arrivals.into_iter().enumerate() {
            let now = start + INTERVAL * interval + INTERVAL * n as u32 / count;
            let span = spans.entry(key).or_insert_with(|| of_key(key));
            let is_kept = ask(rules, &mut rng, now, span).is_kept;
            let of_key = kept.entry(key).or_default();
            of_key.0 += 1;
            of_key.1 += u32::from(is_kept);
        }
        kept
    };
    (0..intervals).map(&mut one).collect()
}

fn came(kept: &[Kept]) -> f64 {
    kept.iter().flat_map(BTreeMap::values).map(|(came, _)| f64::from(*came)).sum()
}

fn kept(kept: &[Kept]) -> f64 {
    kept.iter().flat_map(BTreeMap::values).map(|(_, kept)| f64::from(*kept)).sum()
}

fn kept_of(kept: &[Kept], key: u64) -> f64 {
    kept.iter().filter_map(|kept| kept.get(&key)).map(|(_, kept)| f64::from(*kept)).sum()
}

/// Twelve keys, of 1, 2, 4 and so on up to 2048 traces an interval: 819 a second.
fn mixed(_: u32) -> Vec<(u64, u32)> {
    (0..12).map(|key| (key, 1 << key)).collect()
}

#[track_caller]
fn within(what: f64, of: f64, tolerance: f64) {
    println!("{what} of {of}");
    assert!((what / of - 1.0).abs() <= tolerance, "{what} is not within {tolerance} of {of}");
}

/// What is kept in an interval of a goal of 20 a second.
const GOAL: f64 = 100.0;

#[test]
fn a_throughput_is_met_from_the_second_interval_on() {
    for sampler in [ema(20.0, 500), windowed(20.0, 500)] {
        let intervals = simulate(&mut only(sampler), Instant::now(), 42, mixed);
        for interval in &intervals {
            assert!(kept(std::slice::from_ref(interval)) <= 4.0 * GOAL);
        }
        within(kept(&intervals), 42.0 * GOAL, 0.1);
        within(kept(&intervals[2..]), 40.0 * GOAL, 0.1);
        for ten in intervals[2..].chunks(10) {
            within(kept(ten), 10.0 * GOAL, 0.15);
        }
    }
}

#[test]
fn a_percentage_is_met_from_the_first_interval_on() {
    for goal in [0.01, 0.05, 0.3] {
        let intervals = simulate(&mut only(percentage(goal, 500)), Instant::now(), 42, mixed);
        within(kept(&intervals[..2]), goal * came(&intervals[..2]), 0.3);
        within(kept(&intervals[2..]), goal * came(&intervals[2..]), 0.05);
    }
}

#[test]
fn a_percentage_stays_when_traffic_grows_and_shrinks() {
    let traffic = |interval: u32| {
        let times = [1, 10, 100, 3][interval as usize / 6 % 4];
        (0..6).map(|key| (key, times << key)).collect()
    };
    let intervals = simulate(&mut only(percentage(0.1, 500)), Instant::now(), 48, traffic);
    within(kept(&intervals), 0.1 * came(&intervals), 0.05);
    // Where it has been the same for some intervals.
    for (at, six) in intervals.chunks(6).enumerate() {
        // Of 6 × 63 traces chance keeps some more or less.
        let tolerance = if at % 4 == 0 { 0.6 } else { 0.3 };
        within(kept(&six[2..]), 0.1 * came(&six[2..]), tolerance);
    }
}

#[test]
fn each_key_has_its_throughput_and_rare_ones_are_all_kept() {
    let intervals = simulate(&mut only(per_key(20.0, 500)), Instant::now(), 42, mixed);
    let steady = &intervals[2..];
    for key in 0..12 {
        // Of 64 and fewer an interval all are kept.
        let wanted = f64::from(1 << key).min(GOAL);
        within(kept_of(steady, key), 40.0 * wanted, if key < 7 { 0.0 } else { 0.08 });
    }
}

#[test]
fn rare_keys_have_more_of_it_and_frequent_ones_not_much_more() {
    for sampler in [ema(20.0, 500), percentage(100.0 / 4095.0, 500)] {
        let intervals = simulate(&mut only(sampler.clone()), Instant::now(), 42, mixed);
        let steady = &intervals[2..];
        // One trace in an interval, among 4095: it is always there.
        assert_eq!(kept_of(steady, 0), 40.0, "{sampler:?}");
        let shares: Vec<_> =
            (0..12).map(|key| kept_of(steady, key) / f64::from(40 << key)).collect();
        println!("{shares:?}");
        for (rarer, more) in shares.iter().zip(&shares[1..]) {
            assert!(*rarer >= more * 0.9, "{sampler:?}: {shares:?}");
        }
        // Of the most frequent key there are 32 times as many as of the one of 64, and not three
        // times as many are kept.
        assert!(kept_of(steady, 11) < 3.0 * kept_of(steady, 6), "{sampler:?}");
    }
}

#[test]
fn a_hundred_thousand_keys_of_one_trace_each_do_not_break_a_goal() {
    // 20 intervals of keys that never come again.
    for (max_keys, new_keys) in [(1, 1000), (500, 1000), (100_000, 5000)] {
        let traffic = |interval: u32| {
            let first = u64::from(interval) * new_keys;
            (first..first + new_keys).map(|key| (key, 1)).collect()
        };
        let share = GOAL / new_keys as f64;
        for sampler in [ema(20.0, max_keys), windowed(20.0, max_keys), percentage(share, max_keys)]
        {
            let mut rules = only(sampler);
            let intervals = simulate(&mut rules, Instant::now(), 20, traffic);
            for interval in &intervals {
                assert!(kept(std::slice::from_ref(interval)) <= 4.0 * GOAL);
            }
            within(kept(&intervals), 20.0 * GOAL, 0.15);
            let stats = &rules.stats()[0];
            assert!(stats.sampler.keys <= max_keys as u64, "{stats:?}");
            assert_eq!(stats.traces_seen, 20 * new_keys);
        }
    }
}

#[test]
fn new_keys_among_known_ones_do_not_break_a_goal_and_leave_those_their_part() {
    // Half of what comes are keys that never come again.
    let traffic = |interval: u32| {
        let first = 100 + u64::from(interval) * 4000;
        (first..first + 4000).map(|key| (key, 1)).chain(mixed(0)).collect()
    };
    for sampler in [ema(20.0, 500), windowed(20.0, 500), percentage(100.0 / 8095.0, 500)] {
        let intervals = simulate(&mut only(sampler), Instant::now(), 30, traffic);
        within(kept(&intervals), 30.0 * GOAL, 0.15);
        let known: f64 = (0..12).map(|key| kept_of(&intervals[5..], key)).sum();
        assert!(known > 25.0 * GOAL / 4.0, "{known}");
    }
}

#[test]
fn keys_beyond_the_cap_obey_the_goal() {
    // Three keys have a place, nine are one key together.
    for sampler in [ema(20.0, 3), windowed(20.0, 3), percentage(100.0 / 4095.0, 3)] {
        let mut rules = only(sampler);
        let intervals = simulate(&mut rules, Instant::now(), 30, mixed);
        within(kept(&intervals[2..]), 28.0 * GOAL, 0.15);
        let stats = &rules.stats()[0].sampler;
        assert_eq!(stats.keys, 3);
        assert!(stats.beyond > 1000, "{stats:?}");
    }
    let mut rules = only(per_key(20.0, 3));
    let intervals = simulate(&mut rules, Instant::now(), 30, mixed);
    assert!(kept(&intervals[2..]) <= 28.0 * 4.0 * GOAL * 1.05, "four keys, each with its goal");
}

#[test]
fn a_burst_keeps_at_most_four_budgets_and_is_paid_back() {
    for burst in [2_000, 50_000] {
        for sampler in [ema(20.0, 500), windowed(20.0, 500)] {
            // One of the rare keys, and at the same time new ones.
            let traffic = |interval: u32| {
                let mut traces = mixed(interval);
                if interval == 5 {
                    traces[1].1 = burst;
                    traces.extend((100..600).map(|key| (key, 2)));
                }
                traces
            };
            let intervals = simulate(&mut only(sampler.clone()), Instant::now(), 25, traffic);
            let in_burst = kept(&intervals[5..6]);
            assert!(in_burst <= 4.0 * GOAL * 1.2, "{sampler:?}: {in_burst} of {burst}");
            assert!(in_burst >= GOAL / 4.0, "{sampler:?}: {in_burst} of {burst}");
            within(kept(&intervals), 25.0 * GOAL, 0.1);
        }
    }
}

#[test]
fn a_burst_of_a_rare_key_does_not_break_a_percentage() {
    let traffic = |interval: u32| {
        let mut traces = mixed(interval);
        traces[1].1 = if interval == 5 { 20_000 } else { 2 };
        traces
    };
    let intervals = simulate(&mut only(percentage(0.05, 500)), Instant::now(), 12, traffic);
    let burst = &intervals[5..6];
    within(kept(burst), 0.05 * came(burst), 0.5);
    // The others are not left out for it.
    for rare in [0, 2, 3] {
        assert!(kept_of(burst, rare) >= 1.0, "{burst:?}");
    }
    within(kept(&intervals), 0.05 * came(&intervals), 0.3);
}

#[test]
fn over_time_whatever_comes_no_more_is_kept_than_wanted() {
    let spans: Vec<_> = (0..2000).map(of_key).collect();
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (per_second, share) = (1.0 + rng.f64() * 9.0, 0.02 + rng.f64() * 0.4);
        let max_keys = [2, 20, 2000][rng.usize(..3)];
        let (sampler, is_share) = match seed % 3 {
            0 => (ema(per_second, max_keys), false),
            1 => (windowed(per_second, max_keys), false),
            _ => (percentage(share, max_keys), true),
        };
        let mut rules = only(sampler.clone());
        let start = Instant::now();
        let (mut now, mut kept, mut came) = (start, 0, 0);
        for _ in 0..150 {
            // Bursts and pauses, of a few keys or of many.
            now += Duration::from_millis(rng.u64(..20_000));
            let keys = [1, 10, 2000][rng.usize(..3)];
            for _ in 0..rng.u32(..400) {
                now += Duration::from_micros(rng.u64(..2000));
                let span = &spans[rng.usize(..keys)];
                let verdict = ask(&mut rules, &mut rng, now, span);
                assert!(verdict.threshold.is_some());
                (kept, came) = (kept + u32::from(verdict.is_kept), came + 1);
            }
        }
        let (kept, came) = (f64::from(kept), f64::from(came));
        let seconds = (now - start).as_secs_f64();
        let most = if is_share { share * came } else { per_second * (seconds + 30.0) };
        println!("{kept} of {came}, at most {most}: {sampler:?}");
        assert!(kept <= most * 1.1 + 20.0, "seed {seed}: {kept} of {came}, {most}: {sampler:?}");
        assert!(!is_share || kept >= most * 0.8, "seed {seed}: {kept} of {came}: {sampler:?}");
    }
}

#[test]
fn pauses_and_leaps_in_time_do_not_break_a_goal() {
    for sampler in [ema(20.0, 500), windowed(20.0, 500), percentage(0.1, 500), per_key(2.0, 500)] {
        let mut rules = only(sampler);
        let mut rng = fastrand::Rng::with_seed(2);
        let mut now = Instant::now();
        for _ in 0..30 {
            // Between nothing and a month, then a burst.
            now += Duration::from_secs(1 << rng.u32(..22));
            let (burst, span) = (rng.u32(1..2000), of_key(rng.u64(..3)));
            let kept = (0..burst).filter(|_| ask(&mut rules, &mut rng, now, &span).is_kept).count();
            // At most four times what an interval may keep and the one before left over.
            assert!(kept as f64 <= 8.0 * GOAL.max(0.1 * f64::from(burst)), "{kept} of {burst}");
        }
    }
}

#[test]
fn at_first_a_throughput_keeps_the_initial_share_within_its_goal() {
    // A tenth of a thousand, which is what an interval may keep.
    let mut rules = only(ema(20.0, 500));
    let intervals = simulate(&mut rules, Instant::now(), 1, |_| vec![(0, 1000)]);
    let kept = kept(&intervals);
    assert!((70.0..140.0).contains(&kept), "{kept}");
}

#[test]
fn a_rate_limit_counts_spans_and_knows_no_odds() {
    let mut rules = only(DynamicSampler::RateLimit { spans_per_second: 10, burst: 20 });
    let mut rng = fastrand::Rng::with_seed(1);
    let now = Instant::now();
    let trace = vec![of_key(1); 5];
    let mut decide = |now, spans: &[Made]| {
        let verdict = with(rng.u128(1..).to_be_bytes(), spans, |trace| rules.decide(now, trace));
        assert_eq!(verdict.threshold, None);
        verdict.is_kept
    };
    assert!(!decide(now, &vec![of_key(1); 21]), "more than the burst is never kept");
    let at_once = (0..10).filter(|_| decide(now, &trace)).count();
    assert_eq!(at_once, 4);
    let later = now + Duration::from_secs(1);
    let at_once = (0..10).filter(|_| decide(later, &trace)).count();
    assert_eq!(at_once, 2);
    let stats = &rules.stats()[0];
    assert_eq!((stats.traces_kept, stats.spans_kept), (6, 30));
}

#[test]
fn what_is_fixed_stays_so() {
    let mut rng = fastrand::Rng::with_seed(1);
    let now = Instant::now();
    for (sampler, least, most) in [
        (DynamicSampler::Always, 1000, 1000),
        (DynamicSampler::Ratio(1.0), 1000, 1000),
        (DynamicSampler::Never, 0, 0),
        (DynamicSampler::Ratio(0.0), 0, 0),
        (DynamicSampler::Ratio(0.25), 200, 300),
    ] {
        let mut rules = only(sampler);
        let kept = (0..1000).filter(|_| ask(&mut rules, &mut rng, now, &of_key(1)).is_kept).count();
        assert!((least..=most).contains(&kept), "{kept}");
    }
}
