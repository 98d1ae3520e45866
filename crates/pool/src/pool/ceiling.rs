//! How many bytes may be kept, by one pool or by several together.

use crate::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// A bound on the bytes that idle objects hold, for one pool or shared by several.
///
/// A clone is the same ceiling. Each pool's threads draw a small part of it ahead, up to an eighth
/// of `max_bytes` where one pool uses it, so a ceiling is never exceeded and may be missed by
/// that much.
///
/// ```
/// use teleflow_pool::{Ceiling, Pool};
///
/// // Two pools of buffers that together keep 1 MiB at most.
/// let ceiling = Ceiling::shared(1 << 20, 2);
/// let build = || Pool::builder(|| Vec::with_capacity(64 << 10)).ceiling(ceiling.clone(), Vec::<u8>::capacity);
/// let (one, other) = (build().build(), build().build());
/// drop((one.acquire(), other.acquire()));
/// assert!(128 << 10 <= ceiling.used() && ceiling.used() <= ceiling.max_bytes());
/// ```
#[derive(Clone, Debug)]
pub struct Ceiling {
    free: Arc<AtomicUsize>,
    max: usize,
    sharers: usize,
}

// === impl Ceiling ===

impl Ceiling {
    /// Allows `max_bytes` in all.
    pub fn new(max_bytes: usize) -> Self {
        Self::shared(max_bytes, 1)
    }

    /// Allows `max_bytes` in all, to about `sharers` pools; the number only decides how much of it
    /// each draws at once.
    pub fn shared(max_bytes: usize, sharers: usize) -> Self {
        Self {
            free: Arc::new(AtomicUsize::new(max_bytes)),
            max: max_bytes,
            sharers: sharers.max(1),
        }
    }

    /// How many bytes may be kept in all.
    pub fn max_bytes(&self) -> usize {
        self.max
    }

    /// How many bytes are kept or drawn ahead at this moment.
    pub fn used(&self) -> usize {
        // Relaxed: a figure.
        self.max - self.free.load(Ordering::Relaxed).min(self.max)
    }

    pub(super) fn batch(&self, shelves: usize) -> usize {
        self.max / shelves.max(1) / self.sharers / 8
    }

    /// Takes `most` bytes of room, or what there is of it, but not less than `least`.
    pub(super) fn take(&self, least: usize, most: usize) -> Option<usize> {
        // Relaxed, here and below: the bytes are a number that publishes nothing else; objects go
        // from thread to thread under the locks of their pool.
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            let some = most.max(least).min(free);
            if some < least {
                return None;
            }
            let rest = free - some;
            match self.free.compare_exchange_weak(free, rest, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Some(some),
                Err(now) => free = now,
            }
        }
    }

    pub(super) fn give(&self, bytes: usize) {
        if bytes != 0 {
            self.free.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}
