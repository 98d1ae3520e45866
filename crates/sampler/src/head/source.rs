//! What chance decides with: the randomness of the trace, or a hash as the Collector makes one.

use std::borrow::Cow;

use teleflow_otlp::value::AnyValue;

use crate::ottl;
use crate::{Randomness, Threshold};

/// What chance decides with.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Source {
    /// The randomness that a trace was given, or else its id, as the specification has it.
    #[default]
    Trace,
    /// A hash. What says by itself how it was sampled before is decided by the randomness of its
    /// trace all the same, as whoever sampled it did.
    Hash(HashSource),
}

/// A hash of the trace id, or of an attribute, with a seed: FNV-1a, as the mode `hash_seed` of the
/// Collector's `probabilistic_sampler` makes it. The same seed decides alike here and there, by
/// 14 bits of it.
///
/// What is kept has the hash written to it as its randomness.
///
/// ```
/// use teleflow_sampler::head::HashSource;
///
/// let source = HashSource { seed: 22, ..HashSource::default() };
/// let (randomness, threshold) = (source.randomness(b"0123456789abcdef"), HashSource::threshold(50.0));
/// assert_eq!(randomness.to_string(), "3400272bc8b2ff");
/// assert!(threshold.is_some_and(|half| !half.keeps(randomness)));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HashSource {
    /// Samplers of different seeds choose independently: 0.
    pub seed: u32,
    /// Whether the trace id of a log record is hashed, where it has one: it is. That of a span always
    /// is.
    pub takes_trace_id: bool,
    /// The attribute of a log record that is hashed else: none. Texts, bytes, numbers and truth values
    /// count, by their texts.
    pub attribute: Option<String>,
}

/// The bits of the hash that decide.
const BITS: u32 = 14;
const BUCKETS: u32 = 1 << BITS;

// === impl HashSource ===

impl HashSource {
    /// What decides about a trace id, or the text of an attribute.
    pub fn randomness(&self, bytes: &[u8]) -> Randomness {
        let hash =
            self.seed.to_le_bytes().iter().chain(bytes).fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            });
        // The Collector kept what has a low hash before there were thresholds, which keep what is
        // high: so the bits that decide are turned over. The others fill what is left.
        let bucket = u64::from(hash % BUCKETS);
        let rest = u64::from(hash >> (32 - BITS));
        let turned = u64::from(BUCKETS - 1) - bucket;
        Randomness::from_hash(turned << 42 | (rest ^ rest << 10) << 14 | bucket)
    }

    /// The threshold of a percentage, rounded down to a multiple of 1 in 16 384, and in single
    /// precision, as the Collector does; none where nothing is kept.
    pub fn threshold(percentage: f64) -> Option<Threshold> {
        let kept = (percentage.clamp(0.0, 100.0) as f32 * (BUCKETS as f32 / 100.0)) as u32;
        match kept {
            0 => None,
            kept => Threshold::from_bits(u64::from(BUCKETS - kept.min(BUCKETS)) << 42),
        }
    }
}

impl Default for HashSource {
    fn default() -> Self {
        Self { seed: 0, takes_trace_id: true, attribute: None }
    }
}

/// What of an attribute is hashed, if there is anything.
pub(super) fn bytes_of(value: AnyValue<'_>) -> Option<Cow<'_, [u8]>> {
    let text = match value {
        AnyValue::Bytes(bytes) => return Some(Cow::Borrowed(bytes)).filter(|_| !bytes.is_empty()),
        AnyValue::Double(value) if value.is_nan() => Cow::Borrowed("NaN"),
        AnyValue::Double(f64::INFINITY) => Cow::Borrowed("Infinity"),
        AnyValue::Double(f64::NEG_INFINITY) => Cow::Borrowed("-Infinity"),
        other => ottl::plain_text(other)?,
    };
    let bytes = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    Some(bytes).filter(|bytes| !bytes.is_empty())
}
