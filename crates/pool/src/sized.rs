//! Byte buffers by size, and `Bytes` that come back.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::pool::{Ceiling, Entry, Pool};
use crate::stats::Stats;

/// The smallest class holds buffers of 64 bytes.
const SMALLEST: usize = 64;

/// The largest class holds buffers of 1 MiB.
const LARGEST: usize = 1 << 20;

/// 64, 128 and so on up to 1 MiB.
const CLASSES: usize = (LARGEST.ilog2() - SMALLEST.ilog2() + 1) as usize;

/// Why a buffer always has its memory: only its end takes it out.
const HELD: &str = "the memory is there until the buffer ends";

/// Buffers of any size, kept in classes of 64 bytes to 1 MiB, each twice the one before.
///
/// One ceiling bounds the idle bytes of all classes. What is larger than 1 MiB is allocated and
/// freed directly. A clone is the same pool.
///
/// ```
/// use teleflow_pool::SizedPool;
///
/// let pool = SizedPool::new(64 << 20);
/// let mut buffer = pool.get(100);
/// assert_eq!(buffer.capacity(), 128);
/// buffer.extend_from_slice(b"on its way");
///
/// let bytes = buffer.freeze();
/// let part = bytes.slice(..2);
/// drop(bytes);
/// assert_eq!((&part[..], pool.available()), (&b"on"[..], 0));
/// drop(part);
/// assert_eq!(pool.available(), 1, "the last `Bytes` brought it back");
/// ```
pub struct SizedPool(Arc<Shared>);

struct Shared {
    classes: Box<[Pool<Vec<u8>>]>,
    ceiling: Ceiling,
    direct: AtomicU64,
    unfit: AtomicU64,
}

/// The figures of a [`SizedPool`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizedStats {
    /// Of each class: its size in bytes, and its pool. A buffer that grew comes back to another
    /// class than it came from.
    pub classes: Vec<(usize, Stats)>,
    /// Buffers allocated directly, as they are larger than every class.
    pub direct: u64,
    /// Buffers freed directly, as their memory fits no class.
    pub unfit: u64,
    /// Bytes that are idle, with what threads have drawn ahead.
    pub idle_bytes: usize,
}

/// A buffer of a [`SizedPool`], empty at first, which goes back when this is dropped.
#[must_use = "dropped at once, the buffer goes straight back"]
pub struct SizedBuf<'a> {
    entry: Option<Box<Entry<Vec<u8>>>>,
    pool: &'a SizedPool,
}

/// The owner of what was frozen.
struct Frozen {
    entry: Option<Box<Entry<Vec<u8>>>>,
    pool: SizedPool,
}

// === impl SizedPool ===

impl SizedPool {
    /// Makes a pool that keeps at most `max_bytes` in idle buffers.
    pub fn new(max_bytes: usize) -> Self {
        let ceiling = Ceiling::shared(max_bytes, CLASSES);
        let class = |index: usize| {
            let size = SMALLEST << index;
            Pool::builder(move || Vec::with_capacity(size))
                .reset(Vec::clear)
                .capacity(max_bytes / size)
                .ceiling(ceiling.clone(), Vec::capacity)
                .name("sized")
                .build()
        };
        Self(Arc::new(Shared {
            classes: (0..CLASSES).map(class).collect(),
            ceiling,
            direct: AtomicU64::new(0),
            unfit: AtomicU64::new(0),
        }))
    }

    /// An empty buffer that holds `size` bytes, or more, without growing.
    pub fn get(&self, size: usize) -> SizedBuf<'_> {
        let entry = match class_for(size) {
            Some(class) => self.0.classes[class].take(),
            None => {
                self.0.direct.fetch_add(1, Ordering::Relaxed);
                Box::new(Entry { object: Vec::with_capacity(size), bytes: 0 })
            }
        };
        SizedBuf { entry: Some(entry), pool: self }
    }

    /// How many buffers are idle.
    pub fn available(&self) -> usize {
        self.0.classes.iter().map(|class| class.stats().available).sum()
    }

    /// Drops every idle buffer and says how many those were.
    pub fn clear(&self) -> usize {
        self.0.classes.iter().map(Pool::clear).sum()
    }

    /// Drops what was not needed for a minute; see [`Pool::maintain`].
    pub fn maintain(&self, now: std::time::Instant) -> usize {
        self.0.classes.iter().map(|class| class.maintain(now)).sum()
    }

    /// What the pool did and has.
    pub fn stats(&self) -> SizedStats {
        let class = |(index, class): (usize, &Pool<_>)| (SMALLEST << index, class.stats());
        SizedStats {
            classes: self.0.classes.iter().enumerate().map(class).collect(),
            direct: self.0.direct.load(Ordering::Relaxed),
            unfit: self.0.unfit.load(Ordering::Relaxed),
            idle_bytes: self.0.ceiling.used(),
        }
    }

    /// Returns a buffer to the largest class that it is enough for.
    fn put(&self, entry: Box<Entry<Vec<u8>>>) {
        match class_of(entry.object.capacity()) {
            Some(class) => self.0.classes[class].put(entry),
            None => {
                self.0.unfit.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Clone for SizedPool {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl fmt::Debug for SizedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SizedPool").field(&self.stats()).finish()
    }
}

/// The smallest class whose buffers hold `size` bytes.
fn class_for(size: usize) -> Option<usize> {
    if LARGEST < size {
        return None;
    }
    Some((size.max(SMALLEST).next_power_of_two().ilog2() - SMALLEST.ilog2()) as usize)
}

/// The largest class that memory of `capacity` bytes is enough for. What is larger than every class
/// is in none, or the pool would hold more than it says.
fn class_of(capacity: usize) -> Option<usize> {
    if !(SMALLEST..=LARGEST).contains(&capacity) {
        return None;
    }
    Some((capacity.ilog2() - SMALLEST.ilog2()) as usize)
}

// === impl SizedBuf ===

impl SizedBuf<'_> {
    /// Turns the buffer into `Bytes` with no copy; it goes back when the last of them is dropped,
    /// on whichever thread that is.
    ///
    /// Allocates the few words in which `Bytes` counts its clones.
    pub fn freeze(mut self) -> Bytes {
        Bytes::from_owner(Frozen { entry: self.entry.take(), pool: self.pool.clone() })
    }
}

impl Deref for SizedBuf<'_> {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.entry.as_ref().expect(HELD).object
    }
}

impl DerefMut for SizedBuf<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.entry.as_mut().expect(HELD).object
    }
}

impl Drop for SizedBuf<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.pool.put(entry);
        }
    }
}

impl fmt::Debug for SizedBuf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SizedBuf")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

// === impl Frozen ===

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        &self.entry.as_ref().expect(HELD).object
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.pool.put(entry);
        }
    }
}

#[cfg(all(test, not(any(teleflow_loom, teleflow_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_all_sizes_and_never_give_less() {
        for size in 0..=LARGEST {
            let class = class_for(size).unwrap();
            assert!(size <= SMALLEST << class);
            assert!(class == 0 || SMALLEST << (class - 1) < size, "{size} is in a class too large");
        }
        assert_eq!(class_for(LARGEST), Some(CLASSES - 1));
        assert_eq!(class_for(LARGEST + 1), None);
        assert_eq!(class_of(63), None);
        assert_eq!(class_of(127), Some(0));
        assert_eq!(class_of(128), Some(1));
        assert_eq!(class_of(LARGEST + 1), None);
    }
}
