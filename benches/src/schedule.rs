//! When requests are due, whatever the answers to those before take.
//!
//! A generator that waits for an answer before it sends again hides the very delays that it is to
//! measure. Here every request has its time beforehand, and what it waits counts.

use std::time::{Duration, Instant};

/// When the requests of one lane are due.
#[derive(Debug)]
pub struct Schedule {
    next: Instant,
    interval: Duration,
    patience: Option<Duration>,
}

// === impl Schedule ===

impl Schedule {
    /// That of lane `number` of `count`, which send `rate` requests a second together.
    /// With a `patience`, requests that are later than that are given up.
    pub fn new(
        begin: Instant,
        rate: f64,
        number: usize,
        count: usize,
        patience: Option<Duration>,
    ) -> Self {
        let at = |requests: usize| Duration::from_secs_f64(requests as f64 / rate);
        Self { next: begin + at(number), interval: at(count), patience }
    }

    /// When the next request is due that is not given up.
    pub fn turn(&mut self, now: Instant) -> Instant {
        let late = now.saturating_duration_since(self.next);
        if let Some(beyond) = self.patience.and_then(|patience| late.checked_sub(patience)) {
            self.next +=
                self.interval * (beyond.as_nanos() / self.interval.as_nanos().max(1)) as u32;
        }
        let due = self.next;
        self.next += self.interval;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    #[test]
    fn lanes_take_turns_whatever_the_answers_take() {
        let begin = Instant::now();
        // Four lanes, 100 requests a second: one every 10 ms, of each lane one every 40 ms.
        let mut lane = Schedule::new(begin, 100.0, 3, 4, None);
        for due in [30, 70, 110, 150] {
            // Even where it is late, none is left out and none moves.
            assert_eq!(lane.turn(after(begin, 5000)), after(begin, due));
        }
    }

    #[test]
    fn whoever_has_no_patience_gives_up_what_is_too_late() {
        let begin = Instant::now();
        let mut lane = Schedule::new(begin, 100.0, 0, 1, Some(Duration::from_millis(50)));
        assert_eq!(lane.turn(after(begin, 0)), after(begin, 0));
        assert_eq!(lane.turn(after(begin, 60)), after(begin, 10));
        // Due at 20 and 100 late: five are older than 50 ms and given up.
        assert_eq!(lane.turn(after(begin, 120)), after(begin, 70));
        assert_eq!(lane.turn(after(begin, 120)), after(begin, 80));
    }
}
