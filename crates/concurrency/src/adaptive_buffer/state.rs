//! What a buffer holds, and the lines of those who wait at its ends.
//!
//! Who leaves a line by a promise owns a place or an item from then on, though he has not fetched
//! it: nobody who comes meanwhile can take it from him.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use tokio::time::Instant;

pub(super) struct State<T> {
    pub(super) items: VecDeque<T>,
    pub(super) capacity: usize,
    pub(super) closed: bool,
    /// Those who wait for room; what was promised to one is a free place.
    pub(super) senders: Line,
    /// Those who wait for an item; what was promised to one is an item inside.
    pub(super) receivers: Line,
    pub(super) next_look: Option<Instant>,
    pub(super) calls: u32,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) refused: u64,
    pub(super) grown: u64,
    pub(super) shrunk: u64,
}

/// Who waits, and who was promised what he waited for and has not fetched it.
#[derive(Default)]
pub(super) struct Line {
    pub(super) waiting: BTreeMap<u64, Waker>,
    /// Tickets that left `waiting` by a promise.
    pub(super) promised: usize,
    pub(super) next: u64,
}

#[derive(Clone, Copy)]
pub(super) enum Side {
    Sender,
    Receiver,
}

// === impl State ===

impl<T> State<T> {
    /// Free places that were promised to nobody.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.items.len() + self.senders.promised)
    }

    /// Items that were promised to nobody.
    pub(super) fn spare(&self) -> usize {
        self.items.len().saturating_sub(self.receivers.promised)
    }

    /// Puts an item in, and promises it to the first who waits.
    pub(super) fn put(&mut self, item: T) -> Option<Waker> {
        self.items.push_back(item);
        self.sent += 1;
        self.receivers.promise()
    }

    /// Takes an item out, and promises its place to the first who waits.
    pub(super) fn take(&mut self) -> Option<(T, Option<Waker>)> {
        let item = self.items.pop_front()?;
        self.received += 1;
        let waker = if self.room() > 0 { self.senders.promise() } else { None };
        Some((item, waker))
    }

    pub(super) fn line(&mut self, side: Side) -> &mut Line {
        match side {
            Side::Sender => &mut self.senders,
            Side::Receiver => &mut self.receivers,
        }
    }

    pub(super) fn is_there_any(&self, side: Side) -> bool {
        match side {
            Side::Sender => self.room() > 0,
            Side::Receiver => self.spare() > 0,
        }
    }
}

// === impl Line ===

impl Line {
    pub(super) fn promise(&mut self) -> Option<Waker> {
        let (_, waker) = self.waiting.pop_first()?;
        self.promised += 1;
        Some(waker)
    }
}
