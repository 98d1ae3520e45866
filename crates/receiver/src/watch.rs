//! One connection: what it has sent, and how long it may stay.
//!
//! hyper has a timer for the head of each HTTP/1.1 request, none for an HTTP/2 client that never
//! gets to its preface, none for a connection without requests and none for one that is old. Here
//! one timer a connection serves all of these: it looks, now and then, at counters that cost next to
//! nothing to keep.
//!
//! The same counters tell a client that keeps us busy without sending anything: frames of HTTP/2
//! that belong to no body (pings, settings, window updates, padding), and requests that are
//! cancelled as soon as they are begun. What h2 bounds itself (resets of streams that nobody has
//! seen yet, empty frames, heads in many pieces) ends the connection before it shows here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use crate::Timeouts;

/// What an HTTP/2 client may send beside its requests, in all: what is under way (the windows of
/// all its streams) and pings for years.
const OVERHEAD: u64 = 8 * 1024 * 1024;

/// What it may send beside each of them: a head, and a body that nobody wants to read.
const OVERHEAD_PER_REQUEST: u64 = 1024 * 1024 + 64 * 1024;

/// Requests that a client may cancel between two looks. A program that gives up on all it has under
/// way, again and again, stays far below.
const MAX_CANCELLED: u32 = 1000;

/// Counters that the socket and the requests of one connection keep.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Bytes that came in.
    read: AtomicU64,
    /// `read` when the last request ended: what came after that is the head of the next one.
    read_at_end: AtomicU64,
    /// Bytes of bodies among them.
    bodies: AtomicU64,
    /// Requests whose head was read.
    requests: AtomicU64,
    /// Requests that are not answered yet.
    active: AtomicU32,
    /// Requests that ended without an answer since the last look.
    cancelled: AtomicU32,
    /// The whole HTTP/2 preface came in.
    is_http2: AtomicBool,
    /// Frames of HTTP/2 that came to their end, and whether one has begun after them.
    frames: AtomicU64,
    in_frame: AtomicBool,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Active {
    activity: Arc<Activity>,
    is_answered: bool,
}

/// Decides, from what is seen at each tick, whether a connection may stay.
#[derive(Debug)]
pub(crate) struct Watch {
    header: Duration,
    idle: Option<Duration>,
    grace: Duration,
    /// When a request was last seen, or the connection was opened.
    quiet_since: Instant,
    seen: Seen,
    /// When the connection has been open for long enough.
    old_at: Option<Instant>,
    /// When one that was asked to go is cut.
    cut_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Seen {
    requests: u64,
    /// Where an unfinished head starts, if there is one: at a byte, or at a frame.
    head: Option<u64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// To be looked at again then.
    Stay(Instant),
    /// Nothing was asked for a long time: to be closed in agreement with the client, and looked at
    /// again then.
    Idle(Instant),
    /// The same for one that has been open for long enough.
    Old(Instant),
    /// To be closed now: a head has been on its way for too long, or the client does not leave.
    Cut,
}

// === impl Activity ===

impl Activity {
    /// Notes that the head of a request was read.
    pub(crate) fn begin(self: &Arc<Self>) -> Active {
        self.requests.fetch_add(1, Relaxed);
        self.active.fetch_add(1, Relaxed);
        Active { activity: Arc::clone(self), is_answered: false }
    }

    pub(crate) fn has_read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes that so much of a body was read.
    pub(crate) fn has_body(&self, bytes: usize) {
        self.bodies.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn speaks_http2(&self) {
        self.is_http2.store(true, Relaxed);
    }

    /// Notes that so many more frames have ended, and whether another one has begun.
    pub(crate) fn has_frames(&self, ended: u64, inside: bool) {
        self.frames.fetch_add(ended, Relaxed);
        self.in_frame.store(inside, Relaxed);
    }

    #[cfg(all(test, unix))]
    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }

    /// Whether the client keeps us busy and sends nothing.
    pub(crate) fn is_abuse(&self) -> bool {
        if !self.is_http2.load(Relaxed) {
            return false;
        }
        let requests = self.requests.load(Relaxed).saturating_mul(OVERHEAD_PER_REQUEST);
        // A body has its frames, and may be padded to twice its size.
        let bodies = self.bodies.load(Relaxed).saturating_mul(2);
        let allowed = OVERHEAD.saturating_add(requests).saturating_add(bodies);
        self.read.load(Relaxed) > allowed || self.cancelled.load(Relaxed) > MAX_CANCELLED
    }

