//! The word that says all there is to know of a breaker.

/// The word, from the low end: kind (2 bits), era (22 bits), the rest (40 bits).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct State(pub(super) u64);

pub(super) const CLOSED: u64 = 0;
pub(super) const OPEN: u64 = 1;
pub(super) const HALF_OPEN: u64 = 2;

const ERA_SHIFT: u32 = 2;
/// An era takes a millisecond at least where it is open, so an outcome would have to be an hour
/// late, to the very era, to be taken for a present one.
const ERA_MASK: u64 = (1 << 22) - 1;
const REST_SHIFT: u32 = 24;
pub(super) const REST_MAX: u64 = (1 << 40) - 1;

// === impl State ===

impl State {
    pub(super) fn new(kind: u64, era: u64, rest: u64) -> Self {
        Self(kind | (era & ERA_MASK) << ERA_SHIFT | rest << REST_SHIFT)
    }

    pub(super) fn half_open(era: u64, out: u16, well: u16) -> Self {
        Self::new(HALF_OPEN, era, u64::from(out) << 16 | u64::from(well))
    }

    pub(super) fn kind(self) -> u64 {
        self.0 & 3
    }

    pub(super) fn era(self) -> u64 {
        self.0 >> ERA_SHIFT & ERA_MASK
    }

    pub(super) fn rest(self) -> u64 {
        self.0 >> REST_SHIFT
    }

    /// Probes that are out.
    pub(super) fn out(self) -> u16 {
        (self.rest() >> 16) as u16
    }

    /// Probes that came back well.
    pub(super) fn well(self) -> u16 {
        self.rest() as u16
    }
}
