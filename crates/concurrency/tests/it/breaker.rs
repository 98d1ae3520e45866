//! C8.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use teleflow_concurrency::{
    Breaker, BreakerConfig, BreakerConfigError, BreakerState, CallError, FailureRate, Unfinished,
};

const OPEN_FOR: Duration = Duration::from_secs(30);

fn breaker(change: impl FnOnce(&mut BreakerConfig)) -> Breaker {
    let mut config = BreakerConfig { failures: Some(3), failure_rate: None, ..Default::default() };
    change(&mut config);
    Breaker::new(config).unwrap()
}

fn fail(breaker: &Breaker, times: usize, now: Instant) {
    (0..times).for_each(|_| breaker.check(now).unwrap().failure(now));
}

#[test]
fn c8_so_many_failures_within_the_window_open_it_and_older_ones_do_not_count() {
    let (breaker, start) = (breaker(|_| ()), Instant::now());
    fail(&breaker, 2, start);
    let later = start + Duration::from_secs(11);
    fail(&breaker, 2, later);
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 1, later + Duration::from_secs(5));
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!((breaker.stats().failures, breaker.stats().opened), (5, 1));
}

#[test]
fn c8_a_share_of_failures_opens_it_once_there_are_calls_enough() {
    let rate = Some(FailureRate { share: 0.5, min_calls: 10 });
    let (breaker, now) = (breaker(|c| (c.failures, c.failure_rate) = (None, rate)), Instant::now());
    fail(&breaker, 4, now);
    (0..5).for_each(|_| breaker.check(now).unwrap().success(now));
    assert_eq!(breaker.state(), BreakerState::Closed, "nine calls say nothing");
    fail(&breaker, 1, now);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!((breaker.stats().successes, breaker.stats().failures), (5, 5));
}

#[test]
fn c8_it_opens_for_as_long_as_said_then_probes_decide() {
    let two = NonZeroU16::new(2).unwrap();
    let (breaker, start) = (breaker(|c| (c.probes, c.successes) = (two, two)), Instant::now());
    fail(&breaker, 3, start);
    let refused = breaker.check(start).unwrap_err();
    assert!(refused.retry_after >= OPEN_FOR);
    assert!(refused.retry_after < OPEN_FOR + Duration::from_millis(1));
    let now = start + refused.retry_after;
    assert!(breaker.check(now - Duration::from_nanos(1)).is_err());

    let probes = [breaker.check(now).unwrap(), breaker.check(now).unwrap()];
    assert!(probes.iter().all(teleflow_concurrency::Call::is_probe));
    assert_eq!(breaker.check(now).unwrap_err().retry_after, Duration::ZERO);
    let [first, second] = probes;
    first.success(now);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    second.failure(now);
    assert_eq!(breaker.state(), BreakerState::Open);

    let now = now + breaker.check(now).unwrap_err().retry_after;
    (0..2).for_each(|_| breaker.check(now).unwrap().success(now));
    assert_eq!(breaker.state(), BreakerState::Closed);
    // What failed before it opened is forgotten.
    fail(&breaker, 2, now);
    assert_eq!(breaker.state(), BreakerState::Closed);
    let stats = breaker.stats();
    assert_eq!((stats.probes, stats.opened, stats.closed, stats.refused), (4, 2, 1, 4));
}

#[test]
fn c8_an_outcome_of_an_earlier_era_is_not_counted() {
    let (breaker, start) = (breaker(|_| ()), Instant::now());
    let late = [(); 3].map(|()| breaker.check(start).unwrap());
    fail(&breaker, 3, start);
    let now = start + OPEN_FOR + Duration::from_secs(1);
    let probe = breaker.check(now).unwrap();
    late.into_iter().for_each(|call| call.failure(now));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    probe.success(now);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn c8_time_may_be_told_as_what_passed_since_a_moment() {
    let (breaker, now) = (breaker(|_| ()), Duration::from_secs(7));
    (0..3).for_each(|_| breaker.check(now).unwrap().failure(now));
    assert_eq!(breaker.check(now).unwrap_err().retry_after, OPEN_FOR);
    breaker.check(now + OPEN_FOR).unwrap().success(now + OPEN_FOR);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn c8_a_dropped_call_counts_as_the_config_says() {
    let start = Instant::now();
    let strict = breaker(|_| ());
    (0..3).for_each(|_| drop(strict.check(start).unwrap()));
    assert_eq!(strict.state(), BreakerState::Open);

    let lax = breaker(|c| c.unfinished = Unfinished::Ignore);
    (0..3).for_each(|_| drop(lax.check(start).unwrap()));
    assert_eq!(lax.state(), BreakerState::Closed);
    fail(&lax, 3, start);
    let now = start + OPEN_FOR + Duration::from_secs(1);
    let probe = lax.check(now).unwrap();
    assert!(lax.check(now).is_err());
    drop(probe);
    assert!(lax.check(now).unwrap().is_probe(), "the place of the probe is free again");
}

#[tokio::test(start_paused = true)]
async fn c8_futures_run_only_while_it_lets_them() {
    let breaker = breaker(|_| ());
    for _ in 0..3 {
        let failed = breaker.call(async { Err::<(), _>("no") }).await;
        assert_eq!(failed, Err(CallError::Failed("no")));
    }
    let refused = breaker.call(async { Ok::<_, &str>(()) }).await;
    assert!(matches!(refused, Err(CallError::Refused(_))));
    tokio::time::advance(OPEN_FOR + Duration::from_millis(1)).await;
    assert_eq!(breaker.call(async { Ok::<_, &str>(7) }).await, Ok(7));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn c8_a_config_that_makes_no_sense_is_refused() {
    let config = |change: fn(&mut BreakerConfig)| {
        let mut config = BreakerConfig::default();
        change(&mut config);
        Breaker::new(config).map(drop)
    };
    assert_eq!(config(|c| c.failures = Some(0)), Err(BreakerConfigError::NoFailures));
    let nothing = |c: &mut BreakerConfig| {
        c.failure_rate = Some(FailureRate { share: f64::NAN, min_calls: 1 });
    };
    assert_eq!(config(nothing), Err(BreakerConfigError::Rate));
    assert_eq!(config(|c| c.window = Duration::ZERO), Err(BreakerConfigError::Window));
}
