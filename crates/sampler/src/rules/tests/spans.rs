//! Goals that count spans.

use super::*;

/// Of a key: how many traces an interval, and of how many spans each.
type Traffic = Vec<(u64, u32, usize)>;

/// What came and was kept of an interval, in traces and in spans, and what those stand for that were
/// kept, with the variance of that.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    traces: f64,
    kept: f64,
    /// Of key 0.
    kept_rare: f64,
    spans: f64,
    kept_spans: f64,
    estimate: f64,
    variance: f64,
}

fn simulate(
    rules: &mut RuleSet,
    intervals: u32,
    mut traffic: impl FnMut(u32) -> Traffic,
) -> Vec<Sums> {
    let mut rng = fastrand::Rng::with_seed(9);
    let start = Instant::now();
    let mut one = |interval: u32| {
        let mut arrivals: Vec<(u64, usize)> = traffic(interval)
            .into_iter()
            .flat_map(|(key, count, size)| std::iter::repeat_n((key, size), count as usize))
            .collect();
        rng.shuffle(&mut arrivals);
        let count = arrivals.len() as u32;
        let mut sums = Sums::default();
        for (n, (key, size)) in arrivals.into_iter().enumerate() {
            let now = start + INTERVAL * interval + INTERVAL * n as u32 / count;
            let id = rng.u128(1..).to_be_bytes();
            let verdict = with(id, &vec![of_key(key); size], |trace| rules.decide(now, trace));
            let size = size as f64;
            let stands_for = verdict.threshold.unwrap().adjusted_count();
            sums.traces += 1.0;
            sums.spans += size;
            sums.variance += size * size * (stands_for - 1.0);
            if verdict.is_kept {
                sums.kept += 1.0;
                sums.kept_rare += f64::from(u8::from(key == 0));
                sums.kept_spans += size;
                sums.estimate += size * stands_for;
            }
        }
        sums
    };
    (0..intervals).map(&mut one).collect()
}

fn sum(sums: &[Sums], of: impl Fn(&Sums) -> f64) -> f64 {
    sums.iter().map(of).sum()
}

#[track_caller]
fn within(what: f64, of: f64, tolerance: f64) {
    println!("{what} of {of}");
    assert!((what / of - 1.0).abs() <= tolerance, "{what} is not within {tolerance} of {of}");
}

/// Ten keys, of 1, 2, 4 and so on up to 512 traces an interval, of 40 spans down to 4.
fn mixed(_: u32) -> Traffic {
    (0..10).map(|key| (key, 1 << key, 40 - 4 * key as usize)).collect()
}

#[test]
fn a_goal_of_spans_is_met() {
    for sampler in [ema(200.0, 500), windowed(200.0, 500)] {
        let intervals = simulate(&mut only(in_spans(sampler)), 42, mixed);
        within(sum(&intervals, |one| one.kept_spans), 42.0 * 1000.0, 0.1);
        for ten in intervals[2..].chunks(10) {
            within(sum(ten, |one| one.kept_spans), 10.0 * 1000.0, 0.15);
        }
    }
    for goal in [0.05, 0.3] {
        let intervals = simulate(&mut only(in_spans(percentage(goal, 500))), 42, mixed);
        let spans = sum(&intervals, |one| one.spans);
        within(sum(&intervals, |one| one.kept_spans), goal * spans, 0.05);
    }
}

#[test]
fn each_key_has_its_spans() {
    let intervals = simulate(&mut only(in_spans(per_key(50.0, 500))), 42, mixed);
    let each = |(_, count, size): (u64, u32, usize)| f64::from(count) * size as f64;
    let wanted: f64 = mixed(0).into_iter().map(|key| each(key).min(250.0)).sum();
    within(sum(&intervals[2..], |one| one.kept_spans), 40.0 * wanted, 0.05);
}

#[test]
fn where_all_traces_are_of_one_size_it_is_as_if_traces_were_counted() {
    for (goal, sampler) in [
        (ema as fn(f64, usize) -> DynamicSampler, 20.0),
        (windowed, 20.0),
        (per_key, 2.0),
        (percentage, 0.1),
    ]
    .map(|(sampler, goal)| (goal, sampler))
    {
        let of_size = |size| move |_| (0..10).map(|key| (key, 1 << key, size)).collect();
        let in_traces = simulate(&mut only(sampler(goal, 500)), 20, of_size(1));
        let of_spans = if goal < 1.0 { goal } else { goal * 7.0 };
        let sevens = simulate(&mut only(in_spans(sampler(of_spans, 500))), 20, of_size(7));
        let kept = |sums: &[Sums]| sum(sums, |one| one.kept);
        within(kept(&sevens[2..]), kept(&in_traces[2..]), 0.06);
    }
}

#[test]
fn rare_keys_have_more_of_it_though_their_traces_are_large() {
    // Key 0 brings one trace of 40 spans, among 10 000 of 5.
    let traffic = |_| vec![(0, 1, 40), (1, 10_000, 5)];
    let intervals = simulate(&mut only(in_spans(ema(200.0, 500))), 22, traffic);
    let steady = &intervals[2..];
    within(sum(steady, |one| one.kept_spans), 20.0 * 1000.0, 0.1);
    assert_eq!(sum(steady, |one| one.kept_rare), 20.0);
}

#[test]
fn the_counts_are_right_whatever_the_sizes() {
    // One of thirty has many spans, and now and then one has about what an interval may keep.
    let mut rng = fastrand::Rng::with_seed(4);
    let mut traffic = |_| -> Traffic {
        let mut all: Traffic = (0..rng.u32(100..900))
            .map(|_| {
                let size = if rng.u8(..30) == 0 { rng.usize(50..200) } else { rng.usize(1..9) };
                (rng.u64(..9) * rng.u64(..9), 1, size)
            })
            .collect();
        if rng.u8(..5) == 0 {
            all.push((rng.u64(..3), 1, 1200));
        }
        all
    };
    for sampler in [ema(400.0, 20), windowed(400.0, 20), per_key(20.0, 20), percentage(0.2, 20)] {
        let intervals = simulate(&mut only(in_spans(sampler.clone())), 100, &mut traffic);
        let (came, estimate) =
            (sum(&intervals, |one| one.spans), sum(&intervals, |one| one.estimate));
        let sigma = sum(&intervals, |one| one.variance).sqrt();
        println!("{estimate} ± {sigma} of {came}");
        assert!((estimate - came).abs() <= 4.0 * sigma, "{sampler:?}: {estimate} of {came}");
        assert!(sigma < 0.2 * came, "{sampler:?}: a test that says nothing");
        assert!(sum(&intervals, |one| one.kept) > 100.0, "{sampler:?}");
    }
}

#[test]
fn a_trace_of_many_budgets_is_kept_by_chance_and_paid_back() {
    // A budget is 500 spans, and the trace 20 000.
    let traffic = |interval: u32| {
        let mut all = vec![(0, 500, 4), (1, 100, 4)];
        if interval % 40 == 5 {
            all.push((2, 1, 20_000));
        }
        all
    };
    for sampler in [ema(100.0, 500), windowed(100.0, 500)] {
        let mut rules = only(in_spans(sampler.clone()));
        let intervals = simulate(&mut rules, 400, traffic);
        let kept = sum(&intervals, |one| one.kept_spans);
        // What is kept of ten such traces may be 2500 spans each, at the end not yet paid back.
        println!("{kept}");
        assert!(kept <= 400.0 * 500.0 * 1.15 + 20_000.0, "{sampler:?}: {kept}");
        assert!(kept >= 400.0 * 500.0 * 0.75, "{sampler:?}: {kept}");
    }
}
