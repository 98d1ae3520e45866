//! What says for itself how likely it is to be kept.

use teleflow_otlp::value::AnyValue;

use crate::{Intent, Threshold};

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
pub(super) const SPAN_PRIORITY: &str = "sampling.priority";

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
