//! Counts what a piece of code allocates.

#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait; nothing safe sees allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// The system allocator with two counters in front.
///
/// A benchmark that counts installs it once:
///
/// ```
/// use teleflow_benches::alloc::{self, Counting};
///
/// #[global_allocator]
/// static ALLOCATOR: Counting = Counting;
///
/// let (text, counted) = alloc::count(|| String::with_capacity(100));
/// assert_eq!((counted.allocations, counted.bytes), (1, 100));
/// # drop(text);
/// ```
#[derive(Debug)]
pub struct Counting;

/// What was asked of the allocator during a call of [`count`], by every thread.
///
/// A reallocation counts as one allocation of the new size; what is freed is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Calls that returned memory.
    pub allocations: u64,
    /// The bytes they asked for.
    pub bytes: u64,
}

/// Runs `work` and counts what the whole program allocates meanwhile.
///
/// Zero throughout where [`Counting`] is not installed. The counters are the program's, so a
/// thread that works at the same time is counted too.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, Counted) {
    let before = now();
    let value = work();
    let after = now();
    let counted = Counted {
        allocations: after.allocations - before.allocations,
        bytes: after.bytes - before.bytes,
    };
    (value, counted)
}

/// An allocator with a scale in front, which is on during a call of [`weigh`] alone: else a benchmark
/// with several threads would measure how they share the scale.
#[derive(Debug)]
pub struct Weighing<A>(pub A);

static IS_WEIGHING: AtomicBool = AtomicBool::new(false);
static WEIGHT: AtomicI64 = AtomicI64::new(0);

/// Runs `work` and tells by how many bytes what the whole program has allocated grows meanwhile.
///
/// Zero where [`Weighing`] is not installed.
pub fn weigh<T>(work: impl FnOnce() -> T) -> (T, i64) {
    let before = WEIGHT.load(Ordering::SeqCst);
    IS_WEIGHING.store(true, Ordering::SeqCst);
    let value = work();
    IS_WEIGHING.store(false, Ordering::SeqCst);
    (value, WEIGHT.load(Ordering::SeqCst) - before)
}

fn weigh_in(bytes: usize) {
    if IS_WEIGHING.load(Ordering::Relaxed) {
        WEIGHT.fetch_add(bytes as i64, Ordering::Relaxed);
    }
}

fn weigh_out(bytes: usize) {
    if IS_WEIGHING.load(Ordering::Relaxed) {
        WEIGHT.fetch_sub(bytes as i64, Ordering::Relaxed);
    }
}

fn now() -> Counted {
    Counted {
        allocations: ALLOCATIONS.load(Ordering::Relaxed),
        bytes: BYTES.load(Ordering::Relaxed),
    }
}

fn note(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

// SAFETY: every call goes to `System` with the caller's own arguments and its answer is returned
// as it is, so `System` keeps the contract. Counting touches two atomics and never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is that of `System`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size);
        // SAFETY: `pointer` came from `System` through this allocator, with this layout.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

// SAFETY: every call goes to the other with the caller's own arguments and its answer is returned
// as it is, so that keeps the contract. Weighing touches two atomics and never allocates.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Weighing<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        weigh_in(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is that of the other's.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        weigh_in(layout.size());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the other's.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        weigh_in(new_size);
        weigh_out(layout.size());
        // SAFETY: `pointer` came from the other through this allocator, with this layout.
        unsafe { self.0.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        weigh_out(layout.size());
        // SAFETY: `pointer` came from the other through this allocator, with this layout.
        unsafe { self.0.dealloc(pointer, layout) }
    }
}
