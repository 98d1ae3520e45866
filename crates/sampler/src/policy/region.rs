//! For which randomness a policy keeps a trace: what tells how likely it was.
//!
//! A trace that is kept stands for others if one can say which of all possible values of randomness
//! would have had it kept, given what is in it: `th` says "all from here on". So each policy is asked
//! not only whether it keeps the trace, but also from where on it would. The answer must come from the
//! trace's content alone, never from its randomness or from what happened to be asked before: an
//! answer that is known for one value of randomness and unknown for another is a bias.

use crate::Threshold;
use crate::threshold::RANGE;

/// For which randomness a policy keeps a trace of this content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Region {
    /// From the first number on and below the second; none where those are the same.
    Known(u64, u64),
    /// It depends on more than this randomness: what came before, or chance of another kind.
    Unknown,
    /// A part of the policy cannot be asked, and so the whole cannot for some randomness.
    Error,
}

// === impl Region ===

impl Region {
    pub(crate) const ALL: Self = Self::Known(0, RANGE);
    pub(crate) const NONE: Self = Self::Known(0, 0);

    /// Everything or nothing.
    pub(crate) const fn certain(keeps: bool) -> Self {
        if keeps { Self::ALL } else { Self::NONE }
    }

    /// Where both keep it.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Error, _) | (_, Self::Error) => Self::Error,
            (Self::Known(from, to), Self::Known(other_from, other_to)) => {
                let (from, to) = (from.max(other_from), to.min(other_to));
                if from < to { Self::Known(from, to) } else { Self::NONE }
            }
            (Self::NONE, _) | (_, Self::NONE) => Self::NONE,
            _ => Self::Unknown,
        }
    }

    /// Where it does not keep it. What would be in two pieces is unknown.
    pub(crate) const fn not(self) -> Self {
        match self {
            Self::NONE => Self::ALL,
            Self::ALL => Self::NONE,
            Self::Known(0, to) => Self::Known(to, RANGE),
            Self::Known(from, RANGE) => Self::Known(0, from),
            Self::Known(..) => Self::Unknown,
            Self::Unknown | Self::Error => self,
        }
    }

    /// The threshold that it is, if it is one: all from somewhere on.
    pub(crate) const fn threshold(self) -> Option<Threshold> {
        match self {
            Self::Known(from, RANGE) => Threshold::from_bits(from),
            _ => None,
        }
    }
}

impl From<Option<Threshold>> for Region {
    /// What a threshold keeps; no threshold keeps nothing.
    fn from(threshold: Option<Threshold>) -> Self {
        threshold.map_or(Self::NONE, |threshold| Self::Known(threshold.bits(), RANGE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Region = Region::Known(10, RANGE);
    const BELOW: Region = Region::Known(0, 10);
    const EVERY: [Region; 7] = [
        Region::ALL,
        Region::NONE,
        FROM,
        BELOW,
        Region::Known(5, 20),
        Region::Unknown,
        Region::Error,
    ];

    #[test]
    fn what_both_keep_does_not_depend_on_the_order() {
        for a in EVERY {
            for b in EVERY {
                assert_eq!(a.and(b), b.and(a), "{a:?} {b:?}");
                for c in EVERY {
                    // That two pieces do not meet may be hidden by what is unknown between them.
                    let (left, right) = (a.and(b).and(c), a.and(b.and(c)));
                    let is_hidden = left == Region::Unknown || right == Region::Unknown;
                    assert!(left == right || is_hidden, "{a:?} {b:?} {c:?}");
                }
            }
        }
        assert_eq!(FROM.and(BELOW), Region::NONE);
        assert_eq!(FROM.and(Region::Known(5, 20)), Region::Known(10, 20));
        assert_eq!(Region::Unknown.and(Region::NONE), Region::NONE);
        assert_eq!(Region::Error.and(Region::NONE), Region::Error);
    }

    #[test]
    fn the_opposite_of_the_opposite_is_the_same_or_unknown() {
        for region in EVERY {
            let twice = region.not().not();
            assert!(twice == region || twice == Region::Unknown, "{region:?}");
        }
        assert_eq!(FROM.not(), BELOW);
    }

    #[test]
    fn only_what_reaches_to_the_end_is_a_threshold() {
        assert_eq!(Region::ALL.threshold(), Some(Threshold::ALL));
        assert_eq!(FROM.threshold(), Threshold::from_bits(10));
        for region in [Region::NONE, BELOW, Region::Known(5, 20), Region::Unknown, Region::Error] {
            assert_eq!(region.threshold(), None, "{region:?}");
        }
        assert_eq!(Region::from(None), Region::NONE);
        assert_eq!(Region::from(Threshold::from_bits(10)), FROM);
    }
}
