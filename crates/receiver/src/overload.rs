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

/// Nobody is sent away for longer, whatever is configured: a clock can hold it.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// Nothing was seen yet.
    is_guess: bool,
    looked: Instant,
    /// Bytes that had been given back by then.
    returned: u64,
    /// When the last one who was sent away is due.
    end: Instant,
}

// === impl Overload ===

impl Overload {
    pub(crate) fn new(bounds: Bounds, now: Instant) -> Self {
        let Bounds { min, max } = bounds;
        let bounds = Bounds { min: min.min(A_DAY), max: max.min(A_DAY) };
        // Long ago, as far as `FORGOTTEN` is concerned: the first refusal starts the line.
        let line = Line { pace: 0.0, is_guess: true, looked: now, returned: 0, end: now };
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
            // A guess, soon replaced: half of all that there is comes free in the shortest wait.
            self.pace = 0.5 * whole.max(1) as f64 / bounds.min.as_secs_f64();
            self.is_guess = true;
            (self.looked, self.returned) = (now, returned);
        } else if passed >= MEASURED {
            let seen = returned.saturating_sub(self.returned) as f64 / passed.as_secs_f64();
            // Where nothing moves, the waits double with each look.
            let is_new = self.is_guess && seen > 0.0;
            self.pace = if is_new { seen } else { f64::midpoint(self.pace, seen) };
            self.is_guess = false;
            (self.looked, self.returned) = (now, returned);
        }
        let turn = bytes.max(MIN_BYTES) as f64 / self.pace.max(1.0);
        // The line begins at the shortest wait, and not before: those in front would all be told
        // that, and come together. It is no longer than the longest one: who comes then may find it
        // moved on.
        let ahead = self.end.saturating_duration_since(now).max(bounds.min);
        let wait = (ahead.as_secs_f64() + turn).min(bounds.max.as_secs_f64());
        let wait = Duration::from_secs_f64(wait).max(bounds.min);
        self.end = now + wait;
        wait
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
        Line { pace: 0.0, is_guess: true, looked: now, returned: 0, end: now }
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

    /// A backend that was away is back, and has ten seconds' worth of requests before its door.
    #[test]
    fn a_crowd_that_does_as_it_is_told_is_served_without_a_stampede() {
        (0..20).for_each(serve_a_crowd);
    }

    fn serve_a_crowd(seed: u64) {
        const CAPACITY: u64 = 10 * MIB;
        const HELD_AT_MOST: u64 = 16 * MIB;
        const REQUEST: u64 = MIB / 4;
        let (start, step) = (Instant::now(), Duration::from_millis(10));
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut line = line(start);
        let (mut held, mut returned, mut taken) = (0, 0, 0);
        // All of them at once, by the time at which they come next.
        let mut coming = vec![start; 464];
        let mut arrivals = Vec::new();
        let mut now = start;
        while !coming.is_empty() {
            let freed = held.min(CAPACITY / 100);
            (held, returned) = (held - freed, returned + freed);
            coming.retain_mut(|due| {
                if *due > now {
                    return true;
                }
                arrivals.push(now - start);
                if held + REQUEST <= HELD_AT_MOST {
                    (held, taken) = (held + REQUEST, taken + 1);
                    return false;
                }
                let wait = line.queue(now, REQUEST, returned, HELD_AT_MOST, BOUNDS);
                *due = now + spread(wait, rng.u32(..));
                true
            });
            now += step;
            assert!(now - start < Duration::from_secs(60), "{} are never served", coming.len());
        }
        assert_eq!(taken, 464);
        // Ten seconds would be ideal; no second sees more than half as much again as can be served.
        assert!(now - start < Duration::from_secs(25), "{:?}", now - start);
        for second in 1..30 {
            let second = Duration::from_secs(second);
            let in_it = arrivals.iter().filter(|&&at| at >= second && at < second + BOUNDS.min);
            let bytes = in_it.count() as u64 * REQUEST;
            assert!(bytes <= CAPACITY * 3 / 2, "{bytes} after {second:?}");
        }
        // Each came back a few times at most.
        assert!(arrivals.len() < 3 * 464, "{}", arrivals.len());
    }

    #[test]
    fn the_first_is_told_the_shortest_wait_and_nobody_more_than_the_longest() {
        let now = Instant::now();
        let mut line = line(now);
        let first = line.queue(now, 1, 0, MIB, BOUNDS);
        assert!(first.abs_diff(BOUNDS.min) < Duration::from_millis(2), "{first:?}");
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
        let anew = line.queue(now, MIB / 4, 0, MIB, BOUNDS);
        assert_eq!(anew, waits[0]);
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
        let long = Overload::new(Bounds { min: Duration::MAX, max: Duration::MAX }, start);
        assert!(long.wait(start, u64::MAX, 0, 0).is_some_and(|wait| wait < 2 * A_DAY));
    }
}
