//! How long things took, in 64 buckets that each span a power of two.

use std::array;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const BUCKETS: usize = 64;

/// A distribution of durations that any number of threads record into without waiting.
///
/// Bucket `i` counts what took from 2^i to 2^(i+1) - 1 nanoseconds, the first one also what took
/// none; so a quantile is at most twice what it was. The size is fixed: 520 bytes.
///
/// ```
/// use std::time::Duration;
/// use teleflow_concurrency::Latency;
///
/// let latency = Latency::new();
/// (1..=100).for_each(|ms| latency.record(Duration::from_millis(ms)));
///
/// let seen = latency.snapshot();
/// assert_eq!(seen.count, 100);
/// assert_eq!(seen.mean(), Duration::from_micros(50_500));
/// let median = seen.quantile(0.5);
/// assert!(median >= Duration::from_millis(50) && median < Duration::from_millis(100));
/// ```
pub struct Latency {
    sum: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// What a [`Latency`] held at one moment.
///
/// Records that come in while it is taken are in it or not, each for itself: `sum` may be one ahead
/// of `count`, or behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LatencySnapshot {
    /// How many durations were recorded.
    pub count: u64,
    /// All of them together.
    pub sum: Duration,
    /// How many took from 2^i to 2^(i+1) - 1 nanoseconds.
    pub buckets: [u64; BUCKETS],
}

// === impl Latency ===

impl Latency {
    /// Starts empty.
    pub fn new() -> Self {
        Self { sum: AtomicU64::new(0), buckets: array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Counts one duration. One of more than 584 years counts as 584 years.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(nanos)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Reads everything.
    pub fn snapshot(&self) -> LatencySnapshot {
        let buckets = array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed));
        LatencySnapshot {
            count: buckets.iter().sum(),
            sum: Duration::from_nanos(self.sum.load(Ordering::Relaxed)),
            buckets,
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.snapshot();
        f.debug_struct("Latency")
            .field("count", &seen.count)
            .field("mean", &seen.mean())
            .field("p99", &seen.quantile(0.99))
            .finish_non_exhaustive()
    }
}

// === impl LatencySnapshot ===

impl LatencySnapshot {
    /// The average; zero when nothing was recorded.
    pub fn mean(&self) -> Duration {
        // A count below 2^64 of nanoseconds below 2^64: the quotient fits.
        let nanos = self.sum.as_nanos().checked_div(u128::from(self.count)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// What the share `q` of the records did not exceed: the upper end of the bucket that it falls
    /// into, so at most twice the true value and never less. Zero when nothing was recorded.
    ///
    /// `q` goes from 0 (the fastest) to 1 (the slowest); what lies outside counts as the nearer end.
    pub fn quantile(&self, q: f64) -> Duration {
        // As many records as must lie at or below the answer.
        let rank = (q.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return Duration::from_nanos(upper_end(index));
            }
        }
        // Nothing was recorded, or the rounding of a count beyond 2^53 went past the last record.
        self.buckets
            .iter()
            .rposition(|&count| count > 0)
            .map_or(Duration::ZERO, |index| Duration::from_nanos(upper_end(index)))
    }
}

impl Default for LatencySnapshot {
    fn default() -> Self {
        Self { count: 0, sum: Duration::ZERO, buckets: [0; BUCKETS] }
    }
}

fn bucket_of(nanos: u64) -> usize {
    (nanos | 1).ilog2() as usize
}

/// The longest duration of a bucket.
fn upper_end(bucket: usize) -> u64 {
    u64::MAX >> (BUCKETS - 1 - bucket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_falls_into_the_bucket_whose_ends_enclose_it() {
        for nanos in [0, 1, 2, 3, 4, 1023, 1024, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX] {
            let bucket = bucket_of(nanos);
            assert!(nanos <= upper_end(bucket));
            assert!(bucket == 0 || nanos > upper_end(bucket - 1));
        }
    }

    #[test]
    fn a_quantile_is_never_below_the_true_one_and_at_most_twice_as_long() {
        let latency = Latency::new();
        let mut all: Vec<u64> = (0..1000).map(|_| fastrand::u64(1..1 << 40)).collect();
        all.iter().for_each(|&nanos| latency.record(Duration::from_nanos(nanos)));
        all.sort_unstable();
        let seen = latency.snapshot();
        assert_eq!(seen.sum, Duration::from_nanos(all.iter().sum()));
        for rank in 1..=1000 {
            let truth = all[rank - 1];
            let told = seen.quantile(rank as f64 / 1000.0).as_nanos() as u64;
            assert!(told >= truth && told < truth * 2, "rank {rank}: {told} for {truth}");
        }
    }

    #[test]
    fn nothing_recorded_is_zero_and_shares_outside_of_the_range_are_the_ends() {
        let latency = Latency::new();
        assert_eq!(latency.snapshot(), LatencySnapshot::default());
        assert_eq!(latency.snapshot().quantile(0.5), Duration::ZERO);
        assert_eq!(latency.snapshot().mean(), Duration::ZERO);

        latency.record(Duration::from_nanos(1));
        latency.record(Duration::MAX);
        let seen = latency.snapshot();
        assert_eq!(seen.quantile(-1.0), seen.quantile(0.0));
        assert_eq!(seen.quantile(2.0), Duration::from_nanos(u64::MAX));
    }
}
