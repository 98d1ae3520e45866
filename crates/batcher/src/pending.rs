//! What is pending, and what a payload makes of it.

use std::time::Instant;

use teleflow_otlp::{Limits, Payload, Signal, split};

use crate::config::Rules;
use crate::stats::{Stats, Trigger};
use crate::wait::AdaptiveWait;

/// One batch that is being filled.
#[derive(Debug)]
pub(crate) struct Pending {
    payload: Payload,
    requests: u64,
    /// When it has to go; `None` where it is empty, or where that time never comes.
    due: Option<Instant>,
    /// Why it has to go then.
    reason: Trigger,
}

/// A payload that came, and when its sender will have stopped waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) deadline: Option<Instant>,
}

// === impl Pending ===

impl Pending {
    pub(crate) const fn new(signal: Signal) -> Self {
        Self { payload: Payload::empty(signal), requests: 0, due: None, reason: Trigger::Age }
    }

    pub(crate) const fn items(&self) -> u64 {
        self.payload.items()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.payload.bytes()
    }

    pub(crate) const fn requests(&self) -> u64 {
        self.requests
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.requests == 0
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Why it goes when it is due.
    pub(crate) const fn reason(&self) -> Trigger {
        self.reason
    }

    /// Takes a payload; batches that are complete by it are appended to `full`, in order.
    #[inline]
    pub(crate) fn offer(
        &mut self,
        rules: &Rules,
        wait: &AdaptiveWait,
        moment: Moment,
        payload: Payload,
        stats: &mut Stats,
        full: &mut Vec<Payload>,
    ) {
        if payload.is_empty() {
            // Envelopes without items are not worth sending: the protocol forbids it.
            return;
        }
        // Before anything is changed: who catches the panic finds all as it was.
        let signal = self.payload.signal();
        assert_eq!(signal, payload.signal(), "a batch is of one signal");
        stats.payloads += 1;
        stats.items += payload.items();
        // The byte limit is met by sending early: cutting would copy. The item limit is exact.
        if self.bytes() + payload.bytes() > rules.max_bytes {
            full.extend(self.take(Trigger::Limit, stats));
        }
        if payload.items() <= rules.max_items - self.items() && payload.bytes() <= rules.max_bytes {
            self.add(rules, wait, moment, payload, stats, full);
        } else {
            self.cut(rules, wait, moment, payload, stats, full);
        }
    }

    /// Takes it out, if there is anything.
    pub(crate) fn take(&mut self, trigger: Trigger, stats: &mut Stats) -> Option<Payload> {
        if self.is_empty() {
            return None;
        }
        stats.count(trigger);
        let signal = self.payload.signal();
        Some(std::mem::replace(self, Self::new(signal)).payload)
    }

    /// Takes it out, if its time has come.
    pub(crate) fn poll(&mut self, now: Instant, stats: &mut Stats) -> Option<Payload> {
        if self.due? > now {
            return None;
        }
        self.take(self.reason, stats)
    }

    #[cold]
    fn cut(
        &mut self,
        rules: &Rules,
        wait: &AdaptiveWait,
        moment: Moment,
        payload: Payload,
        stats: &mut Stats,
        full: &mut Vec<Payload>,
    ) {
        let limits = Limits { items: rules.max_items, bytes: rules.max_bytes };
        let rest = rules.guard.loosen(&payload, limits);
        stats.loosened += u64::from(rest != limits);
        let first = if rest == limits {
            Limits { items: limits.items - self.items(), ..limits }
        } else {
            // The first piece would be one more, of the old size.
            full.extend(self.take(Trigger::Limit, stats));
            rest
        };
        let pieces = split(payload, first, rest);
        stats.split += u64::from(pieces.len() > 1);
        stats.pieces += if pieces.len() > 1 { pieces.len() as u64 } else { 0 };
        for piece in pieces {
            self.add(rules, wait, moment, piece, stats, full);
        }
    }

    /// Adds what is known to fit, and hands the batch on if that makes it large enough.
    #[inline]
    fn add(
        &mut self,
        rules: &Rules,
        wait: &AdaptiveWait,
        Moment { now, deadline }: Moment,
        payload: Payload,
        stats: &mut Stats,
        full: &mut Vec<Payload>,
    ) {
        // Pieces of a payload that was cut may still be too much for what is pending.
        if self.bytes() + payload.bytes() > rules.max_bytes
            || payload.items() > rules.max_items - self.items()
        {
            full.extend(self.take(Trigger::Limit, stats));
        }
        if self.is_empty() {
            // A time that the clock cannot name never comes.
            (self.due, self.reason) = (now.checked_add(wait.wait()), Trigger::Age);
        }
        self.payload.append(payload);
        self.requests += 1;
        // Nothing can be done for a deadline that has passed.
        if let Some(deadline) = deadline
            && deadline > now
        {
            let leave = deadline.checked_sub(wait.margin()).unwrap_or(now);
            if self.due.is_none_or(|due| leave < due) {
                (self.due, self.reason) = (Some(leave), Trigger::Deadline);
            }
        }
        let trigger = if self.items() >= rules.enough_items {
            Trigger::Items
        } else if self.bytes() >= rules.enough_bytes {
            Trigger::Bytes
        } else if self.requests >= rules.enough_requests {
            Trigger::Requests
        } else if self.due.is_some_and(|due| due <= now) {
            self.reason
        } else {
            return;
        };
        full.extend(self.take(trigger, stats));
    }
}
