//! A lock that is only ever tried.

#![allow(
    unsafe_code,
    reason = "a mutex takes two read-modify-writes to open and close, this takes one: half of \
              the time of a get or a return"
)]

use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::yield_now;

/// State that one thread at a time has for itself.
///
/// The one whose thread comes again and again finds it free; whoever else comes goes elsewhere.
#[derive(Debug)]
pub(crate) struct Slot<S> {
    taken: AtomicBool,
    state: UnsafeCell<S>,
    #[cfg(teleflow_loom)]
    model: Model,
}

/// Which half of a slot is as it ships: loom cannot take both at once.
///
/// It does not see that a swap which finds `true` and writes `true` comes before the `false` that is
/// stored next; it would have the slot stay taken for ever. So the swap is checked where closing is
/// a swap as well, and the store where opening writes only if it opens. The orders are those that
/// ship in both.
#[cfg(teleflow_loom)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Model {
    Opening,
    Closing,
}

/// The right to the state of a slot, given back on drop.
#[derive(Debug)]
pub(crate) struct Open<'a, S>(&'a Slot<S>);

// SAFETY: the state is reached through `Open` alone, of which there is at most one at a time, so
// the slot hands `S` from thread to thread (`S: Send`) and never shares it.
unsafe impl<S: Send> Sync for Slot<S> {}

// === impl Slot ===

impl<S> Slot<S> {
    pub(crate) fn new(state: S) -> Self {
        Self {
            taken: AtomicBool::new(false),
            state: UnsafeCell::new(state),
            #[cfg(teleflow_loom)]
            model: Model::Closing,
        }
    }

    /// Opens the slot unless someone else has.
    #[inline]
    pub(crate) fn try_open(&self) -> Option<Open<'_, S>> {
        // Acquire: what the one before wrote is seen, down to its last write. A swap, as it measures
        // a quarter less time for a get and a return than a compare-and-exchange does.
        #[cfg(teleflow_loom)]
        if self.model == Model::Closing {
            let order = (Ordering::Acquire, Ordering::Relaxed);
            let opened = self.taken.compare_exchange(false, true, order.0, order.1);
            return opened.is_ok().then(|| Open(self));
        }
        let opened = !self.taken.swap(true, Ordering::Acquire);
        if opened { Some(Open(self)) } else { None }
    }

    /// Opens the slot once whoever has it is done, which is soon: no code of a user runs meanwhile.
    pub(crate) fn open(&self) -> Open<'_, S> {
        loop {
            if let Some(open) = self.try_open() {
                return open;
            }
            yield_now();
        }
    }
}

// === impl Open ===

impl<S> Open<'_, S> {
    /// Works on the state.
    #[inline]
    pub(crate) fn with<R>(&mut self, work: impl FnOnce(&mut S) -> R) -> R {
        // SAFETY: `taken` was false when this `Open` made it true, so there is no other until this
        // one is dropped; `&mut self` keeps a second call out while the reference lives.
        self.0.state.with_mut(|state| work(unsafe { &mut *state }))
    }
}

impl<S> Drop for Open<'_, S> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(teleflow_loom)]
        if self.0.model == Model::Opening {
            self.0.taken.swap(false, Ordering::Release);
            return;
        }
        // Release: the next one to open sees what was written.
        self.0.taken.store(false, Ordering::Release);
    }
}

#[cfg(all(test, not(any(teleflow_loom, teleflow_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_it() {
        let slot = Slot::new(1);
        let mut open = slot.try_open().unwrap();
        assert!(slot.try_open().is_none());
        open.with(|state| *state += 1);
        drop(open);
        assert_eq!(slot.open().with(|state| *state), 2);
    }

    #[test]
    fn lock_free_threads_see_what_the_one_before_wrote() {
        let slot = std::sync::Arc::new(Slot::new(Vec::new()));
        // Not scoped: the thread sanitizer must see the end of a thread.
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let slot = std::sync::Arc::clone(&slot);
                std::thread::spawn(move || {
                    for _ in 0..1000 {
                        slot.open().with(|state| state.push(state.len()));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(slot.open().with(|state| state.iter().copied().eq(0..3000)));
    }
}

#[cfg(all(test, teleflow_loom))]
mod models {
    use std::sync::Arc;

    use loom::thread;

    use super::*;

    /// Each thread opens it twice, or finds it open; loom watches the state.
    fn check(threads: u32, model: Model) {
        loom::model(move || {
            let slot = Arc::new(Slot { model, ..Slot::new(0) });
            let work = |slot: &Slot<u32>| {
                let mut opened = 0;
                for _ in 0..2 {
                    if let Some(mut open) = slot.try_open() {
                        open.with(|count| *count += 1);
                        opened += 1;
                    }
                }
                opened
            };
            let others: Vec<_> = (1..threads)
                .map(|_| {
                    let slot = Arc::clone(&slot);
                    thread::spawn(move || work(&slot))
                })
                .collect();
            let own = work(&slot);
            let all: u32 = own + others.into_iter().map(|other| other.join().unwrap()).sum::<u32>();
            assert!(0 < all);
            assert_eq!(slot.open().with(|count| *count), all);
        });
    }

    #[test]
    fn two_threads_open_by_the_swap_that_ships() {
        check(2, Model::Opening);
    }

    #[test]
    fn three_threads_open_by_the_swap_that_ships() {
        check(3, Model::Opening);
    }

    #[test]
    fn two_threads_close_by_the_store_that_ships() {
        check(2, Model::Closing);
    }

    #[test]
    fn three_threads_close_by_the_store_that_ships() {
        check(3, Model::Closing);
    }
}
