//! C2.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use teleflow_concurrency::{KeyedRateLimiter, Limited, OnManyKeys, Rate, RateLimiter};
use tokio::time::{Instant, advance, timeout};

fn rate(count: u32, per: Duration, burst: u32) -> Rate {
    let nonzero = |n| NonZeroU32::new(n).unwrap();
    Rate { count: nonzero(count), per, burst: nonzero(burst) }
}

#[tokio::test(start_paused = true)]
async fn c2_a_burst_passes_then_one_each_interval_and_not_before() {
    let limiter = RateLimiter::new("answers", rate(10, Duration::from_secs(1), 3)).unwrap();
    (0..3).for_each(|_| limiter.check().unwrap());
    let retry_after = Duration::from_millis(100);
    assert_eq!(limiter.check(), Err(Limited::NotYet { retry_after }));
    advance(Duration::from_millis(99)).await;
    assert!(limiter.check().is_err());
    advance(Duration::from_millis(1)).await;
    limiter.check().unwrap();
    assert!(limiter.check().is_err());
    assert_eq!((limiter.stats().passed, limiter.stats().refused), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn c2_waits_are_served_at_the_rate_and_measured() {
    let limiter = RateLimiter::new("answers", rate(10, Duration::from_secs(1), 1)).unwrap();
    let start = Instant::now();
    for _ in 0..4 {
        limiter.wait().await;
    }
    assert_eq!(start.elapsed(), Duration::from_millis(300));
    let wait = limiter.stats().wait;
    assert_eq!((wait.count, wait.sum), (3, Duration::from_millis(300)));
}

#[tokio::test(start_paused = true)]
async fn c2_a_deadline_that_comes_first_is_told_at_once_and_nothing_is_spent() {
    let limiter = RateLimiter::new("answers", rate(1, Duration::from_secs(1), 1)).unwrap();
    limiter.wait().await;
    let start = Instant::now();
    let soon = start + Duration::from_millis(500);
    assert_eq!(limiter.wait_until(soon).await, Err(Limited::TimedOut));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(timeout(Duration::from_millis(200), limiter.wait()).await.is_err(), "cancelled");
    limiter.wait_until(start + Duration::from_secs(1)).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    assert_eq!(limiter.stats().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn c2_each_key_has_its_own_rate_and_their_number_is_bounded() {
    let two = NonZeroUsize::new(2).unwrap();
    let rate = rate(1, Duration::from_secs(1), 1);
    let limiter = KeyedRateLimiter::new("tenants", rate, two, OnManyKeys::Refuse).unwrap();
    limiter.check(&"a").unwrap();
    limiter.check(&"b").unwrap();
    assert!(matches!(limiter.check(&"a"), Err(Limited::NotYet { .. })));
    assert_eq!(limiter.check(&"c"), Err(Limited::TooManyKeys));
    assert_eq!(limiter.keys(), 2);
    limiter.wait_until(&"a", Instant::now() + Duration::from_secs(1)).await.unwrap();
    // "b" is as good as new and makes room.
    limiter.check(&"c").unwrap();
    assert_eq!(limiter.keys(), 2);

    let shared = KeyedRateLimiter::new("tenants", rate, two, OnManyKeys::ShareOne).unwrap();
    ["a", "b", "c"].iter().for_each(|key| shared.check(key).unwrap());
    assert!(shared.check(&"d").is_err(), "it shares a rate with c");
    assert_eq!((shared.keys(), shared.stats().passed, shared.stats().refused), (2, 3, 1));
}

#[test]
fn c2_what_is_no_rate_is_refused() {
    assert!(RateLimiter::new("none", rate(1, Duration::ZERO, 1)).is_err());
    assert!(RateLimiter::new("none", rate(2, Duration::from_nanos(1), 1)).is_err());
    assert!(RateLimiter::new("none", rate(1, Duration::MAX, u32::MAX)).is_err());
}

#[test]
fn c2_the_time_is_an_argument() {
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let limiter = RateLimiter::new("answers", rate(1, second, 2)).unwrap();
    let late = start + Duration::from_secs(3600);
    let not_yet = |retry_after| Err(Limited::NotYet { retry_after });
    assert_eq!((limiter.check_at(late), limiter.check_at(late)), (Ok(()), Ok(())));
    assert_eq!(limiter.check_at(late), not_yet(second));
    assert_eq!(limiter.check_at(late + second / 4), not_yet(second * 3 / 4));
    assert_eq!(limiter.check_at(late + second), Ok(()));
    assert_eq!(limiter.check_at(start), not_yet(Duration::from_secs(3602)), "time that went back");

    let one = NonZeroUsize::MIN;
    let rate = rate(1, second, 1);
    let keyed = KeyedRateLimiter::new("tenants", rate, one, OnManyKeys::Refuse).unwrap();
    assert_eq!(keyed.check_at(&"a", late), Ok(()));
    assert_eq!(keyed.check_at(&"b", late + second / 2), Err(Limited::TooManyKeys));
    assert_eq!(keyed.check_at(&"b", late + second), Ok(()), "a is as good as new");
}

#[tokio::test(start_paused = true)]
async fn c2_those_who_wait_for_a_key_do_not_wait_for_those_of_another() {
    let rate = rate(1, Duration::from_secs(1), 1);
    let many = NonZeroUsize::new(1000).unwrap();
    let limiter = KeyedRateLimiter::new("tenants", rate, many, OnManyKeys::Refuse).unwrap();
    let start = Instant::now();
    // A hundred units of one key take 99 s; every other key has its one at once.
    let busy = async {
        for _ in 0..100 {
            limiter.wait(&0).await.unwrap();
        }
        start.elapsed()
    };
    let others = async {
        tokio::task::yield_now().await;
        for key in 1..200 {
            limiter.wait(&key).await.unwrap();
        }
        start.elapsed()
    };
    let (busy, others) = tokio::join!(busy, others);
    assert_eq!((busy, others), (Duration::from_secs(99), Duration::ZERO));
    // In the order of arrival, and one that gives up holds nobody back.
    let mut first = Box::pin(limiter.wait(&0));
    let gives_up = timeout(Duration::from_millis(1), limiter.wait(&0));
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    assert!(gives_up.await.is_err());
    first.await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(100));
    let full =
        KeyedRateLimiter::new("tenants", rate, NonZeroUsize::MIN, OnManyKeys::Refuse).unwrap();
    full.wait(&"a").await.unwrap();
    assert_eq!(full.wait(&"b").await, Err(Limited::TooManyKeys));
}
