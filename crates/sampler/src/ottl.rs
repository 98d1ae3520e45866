//! Stands in for conditions.

use teleflow_otlp::span::Event;
use teleflow_otlp::value::AnyValue;

use crate::SpanView;

#[derive(Debug)]
pub(crate) struct Condition {
    path: Path,
    is_prefix: bool,
    text: String,
}

#[derive(Debug)]
enum Path {
    Name,
    Resource(String),
    Span(String),
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this is no text")]
pub(crate) struct EvalError;

#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("column 1: this is no condition")]
pub(crate) struct ParseError;

impl Condition {
    pub(crate) fn span(text: &str) -> Result<Self, ParseError> {
        let (path, text, is_prefix) = match text.strip_prefix("HasPrefix(") {
            Some(rest) => {
                let (path, text) = rest.split_once(", ").ok_or(ParseError)?;
                (path, text.strip_suffix(")").ok_or(ParseError)?, true)
            }
            None => {
                let (path, text) = text.split_once(" == ").ok_or(ParseError)?;
                (path, text, false)
            }
        };
        let key = |path: &str| {
            let path = path.strip_prefix("attributes[\"")?;
            path.strip_suffix("\"]").map(str::to_owned)
        };
        let path = match path {
            "span.name" => Path::Name,
            path => match path.split_once('.').ok_or(ParseError)? {
                ("resource", path) => Path::Resource(key(path).ok_or(ParseError)?),
                ("span", path) => Path::Span(key(path).ok_or(ParseError)?),
                _ => return Err(ParseError),
            },
        };
        let text = text.trim_matches('"').to_owned();
        Ok(Self { path, is_prefix, text })
    }

    pub(crate) fn eval(
        &self,
        span: &SpanView<'_>,
        _: Option<&Event<'_>>,
    ) -> Result<bool, EvalError> {
        let value = match &self.path {
            Path::Name => Some(AnyValue::String(span.span().name)),
            Path::Resource(key) => span.resource_attribute(key),
            Path::Span(key) => span.attribute(key),
        };
        match value {
            Some(AnyValue::String(text)) if self.is_prefix => Ok(text.starts_with(&*self.text)),
            Some(AnyValue::String(text)) => Ok(text == self.text),
            _ if self.is_prefix => Err(EvalError),
            _ => Ok(false),
        }
    }
}
