//! A counter that threads do not share a cache line of.

use std::array;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many threads count beside each other before two of them meet.
pub(crate) const SHARDS: usize = if cfg!(teleflow_loom) { 2 } else { 16 };

/// Two cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// A count spread over [`SHARDS`] cache lines. It is exact; only reading it is slow.
#[derive(Debug)]
pub(crate) struct Sharded {
    shards: [Padded<std::sync::atomic::AtomicU64>; SHARDS],
}

// === impl Sharded ===

impl Sharded {
    pub(crate) fn new() -> Self {
        Self { shards: array::from_fn(|_| Padded::default()) }
    }

    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.shards[shard()].0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self) -> u64 {
        // A sum of what wrapped is a sum that wrapped.
        self.shards.iter().map(|shard| shard.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

/// The shard of the current thread, below [`SHARDS`]. Threads take turns.
#[inline]
pub(crate) fn shard() -> usize {
    thread_local!(static MINE: Cell<usize> = const { Cell::new(usize::MAX) });
    // The thread-local has no destructor, so it is there as long as the thread is.
    MINE.with(|mine| {
        let shard = mine.get();
        if shard < SHARDS { shard } else { choose(mine) }
    })
}

#[cold]
fn choose(mine: &Cell<usize>) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    mine.set(shard);
    shard
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_sum_is_exact_with_more_threads_than_shards() {
        let counter = Sharded::new();
        thread::scope(|scope| {
            for _ in 0..SHARDS * 2 + 1 {
                scope.spawn(|| (0..1000).for_each(|_| counter.add(3)));
            }
        });
        assert_eq!(counter.sum(), (SHARDS as u64 * 2 + 1) * 3000);
    }
}
