//! A part of an account: free units and two flags in one word.
//!
//! Setting the flag that somebody waits and giving back are steps on this word, so one of them is
//! first: see the [account](super).

use super::Denied;
use crate::sync::{AtomicU64, Ordering};

/// Somebody waits for this part.
pub(super) const QUEUED: u64 = 1;
/// Nothing is given out any more.
pub(super) const CLOSED: u64 = 2;
/// Where the number of free units begins.
const SHIFT: u32 = 2;

/// The most units that an account can hold.
pub(crate) const MAX_UNITS: u64 = u64::MAX >> SHIFT;

/// Free units and two flags.
pub(super) struct Word(AtomicU64);

/// The free units of a word that was seen.
pub(super) fn units(seen: u64) -> u64 {
    seen >> SHIFT
}

// === impl Word ===

impl Word {
    pub(super) fn new(units: u64) -> Self {
        Self(AtomicU64::new(units << SHIFT))
    }

    pub(super) fn free(&self) -> u64 {
        self.0.load(Ordering::Relaxed) >> SHIFT
    }

    /// The word, if somebody may take `units` in passing.
    #[inline]
    pub(super) fn look(&self, units: u64) -> Result<u64, Denied> {
        let seen = self.0.load(Ordering::Relaxed);
        if seen & CLOSED != 0 {
            return Err(Denied::Closed);
        }
        if seen & QUEUED != 0 && units > 0 {
            return Err(Denied::Full);
        }
        Ok(seen)
    }

    /// Takes `units` if they are free and nobody waits.
    #[inline]
    pub(super) fn try_take(&self, units: u64) -> Result<(), Denied> {
        loop {
            let seen = self.look(units)?;
            if seen >> SHIFT < units {
                return Err(Denied::Full);
            }
            if units == 0 || self.swap_down(seen, units) {
                return Ok(());
            }
        }
    }

    /// Takes `units` if the word is still as `seen`, where they are free.
    ///
    /// Acquires: what others did before they gave these units back comes before what the taker
    /// does with them.
    #[inline]
    pub(super) fn swap_down(&self, seen: u64, units: u64) -> bool {
        self.0
            .compare_exchange(seen, seen - (units << SHIFT), Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes `units` that are known to be free. Acquires as well.
    pub(super) fn sub(&self, units: u64) {
        if units > 0 {
            self.0.fetch_sub(units << SHIFT, Ordering::Acquire);
        }
    }

    /// Puts `units` in, and tells whether somebody waits.
    #[inline]
    pub(super) fn put(&self, units: u64) -> bool {
        self.0.fetch_add(units << SHIFT, Ordering::Release) & QUEUED != 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CLOSED != 0
    }

    pub(super) fn raise(&self, flag: u64) {
        self.0.fetch_or(flag, Ordering::Relaxed);
    }

    pub(super) fn lower(&self, flag: u64) {
        self.0.fetch_and(!flag, Ordering::Relaxed);
    }
}
