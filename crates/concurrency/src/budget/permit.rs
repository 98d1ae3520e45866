//! Bytes of a budget.

use std::fmt;
use std::mem;

use super::Budget;
use crate::account::Taken;

/// Bytes taken out of a [`Budget`], which go back when this is dropped, wherever that is.
///
/// ```
/// use teleflow_concurrency::Budget;
///
/// let budget = Budget::new("memory", 1_000);
/// let mut batch = budget.try_take(600)?;
/// let part = batch.split(200).expect("there are 600");
/// batch.shrink_to(100); // Compressed: 300 bytes are free again.
/// assert_eq!(budget.stats().available, 700);
/// assert!(batch.merge(part).is_ok());
/// assert_eq!(batch.bytes(), 300);
/// # Ok::<(), teleflow_concurrency::Denied>(())
/// ```
#[must_use = "the bytes go back at once"]
pub struct Permit {
    budget: Budget,
    taken: Taken,
}

// === impl Permit ===

impl Permit {
    pub(super) fn new(budget: Budget, taken: Taken) -> Self {
        Self { budget, taken }
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.taken.own + self.taken.common
    }

    /// The budget that they came from.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Takes `bytes` out of this permit; `None`, and nothing changes, where it holds fewer.
    ///
    /// Borrowed bytes go first: where the part is done with before the rest, the common part gets
    /// its bytes back as early as it can.
    pub fn split(&mut self, bytes: u64) -> Option<Self> {
        if bytes > self.bytes() {
            return None;
        }
        let common = self.taken.common.min(bytes);
        let part = Taken { own: bytes - common, common };
        self.taken = Taken { own: self.taken.own - part.own, common: self.taken.common - common };
        Some(Self { budget: self.budget.clone(), taken: part })
    }

    /// Adds the bytes of `other` to these.
    ///
    /// # Errors
    ///
    /// `other` comes back when it is of another budget, be it of the same family.
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if !self.budget.is(&other.budget) {
            return Err(other);
        }
        let more = mem::take(&mut other.taken);
        self.taken.own += more.own;
        self.taken.common += more.common;
        Ok(())
    }

    /// Gives back what is beyond `bytes`: data that became smaller holds less. Does nothing where it
    /// holds no more.
    pub fn shrink_to(&mut self, bytes: u64) {
        drop(self.split(self.bytes().saturating_sub(bytes)));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.taken != Taken::default() {
            self.budget.give_back(self.taken);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("budget", &self.budget.name())
            .field("bytes", &self.bytes())
            .finish()
    }
}
