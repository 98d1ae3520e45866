//! The wait of one sender or receiver.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::state::{Side, State};
use super::{AdaptiveBuffer, wake};

/// A wait for room or for an item. Dropped, it leaves the line and passes on what it was promised.
pub(super) struct Turn<'a, T> {
    pub(super) buffer: &'a AdaptiveBuffer<T>,
    pub(super) side: Side,
    pub(super) ticket: Option<u64>,
}

// === impl Turn ===

impl<T> Turn<'_, T> {
    /// Ends a wait that is over: the caller, who holds the lock, takes what was promised. Tells
    /// whether something was.
    pub(super) fn redeem(&mut self, state: &mut State<T>) -> bool {
        if self.ticket.take().is_none() {
            return true;
        }
        if state.closed {
            return false;
        }
        state.line(self.side).promised -= 1;
        true
    }
}

impl<T> Future for Turn<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut waker = Some(context.waker().clone());
        let side = self.side;
        let mut state = self.buffer.lock();
        if state.closed {
            return Poll::Ready(());
        }
        match self.ticket {
            Some(ticket) => match state.line(side).waiting.get_mut(&ticket) {
                None => return Poll::Ready(()),
                Some(old) => {
                    if let Some(new) = waker.take() {
                        waker = Some(std::mem::replace(old, new));
                    }
                }
            },
            None => {
                let any = state.is_there_any(side);
                let line = state.line(side);
                let ticket = line.next;
                line.next += 1;
                self.ticket = Some(ticket);
                if any {
                    // Promised at once, so that it stays there until it is redeemed.
                    line.promised += 1;
                    return Poll::Ready(());
                }
                line.waiting.extend(waker.take().map(|waker| (ticket, waker)));
            }
        }
        drop(state);
        // Here and not under the lock: the old waker may run code of the executor.
        drop(waker);
        Poll::Pending
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let buffer = self.buffer;
        let mut state = buffer.lock();
        let left = state.line(self.side).waiting.remove(&ticket);
        let mut next = None;
        if left.is_none() && self.redeem(&mut state) && state.is_there_any(self.side) {
            // What was promised goes to the next.
            next = state.line(self.side).promise();
        }
        drop(state);
        wake(next, None);
        // Not under the lock: a waker's drop may run code of the executor.
        drop(left);
    }
}
