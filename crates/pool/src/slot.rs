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
        Self { taken: AtomicBool::new(false), state: UnsafeCell::new(state) }
    }

    /// Opens the slot unless someone else has.
    #[inline]
    pub(crate) fn try_open(&self) -> Option<Open<'_, S>> {
        // Acquire: what the one before wrote is seen, down to its last write. A swap, as it measures
        // a quarter less time for a get and a return than a compare-and-exchange does.
        #[cfg(not(teleflow_loom))]
        let opened = !self.taken.swap(true, Ordering::Acquire);
        // loom does not see that a swap which finds `true` and writes `true` comes before the
        // `false` that ends that; this one writes only where it opens, and is the same otherwise.
        #[cfg(teleflow_loom)]
        let opened =
            self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
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
