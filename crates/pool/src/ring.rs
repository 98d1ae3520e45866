//! A ring of bytes, filled and emptied in place.

pub mod spsc;

use std::fmt;

/// A fixed number of bytes, first in, first out.
///
/// What is free and what is filled are handed out as slices, two where they wrap around the end:
/// read from a socket into one and parse in the other, with no copy between.
///
/// ```
/// use teleflow_pool::ring::ByteRing;
///
/// let mut ring = ByteRing::new(8);
/// let (free, _) = ring.free();
/// free[..5].copy_from_slice(b"hello");
/// ring.commit(5);
/// assert_eq!(ring.filled(), (&b"hello"[..], &b""[..]));
/// ring.consume(5);
/// assert_eq!(ring.write(b"again"), 5);
/// assert_eq!(ring.filled(), (&b"aga"[..], &b"in"[..]));
/// ```
pub struct ByteRing {
    bytes: Box<[u8]>,
    /// Where the oldest byte is.
    start: usize,
    len: usize,
}

// === impl ByteRing ===

impl ByteRing {
    /// Allocates a ring of `capacity` bytes, empty. One of 0 bytes is always full.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into(), start: 0, len: 0 }
    }

    /// How many bytes it holds at most.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes are in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The free bytes, to be written from the front; what is in them has no meaning.
    ///
    /// ```
    /// let mut ring = teleflow_pool::ring::ByteRing::new(4);
    /// ring.write(b"abc");
    /// ring.consume(2);
    /// // One byte up to the end, and two more from the beginning.
    /// let (first, second) = ring.free();
    /// assert_eq!((first.len(), second.len()), (1, 2));
    /// ```
    pub fn free(&mut self) -> (&mut [u8], &mut [u8]) {
        let (start, len, capacity) = (self.start, self.len, self.capacity());
        let end = start + len;
        if capacity <= end {
            return (&mut self.bytes[end - capacity..start], &mut []);
        }
        let (before, after) = self.bytes.split_at_mut(end);
        (after, &mut before[..start])
    }

    /// Adds the first `count` of the [free](Self::free) bytes to those that are filled.
    ///
    /// # Panics
    ///
    /// With more than are free.
    ///
    /// ```
    /// let mut ring = teleflow_pool::ring::ByteRing::new(4);
    /// ring.free().0[..2].copy_from_slice(b"hi");
    /// ring.commit(2);
    /// assert_eq!((ring.len(), ring.is_empty(), ring.capacity()), (2, false, 4));
    /// ```
    pub fn commit(&mut self, count: usize) {
        assert!(count <= self.capacity() - self.len, "committed more than is free");
        self.len += count;
    }

    /// The bytes that are in it, oldest first.
    ///
    /// ```
    /// let mut ring = teleflow_pool::ring::ByteRing::new(4);
    /// ring.write(b"abcd");
    /// ring.consume(3);
    /// ring.write(b"ef");
    /// assert_eq!(ring.filled(), (&b"d"[..], &b"ef"[..]));
    /// ```
    pub fn filled(&self) -> (&[u8], &[u8]) {
        let end = self.start + self.len;
        match end.checked_sub(self.capacity()) {
            Some(wrapped) => (&self.bytes[self.start..], &self.bytes[..wrapped]),
            None => (&self.bytes[self.start..end], &[]),
        }
    }

    /// Frees the oldest `count` bytes.
    ///
    /// # Panics
    ///
    /// With more than are filled.
    ///
    /// ```
    /// let mut ring = teleflow_pool::ring::ByteRing::new(4);
    /// ring.write(b"abc");
    /// ring.consume(2);
    /// assert_eq!(ring.filled().0, b"c");
    /// ```
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len, "consumed more than is filled");
        self.len -= count;
        self.start += count;
        if self.capacity() <= self.start {
            self.start -= self.capacity();
        }
    }

    /// Copies in what there is room for, and says how much that was.
    ///
    /// ```
    /// let mut ring = teleflow_pool::ring::ByteRing::new(4);
    /// assert_eq!(ring.write(b"abcdef"), 4);
    /// assert_eq!(ring.write(b"ef"), 0);
    /// ```
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let (first, second) = self.free();
        let written = fill(first, second, bytes);
        self.commit(written);
        written
    }

    /// Copies out what there is, and says how much that was.
    ///
    /// ```
    /// let mut ring = teleflow_pool::ring::ByteRing::new(4);
    /// ring.write(b"abc");
    /// let mut into = [0; 8];
    /// assert_eq!(ring.read(&mut into), 3);
    /// assert_eq!(&into[..3], b"abc");
    /// ```
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let (first, second) = self.filled();
        let read = drain(first, second, into);
        self.consume(read);
        read
    }
}

impl fmt::Debug for ByteRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteRing")
            .field("capacity", &self.capacity())
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Copies `bytes` to two slices, one after the other.
fn fill(first: &mut [u8], second: &mut [u8], bytes: &[u8]) -> usize {
    let (head, tail) = bytes.split_at(bytes.len().min(first.len()));
    let tail = &tail[..tail.len().min(second.len())];
    first[..head.len()].copy_from_slice(head);
    second[..tail.len()].copy_from_slice(tail);
    head.len() + tail.len()
}

/// Copies from two slices, one after the other.
fn drain(first: &[u8], second: &[u8], into: &mut [u8]) -> usize {
    let head = first.len().min(into.len());
    let (into_head, into_tail) = into.split_at_mut(head);
    let tail = second.len().min(into_tail.len());
    into_head.copy_from_slice(&first[..head]);
    into_tail[..tail].copy_from_slice(&second[..tail]);
    head + tail
}
