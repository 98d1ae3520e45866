//! So many a second, and no more.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Candidate, HeadConfigError, Sampler, within};
use crate::Intent;

/// Keeps what comes until the limit is reached: so many spans and so many bytes a second, whichever
/// is reached first, and a burst of each.
///
/// Whether something is kept depends on what came just before it, so nobody knows how likely it was:
/// what is kept loses its threshold, and cannot be extrapolated from. Where counts matter,
/// [`Throughput`](super::Throughput) keeps to a rate, too, if not to the letter in a burst.
///
/// Time that goes back counts as no time. Something larger than the whole burst passes when nothing
/// else was kept for as long as a burst takes to gather, and is paid off afterwards.
#[derive(Debug)]
pub struct RateLimit(Mutex<State>);

/// How a [`RateLimit`] works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimitConfig {
    /// How many spans or records a second; `None` for any number.
    pub spans_per_second: Option<f64>,
    /// How many bytes a second; `None` for any number.
    pub bytes_per_second: Option<f64>,
    /// How many seconds' worth may come at once: 2.
    pub burst_seconds: f64,
}

/// What a [`RateLimit`] did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RateLimitStats {
    /// What it let pass.
    pub kept: u64,
    /// What came when the number of spans was reached.
    pub over_spans: u64,
    /// What came when only the number of bytes was.
    pub over_bytes: u64,
}

#[derive(Debug)]
struct State {
    spans: Option<Bucket>,
    bytes: Option<Bucket>,
    last: Instant,
    stats: RateLimitStats,
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    most: f64,
    /// What may be taken now; below nothing while something large is paid off.
    level: f64,
}

/// More a second than any machine moves; beyond it numbers lose their units.
const MOST: f64 = 1e15;

// === impl RateLimitConfig ===

impl Default for RateLimitConfig {
    /// No limit, which is none to work with: give one.
    fn default() -> Self {
        Self { spans_per_second: None, bytes_per_second: None, burst_seconds: 2.0 }
    }
}

// === impl RateLimit ===

impl RateLimit {
    /// Starts with a whole burst to spend.
    ///
    /// # Errors
    ///
    /// If there is no limit, or a number is not above zero and below 10^15.
    pub fn new(config: RateLimitConfig, now: Instant) -> Result<Self, HeadConfigError> {
        let burst = within("the burst in seconds", config.burst_seconds, 86_400.0)?;
        let bucket = |name, rate: Option<f64>| {
            let bucket = |per_second| Bucket {
                per_second,
                most: per_second * burst,
                level: per_second * burst,
            };
            rate.map(|rate| within(name, rate, MOST).map(bucket)).transpose()
        };
        let spans = bucket("the number of spans a second", config.spans_per_second)?;
        let bytes = bucket("the number of bytes a second", config.bytes_per_second)?;
        if spans.is_none() && bytes.is_none() {
            return Err(HeadConfigError::NoLimit);
        }
        let stats = RateLimitStats::default();
        Ok(Self(Mutex::new(State { spans, bytes, last: now, stats })))
    }

    /// What it did.
    pub fn stats(&self) -> RateLimitStats {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stats
    }
}

impl Sampler for RateLimit {
    fn intent(&self, now: Instant, candidate: &Candidate) -> Intent {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).intent(now, candidate.bytes as f64)
    }
}

// === impl State ===

impl State {
    fn intent(&mut self, now: Instant, bytes: f64) -> Intent {
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = self.last.max(now);
        for bucket in [&mut self.spans, &mut self.bytes].into_iter().flatten() {
            bucket.fill(passed);
        }
        let has = |bucket: &Option<Bucket>, cost| bucket.as_ref().is_none_or(|b| b.has(cost));
        if !has(&self.spans, 1.0) {
            self.stats.over_spans += 1;
            return Intent::Drop;
        }
        if !has(&self.bytes, bytes) {
            self.stats.over_bytes += 1;
            return Intent::Drop;
        }
        for (bucket, cost) in [(&mut self.spans, 1.0), (&mut self.bytes, bytes)] {
            bucket.iter_mut().for_each(|bucket| bucket.level -= cost);
        }
        self.stats.kept += 1;
        Intent::Keep
    }
}

// === impl Bucket ===

impl Bucket {
    fn fill(&mut self, seconds: f64) {
        self.level = self.most.min(self.level + seconds * self.per_second);
    }

    fn has(&self, cost: f64) -> bool {
        self.level >= cost.min(self.most)
    }
}
