//! Conditions in OTTL at work.

use std::fmt::Display;

use teleflow_otlp::span::Event;
use thiserror::Error;

use crate::ottl::{Condition, EvalError};
use crate::policy::{Conditions, OnError};
use crate::tail::ConfigError;
use crate::{SpanView, Trace};

/// [`Conditions`] that were read.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    spans: Vec<Read>,
    events: Vec<Read>,
    texts: Conditions,
}

/// A condition that was read.
#[derive(Clone, Debug)]
enum Read {
    Condition(Condition),
    /// One that can never be evaluated.
    #[cfg(test)]
    Broken,
}

/// Why a condition could not be evaluated.
#[derive(Debug, Error)]
enum Failed {
    #[error("{0}")]
    Condition(EvalError),
    #[cfg(test)]
    #[error("it is broken")]
    Broken,
}

/// What came of a search.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    /// `None`: it could not be told.
    pub(crate) is_true: Option<bool>,
    /// Whether an error is to be counted.
    pub(crate) had_error: bool,
}

/// Where a search ended, for people.
#[derive(Debug)]
pub(crate) enum End {
    /// A condition, by its text, was true of a span.
    True(String),
    /// A condition could not be evaluated.
    Error(String),
    /// None was true.
    Nothing,
}

// === impl Search ===

impl Search {
    /// # Errors
    ///
    /// If there is no condition, or one cannot be read; `path` names the policy.
    pub(crate) fn new(conditions: &Conditions, path: &str) -> Result<Self, ConfigError> {
        let error = |problem| ConfigError::Rule { rule: path.into(), problem };
        if conditions.spans.is_empty() && conditions.events.is_empty() {
            return Err(error("it needs at least one condition".into()));
        }
        let bad = |text: &str, problem: &dyn Display| {
            error(format!("the condition `{text}` cannot be used: {problem}"))
        };
        let span = |text: &String| {
            Read::new(text, |text| Condition::span(text).map_err(|problem| bad(text, &problem)))
        };
        let event = |text: &String| {
            Read::new(text, |text| Condition::event(text).map_err(|problem| bad(text, &problem)))
        };
        Ok(Self {
            spans: conditions.spans.iter().map(span).collect::<Result<_, _>>()?,
            events: conditions.events.iter().map(event).collect::<Result<_, _>>()?,
            texts: conditions.clone(),
        })
    }

    /// Whether a condition is true of a span or an event of it. Ends with the first that is, or with
    /// the first error that is not to be passed over.
    pub(crate) fn run(&self, trace: &Trace<'_>) -> Found {
        let mut had_error = false;
        let mut is_true = Some(false);
        trace.any(|span| {
            let mut ask = |condition: &Read, event: Option<&Event<'_>>| {
                judge(condition.eval(&span, event), self.texts.on_error, &mut had_error)
            };
            is_true = self.ask(&span, &mut ask);
            is_true != Some(false)
        });
        Found { is_true, had_error }
    }

    fn ask(
        &self,
        span: &SpanView<'_>,
        ask: &mut impl FnMut(&Read, Option<&Event<'_>>) -> Option<bool>,
    ) -> Option<bool> {
        for condition in &self.spans {
            if ask(condition, None)? {
                return Some(true);
            }
        }
        if self.events.is_empty() {
            return Some(false);
        }
        for event in span.events() {
            for condition in &self.events {
                if ask(condition, Some(&event))? {
                    return Some(true);
                }
            }
        }
        Some(false)
    }

    /// Runs it again, for people.
    pub(crate) fn explain(&self, trace: &Trace<'_>) -> End {
        let mut end = End::Nothing;
        let of = |condition: &Read| {
            let place = |all: &[Read]| all.iter().position(|one| std::ptr::eq(one, condition));
            let span = place(&self.spans).map(|at| &self.texts.spans[at]);
            let event = || place(&self.events).map(|at| &self.texts.events[at]);
            span.or_else(event).cloned().unwrap_or_default()
        };
        trace.any(|span| {
            let name = span.span().name;
            let mut ask = |condition: &Read, event: Option<&Event<'_>>| {
                let result = condition.eval(&span, event);
                let of = || format!("`{}` of span `{name}`", of(condition));
                match &result {
                    Ok(true) => end = End::True(of()),
                    Ok(false) => {}
                    Err(error) => end = End::Error(format!("{}: {error}", of())),
                }
                judge(result, self.texts.on_error, &mut false)
            };
            self.ask(&span, &mut ask) != Some(false)
        });
        end
    }
}

// === impl Read ===

impl Read {
    fn new(
        text: &str,
        read: impl FnOnce(&str) -> Result<Condition, ConfigError>,
    ) -> Result<Self, ConfigError> {
        #[cfg(test)]
        if text == BROKEN {
            return Ok(Self::Broken);
        }
        read(text).map(Self::Condition)
    }

    fn eval(&self, span: &SpanView<'_>, event: Option<&Event<'_>>) -> Result<bool, Failed> {
        match self {
            Self::Condition(condition) => condition.eval(span, event).map_err(Failed::Condition),
            #[cfg(test)]
            Self::Broken => Err(Failed::Broken),
        }
    }
}

/// In tests, a condition that can never be evaluated.
#[cfg(test)]
pub(crate) const BROKEN: &str = "broken";

/// What a condition's answer means: `None` ends the search without an answer.
fn judge<E>(answer: Result<bool, E>, on_error: OnError, had_error: &mut bool) -> Option<bool> {
    match (answer, on_error) {
        (Ok(answer), _) => Some(answer),
        (Err(_), OnError::Propagate) => {
            *had_error = true;
            None
        }
        (Err(_), OnError::Ignore) => {
            *had_error = true;
            Some(false)
        }
        (Err(_), OnError::Silent) => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_no_answer_or_counts_as_false() {
        for (on_error, is_true, counts) in [
            (OnError::Propagate, None, true),
            (OnError::Ignore, Some(false), true),
            (OnError::Silent, Some(false), false),
        ] {
            let mut had_error = false;
            assert_eq!(judge(Err(()), on_error, &mut had_error), is_true, "{on_error:?}");
            assert_eq!(had_error, counts, "{on_error:?}");
            for answer in [true, false] {
                let mut had_error = false;
                assert_eq!(judge::<()>(Ok(answer), on_error, &mut had_error), Some(answer));
                assert!(!had_error);
            }
        }
    }
}
