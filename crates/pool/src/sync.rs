//! What the machine or a model checker provides: the only place that chooses between them.
//!
//! Figures for `stats()` are counted on the standard library's atomics everywhere: nothing is
//! decided on them that must be exact, and a model checker would try every order of them. `Arc` is the
//! standard one as well: its counts pass nothing on that we rely on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

#[cfg(not(any(teleflow_loom, teleflow_shuttle)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(any(teleflow_loom, teleflow_shuttle)))]
pub(crate) use std::thread::yield_now;

#[cfg(teleflow_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(teleflow_loom)]
pub(crate) use loom::thread::yield_now;

#[cfg(all(teleflow_shuttle, not(teleflow_loom)))]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
#[cfg(all(teleflow_shuttle, not(teleflow_loom)))]
pub(crate) use shuttle::thread::yield_now;

#[cfg(teleflow_loom)]
pub(crate) use loom::cell::UnsafeCell;
#[cfg(not(teleflow_loom))]
pub(crate) use plain::UnsafeCell;

/// Locks, whether or not a thread panicked while it held the lock.
///
/// No code of a user runs under a lock of this crate, so the state behind it is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Wakes one who waits, outside of every lock: a waker may poll at once.
///
/// A waker is code of whoever waits. One that panics keeps nobody else from being woken, and whoever
/// gives back goes on, perhaps while it panics itself: the panic stops here.
pub(crate) fn wake(waker: Waker) {
    drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
}

/// Drops the waker of one who need not wait: where that panics, he would lose what he was given.
pub(crate) fn let_go(waker: Waker) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(waker))));
}

#[cfg(not(teleflow_loom))]
mod plain {
    /// The standard library's cell behind loom's way to ask for it.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    // === impl UnsafeCell ===

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, work: impl FnOnce(*mut T) -> R) -> R {
            work(self.0.get())
        }
    }
}
