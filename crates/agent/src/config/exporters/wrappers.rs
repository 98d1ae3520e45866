//! How much an exporter sends, and when it leaves off: keys that the Collector does not have.

use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};

/// What is between an exporter and its destination. Default nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wrappers {
    /// `circuit_breaker`
    pub(crate) breaker: Option<CircuitBreaker>,
    /// `adaptive_concurrency`
    pub(crate) concurrency: Option<AdaptiveConcurrency>,
    /// `rate_limit`
    pub(crate) rate: Option<RateLimit>,
}

/// `circuit_breaker`: sends nothing to a destination that keeps failing, until a try went well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CircuitBreaker {
    /// So many failures within the window open it. Default 5. `None` (0 in the file): any number.
    pub(crate) failures: Option<NonZeroU32>,
    /// Such a share of failures within the window opens it. Default 0.5. `None` (0 in the file): any.
    pub(crate) failure_ratio: Option<f64>,
    /// With fewer requests in the window the share says nothing. Default 20.
    pub(crate) min_requests: u32,
    /// How far back failures count. Default 10 s. At least 10 ms.
    pub(crate) window: Duration,
    /// How long nothing is sent. Default 30 s.
    pub(crate) open_for: Duration,
    /// How many requests at a time may try then. Default 1. At least 1.
    pub(crate) probes: NonZeroU16,
    /// So many that went well close it. Default 1. At least 1.
    pub(crate) successes: NonZeroU16,
}

/// `adaptive_concurrency`: finds out how many requests at a time a destination takes. Names and
/// defaults are Vector's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AdaptiveConcurrency {
    /// What it starts with. Default 1. At least 1.
    pub(crate) initial: NonZeroUsize,
    /// What it never exceeds. Default 200. Not less than `initial`.
    pub(crate) max: NonZeroUsize,
    /// What is left of a limit that was too high. Default 0.9. Between 0 and 1.
    pub(crate) decrease_ratio: f64,
    /// How much the newest round trip counts in the average. Default 0.4. Between 0 and 1.
    pub(crate) ewma_alpha: f64,
    /// How many deviations over the average are too long. Default 2.5. From 0.
    pub(crate) rtt_deviation_scale: f64,
}

/// `rate_limit`: what comes too early waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RateLimit {
    /// In what it is counted. Default requests.
    pub(crate) unit: RateUnit,
    /// Has to be written. At least 1.
    pub(crate) per_second: NonZeroU32,
    /// How many at once after a pause. Default as many as in a second. At least 1.
    pub(crate) burst: NonZeroU32,
}

/// `unit`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum RateUnit {
    #[default]
    Requests,
    Items,
    Bytes,
}

/// `retry_on_failure.budget`: how much is sent again, beside what is sent at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RetryBudget {
    /// Retries for each request. Default 0.2. From 0.
    pub(crate) share: f64,
    /// Retries a second in any case. Default 1. From 0.
    pub(crate) per_second: f64,
    /// How many are saved up. Default 100. At least 1.
    pub(crate) burst: f64,
}

/// Close enough to 0 and 1 for what has to lie between them.
const BETWEEN: RangeInclusive<f64> = 0.001..=0.999;

const MAX: f64 = 1e9;

/// Reads the three keys, of which each is on by being there.
pub(super) fn read(keys: &mut Keys<'_>) -> Wrappers {
    Wrappers {
        breaker: keys.find("circuit_breaker").map(|at| read_breaker(&at)),
        concurrency: keys.find("adaptive_concurrency").map(|at| read_concurrency(&at)),
        rate: keys.value("rate_limit").and_then(|at| read_rate(&at)),
    }
}

