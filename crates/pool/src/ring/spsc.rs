//! The ring between two threads: one writes, one reads, and neither waits for the other.

#![allow(
    unsafe_code,
    reason = "two threads use parts of one buffer at the same time, which safe Rust cannot say \
              without a lock around the whole"
)]

use std::fmt;
use std::slice;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::{drain, fill};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The end that writes.
///
/// Each call ends after a fixed number of steps, whatever the other end does.
///
/// ```
/// let (mut producer, consumer) = teleflow_pool::ring::spsc::ring(4);
/// assert_eq!(producer.write(b"abcdef"), 4);
/// assert_eq!(producer.free().0.len(), 0);
/// drop(consumer);
/// assert!(producer.is_alone(), "nobody reads what is written from now on");
/// ```
pub struct Producer {
    shared: Arc<Shared>,
    /// Where the next byte is written; `shared.written` follows on commit.
    at: usize,
    /// Where the reader was when we last looked.
    reader: usize,
}

/// The end that reads.
///
/// Each call ends after a fixed number of steps, whatever the other end does.
///
/// ```
/// let (mut producer, mut consumer) = teleflow_pool::ring::spsc::ring(4);
/// producer.write(b"abc");
/// let mut into = [0; 2];
/// assert_eq!((consumer.read(&mut into), &into), (2, b"ab"));
/// drop(producer);
/// // Alone, and with what is left: nothing comes after that.
/// assert!(consumer.is_alone());
/// assert_eq!(consumer.filled().0, b"c");
/// ```
pub struct Consumer {
    shared: Arc<Shared>,
    /// Where the next byte is read; `shared.read` follows on consume.
    at: usize,
    /// Where the writer was when we last looked.
    writer: usize,
}

/// Positions run from 0 to twice the capacity, so that an empty ring and a full one differ.
///
/// The bytes from `read` to `written` belong to the consumer and the others to the producer; each
/// moves its own position only, and only over bytes that are its own.
struct Shared {
    buffer: Buffer,
    written: CachePadded<AtomicUsize>,
    read: CachePadded<AtomicUsize>,
    /// That an end is gone.
    alone: AtomicBool,
}

/// Bytes that two threads write and read, each its own.
struct Buffer {
    bytes: Box<[std::cell::UnsafeCell<u8>]>,
    /// Tells loom who touches which byte.
    #[cfg(teleflow_loom)]
    shadow: Box<[loom::cell::UnsafeCell<()>]>,
}

// SAFETY: the bytes are reached through `slice` and `slice_mut` alone, whose callers hold the only
// `Producer` and the only `Consumer`, and those two never have a byte in common (see `Shared`).
unsafe impl Sync for Buffer {}

/// Allocates a ring of `capacity` bytes and hands out its two ends.
///
/// ```
/// use teleflow_pool::ring::spsc;
///
/// let (mut producer, mut consumer) = spsc::ring(1024);
/// let writer = std::thread::spawn(move || {
///     let (free, _) = producer.free();
///     free[..5].copy_from_slice(b"hello");
///     producer.commit(5);
/// });
/// writer.join().unwrap();
/// assert_eq!(consumer.filled().0, b"hello");
/// consumer.consume(5);
/// assert!(consumer.is_alone() && consumer.filled().0.is_empty());
/// ```
pub fn ring(capacity: usize) -> (Producer, Consumer) {
    let shared = Arc::new(Shared {
        buffer: Buffer::new(capacity),
        written: CachePadded::new(AtomicUsize::new(0)),
        read: CachePadded::new(AtomicUsize::new(0)),
        alone: AtomicBool::new(false),
    });
    let producer = Producer { shared: Arc::clone(&shared), at: 0, reader: 0 };
    (producer, Consumer { shared, at: 0, writer: 0 })
}

// === impl Shared ===

impl Shared {
    fn capacity(&self) -> usize {
        self.buffer.bytes.len()
    }

    /// The bytes from position `from` to position `to`.
    fn distance(&self, from: usize, to: usize) -> usize {
        if from <= to { to - from } else { 2 * self.capacity() - from + to }
    }

    fn advance(&self, position: usize, count: usize) -> usize {
        let next = position + count;
        if 2 * self.capacity() <= next { next - 2 * self.capacity() } else { next }
    }

    /// The offset and length of the two parts of `count` bytes from `position` on.
    fn parts(&self, position: usize, count: usize) -> ((usize, usize), (usize, usize)) {
        let capacity = self.capacity();
        let start = if capacity <= position { position - capacity } else { position };
        let first = count.min(capacity - start);
        ((start, first), (0, count - first))
    }

    fn leave(&self) {
        // Release: who sees that it is alone sees all that was written before.
        self.alone.store(true, Ordering::Release);
    }

    fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }
}

// === impl Producer ===

