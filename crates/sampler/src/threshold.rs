//! How likely an item was to be kept, as the specification writes it: `th`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::Randomness;

/// A rejection threshold of 56 bits: how many of 2^56 possible traces are left out.
///
/// A trace is kept where its [`Randomness`] is at least the threshold, so that whoever has the lower
/// threshold keeps all that the other one keeps, and more. What is kept with probability `p` stands
/// for `1/p` items: its [adjusted count](Self::adjusted_count). Never to keep is no threshold.
///
/// Written it has 1 to 14 lower-case hexadecimal digits, without zeros at the end.
///
/// ```
/// use teleflow_sampler::Threshold;
///
/// let tenth = Threshold::from_probability(0.1)?;
/// assert_eq!(tenth.to_string(), "e666");
/// assert_eq!("e666".parse(), Ok(tenth));
/// assert_eq!("0".parse(), Ok(Threshold::ALL));
/// assert_eq!("c".parse::<Threshold>()?.adjusted_count(), 4.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Threshold(u64);

/// A probability that no threshold stands for: it is not within 2^-56 to 1.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("{0} is not a probability to keep with: it has to be within 2^-56 and 1")]
pub struct InvalidProbability(pub f64);

/// A threshold is written in 1 to 14 lower-case hexadecimal digits, and this is not.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a threshold has 1 to 14 lower-case hexadecimal digits")]
pub struct InvalidThreshold;

/// How many thresholds and values of randomness there are.
pub(crate) const RANGE: u64 = 1 << 56;

/// The most digits.
const DIGITS: u32 = 14;

// === impl Threshold ===

impl Threshold {
    /// Leaves out nothing.
    pub const ALL: Self = Self(0);

    /// Leaves out all but one of 2^56: the highest.
    pub const MOST: Self = Self(RANGE - 1);

    /// How many significant digits [`from_probability`](Self::from_probability) keeps.
    pub const PRECISION: u8 = 4;

    /// The threshold of a probability, rounded to the four digits that the specification advises.
    ///
    /// # Errors
    ///
    /// If the probability is not within 2^-56 and 1.
    pub fn from_probability(probability: f64) -> Result<Self, InvalidProbability> {
        Self::with_precision(probability, Self::PRECISION)
    }

    /// The threshold of a probability, rounded to so many digits (1 to 14; what is outside counts as
    /// the nearer of the two). Digits `f` at the start are not significant: a small probability gets
    /// as many more.
    ///
    /// # Errors
    ///
    /// If the probability is not within 2^-56 and 1.
    pub fn with_precision(probability: f64, digits: u8) -> Result<Self, InvalidProbability> {
        let kept = (probability * RANGE as f64).round();
        if !(1.0..=RANGE as f64).contains(&kept) || probability > 1.0 {
            return Err(InvalidProbability(probability));
        }
        let kept = kept as u64;
        if kept == RANGE {
            return Ok(Self::ALL);
        }
        let leading = (kept.leading_zeros() - RANGE.leading_zeros() - 1) / 4;
        let digits = (u32::from(digits.max(1)) + leading).min(DIGITS);
        let unit = 1 << (4 * (DIGITS - digits));
        // Half a unit up; this cannot reach the whole range, for with the leading digits counted
        // there is a threshold of so many digits that is at least as high.
        Ok(Self((RANGE - kept + unit / 2) / unit * unit))
    }

    /// From its 56 bits; `None` for 2^56 and above.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits < RANGE { Some(Self(bits)) } else { None }
    }

    /// Its 56 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The share of all traces that it keeps, within 2^-56 and 1.
    pub fn probability(self) -> f64 {
        (RANGE - self.0) as f64 / RANGE as f64
    }

    /// How many items stand behind each that was kept.
    pub fn adjusted_count(self) -> f64 {
        RANGE as f64 / (RANGE - self.0) as f64
    }

    /// Whether it keeps a trace.
    #[inline]
    pub const fn keeps(self, randomness: Randomness) -> bool {
        randomness.bits() >= self.0
    }

    /// The threshold after this one and `before` it another, where both are to be met: the higher.
    #[must_use]
    pub fn equalize(self, before: Self) -> Self {
        self.max(before)
    }

    /// The threshold after `before` and then a sampler that keeps the share `probability` of what
    /// comes to it: the probabilities multiplied. Never lower than `before`. `None` where the
    /// product is below 2^-56, and nothing is to be kept; so it is for no probability at all.
    pub fn proportional(before: Self, probability: f64) -> Option<Self> {
        let product = probability.min(1.0) * before.probability();
        // Rounding must not lower what was there.
        Self::from_probability(product).ok().map(|threshold| threshold.max(before))
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let zeros = self.0.trailing_zeros() / 4;
        let (digits, width) = (self.0 >> (4 * zeros), (DIGITS - zeros) as usize);
        write!(f, "{digits:0width$x}")
    }
}

impl FromStr for Threshold {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Self, InvalidThreshold> {
        if text.is_empty() {
            return Err(InvalidThreshold);
        }
        let bits = hex(text).ok_or(InvalidThreshold)?;
        Ok(Self(bits << (4 * (DIGITS as usize - text.len()))))
    }
}

/// Reads at most 14 lower-case digits.
pub(crate) fn hex(text: &str) -> Option<u64> {
    if text.len() > DIGITS as usize {
        return None;
    }
    text.bytes().try_fold(0, |bits, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(bits << 4 | u64::from(digit))
    })
}
