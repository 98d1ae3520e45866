//! Stands in for the rate limits of policies.

use std::time::Instant;

#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    per_second: u64,
    most: u64,
    level: f64,
    last: Option<Instant>,
}

impl Bucket {
    pub(crate) fn new(per_second: u64, most: u64) -> Self {
        Self { per_second, most, level: most as f64, last: None }
    }

    pub(crate) fn take(&mut self, now: Instant, cost: u64) -> bool {
        let last = self.last.replace(now).unwrap_or(now);
        let came = now.saturating_duration_since(last).as_secs_f64() * self.per_second as f64;
        self.level = (self.level + came).min(self.most as f64);
        let is_left = self.level >= cost as f64;
        if is_left {
            self.level -= cost as f64;
        }
        is_left
    }
}
