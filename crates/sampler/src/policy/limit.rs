//! So many a second: what counts, and so has a state.

use std::time::{Duration, Instant};

/// A bucket that fills at a steady rate, and is full at first. What is over is refused, never owed.
///
/// It counts in thousand-millionths, whole numbers: nothing is lost to rounding however often it is
/// asked. Time that goes back adds nothing.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    per_second: u64,
    most: u64,
    /// What is in it, times [`UNIT`].
    level: u128,
    /// When it was last looked at.
    last: Option<Instant>,
}

/// The parts of a composite policy, each with what it brought within the running second. Seconds are
/// counted from the first time that it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    max: u64,
    /// The most of each part, and what it had.
    parts: Vec<(u64, u64)>,
    start: Option<Instant>,
    second: u64,
}

/// A second in nanoseconds: at one a second, a nanosecond brings one of these.
const UNIT: u128 = Duration::from_secs(1).as_nanos();

// === impl Bucket ===

impl Bucket {
    pub(crate) fn new(per_second: u64, most: u64) -> Self {
        Self { per_second, most, level: u128::from(most) * UNIT, last: None }
    }

    /// Takes `cost`, if that much is there.
    pub(crate) fn take(&mut self, now: Instant, cost: u64) -> bool {
        let last = *self.last.get_or_insert(now);
        if now > last {
            let came = (now - last).as_nanos().saturating_mul(u128::from(self.per_second));
            self.level = self.level.saturating_add(came).min(u128::from(self.most) * UNIT);
            self.last = Some(now);
        }
        let level = self.level.checked_sub(u128::from(cost) * UNIT);
        self.level = level.unwrap_or(self.level);
        level.is_some()
    }

    pub(crate) const fn most(&self) -> u64 {
        self.most
    }
}

// === impl Window ===

impl Window {
    /// The most a second for each part, and for parts that have more of their own.
    pub(crate) fn new(max: u64, parts: impl Iterator<Item = u64>) -> Self {
        Self { max, parts: parts.map(|most| (most, 0)).collect(), start: None, second: 0 }
    }

    /// Starts a new second if it is time.
    pub(crate) fn tick(&mut self, now: Instant) {
        let start = *self.start.get_or_insert(now);
        let second = now.saturating_duration_since(start).as_secs();
        if second > self.second {
            self.second = second;
            self.parts.iter_mut().for_each(|(_, had)| *had = 0);
        }
    }

    /// Takes `cost` for a part, if it has that much left.
    pub(crate) fn take(&mut self, part: usize, cost: u64) -> bool {
        let (most, had) = &mut self.parts[part];
        let sum = had.saturating_add(cost);
        let fits = sum <= (*most).min(self.max);
        if fits {
            *had = sum;
        }
        fits
    }

    /// The most of a part.
    pub(crate) fn most(&self, part: usize) -> u64 {
        self.parts[part].0.min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_bucket_is_full_at_first_and_fills_at_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 20);
        assert!(!bucket.take(start, 21), "more than the burst never passes");
        assert!(bucket.take(start, 20));
        assert!(!bucket.take(start + ms(99), 1));
        assert!(bucket.take(start + ms(100), 1));
        assert!(!bucket.take(start + ms(100), 1));
        // What was refused is not owed, and what comes is not more than the burst.
        assert!(bucket.take(start + ms(3_600_000), 20));
        assert!(!bucket.take(start + ms(3_600_000), 1));
        assert!(bucket.take(start + ms(3_600_000), 0), "nothing costs nothing");
    }

    #[test]
    fn a_step_back_adds_nothing_nor_does_its_repetition() {
        let start = Instant::now() + ms(10_000);
        let mut bucket = Bucket::new(1, 1);
        assert!(bucket.take(start, 1));
        for _ in 0..10 {
            assert!(!bucket.take(start - ms(9_000), 1));
            assert!(!bucket.take(start + ms(999), 1));
        }
        assert!(bucket.take(start + ms(1000), 1));
    }

    #[test]
    fn many_small_looks_add_up_to_one_long() {
        let start = Instant::now();
        let mut bucket = Bucket::new(3, 3);
        assert!(bucket.take(start, 3));
        let taken = (0..=1_000_000)
            .filter(|micros| bucket.take(start + Duration::from_micros(*micros), 1))
            .count();
        assert_eq!(taken, 3);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let start = Instant::now();
        let mut bucket = Bucket::new(u64::MAX, u64::MAX);
        assert!(bucket.take(start, u64::MAX));
        assert!(bucket.take(start + Duration::from_secs(1 << 32), u64::MAX));
        let mut never = Bucket::new(0, 1);
        assert!(never.take(start, 1));
        assert!(!never.take(start + Duration::from_secs(1 << 32), 1));
        let mut window = Window::new(u64::MAX, [u64::MAX].into_iter());
        window.tick(start);
        assert!(window.take(0, u64::MAX));
        assert!(window.take(0, 0));
        assert!(window.take(0, 1), "saturated: the limit is out of reach");
    }

    #[test]
    fn a_window_begins_anew_with_each_second_since_the_first() {
        let start = Instant::now();
        let mut window = Window::new(5, [3, 9].into_iter());
        window.tick(start);
        assert!(window.take(0, 3) && !window.take(0, 1));
        assert!(window.take(1, 5) && !window.take(1, 1), "no part has more than the whole");
        window.tick(start + ms(999));
        assert!(!window.take(0, 1));
        window.tick(start + ms(1000));
        assert!(!window.take(0, 4) && window.take(0, 3), "what is refused does not count");
        window.tick(start);
        assert!(!window.take(0, 1), "a step back is no new second");
    }
}
