//! Conditions about spans and span events.

use teleflow_otlp::span::Event;
use thiserror::Error;

use crate::SpanView;

/// A condition that was read.
#[derive(Clone, Debug)]
pub(crate) struct Condition(bool);

/// What was read is no condition.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{0}` is neither `true` nor `false`")]
pub(crate) struct ParseError(String);

/// A condition that cannot be evaluated.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the condition cannot be evaluated")]
pub(crate) struct EvalError;

// === impl Condition ===

impl Condition {
    pub(crate) fn span(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self).map_err(|_| ParseError(text.into()))
    }

    pub(crate) fn event(text: &str) -> Result<Self, ParseError> {
        Self::span(text)
    }

    pub(crate) fn eval(
        &self,
        _span: &SpanView<'_>,
        _event: Option<&Event<'_>>,
    ) -> Result<bool, EvalError> {
        Ok(self.0)
    }
}
