//! What makes a trace worth keeping: policies, as the configuration says them.

use std::time::Duration;

use teleflow_otlp::span::StatusCode;

use crate::StatusSet;

mod chance;
mod conditions;
mod custom;
pub(crate) mod explain;
mod fact;
pub(crate) mod limit;
mod node;
mod region;
pub(crate) mod set;
mod spans;
mod value;

#[cfg(test)]
mod tests;

pub use custom::{Custom, Decider};

/// A named policy. The first one that keeps a trace is the one it was kept by.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// For people and metrics.
    pub name: String,
    /// What it keeps.
    pub policy: Policy,
}

/// Which traces are kept. "A span or its resource" means the spans and resources of the whole trace.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Policy {
    /// Every trace.
    Always,
    /// Traces with a span of one of these statuses.
    Status(StatusSet),
    /// Traces that took longer than `over` from the earliest start to the latest end, in whole
    /// milliseconds as the Collector counts them, and no longer than `up_to` where one is given. The
    /// whole trace counts; the Collector is content with what it read up to any of its spans.
    Latency {
        /// A trace of exactly this long is not kept.
        over: Duration,
        /// A trace of exactly this long is kept.
        up_to: Option<Duration>,
    },
    /// A share of all traces, by chance.
    Ratio(Ratio),
    /// Traces with a span or its resource whose attribute is a text that is one of these.
    ///
    /// An empty text is none of them, and an expression matches it on a resource only. Expressions
    /// are those of Go, as in [conditions](Policy::Conditions). Those of a policy may take 8 MiB
    /// together.
    StringAttribute {
        /// The attribute's name.
        key: String,
        /// The texts, or regular expressions that match somewhere in the attribute.
        values: Vec<String>,
        /// Whether they are regular expressions.
        is_regex: bool,
        /// Keeps the others instead: traces of which no attribute matches.
        is_inverted: bool,
    },
    /// Traces with a span or its resource whose attribute is a number within these bounds, whole or
    /// not. The Collector takes what is no whole number for zero.
    NumericAttribute {
        /// The attribute's name.
        key: String,
        /// The least that matches.
        min: Option<i64>,
        /// The most that matches.
        max: Option<i64>,
        /// Keeps the others instead: traces of which no attribute matches.
        is_inverted: bool,
    },
    /// Traces with a span or its resource whose attribute is this truth value. The Collector takes
    /// what is none for `false`.
    BooleanAttribute {
        /// The attribute's name.
        key: String,
        /// What matches.
        value: bool,
        /// Keeps the others instead: traces of which no attribute matches.
        is_inverted: bool,
    },
    /// Traces of so many spans.
    SpanCount {
        /// At least so many.
        min: u64,
        /// At most so many.
        max: Option<u64>,
    },
    /// Traces with a span whose trace state has an entry of this key and one of these values.
    TraceState {
        /// The entry's key.
        key: String,
        /// Its values.
        values: Vec<String>,
    },
    /// Traces with a span that has the sampled flag of W3C.
    TraceFlags,
    /// Traces as long as they bring no more than so many spans a second. A trace of more spans than
    /// the burst is never kept.
    RateLimit {
        /// Spans a second.
        spans_per_second: u64,
        /// How many spans may come at once.
        burst: u64,
    },
    /// Traces as long as they bring no more than so many bytes a second. A trace of more bytes than
    /// the burst is never kept. Spans count, without the resources and scopes above them.
    ByteLimit {
        /// Bytes a second.
        bytes_per_second: u64,
        /// How many bytes may come at once.
        burst: u64,
    },
    /// Traces with a span, or a span event, that any of these conditions is true of.
    Conditions(Conditions),
    /// Traces that all of these keep.
    And(Vec<Rule>),
    /// Traces that it does not keep. The votes of inverted policies (see
    /// [`Policies::inverted_votes`](crate::Policies::inverted_votes)) stay as they are.
    Not(Box<Rule>),
    /// Traces that all of these keep are left out, whatever others say. It is asked before all others,
    /// has at least one part, and is itself no part of another.
    Drop(Vec<Rule>),
    /// Traces that one of its parts keeps, within what that may bring.
    Composite(Composite),
    /// Traces that a type of one's own keeps.
    Custom(Custom),
}

/// A share of all traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// Which share, within 0 and 1.
    pub probability: f64,
    /// With an empty salt, the randomness of the trace decides, as the specification has it: the
    /// same traces are kept wherever the same share is asked for, and with a larger share the same
    /// and more. With a salt it is a hash of salt and trace id, for traces that do not say how they
    /// were sampled before: so samplers in a row choose independently.
    pub salt: String,
}

/// Conditions in the OpenTelemetry Transformation Language, OTTL.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// About spans.
    pub spans: Vec<String>,
    /// About span events.
    pub events: Vec<String>,
    /// What happens where a condition cannot be evaluated.
    pub on_error: OnError,
}

/// What happens where a condition cannot be evaluated, such as a comparison that makes no sense.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnError {
    /// The policy has no vote about the trace, and the error is counted.
    #[default]
    Propagate,
    /// The condition counts as false, and the error is counted.
    Ignore,
    /// The condition counts as false.
    Silent,
}

/// Policies that share a number of spans a second. The first part that keeps a trace decides: within
/// its own number the trace is kept, over it is not, and no other part is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    /// The most spans a second of each part, whatever it may have of its own.
    pub max_spans_per_second: u64,
    /// The parts, in the order in which they are asked.
    pub parts: Vec<Part>,
}

/// A part of a [`Composite`].
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it keeps.
    pub rule: Rule,
    /// The most spans a second.
    pub spans_per_second: u64,
}

// === impl Rule ===

impl Rule {
    /// Names a policy.
    pub fn new(name: impl Into<String>, policy: Policy) -> Self {
        Self { name: name.into(), policy }
    }
}

// === impl Policy ===

impl Policy {
    /// Keeps traces with a span that failed.
    pub fn errors() -> Self {
        Self::Status(StatusSet::from_iter([StatusCode::Error]))
    }

    /// Keeps traces that took longer than `over`.
    pub const fn slower_than(over: Duration) -> Self {
        Self::Latency { over, up_to: None }
    }

    /// Keeps `percent` of all traces; what is outside of 0 to 100 counts as the nearer of the two.
    pub fn percent(percent: f64, salt: impl Into<String>) -> Self {
        let probability = (percent / 100.0).clamp(0.0, 1.0);
        let probability = if probability.is_nan() { 0.0 } else { probability };
        Self::Ratio(Ratio { probability, salt: salt.into() })
    }
}
