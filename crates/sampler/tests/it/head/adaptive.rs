use std::time::{Duration, Instant};

use teleflow_sampler::head::{
    Adaptive, AdaptiveConfig, Always, Candidate, Controller, HeadConfigError, Parent, ParentBased,
    Sampler,
};
use teleflow_sampler::{Intent, Threshold};

use super::{decide, trace};

const WINDOW: Duration = Duration::from_secs(60);

/// Tells a sampler of so many traces, decided elsewhere, and ends the window.
fn window(sampler: &Adaptive, end: Instant, traces: u32, kept: u32) -> f64 {
    let candidate = Candidate::of_trace([1; 16]);
    for n in 0..traces {
        sampler.hear(end - WINDOW, &candidate, n < kept, false);
    }
    sampler.intent(end, &candidate);
    sampler.rate()
}

#[test]
fn s2_steps_of_a_tenth_are_made_outside_of_a_tenth_around_the_target() {
    let start = Instant::now();
    let config = AdaptiveConfig { target: 0.5, initial_rate: 0.4, ..AdaptiveConfig::default() };
    for (kept, factor) in
        [(0, 1.1), (449, 1.1), (450, 1.0), (500, 1.0), (550, 1.0), (551, 0.9), (1000, 0.9)]
    {
        let sampler = Adaptive::new(config, start).unwrap();
        let rate = window(&sampler, start + WINDOW, 1000, kept);
        assert!((rate - 0.4 * factor).abs() < 1e-12, "{kept}: {rate}");
        assert_eq!(sampler.stats().windows, 1);
        assert_eq!(sampler.stats().others, (0, 0), "a new window counts anew");
    }
}

#[test]
fn s2_the_rate_stays_within_a_hundredth_and_one_and_an_empty_window_says_nothing() {
    let start = Instant::now();
    let config = AdaptiveConfig { target: 0.5, ..AdaptiveConfig::default() };
    let sampler = Adaptive::new(config, start).unwrap();
    let (mut now, mut rate) = (start, 1.0);
    let mut step = |kept| {
        now += WINDOW;
        window(&sampler, now, 10, kept)
    };
    assert_eq!(step(0), 1.0);
    for _ in 0..100 {
        rate = step(10);
    }
    assert_eq!(rate, 0.01);
    for _ in 0..100 {
        rate = step(0);
    }
    assert_eq!(rate, 1.0);
    rate = step(10);
    assert!((rate - 0.9).abs() < 1e-12);
    // Nothing comes for a thousand windows.
    sampler.intent(now + WINDOW * 1000, &Candidate::of_trace([1; 16]));
    assert_eq!(sampler.rate(), rate);
}

#[test]
fn s2_a_window_ends_when_its_time_has_come_and_not_before() {
    let start = Instant::now();
    let sampler = Adaptive::new(AdaptiveConfig::default(), start).unwrap();
    let candidate = Candidate::of_trace([1; 16]);
    sampler.hear(start, &candidate, true, true);
    sampler.intent(start + WINDOW - Duration::from_nanos(1), &candidate);
    assert_eq!(sampler.stats().own, (1, 1));
    sampler.intent(start + WINDOW, &candidate);
    assert_eq!((sampler.stats().own, sampler.stats().windows), ((0, 0), 1));
    // Later than a window: the next one ends where it would have ended.
    sampler.hear(start + WINDOW * 3, &candidate, true, true);
    let before = sampler.stats().windows;
    sampler.intent(start + WINDOW * 4 - Duration::from_nanos(1), &candidate);
    assert_eq!(sampler.stats().windows, before);
    sampler.intent(start + WINDOW * 4, &candidate);
    assert_eq!(sampler.stats().windows, before + 1);
}

/// Traffic of a thousand traces a window, a part of which others decide about. Returns the share that
/// was kept in each window.
fn simulate(sampler: Adaptive, windows: u32, others: f64, others_kept: f64) -> Vec<f64> {
    let start = Instant::now();
    let mut rng = fastrand::Rng::with_seed(2);
    let mut sampler = ParentBased::new(sampler);
    // What others decided is kept or not as they said.
    sampler.remote_sampled = Box::new(Always);
    (0..windows)
        .map(|index| {
            let traces = 4000;
            let kept = (0..traces).filter(|n| {
                let now = start + WINDOW * index + WINDOW * *n / traces;
                let mut candidate = trace(&mut rng);
                if rng.f64() < others {
                    candidate.parent = Parent::Remote { is_sampled: rng.f64() < others_kept };
                }
                decide(&sampler, now, &candidate).is_kept()
            });
            kept.count() as f64 / f64::from(traces)
        })
        .collect()
}

fn adaptive(target: f64, controller: Controller) -> Adaptive {
    let config = AdaptiveConfig { target, controller, ..AdaptiveConfig::default() };
    Adaptive::new(config, Instant::now()).unwrap()
}

