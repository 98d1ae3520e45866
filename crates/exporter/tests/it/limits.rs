//! Time, rate and breaker, around an exporter that does as it is told.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use teleflow_concurrency::{BreakerConfig, BreakerState, Rate};
use teleflow_exporter::{
    CircuitBreaker, ExportError, Exporter, RateLimit, RateUnit, Retry, RetryBudget,
    RetryBudgetConfig, RetryConfig, Timeout,
};
use teleflow_otlp::{Code, Status};
use tokio::time::Instant;

use crate::script::{Scripted, Step, spans};

fn transient() -> Step {
    Step::Fail(ExportError::Transient("not now".into()))
}

fn rate(count: u32, burst: u32) -> Rate {
    let nonzero = |n| NonZeroU32::new(n).unwrap();
    Rate { count: nonzero(count), per: Duration::from_secs(1), burst: nonzero(burst) }
}

#[tokio::test(start_paused = true)]
async fn an_export_that_takes_too_long_is_over_and_may_be_tried_again() {
    let script = Scripted::new([Step::Wait]);
    let timeout = Timeout::new(script.clone(), Duration::from_secs(3));
    let begun = Instant::now();
    let error = timeout.export(spans(1, "a")).await.unwrap_err();
    assert!(matches!(error, ExportError::Timeout(limit) if limit.as_secs() == 3), "{error:?}");
    assert!(error.is_retryable());
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    timeout.export(spans(1, "a")).await.unwrap();
    assert_eq!(timeout.timed_out(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_an_export_takes_its_time() {
    let script = Scripted::new([Step::Wait]);
    let timeout = Timeout::new(script.clone(), Duration::ZERO);
    let (result, ()) = tokio::join!(timeout.export(spans(1, "a")), async {
        tokio::time::sleep(Duration::from_secs(100_000)).await;
        script.release(1);
    });
    result.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_start_at_the_rate_and_in_order() {
    let script = Scripted::new([]);
    let limit = RateLimit::new(script.clone(), RateUnit::Requests, rate(2, 2)).unwrap();
    let names = ["a", "b", "c", "d", "e"];
    for result in join_all(names.map(|name| limit.export(spans(50, name)))).await {
        result.unwrap();
    }
    assert_eq!(script.seconds(), [0.0, 0.0, 0.5, 1.0, 1.5]);
    assert_eq!(script.requests(), names.map(|name| spans(50, name).to_bytes()));
    assert_eq!(limit.waited(), 3);
}

#[tokio::test(start_paused = true)]
async fn items_start_at_the_rate_and_a_large_payload_passes() {
    let script = Scripted::new([]);
    let limit = RateLimit::new(script.clone(), RateUnit::Items, rate(100, 100)).unwrap();
    for count in [50, 50, 100, 400, 10] {
        limit.export(spans(count, "a")).await.unwrap();
    }
    // The fourth needs a full bucket and leaves a debt of three seconds behind.
    assert_eq!(script.seconds(), [0.0, 0.0, 1.0, 2.0, 5.1]);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_for_the_rate_takes_nothing() {
    let script = Scripted::new([]);
    let limit = RateLimit::new(script.clone(), RateUnit::Requests, rate(1, 1)).unwrap();
    limit.export(spans(1, "a")).await.unwrap();
    let impatient = tokio::time::timeout(Duration::from_millis(500), limit.export(spans(1, "b")));
    impatient.await.unwrap_err();
    limit.export(spans(1, "c")).await.unwrap();
    assert_eq!(script.seconds(), [0.0, 1.0]);
}

fn breaker(script: &Scripted) -> CircuitBreaker<Scripted> {
    let config = BreakerConfig { failures: Some(3), failure_rate: None, ..Default::default() };
    CircuitBreaker::new(script.clone(), config).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_keeps_failing_is_left_alone_until_a_probe_went_well() {
    let script = Scripted::new((0..4).map(|_| transient()));
    let breaker = breaker(&script);
    for _ in 0..3 {
        breaker.export(spans(1, "a")).await.unwrap_err();
    }
    let error = breaker.export(spans(1, "a")).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let retry_after = error.retry_after().unwrap();
    assert!((30_000..=30_001).contains(&retry_after.as_millis()), "{retry_after:?}");
    assert_eq!(script.requests().len(), 3);

    // The probe fails, and the next one is well.
    tokio::time::advance(Duration::from_millis(30_001)).await;
    breaker.export(spans(1, "a")).await.unwrap_err();
    assert_eq!(breaker.stats().state, BreakerState::Open);
    tokio::time::advance(Duration::from_millis(30_001)).await;
    breaker.export(spans(1, "a")).await.unwrap();
    assert_eq!(breaker.stats().state, BreakerState::Closed);
    assert_eq!(script.requests().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_payloads_says_nothing_of_the_destination() {
    let bad = || Step::Fail(ExportError::Status(Status::new(Code::InvalidArgument, "")));
    let script = Scripted::new((0..20).map(|_| bad()));
    let breaker = breaker(&script);
    for _ in 0..20 {
        breaker.export(spans(1, "a")).await.unwrap_err();
    }
    assert_eq!(script.requests().len(), 20);
    assert_eq!(breaker.stats().state, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn retry_waits_for_the_breaker_and_not_against_it() {
    let script = Scripted::new((0..3).map(|_| transient()));
    let config = RetryConfig {
        randomization_factor: 0.0,
        initial_interval: Duration::from_secs(1),
        multiplier: 1.0,
        ..RetryConfig::default()
    };
    let retry = Retry::new(breaker(&script), config).unwrap();
    retry.export(spans(1, "a")).await.unwrap();
    // Three failures, then nothing for the time that the breaker is open.
    let seconds = script.seconds();
    assert_eq!(seconds[..3], [0.0, 1.0, 2.0]);
    assert!(seconds.len() == 4 && (32.0..32.01).contains(&seconds[3]), "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_multiply_the_load() {
    let down = || Scripted::new((0..100_000).map(|_| transient()));
    let config = RetryConfig {
        initial_interval: Duration::from_secs(1),
        max_interval: Duration::from_secs(1),
        max_elapsed_time: Duration::from_secs(60),
        ..RetryConfig::default()
    };
    let budget = RetryBudgetConfig { share: 0.2, per_second: 1.0, burst: 10.0 };
    let budget = RetryBudget::new(budget, Instant::now().into_std()).unwrap();
    let (bounded, unbounded) = (down(), down());
    let retry = Retry::new(bounded.clone(), config.clone()).unwrap().with_budget(budget.into());
    join_all((0..200).map(|_| retry.export(spans(1, "a")))).await;
    let plain = Retry::new(unbounded.clone(), config).unwrap();
    join_all((0..200).map(|_| plain.export(spans(1, "a")))).await;

    // Two hundred first attempts, a fifth of that in retries, one a second and the burst.
    let sent = bounded.requests().len();
    assert!((240..=200 + 40 + 61 + 10).contains(&sent), "{sent}");
    assert!(unbounded.requests().len() > 200 * 40, "{}", unbounded.requests().len());
    assert!(retry.stats().put_off > 0);
    assert_eq!(retry.stats().gave_up, 200);
}