fn read_breaker(at: &At<'_>) -> CircuitBreaker {
    at.section(later::NONE, |keys| {
        let failures = keys.value("failures").and_then(|at| at.whole(0..=u32::MAX.into()));
        let ratio = keys.value("failure_ratio").and_then(|at| at.number(0.0..=1.0));
        let requests = keys.value("min_requests").and_then(|at| at.whole(0..=u32::MAX.into()));
        let window = keys.value("window").and_then(|at| {
            let window = at.duration()?;
            if !(Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&window) {
                at.refuse("be from 10ms to 1h", None);
            }
            Some(window)
        });
        let mut count = |name| {
            let count = keys.value(name).and_then(|at| at.whole(1..=u16::MAX.into()));
            let count = count.and_then(|count| u16::try_from(count).ok());
            count.and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN)
        };
        let (probes, successes) = (count("probes"), count("successes"));
        let open_for = keys.value("open_for").and_then(|at| at.duration());
        let breaker = CircuitBreaker {
            // One that was refused is there all the same.
            failures: nonzero(failures.or(Some(5))),
            failure_ratio: ratio.or(Some(0.5)).filter(|&ratio| ratio > 0.0),
            min_requests: requests.map_or(20, |requests| requests as u32),
            window: window.unwrap_or(Duration::from_secs(10)),
            open_for: open_for.unwrap_or(Duration::from_secs(30)),
            probes,
            successes,
        };
        if breaker.failures.is_none() && breaker.failure_ratio.is_none() {
            let message = format!("{} would never open", at.path());
            let hint = "`failures` or `failure_ratio` has to be more than 0";
            at.report.error_with_hint(at.name_at(), message, hint);
        }
        breaker
    })
}

fn nonzero(number: Option<u64>) -> Option<NonZeroU32> {
    number.and_then(|number| u32::try_from(number).ok()).and_then(NonZeroU32::new)
}

fn read_concurrency(at: &At<'_>) -> AdaptiveConcurrency {
    at.section(later::NONE, |keys| {
        let count = |at: Option<&At<'_>>| at.and_then(|at| at.count(1)).and_then(NonZeroUsize::new);
        let initial = count(keys.value("initial_concurrency").as_ref());
        let initial = initial.unwrap_or(NonZeroUsize::MIN);
        let most = keys.value("max_concurrency_limit");
        let max = count(most.as_ref());
        if let (Some(at), Some(max)) = (most, max)
            && max < initial
        {
            at.refuse(&format!("be at least initial_concurrency ({initial})"), None);
        }
        let mut number = |name, range| keys.value(name).and_then(|at| at.number(range));
        AdaptiveConcurrency {
            initial,
            max: max
                .unwrap_or_else(|| initial.max(NonZeroUsize::new(200).expect("it is not zero"))),
            decrease_ratio: number("decrease_ratio", BETWEEN).unwrap_or(0.9),
            ewma_alpha: number("ewma_alpha", BETWEEN).unwrap_or(0.4),
            rtt_deviation_scale: number("rtt_deviation_scale", 0.0..=MAX).unwrap_or(2.5),
        }
    })
}

fn read_rate(at: &At<'_>) -> Option<RateLimit> {
    const UNITS: [(&str, RateUnit); 3] =
        [("bytes", RateUnit::Bytes), ("items", RateUnit::Items), ("requests", RateUnit::Requests)];
    // Finer than a unit a nanosecond no rate is kept.
    const MOST: u64 = 1_000_000_000;
    at.section(later::NONE, |keys| {
        let unit = keys.value("unit").and_then(|at| at.one_of(&UNITS, later::NONE));
        let amount = |at: At<'_>| match unit {
            Some(RateUnit::Bytes) => at.bytes(1..=MOST),
            _ => at.whole(1..=MOST),
        };
        let per_second = keys.require("per_second").and_then(amount);
        let burst = keys.value("burst").and_then(amount);
        let per_second = nonzero(per_second)?;
        Some(RateLimit {
            unit: unit.unwrap_or_default(),
            per_second,
            burst: nonzero(burst).unwrap_or(per_second),
        })
    })
}

/// Reads `budget`, which is on by being there.
pub(super) fn read_budget(keys: &mut Keys<'_>) -> Option<RetryBudget> {
    let at = keys.find("budget")?;
    Some(at.section(later::NONE, |keys| {
        let mut number = |name, range| keys.value(name).and_then(|at| at.number(range));
        RetryBudget {
            share: number("share", 0.0..=MAX).unwrap_or(0.2),
            per_second: number("per_second", 0.0..=MAX).unwrap_or(1.0),
            burst: number("burst", 1.0..=MAX).unwrap_or(100.0),
        }
    }))
}
