//! What the exporters that send have in common: time limits, retry, compression.

use std::time::Duration;

use super::super::later;
use super::super::read::{At, Keys};
use super::wrappers::{self, RetryBudget};

/// `retry_on_failure`: exponential back-off with jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Retry {
    /// How long the first wait is. Default 5 s. More than 0.
    pub(crate) initial_interval: Duration,
    /// By how much of itself a wait varies, from 0 to 1. Default 0.5.
    pub(crate) randomization_factor: f64,
    /// How much longer each wait is than the one before. Default 1.5. At least 1.
    pub(crate) multiplier: f64,
    /// How long a wait gets. Default 30 s.
    pub(crate) max_interval: Duration,
    /// When a request is given up. Default 300 s. `None` (0 in the file): never.
    pub(crate) max_elapsed_time: Option<Duration>,
    /// `budget`: how much is sent again at all. Default `None`: not limited.
    pub(crate) budget: Option<RetryBudget>,
}

/// `compression`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Compression {
    /// `gzip`
    #[default]
    Gzip,
    /// `zstd`
    Zstd,
    /// `none`
    None,
}

// === impl Retry ===

impl Default for Retry {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Some(Duration::from_secs(300)),
            budget: None,
        }
    }
}

/// Reads `timeout`; 0 is no limit.
pub(super) fn read_timeout(keys: &mut Keys<'_>, default: Duration) -> Option<Duration> {
    read_limit(keys, "timeout", default)
}

/// Reads a limit of time; 0 is none.
pub(super) fn read_limit(
    keys: &mut Keys<'_>,
    name: &'static str,
    default: Duration,
) -> Option<Duration> {
    let limit = keys.value(name).and_then(|at| at.duration()).unwrap_or(default);
    Some(limit).filter(|limit| !limit.is_zero())
}

/// Reads `compression`. The Collector takes empty text for `none`.
pub(super) fn read_compression(keys: &mut Keys<'_>) -> Compression {
    const NAMES: [(&str, Compression); 4] = [
        ("gzip", Compression::Gzip),
        ("none", Compression::None),
        ("zstd", Compression::Zstd),
        ("", Compression::None),
    ];
    keys.value("compression")
        .and_then(|at| at.one_of(&NAMES, later::COMPRESSIONS))
        .unwrap_or_default()
}

/// Reads `retry_on_failure`: `None` if it is turned off, and what `unwritten` is if it is not there.
pub(super) fn read_retry(keys: &mut Keys<'_>, unwritten: Option<Retry>) -> Option<Retry> {
    let Some(at) = keys.value("retry_on_failure") else { return unwritten };
    let default = Retry::default();
    at.section(later::NONE, |keys| {
        let enabled = keys.value("enabled").and_then(|at| at.truth()).unwrap_or(true);
        let initial = keys.value("initial_interval").map(|at| (at.duration(), at));
        if let Some((Some(Duration::ZERO), at)) = &initial {
            at.refuse("be more than 0", None);
        }
        let elapsed = keys.value("max_elapsed_time");
        let budget = wrappers::read_budget(keys);
        let mut number = |name, range| keys.value(name).and_then(|at| at.number(range));
        let retry = Retry {
            randomization_factor: number("randomization_factor", 0.0..=1.0)
                .unwrap_or(default.randomization_factor),
            multiplier: number("multiplier", 1.0..=f64::MAX).unwrap_or(default.multiplier),
            initial_interval: initial
                .and_then(|(interval, _)| interval)
                .unwrap_or(default.initial_interval),
            max_interval: keys
                .value("max_interval")
                .and_then(|at| at.duration())
                .unwrap_or(default.max_interval),
            max_elapsed_time: match elapsed.as_ref().and_then(|at| at.duration()) {
                None => default.max_elapsed_time,
                Some(time) => Some(time).filter(|time| !time.is_zero()),
            },
            budget,
        };
        if enabled {
            check_elapsed_time(retry, elapsed.as_ref().unwrap_or(&at));
        }
        enabled.then_some(retry)
    })
}

/// As the Collector has it, the whole is not shorter than its parts.
fn check_elapsed_time(retry: Retry, at: &At<'_>) {
    let Some(elapsed) = retry.max_elapsed_time else { return };
    for (name, interval) in
        [("initial_interval", retry.initial_interval), ("max_interval", retry.max_interval)]
    {
        if elapsed < interval {
            let message = format!(
                "max_elapsed_time ({elapsed:?}) is less than {name} ({interval:?}) in {}",
                at.path().trim_end_matches(".max_elapsed_time"),
            );
            at.report.error_with_hint(at.value_at(), message, "0 is no limit");
            return;
        }
    }
}
