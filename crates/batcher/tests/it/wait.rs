//! The adaptive wait, as a function of samples.

use std::time::{Duration, Instant};

use fastrand::Rng;
use teleflow_batcher::{AdaptiveWait, Batcher, Config, ConfigError, ExportTime, WaitRange};
use teleflow_otlp::Signal;

const MS: Duration = Duration::from_millis(1);
const MARGIN: Duration = Duration::from_millis(100);

fn adaptive(start: Duration) -> AdaptiveWait {
    AdaptiveWait::new(start, WaitRange::default(), MARGIN).unwrap()
}

#[test]
fn b2_a_steady_export_time_ends_in_a_steady_wait_of_two_to_six_times() {
    for export in [MS, 3 * MS, 10 * MS, 77 * MS, 500 * MS, 2000 * MS, 4999 * MS, 60_000 * MS] {
        for start in [10 * MS, 200 * MS, 10_000 * MS] {
            let mut wait = adaptive(start);
            // From end to end of the range it takes ten doublings.
            for _ in 0..10 {
                wait.record(export);
            }
            let settled = wait.wait();
            let range = WaitRange::default();
            assert!(settled >= range.least && settled <= range.most);
            assert!(settled >= 2 * export || settled == range.most, "{export:?} {settled:?}");
            assert!(settled <= 6 * export || settled == range.least, "{export:?} {settled:?}");
            assert!((0..1000).all(|_| wait.record(export) == settled), "it stays");
        }
    }
}

#[test]
fn b2_the_rule_without_hysteresis_would_never_rest() {
    let (export, mut literal, mut ours) = (75 * MS, 200 * MS, adaptive(200 * MS));
    let (mut literal_moves, mut our_moves) = (0, 0);
    for _ in 0..100 {
        literal = if export > literal / 2 { literal * 2 } else { literal / 2 };
        literal_moves += 1;
        let before = ours.wait();
        our_moves += u32::from(ours.record(export) != before);
    }
    assert!([100 * MS, 200 * MS].contains(&literal));
    assert_eq!((literal_moves, our_moves), (100, 0));
}

#[test]
fn b2_noise_moves_the_wait_once_at_most() {
    for seed in 0..100 {
        let mut rng = Rng::with_seed(seed);
        let export = MS * rng.u32(10..2000);
        let mut wait = adaptive(200 * MS);
        let mut noisy = || export.mul_f64(0.8 + 0.4 * rng.f64());
        for _ in 0..30 {
            wait.record(noisy());
        }
        let mut moves = 0;
        for _ in 0..2000 {
            let before = wait.wait();
            moves += u32::from(wait.record(noisy()) != before);
        }
        assert!(moves <= 1, "seed {seed}: {moves} moves");
    }
}

#[test]
fn b2_it_follows_a_backend_that_slows_down_and_recovers() {
    let mut wait = adaptive(200 * MS);
    for _ in 0..20 {
        wait.record(20 * MS);
    }
    assert_eq!(wait.wait(), 100 * MS);
    let up = (1..).find(|_| wait.record(2000 * MS) >= 4000 * MS).unwrap();
    assert!(up <= 10, "{up} samples up");
    let down = (1..).find(|_| wait.record(20 * MS) <= 120 * MS).unwrap();
    assert!(down <= 20, "{down} samples down");
}

#[test]
fn b2_the_ends_of_the_range_hold() {
    let mut wait = adaptive(Duration::ZERO);
    assert_eq!(wait.wait(), 10 * MS);
    for _ in 0..50 {
        wait.record(Duration::MAX);
    }
    assert_eq!(wait.wait(), Duration::from_secs(10));
    let range = WaitRange { least: Duration::ZERO, most: MS };
    let error = AdaptiveWait::new(MS, range, MARGIN).unwrap_err();
    assert_eq!(error, ConfigError::Wait { least: Duration::ZERO, most: MS });
}

/// A loop of batches and exports on a clock of its own.
#[test]
fn b2_in_a_loop_of_exports_batches_grow_until_the_backend_keeps_up() {
    let config = Config { adaptive: Some(WaitRange::default()), ..Config::time_based(10 * MS) };
    let mut batcher = Batcher::new(Signal::Traces, config).unwrap();
    let (mut now, mut out) = (Instant::now(), Vec::new());
    let mut last = 0;
    for _ in 0..50 {
        let due = loop {
            batcher.offer(now, crate::spans::numbered(0..1, 0), &mut out);
            match batcher.next_deadline() {
                Some(due) if due <= now + MS => break due,
                _ => now += MS,
            }
        };
        now = due;
        last = batcher.poll(now).unwrap().items();
        // The backend takes 40 ms whatever it is given, and the wait starts after it.
        now += 40 * MS;
        batcher.exported(40 * MS);
    }
    assert!(out.is_empty(), "only time makes them go");
    assert_eq!(batcher.wait(), 80 * MS);
    assert!((75..=85).contains(&last), "{last} spans a batch");
    assert_eq!(batcher.stats().timed_out, 50);
}

#[test]
fn b2_the_mean_weighs_the_newest_with_0_3() {
    let (mut time, mut mean) = (ExportTime::default(), 0.0);
    for (index, sample) in [100.0, 200.0, 50.0, 75.0f64].into_iter().enumerate() {
        time.record(Duration::from_secs_f64(sample / 1000.0));
        mean = if index == 0 { sample } else { 0.3 * sample + 0.7 * mean };
        let got = time.mean().unwrap().as_secs_f64() * 1000.0;
        assert!((got - mean).abs() < 1e-3, "{got} is not {mean}");
    }
}
