//! The atomics and locks of the crate: std's, or those of the model checker that runs it.
//!
//! Only what decides who may go on comes from here. Counters that nobody waits for are std's in
//! every build ([`crate::sharded`], [`crate::latency`]): they would only add states to explore.

#[cfg(not(any(teleflow_loom, teleflow_shuttle)))]
use std::sync as imp;

#[cfg(teleflow_loom)]
use loom::sync as imp;

#[cfg(teleflow_shuttle)]
use shuttle::sync as imp;

pub(crate) use imp::atomic::{AtomicU64, Ordering};
pub(crate) use imp::{Mutex, MutexGuard};

/// Locks, whatever happened to who held it last.
///
/// No code of a user runs under the locks of this crate, apart from a `Waker`'s clone and drop, and
/// each section leaves its state whole before it calls one; so a poisoned lock guards sound state.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
