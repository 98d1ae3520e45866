//! Conditions in the OpenTelemetry Transformation Language, OTTL, evaluated on bytes.
//!
//! A [`Condition`] is about a span, or about an event of one. It is compiled once, and looks at each
//! span where it lies: nothing is decoded that it does not ask for, and comparing an attribute
//! allocates nothing.
//!
//! What is understood is the common path: paths of spans, events, resources and scopes, comparison,
//! boolean and arithmetic operators, and the functions that conditions are made of. Values compare as
//! in the Collector, and what fails there while it is evaluated fails here. The page `docs/ottl.md`
//! has the lists, and what differs.
//!
//! ```
//! use teleflow_sampler::SpanView;
//! use teleflow_sampler::ottl::Condition;
//!
//! let slow = Condition::span(r#"kind == SPAN_KIND_SERVER and end_time - start_time > Duration("1s")"#)?;
//!
//! // Span { kind: 2, start: 1 ns, end: 2^31 ns }
//! let message = b"\x30\x02\x39\x01\0\0\0\0\0\0\0\x41\0\0\0\x80\0\0\0\0";
//! let span = SpanView { resource: b"", scope: b"", message };
//! assert_eq!(slow.eval(&span, None), Ok(true));
//!
//! let error = Condition::span(r#"attribute["http.route"] == "/""#).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "column 1: found `attribute`, expected a path of a span, its resource or scope; \
//!      did you mean `attributes`?"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use teleflow_otlp::span::Event;
use teleflow_otlp::value::AnyValue;

use crate::SpanView;

mod call;
mod convert;
mod duration;
mod error;
mod expr;
mod function;
mod lexer;
mod parser;
mod path;
mod record;
mod value;
mod walk;

pub use error::{EvalError, ParseError};

use expr::Test;
use record::Record;

/// The most bytes of a condition's text.
pub const MAX_BYTES: usize = 64 * 1024;

/// The text that stands for a value, where there is one.
pub(crate) fn plain_text(value: AnyValue<'_>) -> Option<Cow<'_, str>> {
    convert::item_text(value).ok()
}

/// A condition, compiled. Clones share it.
///
/// Its [`Display`](fmt::Display) is the text that it was read from.
#[derive(Clone)]
pub struct Condition(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    subject: Subject,
    test: Test,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Subject {
    Span,
    Event,
}

// === impl Condition ===

impl Condition {
    /// Reads a condition about spans. Paths are those of the span, with or without `span.` before
    /// them, of `resource.` and of `scope.`, which is also `instrumentation_scope.`.
    ///
    /// # Errors
    ///
    /// The text is none, is longer than [`MAX_BYTES`], or has something that is not understood here.
    pub fn span(text: &str) -> Result<Self, ParseError> {
        Self::new(text, Subject::Span)
    }

    /// Reads a condition about the events of spans. Paths are those of the event, with or without
    /// `spanevent.` before them, of `span.`, `resource.` and `scope.`.
    ///
    /// # Errors
    ///
    /// As those of [`span`](Self::span).
    pub fn event(text: &str) -> Result<Self, ParseError> {
        Self::new(text, Subject::Event)
    }

    fn new(text: &str, subject: Subject) -> Result<Self, ParseError> {
        if text.len() > MAX_BYTES {
            let found = format!("{} bytes", text.len());
            return Err(ParseError::new(1, found, format!("no more than {MAX_BYTES}"), None));
        }
        let test = parser::parse(text, subject)?;
        Ok(Self(Arc::new(Compiled { text: text.into(), subject, test })))
    }

    /// Whether the condition is true of this span, or of this event of it. A condition about spans
    /// does not look at the event.
    ///
    /// Bytes that are no span are read as far as they are one, and never panic.
    ///
    /// # Errors
    ///
    /// If a function or an operator cannot do with what is there, such as a prefix of a number; or
    /// if the condition is about an event and there is none.
    pub fn eval(&self, span: &SpanView<'_>, event: Option<&Event<'_>>) -> Result<bool, EvalError> {
        self.0.test.eval(&Record::new(*span, event.copied()))
    }

    /// Whether it is about events, and not about spans.
    pub fn is_about_events(&self) -> bool {
        self.0.subject == Subject::Event
    }

    /// The text that it was read from.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.0.subject).field(&self.0.text).finish()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}
