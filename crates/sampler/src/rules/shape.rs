//! What a trace is as a whole.

use crate::TraceSummary;

/// What a trace is as a whole, as far as it has come: by default whatever it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Shape {
    /// Whether a span without a parent is there, or none.
    pub has_root: Option<bool>,
    /// How many spans are there, at least.
    pub min_spans: u64,
    /// How many at most; not less than that.
    pub max_spans: Option<u64>,
}

// === impl Shape ===

impl Shape {
    /// Says what is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.max_spans {
            Some(most) if most < self.min_spans => {
                Err(format!("at least {} spans and at most {most}: no trace has", self.min_spans))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is that of every trace.
    pub(super) fn is_any(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is that of this trace.
    pub(super) fn is_of(&self, trace: &TraceSummary) -> bool {
        let Self { has_root, min_spans, max_spans } = *self;
        has_root.is_none_or(|has_root| has_root == trace.has_root)
            && trace.spans >= min_spans
            && max_spans.is_none_or(|most| trace.spans <= most)
    }

    /// Why it is not that of this trace.
    pub(super) fn why_not(&self, trace: &TraceSummary) -> String {
        let spans = trace.spans;
        match *self {
            Self { has_root: Some(true), .. } if !trace.has_root => "its root is not there".into(),
            Self { has_root: Some(false), .. } if trace.has_root => "its root is there".into(),
            Self { min_spans, .. } if spans < min_spans => {
                format!("it has {spans} spans, and not {min_spans}")
            }
            Self { max_spans, .. } => {
                format!("it has {spans} spans, more than {}", max_spans.unwrap_or_default())
            }
        }
    }
}