impl Producer {
    /// How many bytes the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// The bytes that are free at this moment, to be written from the front; what is in them has no
    /// meaning.
    pub fn free(&mut self) -> (&mut [u8], &mut [u8]) {
        // Acquire: the consumer's reads of these bytes are over before we write them.
        self.reader = self.shared.read.load(Ordering::Acquire);
        let count = self.room();
        let (first, second) = self.shared.parts(self.at, count);
        // SAFETY: from `written` on, `count` bytes are not between `read` and `written`, so they are
        // ours; the parts are two, or one is empty; the borrow of `self` keeps a second call out.
        unsafe { (self.shared.buffer.slice_mut(first), self.shared.buffer.slice_mut(second)) }
    }

    /// Hands the first `count` of the [free](Self::free) bytes to the consumer.
    ///
    /// # Panics
    ///
    /// With more than were free at the last look.
    pub fn commit(&mut self, count: usize) {
        assert!(count <= self.room(), "committed more than is free");
        #[cfg(teleflow_loom)]
        self.shared.buffer.touch_mut(self.shared.parts(self.at, count));
        self.at = self.shared.advance(self.at, count);
        // Release: the consumer sees what was written into these bytes.
        self.shared.written.store(self.at, Ordering::Release);
    }

    /// Copies in what there is room for, and says how much that was.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let (first, second) = self.free();
        let written = fill(first, second, bytes);
        self.commit(written);
        written
    }

    /// Whether the consumer is gone.
    pub fn is_alone(&self) -> bool {
        self.shared.is_alone()
    }

    /// How much was free when we last looked; by now there may be more.
    fn room(&self) -> usize {
        self.capacity() - self.shared.distance(self.reader, self.at)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

// === impl Consumer ===

impl Consumer {
    /// How many bytes the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// The bytes that are filled at this moment, oldest first.
    pub fn filled(&mut self) -> (&[u8], &[u8]) {
        // Acquire: what the producer wrote into these bytes is seen.
        self.writer = self.shared.written.load(Ordering::Acquire);
        let count = self.available();
        let (first, second) = self.shared.parts(self.at, count);
        // SAFETY: these bytes are between `read` and `written`, so they are ours and the producer
        // does not write them; the borrow of `self` keeps `consume` out.
        unsafe { (self.shared.buffer.slice(first), self.shared.buffer.slice(second)) }
    }

    /// Hands the oldest `count` bytes back to the producer.
    ///
    /// # Panics
    ///
    /// With more than were filled at the last look.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.available(), "consumed more than is filled");
        #[cfg(teleflow_loom)]
        self.shared.buffer.touch(self.shared.parts(self.at, count));
        self.at = self.shared.advance(self.at, count);
        // Release: the producer writes these bytes after our reads of them.
        self.shared.read.store(self.at, Ordering::Release);
    }

    /// Copies out what there is, and says how much that was.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let (first, second) = self.filled();
        let read = drain(first, second, into);
        self.consume(read);
        read
    }

    /// Whether the producer is gone. Nothing is written after it was seen to be: what
    /// [`filled`](Self::filled) shows from then on is the rest.
    pub fn is_alone(&self) -> bool {
        self.shared.is_alone()
    }

    fn available(&self) -> usize {
        self.shared.distance(self.at, self.writer)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

// === impl Buffer ===

impl Buffer {
    fn new(capacity: usize) -> Self {
        Self {
            bytes: (0..capacity).map(|_| std::cell::UnsafeCell::new(0)).collect(),
            #[cfg(teleflow_loom)]
            shadow: (0..capacity).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        }
    }

    /// # Safety
    ///
    /// The part is within the buffer, and no one writes it as long as the slice lives.
    unsafe fn slice(&self, (start, len): (usize, usize)) -> &[u8] {
        #[cfg(teleflow_loom)]
        self.touch(((start, len), (0, 0)));
        let base = self.bytes.as_ptr().cast::<u8>();
        // SAFETY: within one allocation of initialised bytes, `UnsafeCell<u8>` being laid out as
        // `u8`; the caller keeps writers out.
        unsafe { slice::from_raw_parts(base.add(start), len) }
    }

    /// # Safety
    ///
    /// The part is within the buffer, and no one else reads or writes it as long as the slice lives.
    #[allow(clippy::mut_from_ref, reason = "the bytes are cells, and the caller keeps others out")]
    unsafe fn slice_mut(&self, (start, len): (usize, usize)) -> &mut [u8] {
        #[cfg(teleflow_loom)]
        self.touch_mut(((start, len), (0, 0)));
        // The pointer comes from a shared slice of cells, through which writing is allowed.
        let base = self.bytes.as_ptr().cast::<u8>().cast_mut();
        // SAFETY: within one allocation of initialised bytes, `UnsafeCell<u8>` being laid out as
        // `u8`; the caller keeps everyone else out.
        unsafe { slice::from_raw_parts_mut(base.add(start), len) }
    }

    #[cfg(teleflow_loom)]
    fn touch(&self, (first, second): ((usize, usize), (usize, usize))) {
        for (start, len) in [first, second] {
            self.shadow[start..start + len].iter().for_each(|byte| byte.with(|_| ()));
        }
    }

    #[cfg(teleflow_loom)]
    fn touch_mut(&self, (first, second): ((usize, usize), (usize, usize))) {
        for (start, len) in [first, second] {
            self.shadow[start..start + len].iter().for_each(|byte| byte.with_mut(|_| ()));
        }
    }
}
