//! What was decided about traces that are gone, for the spans that come late.
//!
//! A trace stands here as the keyed hash of its id. Of one that was kept all is remembered that its
//! late spans need: 64 bits of hash, how likely it was to be kept, what kept it. Of one that was
//! dropped nothing but that: there are many more of them, and a [fingerprint](cuckoo) of 32 bits will do.
//!
//! Both have two generations. What is new goes into the young one; when that holds as many as are
//! to be remembered, the old one is forgotten and the young one takes its place. So at least that
//! many of the latest are known, and at most twice as many.
//!
//! A new trace may be taken for one that is remembered. With 100 000 remembered of each, that
//! happens to 1 of 10^14 for a kept one, and for a dropped one to 4 of 10^9 whatever their number:
//! those are left out unseen. [`MemoryStats::false_positive_rate`] tells how likely it is now.

use std::hint::black_box;

use crate::Threshold;
use crate::engine::By;
use crate::tail::Remembered;

use self::dropped::Dropped;
use self::kept::Kept;

mod cuckoo;
mod dropped;
mod kept;
#[cfg(test)]
mod tests;

/// What is remembered of the traces that were decided about.
#[derive(Debug)]
pub(crate) struct Memory {
    kept: Kept,
    dropped: Dropped,
}

/// What was decided about a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Past {
    Kept {
        /// How likely it was to be kept, where that was known.
        threshold: Option<Threshold>,
        /// What kept it, where that was known.
        by: Option<By>,
    },
    Dropped,
}

/// What is remembered of decisions, and how far that can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryStats {
    /// Kept traces that are remembered. One that was decided about twice may count twice.
    pub kept: u64,
    /// Dropped traces that are remembered. One that was decided about twice may count twice.
    pub dropped: u64,
    /// How many of each are remembered at least, once so many were decided about.
    pub capacity: Remembered,
    /// How likely it is that a trace that is not remembered is taken for a dropped one, from 0 to 1:
    /// at most 4 of 10^9. It grows with what is remembered.
    pub false_positive_rate: f64,
    /// How often dropped traces were forgotten before there were enough of them, for want of a place
    /// for one more. More than a few say that somebody knows the secret of the hash.
    pub forgotten_early: u64,
    /// What it takes, in bytes.
    pub bytes: u64,
}

// === impl Memory ===

impl Memory {
    /// Remembers nothing, and takes no memory until it does.
    ///
    /// For dropped traces it takes 4.3 bytes each for `remembered.dropped` at once when the first
    /// comes, and the same again when so many have come; for kept ones it grows as they come, by
    /// doubling.
    pub(crate) const fn new(remembered: Remembered) -> Self {
        Self { kept: Kept::new(remembered.kept), dropped: Dropped::new(remembered.dropped) }
    }

    /// Remembers that a trace was kept. If it was before, the newer is what counts.
    pub(crate) fn remember_kept(
        &mut self,
        hash: u64,
        threshold: Option<Threshold>,
        by: Option<By>,
    ) {
        self.kept.insert(hash, threshold, by);
    }

    /// Remembers that a trace was dropped. One that is remembered as kept stays so.
    pub(crate) fn remember_dropped(&mut self, hash: u64) {
        self.dropped.insert(hash);
    }

    /// What was decided about a trace, if that is remembered.
    #[inline]
    pub(crate) fn find(&self, hash: u64) -> Option<Past> {
        match self.kept.find(hash) {
            Some((threshold, by)) => Some(Past::Kept { threshold, by }),
            None => self.dropped.contains(hash).then_some(Past::Dropped),
        }
    }

    /// Looks at where a trace would be, for nothing but to have that at hand soon.
    #[inline]
    pub(crate) fn touch(&self, hash: u64) {
        black_box((self.kept.find(hash).is_some(), self.dropped.touch(hash)));
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.bytes() + self.dropped.bytes()
    }

    /// Changes how much is remembered, and forgets as little as that allows.
    ///
    /// With more, nothing is forgotten, and the next generation is a larger one. With less, the
    /// young generation stays; and the old one does too, unless the young one has enough by then. A
    /// generation keeps its memory until it is forgotten.
    pub(crate) fn resize(&mut self, remembered: Remembered) {
        self.kept.resize(remembered.kept);
        self.dropped.resize(remembered.dropped);
    }

    /// Gives what kept traces its new place, when the configuration has changed; `None` where it
    /// has none any more.
    pub(crate) fn rename(&mut self, new: impl Fn(By) -> Option<By>) {
        self.kept.rename(new);
    }

    /// What is remembered now.
    pub(crate) fn stats(&self) -> MemoryStats {
        MemoryStats {
            kept: self.kept.len() as u64,
            dropped: self.dropped.len() as u64,
            capacity: Remembered { kept: self.kept.capacity(), dropped: self.dropped.capacity() },
            false_positive_rate: self.dropped.false_positive_rate(),
            forgotten_early: self.dropped.forgotten_early(),
            bytes: self.bytes() as u64,
        }
    }
}
