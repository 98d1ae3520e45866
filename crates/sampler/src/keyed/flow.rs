//! What comes in a window, and what is expected in one.

/// What is expected of a window, after those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Forecast {
    /// What the last one brought: at once where that was more than expected, half of the way where it
    /// was less.
    Rising,
    /// A moving average, in which the last one counts with this weight, above 0 and at most 1.
    Average(f64),
    /// The mean of the last so many, or of those since the first.
    Mean(u16),
}

#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// What came in this window.
    pub(super) seen: f64,
    pub(super) expected: f64,
    /// What came in the last windows, in a ring, the sum, and how many windows that were: for
    /// [`Forecast::Mean`].
    recent: Box<[u32]>,
    sum: u64,
    age: u16,
    /// What a trace of the last some weighs; 0 before the first.
    size: f32,
}

/// How much the last trace says about what one weighs.
const OF_LAST: f64 = 0.125;

/// Windows that have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// How many: in all but the first of them nothing came.
    pub(super) windows: u64,
    pub(super) forecast: Forecast,
    /// The first one's place in a ring.
    pub(super) cursor: usize,
}

// === impl Forecast ===

impl Forecast {
    /// How many windows' budgets may be there at once, if nothing was kept for long.
    pub(super) fn reach(self) -> f64 {
        match self {
            Self::Rising | Self::Average(_) => 2.0,
            Self::Mean(windows) => f64::from(windows.max(2)),
        }
    }
}

// === impl Ended ===

impl Ended {
    /// The place of the next window.
    pub(super) fn next_cursor(&self) -> usize {
        match self.forecast {
            Forecast::Mean(len) => {
                let len = u64::from(len.max(1));
                ((self.cursor as u64 + self.windows % len) % len) as usize
            }
            Forecast::Rising | Forecast::Average(_) => 0,
        }
    }
}

// === impl Flow ===

impl Flow {
    pub(super) fn new(forecast: Forecast) -> Self {
        let len = match forecast {
            Forecast::Mean(len) => usize::from(len.max(1)),
            Forecast::Rising | Forecast::Average(_) => 0,
        };
        Self { seen: 0.0, expected: 0.0, recent: vec![0; len].into(), sum: 0, age: 0, size: 0.0 }
    }

    /// Counts a trace of this weight.
    pub(super) fn count(&mut self, weight: f64) {
        self.seen += weight;
        let size = f64::from(self.size);
        self.size = if size == 0.0 { weight } else { OF_LAST.mul_add(weight - size, size) } as f32;
    }

    /// What a trace weighs: 1 where all weigh the same.
    pub(super) const fn size(&self) -> f64 {
        if self.size == 0.0 { 1.0 } else { self.size as f64 }
    }

    pub(super) fn end_window(&mut self, ended: &Ended) {
        let seen = std::mem::take(&mut self.seen);
        // Those in which nothing at all came.
        let empty = (ended.windows - 1) as f64;
        self.expected = match ended.forecast {
            Forecast::Rising => {
                let next = if seen > self.expected { seen } else { (self.expected + seen) / 2.0 };
                next * (-empty).exp2()
            }
            Forecast::Average(weight) => {
                let next = if self.expected == 0.0 {
                    seen
                } else {
                    weight.mul_add(seen - self.expected, self.expected)
                };
                next * (1.0 - weight).powf(empty)
            }
            Forecast::Mean(_) => {
                self.remember(seen as u32, ended);
                self.sum as f64 / f64::from(self.age)
            }
        };
    }

    /// Whether nothing worth a word is expected.
    pub(super) fn is_over(&self) -> bool {
        if self.recent.is_empty() { self.expected < 0.5 * self.size() } else { self.sum == 0 }
    }

    fn remember(&mut self, seen: u32, ended: &Ended) {
        let len = self.recent.len();
        // It is no longer than the ring, for which there is a `u16`.
        self.age = u64::from(self.age).saturating_add(ended.windows).min(len as u64) as u16;
        // After the whole ring was empty the first of them is past, too.
        let windows = ended.windows.min(len as u64 + 1) as usize;
        for n in 0..windows {
            let place = &mut self.recent[(ended.cursor + n) % len];
            let count = if n == 0 { seen } else { 0 };
            self.sum = self.sum + u64::from(count) - u64::from(*place);
            *place = count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_that_of_the_last_windows() {
        let forecast = Forecast::Mean(4);
        let mut flow = Flow::new(forecast);
        let mut windows: Vec<u32> = Vec::new();
        let (mut cursor, mut rng) = (0, fastrand::Rng::with_seed(1));
        for _ in 0..1000 {
            let seen = rng.u32(..5);
            let ended = if rng.u8(..4) == 0 { rng.u64(1..8) } else { 1 };
            flow.seen = f64::from(seen);
            windows.push(seen);
            windows.extend((1..ended).map(|_| 0));
            let ended = Ended { windows: ended, forecast, cursor };
            flow.end_window(&ended);
            cursor = ended.next_cursor();
            let last = &windows[windows.len().saturating_sub(4)..];
            let mean = f64::from(last.iter().sum::<u32>()) / last.len() as f64;
            assert_eq!(flow.expected, mean, "{last:?}");
            assert_eq!(flow.is_over(), mean == 0.0);
        }
    }

    #[test]
    fn an_average_forgets_with_its_weight() {
        let forecast = Forecast::Average(0.25);
        let mut flow = Flow::new(forecast);
        let ended = |windows| Ended { windows, forecast, cursor: 0 };
        flow.seen = 80.0;
        flow.end_window(&ended(1));
        assert_eq!(flow.expected, 80.0, "the first is all there is");
        flow.seen = 40.0;
        flow.end_window(&ended(1));
        assert_eq!(flow.expected, 70.0);
        flow.end_window(&ended(3));
        assert_eq!(flow.expected, 70.0 * 0.75 * 0.75 * 0.75);
        flow.end_window(&ended(u64::MAX));
        assert_eq!(flow.expected, 0.0);
    }
}
