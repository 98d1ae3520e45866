//! Log lines that a peer can cause, and cannot fill the log with.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// At most one line of a kind in so long.
const EVERY: Duration = Duration::from_secs(10);

/// Lets one in [`EVERY`] pass, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

// === impl Throttle ===

impl Throttle {
    /// `Some` if the line may be written, with the number of those that were not since the last.
    pub(crate) fn pass(&self, now: Instant) -> Option<u64> {
        // Nothing in there can be half done.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_events_are_a_few_lines_that_account_for_all_of_them() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let (mut lines, mut told) = (0, 0);
        for event in 0..1_000_000 {
            if let Some(suppressed) = throttle.pass(start + event * Duration::from_micros(50)) {
                lines += 1;
                told += suppressed + 1;
            }
        }
        assert_eq!(lines, 5);
        let rest = throttle.pass(start + 10 * EVERY).unwrap();
        assert_eq!(told + rest, 1_000_000);
    }
}
