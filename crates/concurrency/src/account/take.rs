//! The wait for units: the place in the line, and what becomes of it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::word::QUEUED;
use super::{Account, Denied, Share, Taken, Waiter};
use crate::panic::drop_quietly;
use crate::sync::lock;
use crate::wake::wake_all;

/// Waits for units. Dropped, it leaves the line and gives back what it was given meanwhile.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Take<'a> {
    pub(super) account: &'a Account,
    pub(super) share: Option<&'a Share>,
    pub(super) units: u64,
    pub(super) ticket: Option<u64>,
}

// === impl Take ===

impl Take<'_> {
    /// Stands in line, and is served at once where others gave back meanwhile.
    fn enrol(&mut self, waker: Waker) -> Poll<Result<Taken, Denied>> {
        let mut wakers = Vec::new();
        let mut line = lock(&self.account.line);
        if line.closed {
            return Poll::Ready(Err(Denied::Closed));
        }
        let whole = self.account.whole(self.share);
        if self.units > whole {
            return Poll::Ready(Err(Denied::TooLarge { asked: self.units, whole }));
        }
        let ticket = line.next_ticket;
        line.next_ticket += 1;
        self.account.common.raise(QUEUED);
        if let Some(share) = self.share {
            share.own.raise(QUEUED);
        }
        let lane = &mut line.lanes[self.share.map_or(0, |share| share.lane)];
        lane.waiters.insert(ticket, Waiter { units: self.units, waker: Some(waker) });
        self.account.serve(&mut line, &mut wakers);
        let taken = line.served.remove(&ticket);
        drop(line);
        wake_all(wakers);
        match taken {
            Some(taken) => Poll::Ready(Ok(taken)),
            None => {
                self.ticket = Some(ticket);
                Poll::Pending
            }
        }
    }

    /// Asks how it stands with `ticket`.
    fn ask(&mut self, ticket: u64, waker: &Waker) -> Poll<Result<Taken, Denied>> {
        // Cloned and dropped outside of the lock: both may run code of the executor.
        let mut waker = Some(waker.clone());
        let mut line = lock(&self.account.line);
        if let Some(taken) = line.served.remove(&ticket) {
            drop(line);
            self.ticket = None;
            // Where it panics, the units would be lost.
            drop_quietly(waker);
            return Poll::Ready(Ok(taken));
        }
        if line.closed {
            drop(line);
            self.leave();
            return Poll::Ready(Err(Denied::Closed));
        }
        let lane = &mut line.lanes[self.share.map_or(0, |share| share.lane)];
        if let Some(waiter) = lane.waiters.get_mut(&ticket) {
            std::mem::swap(&mut waiter.waker, &mut waker);
        }
        drop(line);
        Poll::Pending
    }

    /// Leaves the line, if it still stands there.
    fn leave(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut wakers = Vec::new();
        let mut line = lock(&self.account.line);
        if let Some(taken) = line.served.remove(&ticket) {
            drop(line);
            self.account.give_back(self.share, taken);
            return;
        }
        let lane = &mut line.lanes[self.share.map_or(0, |share| share.lane)];
        let waiter = lane.waiters.remove(&ticket);
        // The next may need less.
        self.account.serve(&mut line, &mut wakers);
        drop(line);
        wake_all(wakers);
        // Last, as a waker's drop is code of the executor.
        drop(waiter);
    }
}

impl Future for Take<'_> {
    type Output = Result<Taken, Denied>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(ticket) = self.ticket {
            return self.ask(ticket, context.waker());
        }
        match self.account.try_take(self.share, self.units) {
            Err(Denied::Full) => self.enrol(context.waker().clone()),
            done => Poll::Ready(done),
        }
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
