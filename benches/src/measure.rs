//! Times two ways of doing the same work, turn by turn.

use std::time::Instant;

/// How often each side is timed.
const SAMPLES: usize = 21;

/// Nanoseconds a call of `ours` and of `theirs`: the medians of 21 samples each.
///
/// The two take turns, so that whatever else the machine does slows both.
pub fn side_by_side(mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (f64, f64) {
    let (ours_calls, theirs_calls) = (calls(&mut ours), calls(&mut theirs));
    let mut samples = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        samples.0.push(time(&mut ours, ours_calls));
        samples.1.push(time(&mut theirs, theirs_calls));
    }
    (median(samples.0), median(samples.1))
}

/// How many calls take about 20 ms, after a first one that fills the caches.
fn calls(work: &mut impl FnMut()) -> u32 {
    work();
    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed().as_millis() < 20 {
        work();
        calls += 1;
    }
    calls
}

fn time(work: &mut impl FnMut(), calls: u32) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| work());
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
