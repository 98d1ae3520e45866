//! When those who are turned away may come back.
//!
//! A fixed wait sends all of them back in the same second, into the same full house. Here each is
//! given a place in a line that moves as fast as room was made lately: the next one is due when its
//! bytes could have been freed after those of all who were sent away before it. What comes back is
//! then about as much as can be taken. A random part on top keeps those apart who were told the
//! same.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long room is watched being made before the pace is believed. The pace is what was seen in
/// the last such time and, to one half, before.
const MEASURED: Duration = Duration::from_millis(500);

/// After so long without a refusal there was no line: what was freed meanwhile says nothing of the
/// pace under load.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// What a request counts for at least: answering it is work, too.
const MIN_BYTES: u64 = 1024;

/// Gives out waits. Only refused requests come here, so that a lock is no burden.
#[derive(Debug)]
pub(crate) struct Overload {
    bounds: Bounds,
    line: Mutex<Line>,
}

/// The shortest and the longest wait, before the random part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Zero: no wait is told at all.
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

/// Those who were sent away, as one account of time.
#[derive(Debug)]
struct Line {
    /// Bytes that come free in a second, by the last look.
    pace: f64,
    looked: Instant,
    /// Bytes that had been given back by then.
    returned: u64,
    /// When the last one who was sent away is due.
    end: Instant,
}

// === impl Overload ===

impl Overload {
    pub(crate) fn new(bounds: Bounds, now: Instant) -> Self {
        // Long ago, as far as `FORGOTTEN` is concerned: the first refusal starts the line.
        let line = Line { pace: 0.0, looked: now, returned: 0, end: now };
        Self { bounds, line: Mutex::new(line) }
    }

    /// How long one who wants `bytes` has to stay away; `returned` of `whole` bytes were given back
    /// since the beginning. `None` leaves it to the client.
    pub(crate) fn wait(
        &self,
        now: Instant,
        bytes: u64,
        returned: u64,
        whole: u64,
    ) -> Option<Duration> {
        if self.bounds.min.is_zero() {
            return None;
        }
        // Nothing in there can be half done.
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = line.queue(now, bytes, returned, whole, self.bounds);
        drop(line);
        Some(spread(wait, fastrand::u32(..)))
    }
}

// === impl Line ===

impl Line {
    fn queue(
        &mut self,
        now: Instant,
        bytes: u64,
        returned: u64,
        whole: u64,
        bounds: Bounds,
    ) -> Duration {
        let passed = now.saturating_duration_since(self.looked);
        if self.pace == 0.0 || passed >= FORGOTTEN {
            // A guess, soon replaced: all that there is comes free in the shortest wait.
            self.pace = whole.max(1) as f64 / bounds.min.as_secs_f64();
            (self.looked, self.returned) = (now, returned);
        } else if passed >= MEASURED {
            let seen = returned.saturating_sub(self.returned) as f64 / passed.as_secs_f64();
            // Where nothing moves, the waits double with each look.
            self.pace = f64::midpoint(self.pace, seen);
            (self.looked, self.returned) = (now, returned);
        }
        let turn = bytes.max(MIN_BYTES) as f64 / self.pace.max(1.0);
        // The line is no longer than the longest wait: who comes then may find it moved on.
        let wait = self.end.saturating_duration_since(now).as_secs_f64() + turn;
        let wait = Duration::from_secs_f64(wait.min(bounds.max.as_secs_f64()));
        self.end = now + wait;
        wait.clamp(bounds.min, bounds.max.max(bounds.min))
    }
}

