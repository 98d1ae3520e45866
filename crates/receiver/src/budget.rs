//! How many bytes of requests are held at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// An account of bytes that many requests draw from.
///
/// The counter guards no memory, so its order relative to other accesses does not matter.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    taken: AtomicUsize,
}

/// What one request has drawn. Given back on drop, however the request ends.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    taken: AtomicUsize,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: AtomicUsize::new(0) })
    }

    /// How much is drawn at the moment.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// Opens a lease of nothing.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        Lease { budget: Arc::clone(self), taken: AtomicUsize::new(0) }
    }
}

// === impl Lease ===

impl Lease {
    /// Draws `bytes` more; tells whether they were there.
    pub(crate) fn try_grow(&self, bytes: usize) -> bool {
        let budget = &self.budget;
        // Two that fail at once may each see the other's try and both give way: the account errs
        // on the safe side.
        let before = budget.taken.fetch_add(bytes, Relaxed);
        if bytes > budget.max.saturating_sub(before) {
            budget.taken.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.taken.fetch_add(bytes, Relaxed);
        true
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&self, bytes: usize) {
        let before = self.taken.fetch_min(bytes, Relaxed);
        self.budget.taken.fetch_sub(before.saturating_sub(bytes), Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_comes_back_and_no_more_than_that() {
        let budget = Budget::new(10);
        let (first, second) = (budget.lease(), budget.lease());
        assert!(first.try_grow(6));
        assert!(!second.try_grow(5));
        assert!(second.try_grow(4));
        assert_eq!(budget.taken(), 10);

        first.shrink_to(1);
        first.shrink_to(3);
        assert_eq!(budget.taken(), 5);
        drop(second);
        drop(first);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn an_overflowing_request_is_not_taken() {
        let budget = Budget::new(usize::MAX);
        let lease = budget.lease();
        assert!(lease.try_grow(usize::MAX));
        let other = budget.lease();
        assert!(!other.try_grow(1));
    }
}
