use std::time::{Duration, Instant};

use teleflow_sampler::Decision;
use teleflow_sampler::head::{Candidate, HeadConfigError, RateLimit, RateLimitConfig};

use super::{decide, trace};

fn limit(spans: Option<f64>, bytes: Option<f64>, now: Instant) -> RateLimit {
    let config = RateLimitConfig {
        spans_per_second: spans,
        bytes_per_second: bytes,
        ..RateLimitConfig::default()
    };
    RateLimit::new(config, now).unwrap()
}

#[test]
fn s3_in_no_time_more_is_kept_than_the_rate_and_a_burst() {
    for seed in 0..10 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let (spans, bytes) = (rng.f64() * 50.0 + 1.0, rng.f64() * 5000.0 + 1000.0);
        let sampler = limit(Some(spans), Some(bytes), start);
        let (mut now, mut kept) = (start, Vec::new());
        for _ in 0..3000 {
            now += Duration::from_millis(rng.u64(..40));
            let candidate = Candidate { bytes: rng.u64(..300), ..trace(&mut rng) };
            match decide(&sampler, now, &candidate) {
                // Nobody knows how likely that was.
                Decision::Keep(None) => kept.push((now, candidate.bytes as f64)),
                Decision::Keep(Some(_)) => panic!("a limit has no threshold"),
                Decision::Drop => {}
            }
        }
        let took = (now - start).as_secs_f64();
        for first in (0..kept.len()).step_by(17) {
            let mut sum = 0.0;
            for (index, (at, bytes_of)) in kept[first..].iter().enumerate() {
                let since = (*at - kept[first].0).as_secs_f64() + 2.0;
                sum += bytes_of;
                assert!((index + 1) as f64 <= spans * since + 1e-6, "seed {seed}");
                // The last may use what is left, and be paid off after.
                assert!(sum <= bytes * since + 1e-6, "seed {seed}");
            }
        }
        // And not much less: one of the two limits is what held it back.
        let sum: f64 = kept.iter().map(|(_, bytes)| bytes).sum();
        let part = (kept.len() as f64 / (spans * took)).max(sum / (bytes * took));
        assert!(part > 0.9 || kept.len() == 3000, "seed {seed}: {part}");
        let stats = sampler.stats();
        assert_eq!(stats.kept, kept.len() as u64);
        assert_eq!(stats.kept + stats.over_spans + stats.over_bytes, 3000);
    }
}

#[test]
fn s3_what_is_larger_than_a_burst_passes_when_all_was_quiet_and_is_paid_off() {
    let start = Instant::now();
    let sampler = limit(None, Some(100.0), start);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut ask = |seconds, bytes| {
        let candidate = Candidate { bytes, ..trace(&mut rng) };
        decide(&sampler, start + Duration::from_secs(seconds), &candidate).is_kept()
    };
    assert!(ask(0, 1000), "the burst is whole");
    // 800 bytes below nothing: eight seconds to nothing, a ninth for the next hundred.
    assert!(!ask(7, 1) && !ask(8, 100) && ask(9, 100));
    assert!(!ask(10, 1000), "only after a whole burst");
    assert!(ask(11, 1000));
}

#[test]
fn s3_time_that_goes_back_is_no_time() {
    let start = Instant::now();
    let sampler = limit(Some(1.0), None, start);
    let candidate = trace(&mut fastrand::Rng::with_seed(1));
    let at = |seconds| start + Duration::from_secs(seconds);
    let ask = |seconds| decide(&sampler, at(seconds), &candidate).is_kept();
    assert!(ask(10) && ask(10) && !ask(10));
    assert!(!ask(0) && !ask(10), "the ten seconds do not count twice");
    assert!(ask(11));
}

#[test]
fn s3_a_limit_has_to_be_one() {
    let now = Instant::now();
    let error = RateLimit::new(RateLimitConfig::default(), now).unwrap_err();
    assert_eq!(error, HeadConfigError::NoLimit);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let config = RateLimitConfig { spans_per_second: Some(bad), ..RateLimitConfig::default() };
        assert!(matches!(RateLimit::new(config, now), Err(HeadConfigError::Range { .. })));
        let config = RateLimitConfig {
            bytes_per_second: Some(1.0),
            burst_seconds: bad,
            ..RateLimitConfig::default()
        };
        assert!(matches!(RateLimit::new(config, now), Err(HeadConfigError::Range { .. })));
    }
}
