//! The right to use an object for a while.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::Pool;
use super::shelves::Entry;

/// Why a lease always has its object: only its end takes it out.
const HELD: &str = "the object is there until the lease ends";

/// An object of a [`Pool`], which goes back when this is dropped.
///
/// ```
/// use teleflow_pool::Pool;
///
/// let pool = Pool::builder(Vec::new).reset(Vec::clear).build();
/// let mut lease = pool.acquire();
/// lease.push(1);
/// drop(lease); // Back, and empty.
/// let kept: Vec<i32> = pool.acquire().detach(); // Out of the pool for good.
/// assert!(kept.is_empty());
/// assert_eq!((pool.stats().created, pool.stats().dropped), (1, 1));
/// ```
#[must_use = "dropped at once, the object goes straight back"]
pub struct Lease<'a, T> {
    entry: Option<Box<Entry<T>>>,
    pool: &'a Pool<T>,
}

/// An object of a [`Pool`] that is held together with the pool.
///
/// ```
/// use std::sync::Arc;
/// use teleflow_pool::Pool;
///
/// let pool = Arc::new(Pool::builder(String::new).reset(String::clear).build());
/// let lease = pool.acquire_owned();
/// // It goes anywhere, and comes back from there.
/// std::thread::spawn(move || drop(lease)).join().unwrap();
/// assert_eq!(pool.stats().puts, 1);
/// ```
#[must_use = "dropped at once, the object goes straight back"]
pub struct OwnedLease<T> {
    entry: Option<Box<Entry<T>>>,
    pool: Arc<Pool<T>>,
}

// === impl Lease ===

impl<'a, T> Lease<'a, T> {
    #[inline]
    pub(super) fn new(pool: &'a Pool<T>, entry: Box<Entry<T>>) -> Self {
        Self { entry: Some(entry), pool }
    }

    /// Takes the object out for good; the pool counts it as dropped.
    pub fn detach(mut self) -> T {
        self.pool.count_detached();
        self.entry.take().expect(HELD).object
    }
}

impl<T> Deref for Lease<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.entry.as_ref().expect(HELD).object
    }
}

impl<T> DerefMut for Lease<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.entry.as_mut().expect(HELD).object
    }
}

impl<T> Drop for Lease<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.pool.put(entry);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Lease<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&**self).finish()
    }
}

// === impl OwnedLease ===

impl<T> OwnedLease<T> {
    pub(super) fn new(pool: Arc<Pool<T>>, entry: Box<Entry<T>>) -> Self {
        Self { entry: Some(entry), pool }
    }

    /// Takes the object out for good; the pool counts it as dropped.
    pub fn detach(mut self) -> T {
        self.pool.count_detached();
        self.entry.take().expect(HELD).object
    }
}

impl<T> Deref for OwnedLease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.entry.as_ref().expect(HELD).object
    }
}

impl<T> DerefMut for OwnedLease<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.entry.as_mut().expect(HELD).object
    }
}

impl<T> Drop for OwnedLease<T> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.pool.put(entry);
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for OwnedLease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedLease").field(&**self).finish()
    }
}
