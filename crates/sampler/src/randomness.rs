//! What chance decides a trace's sampling with: the same wherever it is asked.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use thiserror::Error;

use crate::threshold::{RANGE, hex};

/// The 56 bits of chance that all consistent samplers share for a trace.
///
/// They are `rv` in the [trace state](crate::TraceState) where whoever started the trace put it
/// there, and else the last seven bytes of the trace id.
///
/// ```
/// use teleflow_sampler::Randomness;
///
/// let id = *b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10";
/// assert_eq!(Randomness::from_trace_id(id).to_string(), "0a0b0c0d0e0f10");
/// assert_eq!("0a0b0c0d0e0f10".parse(), Ok(Randomness::from_trace_id(id)));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Randomness(
    /// The bits and one: so an `Option` of it takes no more room, in each trace that is held.
    NonZeroU64,
);

/// Randomness is written in exactly 14 lower-case hexadecimal digits, and this is not.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("randomness has exactly 14 lower-case hexadecimal digits")]
pub struct InvalidRandomness;

// === impl Randomness ===

impl Randomness {
    /// The last seven bytes of a trace id.
    #[inline]
    pub const fn from_trace_id(id: [u8; 16]) -> Self {
        Self::from_hash(u128::from_be_bytes(id) as u64)
    }

    /// From its 56 bits; `None` for 2^56 and above.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits < RANGE { Some(Self::from_hash(bits)) } else { None }
    }

    /// From the lower 56 bits of any number that is as good as random.
    #[inline]
    pub const fn from_hash(hash: u64) -> Self {
        // Without a branch: what is added to is below 2^56.
        Self(NonZeroU64::MIN.saturating_add(hash % RANGE))
    }

    /// Its 56 bits.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0.get() - 1
    }
}

impl fmt::Display for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:014x}", self.bits())
    }
}

impl FromStr for Randomness {
    type Err = InvalidRandomness;

    fn from_str(text: &str) -> Result<Self, InvalidRandomness> {
        hex(text).filter(|_| text.len() == 14).and_then(Self::from_bits).ok_or(InvalidRandomness)
    }
}