#[test]
fn s2_a_proportional_controller_meets_the_target_after_one_window() {
    for (target, others, others_kept) in [
        (0.1, 0.0, 0.0),
        (0.5, 0.0, 0.0),
        // Parents decide about some: what they keep counts.
        (0.2, 0.5, 0.1),
        (0.3, 0.7, 0.35),
        (0.05, 0.2, 0.0),
    ] {
        let shares = simulate(adaptive(target, Controller::Proportional), 8, others, others_kept);
        for share in &shares[1..] {
            let off = (share / target - 1.0).abs();
            assert!(off < 0.25, "{shares:?} instead of {target}");
        }
        let mean = shares[1..].iter().sum::<f64>() / 7.0;
        assert!((mean / target - 1.0).abs() < 0.1, "{shares:?} instead of {target}");
    }
}

#[test]
fn s2_steps_meet_the_target_after_some_windows_and_stay() {
    let shares = simulate(adaptive(0.3, Controller::Steps), 40, 0.0, 0.0);
    // ln 0.3 / ln 0.9 is 11.4.
    assert!(shares[8] > 0.36 && shares[8] < 0.5, "{shares:?}");
    for share in &shares[13..] {
        assert!((share / 0.3 - 1.0).abs() < 0.2, "{shares:?}");
    }
}

#[test]
fn s2_where_others_keep_more_than_the_target_the_least_is_kept() {
    for controller in [Controller::Steps, Controller::Proportional] {
        let start = Instant::now();
        let config = AdaptiveConfig { target: 0.1, controller, ..AdaptiveConfig::default() };
        let sampler = Adaptive::new(config, start).unwrap();
        let candidate = Candidate::of_trace([1; 16]);
        for index in 1..=50 {
            sampler.hear(start + WINDOW * (index - 1), &candidate, true, true);
            window(&sampler, start + WINDOW * index, 10, 10);
        }
        assert_eq!(sampler.rate(), 0.01, "{controller:?}");
    }
}

#[test]
fn s2_only_traces_count_and_not_each_of_their_spans() {
    let sampler = adaptive(0.1, Controller::Steps);
    let inner = Candidate { is_entry: false, ..Candidate::of_trace([1; 16]) };
    decide(&sampler, Instant::now(), &inner);
    assert_eq!(sampler.stats().own, (0, 0));
}

#[test]
fn s2_threads_decide_without_a_lock_and_no_count_is_lost() {
    let start = Instant::now();
    let sampler = adaptive(0.1, Controller::Proportional);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let sampler = &sampler;
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                for n in 0..20_000 {
                    decide(sampler, start + WINDOW * 3 * n / 20_000, &trace(&mut rng));
                }
            });
        }
    });
    let stats = sampler.stats();
    assert!((0.01..=1.0).contains(&stats.rate), "{stats:?}");
    assert!(stats.windows >= 2, "{stats:?}");
    // In a window that nobody ends every count is there.
    let quiet = adaptive(0.1, Controller::Steps);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let candidate = Candidate::of_trace([1; 16]);
                for n in 0..10_000 {
                    quiet.hear(start, &candidate, n % 2 == 0, n % 4 < 2);
                }
            });
        }
    });
    let stats = quiet.stats();
    assert_eq!((stats.own, stats.others), ((20_000, 10_000), (20_000, 10_000)));
}

#[test]
fn s2_what_cannot_work_is_refused() {
    let now = Instant::now();
    let refused = |config| Adaptive::new(config, now).unwrap_err();
    let config = AdaptiveConfig::default();
    for bad in [0.0, -1.0, 1.1, f64::NAN] {
        for config in [
            AdaptiveConfig { target: bad, ..config },
            AdaptiveConfig { initial_rate: bad, ..config },
            AdaptiveConfig { min_rate: bad, ..config },
            AdaptiveConfig { max_rate: bad, ..config },
        ] {
            assert!(matches!(refused(config), HeadConfigError::Range { .. }), "{config:?}");
        }
    }
    let upside_down = AdaptiveConfig { min_rate: 0.5, max_rate: 0.4, ..config };
    assert!(matches!(refused(upside_down), HeadConfigError::Range { .. }));
    let empty = AdaptiveConfig { window: Duration::ZERO, ..config };
    assert_eq!(refused(empty), HeadConfigError::Window);
    // Below all thresholds it is the highest.
    let least = AdaptiveConfig { min_rate: 1e-30, initial_rate: 1e-30, ..config };
    let sampler = Adaptive::new(least, now).unwrap();
    let highest = Intent::Sample(Threshold::MOST);
    assert_eq!(sampler.intent(now, &Candidate::of_trace([1; 16])), highest);
}