/// Adds up to half as much again; never less, as some clients were promised room by then.
pub(crate) fn spread(wait: Duration, random: u32) -> Duration {
    wait.saturating_add(wait.mul_f64(0.5 * f64::from(random) / f64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const BOUNDS: Bounds = Bounds { min: Duration::from_secs(1), max: Duration::from_secs(30) };

    fn line(now: Instant) -> Line {
        Line { pace: 0.0, looked: now, returned: 0, end: now }
    }

    #[test]
    fn those_who_are_sent_away_come_back_as_fast_as_room_is_made() {
        let start = Instant::now();
        let mut line = line(start);
        // 10 MiB come free in a second; 40 MiB are asked for, a quarter of a MiB at a time.
        let (mut due, mut now, mut refused) = (Vec::new(), start, 0);
        while now < start + Duration::from_secs(10) {
            let returned = (now - start).as_millis() as u64 * 10 * MIB / 1000;
            for _ in 0..16 {
                let wait = line.queue(now, MIB / 4, returned, 16 * MIB, BOUNDS);
                assert!((BOUNDS.min..=BOUNDS.max).contains(&wait), "{wait:?}");
                due.push(now + wait);
                refused += 1;
            }
            now += Duration::from_millis(100);
        }
        // Once the pace is known: as much in any two seconds as can be taken in them, within a
        // tenth. Those behind the longest wait are left out.
        due.retain(|&due| due < start + Duration::from_secs(28));
        assert!(due.len() < refused);
        for second in (4..26).step_by(2) {
            let from = start + Duration::from_secs(second);
            let coming = due.iter().filter(|&&due| due >= from && due < from + 2 * BOUNDS.min);
            let bytes = coming.count() as u64 * MIB / 4;
            assert!((18 * MIB..=22 * MIB).contains(&bytes), "{bytes} in seconds {second}..");
        }
    }

    #[test]
    fn the_first_is_told_the_shortest_wait_and_nobody_more_than_the_longest() {
        let now = Instant::now();
        let mut line = line(now);
        assert_eq!(line.queue(now, 1, 0, MIB, BOUNDS), BOUNDS.min);
        for _ in 0..10_000 {
            assert!(line.queue(now, MIB, 0, MIB, BOUNDS) <= BOUNDS.max);
        }
        assert_eq!(line.queue(now, MIB, 0, MIB, BOUNDS), BOUNDS.max);
    }

    #[test]
    fn where_nothing_moves_the_waits_grow_and_after_a_calm_they_start_anew() {
        let mut now = Instant::now();
        let mut line = line(now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(line.queue(now, MIB / 4, 0, MIB, BOUNDS));
            now += Duration::from_secs(4);
        }
        assert!(waits.is_sorted(), "{waits:?}");
        assert!(waits[7] >= 8 * waits[0], "{waits:?}");
        now += Duration::from_secs(60);
        assert_eq!(line.queue(now, MIB / 4, 0, MIB, BOUNDS), BOUNDS.min);
    }

    #[test]
    fn the_random_part_only_adds_and_at_most_a_half() {
        let wait = Duration::from_secs(4);
        assert_eq!(spread(wait, 0), wait);
        assert_eq!(spread(wait, u32::MAX), Duration::from_secs(6));
        assert_eq!(spread(Duration::ZERO, u32::MAX), Duration::ZERO);
        assert!(spread(Duration::MAX, u32::MAX / 4) == Duration::MAX);
    }

    #[test]
    fn odd_bounds_and_figures_are_no_reason_to_panic() {
        let start = Instant::now();
        for bounds in [
            Bounds { min: Duration::from_secs(9), max: Duration::ZERO },
            Bounds { min: Duration::from_nanos(1), max: Duration::from_secs(1 << 30) },
        ] {
            let mut line = line(start);
            for (millis, bytes, returned, whole) in
                [(0, u64::MAX, 0, 0), (600, 0, u64::MAX, 1), (1200, u64::MAX, 5, u64::MAX)]
            {
                let now = start + Duration::from_millis(millis);
                let wait = line.queue(now, bytes, returned, whole, bounds);
                assert!(wait >= bounds.min, "{wait:?}");
            }
        }
        let none = Overload::new(Bounds { min: Duration::ZERO, ..BOUNDS }, start);
        assert_eq!(none.wait(start, MIB, 0, MIB), None);
    }
}
