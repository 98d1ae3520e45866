//! How long the last exports took, for who makes batches.

use std::collections::VecDeque;
use std::time::Duration;

/// So many are kept for who asks.
const MAX_TIMES: usize = 64;

/// How long exports took, retries included, that nobody asked for yet: the last 64.
#[derive(Debug, Default)]
pub struct ExportTimes(VecDeque<Duration>);

impl ExportTimes {
    /// Enters one that is over.
    pub fn add(&mut self, took: Duration) {
        if self.0.len() == MAX_TIMES {
            self.0.pop_front();
        }
        self.0.push_back(took);
    }

    /// Takes them out, the oldest first.
    pub fn take(&mut self) -> impl ExactSizeIterator<Item = Duration> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }
}
