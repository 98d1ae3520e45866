//! How long traces waited.

use std::time::Duration;

/// How many traces had waited how long when they were decided.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Waits {
    /// By the first of [`Waits::BOUNDS`] that is no less than the time they had waited, and last those
    /// that had waited longer than all of them.
    pub counts: [u64; Self::BOUNDS.len() + 1],
}

// === impl Waits ===

impl Waits {
    /// What parts short waits from long ones. Those from a second on are a little more than what
    /// people write as a wait: a trace is decided up to 20 ms later.
    pub const BOUNDS: [Duration; 17] = [
        Duration::from_millis(20),
        Duration::from_millis(100),
        Duration::from_millis(500),
        Duration::from_millis(1_100),
        Duration::from_millis(2_100),
        Duration::from_millis(3_100),
        Duration::from_millis(5_100),
        Duration::from_millis(7_600),
        Duration::from_millis(10_100),
        Duration::from_millis(15_100),
        Duration::from_millis(20_100),
        Duration::from_millis(30_100),
        Duration::from_millis(45_100),
        Duration::from_millis(60_100),
        Duration::from_millis(120_100),
        Duration::from_millis(300_100),
        Duration::from_millis(600_100),
    ];

    /// Counts a trace that had waited so long.
    pub(super) fn count(&mut self, waited: Duration) {
        let at = Self::BOUNDS.partition_point(|bound| *bound < waited);
        self.counts[at] += 1;
    }

    /// Adds what another counted.
    pub(crate) fn add(&mut self, other: &Self) {
        std::iter::zip(&mut self.counts, &other.counts).for_each(|(sum, more)| *sum += more);
    }

    /// How many traces were counted.
    pub fn traces(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_counted_below_the_first_bound_that_it_does_not_pass() {
        assert!(Waits::BOUNDS.is_sorted());
        let mut waits = Waits::default();
        for millis in [0, 20, 21, 30_000, 30_100, 30_101, 600_100, 600_101, 1 << 40] {
            waits.count(Duration::from_millis(millis));
        }
        let mut expected = [0; Waits::BOUNDS.len() + 1];
        for (at, count) in [(0, 2), (1, 1), (11, 2), (12, 1), (16, 1), (17, 2)] {
            expected[at] = count;
        }
        assert_eq!(waits.counts, expected);
        assert_eq!(waits.traces(), 9);
        waits.add(&waits.clone());
        assert_eq!((waits.counts[17], waits.traces()), (4, 18));
    }
}
