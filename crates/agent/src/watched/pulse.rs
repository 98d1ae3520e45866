//! Whether a destination takes anything.
//!
//! A destination that is away for a moment is what queues and retries are for, and says nothing of
//! this program. One that has taken nothing for a while is to be seen from outside: data piles up, or
//! is given up. It counts as failing from the first failure on after it last took something, and
//! until it takes something again; and no longer when nothing has been tried for a while, for then
//! nobody knows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use teleflow::Payload;
use teleflow::exporter::{Delivered, ExportError, Exporter, Outgoing};
use tokio::time::Instant;

/// So long after the last failure nothing is known any more. Longer than the waits between retries:
/// 45 s at most, by default.
const FORGOTTEN: Duration = Duration::from_secs(5 * 60);

/// Watches how exports end. Goes inside of the retries, so that it sees each attempt.
#[derive(Debug)]
pub(crate) struct Pulse<E> {
    inner: E,
    beat: Arc<Beat>,
}

/// What a [`Pulse`] has seen.
#[derive(Debug, Default)]
pub(crate) struct Beat(Mutex<Option<Failing>>);

#[derive(Clone, Copy, Debug)]
struct Failing {
    since: Instant,
    last: Instant,
}

// === impl Pulse ===

impl<E> Pulse<E> {
    pub(crate) fn new(inner: E, beat: Arc<Beat>) -> Self {
        Self { inner, beat }
    }
}

impl<E: Exporter> Exporter for Pulse<E> {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    /// # Cancel safety
    ///
    /// Dropped, it has seen nothing.
    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        let result = self.inner.send(outgoing).await;
        self.beat.saw(result.is_ok(), Instant::now());
        result
    }

    async fn flush(&self) -> Result<(), ExportError> {
        self.inner.flush().await
    }

    fn interrupt(&self) {
        self.inner.interrupt();
    }

    async fn shutdown(&self) -> Result<(), ExportError> {
        self.inner.shutdown().await
    }
}

// === impl Beat ===

impl Beat {
    fn saw(&self, is_ok: bool, now: Instant) {
        let mut state = self.lock();
        *state = match *state {
            _ if is_ok => None,
            Some(failing) if !failing.is_forgotten(now) => Some(Failing { last: now, ..failing }),
            _ => Some(Failing { since: now, last: now }),
        };
    }

    /// For how long it has been failing; `None` where it is not, or nobody knows.
    pub(crate) fn failing(&self, now: Instant) -> Option<Duration> {
        let failing = self.lock().filter(|failing| !failing.is_forgotten(now))?;
        Some(now.saturating_duration_since(failing.since))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failing>> {
        // It is written in one piece.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Failing ===

impl Failing {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > FORGOTTEN
    }
}

#[cfg(test)]
mod tests {
    use teleflow::Signal;

    use super::*;

    #[test]
    fn it_fails_from_the_first_failure_on_until_something_arrives_or_nobody_knows() {
        let (beat, start) = (Beat::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let failing = |seconds| beat.failing(at(seconds)).map(|duration| duration.as_secs());
        assert_eq!(failing(0), None, "nothing was tried");
        beat.saw(true, at(0));
        assert_eq!(failing(100), None, "what was sent last arrived");
        beat.saw(false, at(100));
        assert_eq!(failing(100), Some(0));
        beat.saw(false, at(140));
        assert_eq!(failing(440), Some(340));
        assert_eq!(failing(441), None, "nobody has tried for long");
        beat.saw(false, at(500));
        assert_eq!(failing(507), Some(7), "and it begins again");
        assert_eq!(failing(400), Some(0), "the clock stepped back");
        beat.saw(true, at(508));
        assert_eq!(failing(508), None);
    }

    /// Takes what has items.
    #[derive(Debug)]
    struct Destination;

    impl Exporter for Destination {
        async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
            if payload.is_empty() { Err(ExportError::Closed) } else { Ok(Delivered::ALL) }
        }
    }

    #[tokio::test]
    async fn it_sees_every_attempt_and_changes_no_answer() {
        let beat = Arc::<Beat>::default();
        let pulse = Pulse::new(Destination, Arc::clone(&beat));
        // ExportTraceServiceRequest { ResourceSpans { ScopeSpans { Span {} } } }
        let one = Payload::parse(Signal::Traces, b"\x0a\x04\x12\x02\x12\x00"[..].into()).unwrap();
        pulse.export(Payload::empty(Signal::Traces)).await.unwrap_err();
        assert!(beat.failing(Instant::now()).is_some());
        pulse.send(Outgoing::new(one)).await.unwrap();
        assert!(beat.failing(Instant::now()).is_none());
    }
}
