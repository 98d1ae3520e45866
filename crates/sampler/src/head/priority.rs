//! What says for itself how likely it is to be kept.

use teleflow_otlp::value::AnyValue;

use crate::{Intent, Threshold, wire};

/// What may say for itself how likely it is to be kept, whatever the sampler says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Priority {
    /// Spans may, by their attribute `sampling.priority`: 0 leaves one out, and what is more keeps it.
    /// It may be a number, or a text that is one.
    pub of_spans: bool,
    /// Log records may, by the attribute of this name: the percentage that is kept, from 0 to 100;
    /// what is more is 100. What is less, or no number, says nothing.
    pub of_records: Option<String>,
    /// Significant digits of the threshold of such a record: 4.
    pub precision: u8,
}

/// What OpenTracing has called it.
pub(super) const OF_SPAN: &str = "sampling.priority";

/// A span's attributes, and how such a one begins whose key comes first.
const ATTRIBUTES: u32 = 9;
const KEY: u8 = 0x0a;

/// Whether a span may have an attribute that is a priority. Next to none has: to look at the beginning
/// of each is much cheaper than to read them.
pub(super) fn may_have_one(span: &[u8]) -> bool {
    wire::contents(span).any(|(number, content)| {
        number == ATTRIBUTES
            && match content {
                [KEY, len, rest @ ..] => {
                    usize::from(*len) == OF_SPAN.len() && rest.starts_with(OF_SPAN.as_bytes())
                }
                // The value may come first.
                _ => true,
            }
    })
}

// === impl Priority ===

impl Priority {
    /// What the attribute of a span says.
    pub(super) fn of_span(value: &AnyValue<'_>) -> Option<Intent> {
        let value = match value {
            AnyValue::Int(value) => *value as f64,
            AnyValue::Double(value) => *value,
            AnyValue::String(text) => text.parse().ok()?,
            _ => return None,
        };
        match value {
            0.0 => Some(Intent::Drop),
            more if more > 0.0 => Some(Intent::Sample(Threshold::ALL)),
            _ => None,
        }
    }

    /// What the attribute of a record says.
    pub(super) fn of_record(&self, value: &AnyValue<'_>) -> Option<Intent> {
        let percentage = match value {
            AnyValue::Int(value) => *value as f64,
            AnyValue::Double(value) => *value,
            _ => return None,
        };
        match percentage {
            0.0 => Some(Intent::Drop),
            some if some > 0.0 => {
                // Below all thresholds the highest is the nearest.
                let threshold = Threshold::with_precision(some.min(100.0) / 100.0, self.precision);
                Some(Intent::Sample(threshold.unwrap_or(Threshold::MOST)))
            }
            _ => None,
        }
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self { of_spans: false, of_records: None, precision: Threshold::PRECISION }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_not_overlooked_wherever_its_key_stands() {
        let attribute = |content: &[u8]| [&[0x4a, content.len() as u8], content].concat();
        let key = [&[0x0a, 17], OF_SPAN.as_bytes()].concat();
        // The value 1.
        let value = [0x12, 2, 0x18, 1];
        let name = [0x2a, 17].iter().copied().chain(OF_SPAN.bytes()).collect();
        let other = attribute(&[&[0x0a, 17], &b"sampling.prioritx"[..], &value].concat());
        for (span, may) in [
            (Vec::new(), false),
            (name, false),
            (other.clone(), false),
            (attribute(&[&key[..], &value].concat()), true),
            ([other, attribute(&[&key[..], &value].concat())].concat(), true),
            (attribute(&[&value[..], &key].concat()), true),
            (attribute(&[]), true),
        ] {
            assert_eq!(may_have_one(&span), may, "{span:?}");
        }
    }
}
