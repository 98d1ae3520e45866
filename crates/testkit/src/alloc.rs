//! What a test has allocated, and the most it ever had.

#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait; nothing safe sees allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system allocator, which keeps count.
///
/// ```
/// use teleflow_testkit::alloc::Counting;
///
/// #[global_allocator]
/// static ALLOCATED: Counting = Counting::new();
///
/// let before = ALLOCATED.bytes();
/// let kept = vec![0u8; 1000];
/// assert_eq!(ALLOCATED.bytes() - before, 1000);
/// # drop(kept);
/// ```
#[derive(Debug)]
pub struct Counting {
    bytes: AtomicUsize,
    peak: AtomicUsize,
}

// === impl Counting ===

impl Counting {
    /// Nothing is allocated yet.
    #[allow(clippy::new_without_default, reason = "it is made for a static")]
    pub const fn new() -> Self {
        Self { bytes: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// What is allocated now, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The most that was ever allocated at a time, in bytes.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Makes what is allocated now the most.
    pub fn forget_peak(&self) {
        self.peak.store(self.bytes(), Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) {
        let now = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.add(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        self.sub(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.add(size);
        self.sub(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(place, layout, size) }
    }
}
