//! Counters that two threads do not fight over.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads beyond this many share cells, which costs time and never a count.
const STRIPES: usize = 16;

/// `N` counters, each held once for every group of threads.
///
/// A counter is read as the sum of its cells: exact when nobody counts at the same time, and never
/// ahead of what has happened.
pub(crate) struct Counters<const N: usize> {
    stripes: Box<[Stripe<N>]>,
}

/// Two cache lines apart, as processors fetch lines in pairs.
#[repr(align(128))]
struct Stripe<const N: usize>([AtomicU64; N]);

// === impl Counters ===

impl<const N: usize> Counters<N> {
    pub(crate) fn new() -> Self {
        let stripe = || Stripe(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { stripes: (0..STRIPES).map(|_| stripe()).collect() }
    }

    /// Adds `amount` to the counter with this index.
    #[inline]
    pub(crate) fn add(&self, index: usize, amount: u64) {
        // Relaxed: a counter orders nothing.
        self.stripes[stripe()].0[index].fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self, index: usize) -> u64 {
        let cells = self.stripes.iter().map(|stripe| stripe.0[index].load(Ordering::Relaxed));
        cells.fold(0, u64::wrapping_add)
    }
}

/// The cell of this thread: threads take turns in the order in which they first count.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        mine.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_thread_counted_is_summed() {
        let counters = Counters::<2>::new();
        std::thread::scope(|scope| {
            for _ in 0..STRIPES + 3 {
                scope.spawn(|| (0..100).for_each(|_| counters.add(1, 2)));
            }
        });
        assert_eq!(counters.sum(1), (STRIPES as u64 + 3) * 200);
        assert_eq!(counters.sum(0), 0);
    }
}