    fn seen(&self) -> Seen {
        let (read, start) = (self.read.load(Relaxed), self.read_at_end.load(Relaxed));
        let requests = self.requests.load(Relaxed);
        let is_idle = self.active.load(Relaxed) == 0;
        if self.is_http2.load(Relaxed) {
            let inside = is_idle && self.in_frame.load(Relaxed);
            return Seen { requests, head: inside.then(|| self.frames.load(Relaxed)) };
        }
        // A new connection owes its first bytes, an old one only the rest of what it has begun.
        let waits = is_idle && (read > start || requests == 0);
        Seen { requests, head: waits.then_some(start) }
    }
}

// === impl Active ===

impl Active {
    /// Notes the answer.
    pub(crate) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let activity = &self.activity;
        if !self.is_answered {
            activity.cancelled.fetch_add(1, Relaxed);
        }
        activity.read_at_end.store(activity.read.load(Relaxed), Relaxed);
        activity.active.fetch_sub(1, Relaxed);
    }
}

// === impl Watch ===

impl Watch {
    /// Starts with a connection that was just opened, and says when to look at it first. `random`
    /// keeps those apart that were opened together: each may be a tenth older or younger than told.
    pub(crate) fn new(timeouts: &Timeouts, now: Instant, random: u32) -> (Self, Instant) {
        let Timeouts { header, idle, max_age, age_grace, .. } = *timeouts;
        let seen = Seen { requests: 0, head: Some(0) };
        let part = 0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX);
        // An age that no clock can hold is none.
        let old_at = max_age
            .and_then(|age| Duration::try_from_secs_f64(age.as_secs_f64() * part).ok())
            .and_then(|age| now.checked_add(age));
        let watch =
            Self { header, idle, grace: age_grace, quiet_since: now, seen, old_at, cut_at: None };
        let next = watch.next(now);
        (watch, next)
    }

    pub(crate) fn tick(&mut self, activity: &Activity, now: Instant) -> Verdict {
        activity.cancelled.store(0, Relaxed);
        let seen = activity.seen();
        let before = std::mem::replace(&mut self.seen, seen);
        if self.cut_at.is_some_and(|at| at <= now) {
            return Verdict::Cut;
        }
        let mut idle = false;
        if seen.requests != before.requests || activity.active.load(Relaxed) > 0 {
            self.quiet_since = now;
        } else if seen.head.is_some() && seen.head == before.head {
            return Verdict::Cut;
        } else {
            idle = self.idle.is_some_and(|idle| now - self.quiet_since >= idle);
        }
        let old = self.old_at.is_some_and(|at| at <= now);
        if self.cut_at.is_none() && (idle || old) {
            self.cut_at = now.checked_add(if idle { self.header } else { self.grace });
            (self.idle, self.old_at) = (None, None);
            let next = self.next(now);
            return if idle { Verdict::Idle(next) } else { Verdict::Old(next) };
        }
        Verdict::Stay(self.next(now))
    }

    fn next(&self, now: Instant) -> Instant {
        let idle = self.idle.map(|idle| idle.saturating_sub(now - self.quiet_since));
        let until = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(now));
        let waits = [idle, until(self.old_at), until(self.cut_at)];
        let wait = waits.into_iter().flatten().fold(self.header, Duration::min);
        // A thousandth of a second keeps a timeout of zero from spinning.
        now + wait.max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch(now: Instant) -> (Watch, Arc<Activity>) {
        let timeouts = Timeouts { header: SECOND, idle: Some(3 * SECOND), ..Timeouts::default() };
        let (watch, first) = Watch::new(&timeouts, now, 0);
        assert_eq!(first, now + SECOND);
        (watch, Arc::default())
    }

    #[test]
    fn a_client_that_sends_no_request_is_cut_after_the_header_timeout() {
        let now = Instant::now();
        let (mut watch, activity) = watch(now);
        activity.has_read(20);
        assert_eq!(watch.tick(&activity, now + SECOND), Verdict::Cut);
    }

    #[test]
    fn a_second_head_has_at_least_the_header_timeout_and_at_most_twice_that() {
        let now = Instant::now();
        let (mut watch, activity) = watch(now);
        activity.begin().answered();
        activity.has_read(5);
        assert_eq!(watch.tick(&activity, now + SECOND), Verdict::Stay(now + 2 * SECOND));
        assert_eq!(watch.tick(&activity, now + 2 * SECOND), Verdict::Cut);
    }

    #[test]
    fn a_frame_that_does_not_end_is_a_head_that_does_not_come() {
        let now = Instant::now();
        let (mut watch, activity) = watch(now);
        activity.speaks_http2();
        // Settings, and then nothing: a client may connect long before it has something to send.
        activity.has_frames(1, false);
        assert_eq!(watch.tick(&activity, now + SECOND), Verdict::Stay(now + 2 * SECOND));
        assert_eq!(watch.tick(&activity, now + 2 * SECOND), Verdict::Stay(now + 3 * SECOND));
        assert_eq!(watch.tick(&activity, now + 3 * SECOND), Verdict::Idle(now + 4 * SECOND));

        let timeouts = Timeouts { header: SECOND, idle: None, ..Timeouts::default() };
        let (mut watch, _) = Watch::new(&timeouts, now, 0);
        for (second, ended, inside, verdict) in [
            (1, 0, true, Verdict::Stay(now + 2 * SECOND)),
            // It has ended, and the next one has begun.
            (2, 1, true, Verdict::Stay(now + 3 * SECOND)),
            (3, 0, true, Verdict::Cut),
        ] {
            activity.has_frames(ended, inside);
            assert_eq!(watch.tick(&activity, now + second * SECOND), verdict, "{second}");
        }
    }

    #[test]
    fn a_connection_without_a_request_becomes_idle_and_one_with_a_request_does_not() {
        let now = Instant::now();
        let (mut watch, activity) = watch(now);
        activity.speaks_http2();
        let active = activity.begin();
        for second in 1..10 {
            let at = now + second * SECOND;
            assert_eq!(watch.tick(&activity, at), Verdict::Stay(at + SECOND));
        }
        active.answered();
        let quiet = now + 9 * SECOND;
        assert_eq!(watch.tick(&activity, quiet + SECOND), Verdict::Stay(quiet + 2 * SECOND));
        assert_eq!(watch.tick(&activity, quiet + 2 * SECOND), Verdict::Stay(quiet + 3 * SECOND));
        assert_eq!(watch.tick(&activity, quiet + 3 * SECOND), Verdict::Idle(quiet + 4 * SECOND));
        assert_eq!(watch.tick(&activity, quiet + 4 * SECOND), Verdict::Cut);
    }

    #[test]
    fn a_connection_is_asked_to_go_at_its_age_and_cut_when_its_grace_is_over() {
        let now = Instant::now();
        let timeouts = Timeouts {
            header: 30 * SECOND,
            max_age: Some(100 * SECOND),
            age_grace: 10 * SECOND,
            idle: None,
            ..Timeouts::default()
        };
        for (random, age) in [(0, 90), (u32::MAX / 2, 100), (u32::MAX, 110)] {
            let (mut watch, mut next) = Watch::new(&timeouts, now, random);
            let activity = Arc::<Activity>::default();
            activity.speaks_http2();
            let _busy = activity.begin();
            let asked = loop {
                match watch.tick(&activity, next) {
                    Verdict::Stay(then) => next = then,
                    Verdict::Old(then) => break then,
                    verdict => panic!("{verdict:?}"),
                }
            };
            let open = next - now;
            assert!(open.abs_diff(age * SECOND) < SECOND / 100, "{open:?}");
            assert_eq!(asked, next + 10 * SECOND);
            assert_eq!(watch.tick(&activity, asked), Verdict::Cut);
        }
        let forever = Timeouts { max_age: Some(Duration::MAX), ..timeouts };
        let (_, next) = Watch::new(&forever, now, 0);
        assert_eq!(next, now + 30 * SECOND);
    }

    #[test]
    fn a_client_that_sends_much_for_nothing_is_told_from_one_that_works() {
        let activity = Arc::<Activity>::default();
        activity.has_read(1 << 40);
        // HTTP/1.1 has nothing to send but requests.
        assert!(!activity.is_abuse());
        let activity = Arc::<Activity>::default();
        activity.speaks_http2();
        for _ in 0..100_000 {
            let active = activity.begin();
            activity.has_read(300_000);
            activity.has_body(250_000);
            active.answered();
            assert!(!activity.is_abuse());
        }
        let activity = Arc::<Activity>::default();
        activity.speaks_http2();
        let mut sent = 0;
        while !activity.is_abuse() {
            activity.has_read(17);
            sent += 17;
        }
        assert_eq!(sent, OVERHEAD / 17 * 17 + 17);
    }

    #[test]
    fn a_client_that_cancels_all_it_begins_is_told_from_one_that_gives_up() {
        let now = Instant::now();
        let (mut watch, activity) = watch(now);
        activity.speaks_http2();
        for second in 1..100 {
            for _ in 0..MAX_CANCELLED {
                drop(activity.begin());
            }
            assert!(!activity.is_abuse());
            watch.tick(&activity, now + second * SECOND);
        }
        for _ in 0..=MAX_CANCELLED {
            drop(activity.begin());
        }
        assert!(activity.is_abuse());
    }
}
