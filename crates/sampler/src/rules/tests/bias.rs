//! What is kept stands for what came: the sum of the adjusted counts is the true count, within four
//! sigma; of all traces, of those of frequent keys, and of those of rare ones.

use super::*;

/// 100 000 traces, or so many as `TELEFLOW_TRACES` says.
fn traces() -> u32 {
    std::env::var("TELEFLOW_TRACES").map_or(100_000, |count| count.parse().unwrap())
}

/// 500 a second.
const STEADY: &[u64] = &[2000];

/// From 33 to 3333 a second, for some seconds each.
const SWELLING: &[u64] = &[600, 3000, 300, 30_000, 1200, 300, 10_000];

/// So many microseconds between traces, and the most that sigma may be as a share of all: otherwise
/// the test would say little.
#[track_caller]
fn check(sampler: &DynamicSampler, paces: &[u64], most_sigma: f64) {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut rules = only(sampler.clone());
    let spans: Vec<_> = (0..1600).map(of_key).collect();
    let start = Instant::now();
    let mut now = start;
    // Of frequent and of rare keys: true count, estimate, its variance.
    let mut sums = [(0.0, 0.0, 0.0); 2];
    let mut kept = 0;
    for _ in 0..traces() {
        let pace = paces[(now - start).as_secs() as usize / 7 % paces.len()];
        now += Duration::from_micros(pace);
        // Half of all have key 0, and most of the others one of the smaller numbers.
        let key = rng.usize(..40) * rng.usize(..40) * rng.usize(..2);
        let verdict = ask(&mut rules, &mut rng, now, &spans[key]);
        let threshold = verdict.threshold.expect("all know how likely it was");
        let (count, estimate, variance) = &mut sums[usize::from(key > 0)];
        *count += 1.0;
        *variance += threshold.adjusted_count() - 1.0;
        if verdict.is_kept {
            *estimate += threshold.adjusted_count();
            kept += 1;
        }
    }
    let all = sums[0];
    let all = (all.0 + sums[1].0, all.1 + sums[1].1, all.2 + sums[1].2);
    for (count, estimate, variance) in sums.into_iter().chain([all]) {
        let sigma = variance.sqrt();
        let off: f64 = estimate - count;
        assert!(off.abs() <= 4.0 * sigma, "{sampler:?}: {estimate} ± {sigma} of {count}");
    }
    let share = all.2.sqrt() / all.0;
    println!("{kept} kept, {} ± {share} of {}", all.1, all.0);
    assert!(share <= most_sigma, "{sampler:?}: {share}, {kept} kept");
    assert!(kept > 500, "{sampler:?}: {kept} kept");
    let stats = &rules.stats()[0];
    assert_eq!((stats.traces_seen, stats.traces_kept), (u64::from(traces()), kept));
}

#[test]
fn a_ratio_counts_right() {
    check(&DynamicSampler::Ratio(0.05), STEADY, 0.015);
}

#[test]
fn a_percentage_counts_right_in_steady_traffic() {
    check(&percentage(0.1, 100), STEADY, 0.05);
}

#[test]
fn a_percentage_counts_right_in_traffic_that_swells_and_ebbs() {
    check(&percentage(0.1, 100), SWELLING, 0.08);
}

#[test]
fn a_throughput_by_averages_counts_right_in_steady_traffic() {
    check(&ema(100.0, 100), STEADY, 0.05);
}

#[test]
fn a_throughput_by_averages_counts_right_in_traffic_that_swells_and_ebbs() {
    check(&ema(100.0, 100), SWELLING, 0.15);
}

#[test]
fn a_throughput_by_a_window_counts_right_in_steady_traffic() {
    check(&windowed(100.0, 100), STEADY, 0.05);
}

#[test]
fn a_throughput_by_a_window_counts_right_in_traffic_that_swells_and_ebbs() {
    check(&windowed(100.0, 100), SWELLING, 0.15);
}

#[test]
fn a_throughput_of_each_key_counts_right_in_steady_traffic() {
    check(&per_key(4.0, 100), STEADY, 0.05);
}

#[test]
fn a_throughput_of_each_key_counts_right_in_traffic_that_swells_and_ebbs() {
    check(&per_key(4.0, 100), SWELLING, 0.15);
}
