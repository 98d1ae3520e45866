//! Permits of a semaphore.

use std::fmt;
use std::ops::Deref;
use std::ptr;
use std::sync::Arc;

use super::Semaphore;

/// Permits taken out of a [`Semaphore`], which go back when this is dropped.
///
/// `S` is how it holds on to the semaphore; see [`SemaphorePermit`] and [`OwnedSemaphorePermit`].
///
/// ```
/// use teleflow_concurrency::Semaphore;
///
/// let semaphore = Semaphore::new("connections", 10);
/// let mut permit = semaphore.try_acquire(6)?;
/// let part = permit.split(2).expect("there are 6");
/// assert_eq!((permit.permits(), part.permits(), semaphore.available()), (4, 2, 4));
/// drop(part);
/// assert_eq!(semaphore.available(), 6);
/// # Ok::<(), teleflow_concurrency::Denied>(())
/// ```
#[must_use = "the permits go back at once"]
pub struct Permit<S: Deref<Target = Semaphore>> {
    semaphore: S,
    permits: u64,
}

/// Permits that borrow the semaphore.
pub type SemaphorePermit<'a> = Permit<&'a Semaphore>;

/// Permits that own a handle of the semaphore, for tasks.
pub type OwnedSemaphorePermit = Permit<Arc<Semaphore>>;

// === impl Permit ===

impl<S: Deref<Target = Semaphore>> Permit<S> {
    #[inline]
    pub(super) fn new(semaphore: S, permits: u64) -> Self {
        Self { semaphore, permits }
    }

    /// How many they are.
    pub fn permits(&self) -> u64 {
        self.permits
    }

    /// The semaphore that they belong to.
    pub fn semaphore(&self) -> &Semaphore {
        &self.semaphore
    }

    /// Takes `n` permits out of these; `None`, and nothing changes, where there are fewer.
    pub fn split(&mut self, n: u64) -> Option<Self>
    where
        S: Clone,
    {
        self.permits = self.permits.checked_sub(n)?;
        Some(Self { semaphore: self.semaphore.clone(), permits: n })
    }

    /// Adds the permits of `other` to these.
    ///
    /// # Errors
    ///
    /// `other` comes back when it belongs to another semaphore.
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if !ptr::eq(self.semaphore(), other.semaphore()) {
            return Err(other);
        }
        self.permits += std::mem::take(&mut other.permits);
        Ok(())
    }
}

impl<S: Deref<Target = Semaphore>> Drop for Permit<S> {
    #[inline]
    fn drop(&mut self) {
        if self.permits > 0 {
            self.semaphore.give_back(self.permits);
        }
    }
}

impl<S: Deref<Target = Semaphore>> fmt::Debug for Permit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("semaphore", &self.semaphore.name())
            .field("permits", &self.permits)
            .finish()
    }
}
