//! When to warm up again: as long as too many lookups miss.
//!
//! A cache that was emptied (a restart, an eviction storm, entries that expire together) makes all
//! who ask pay for it, one key at a time. Loading the keys that are known to be wanted, some at a
//! time and from the second level in batches, ends that sooner. [`MissWatch`] says when; it sees
//! counts, not lookups, so it costs a hit nothing.

use std::time::{Duration, Instant};

use crate::first::FirstLevelStats;

/// When a [`MissWatch`] calls for a warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MissWatchConfig {
    /// How often it looks. Default 10 s; less than a millisecond counts as one.
    pub interval: Duration,
    /// The part of the lookups since the last look above which it calls, 0 to 1. Default 0.2. With
    /// 1 it never does.
    pub threshold: f64,
    /// With fewer lookups than this since the last look it says nothing. Default 100.
    pub min_lookups: u64,
    /// How long it is silent after it has called, so that keys which nobody can load do not keep
    /// the source busy. Default 60 s.
    pub rest: Duration,
}

/// Calls for a warm-up when the first level misses too often.
///
/// # Examples
///
/// ```
/// use std::time::Instant;
/// use teleflow_cache::{FirstLevelStats, MissWatch, MissWatchConfig};
///
/// let now = Instant::now();
/// let mut watch = MissWatch::new(MissWatchConfig::default());
/// assert!(!watch.observe(now, &FirstLevelStats { hits: 1000, misses: 900, ..Default::default() }));
/// // 900 hits and 100 misses since then: 10 %.
/// assert!(!watch.observe(now, &FirstLevelStats { hits: 1900, misses: 1000, ..Default::default() }));
/// // 700 hits and 300 misses.
/// assert!(watch.observe(now, &FirstLevelStats { hits: 2600, misses: 1300, ..Default::default() }));
/// ```
#[derive(Clone, Debug)]
pub struct MissWatch {
    config: MissWatchConfig,
    /// Hits and misses at the last look.
    seen: Option<(u64, u64)>,
    silent_until: Option<Instant>,
}

// === impl MissWatchConfig ===

impl Default for MissWatchConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            threshold: 0.2,
            min_lookups: 100,
            rest: Duration::from_secs(60),
        }
    }
}

// === impl MissWatch ===

impl MissWatch {
    /// Creates one that has seen nothing: its first look only takes the counts.
    pub fn new(config: MissWatchConfig) -> Self {
        Self { config, seen: None, silent_until: None }
    }

    /// How often to [`observe`](Self::observe).
    pub fn interval(&self) -> Duration {
        self.config.interval.max(Duration::from_millis(1))
    }

    /// Looks at what has happened since the last look and says whether to warm up now.
    pub fn observe(&mut self, now: Instant, stats: &FirstLevelStats) -> bool {
        let seen = (stats.hits, stats.misses);
        let Some((hits, misses)) = self.seen.replace(seen) else { return false };
        let misses = stats.misses.saturating_sub(misses);
        let lookups = stats.hits.saturating_sub(hits) + misses;
        if lookups < self.config.min_lookups.max(1)
            || self.silent_until.is_some_and(|until| now < until)
            || misses as f64 <= self.config.threshold * lookups as f64
        {
            return false;
        }
        self.silent_until = now.checked_add(self.config.rest);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(hits: u64, misses: u64) -> FirstLevelStats {
        FirstLevelStats { hits, misses, ..FirstLevelStats::default() }
    }

    fn watch(now: Instant) -> MissWatch {
        let mut watch = MissWatch::new(MissWatchConfig::default());
        assert!(!watch.observe(now, &stats(0, 0)));
        watch
    }

    #[test]
    fn r6_exactly_the_threshold_is_not_past_it() {
        let now = Instant::now();
        assert!(!watch(now).observe(now, &stats(80, 20)));
        assert!(watch(now).observe(now, &stats(79, 21)));
    }

    #[test]
    fn r6_a_few_lookups_say_nothing() {
        let now = Instant::now();
        assert!(!watch(now).observe(now, &stats(0, 99)));
        assert!(!watch(now).observe(now, &stats(0, 0)));
        assert!(watch(now).observe(now, &stats(0, 100)));
    }

    #[test]
    fn r6_it_rests_after_a_call() {
        let now = Instant::now();
        let mut watch = watch(now);
        assert!(watch.observe(now, &stats(0, 100)));
        assert!(!watch.observe(now + Duration::from_secs(59), &stats(0, 200)));
        assert!(watch.observe(now + Duration::from_secs(60), &stats(0, 300)));
    }
}
