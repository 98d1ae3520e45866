//! The readers of single values.
//!
//! Each gives `None` for `null`, and for a value that it refuses after saying so.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::later::Later;
use super::super::node::Value;
use super::super::suggest::closest;
use super::super::yaml::resolve_plain;
use super::super::{bytes, duration};
use super::{At, known_names};

impl<'a> At<'a> {
    /// Reads text. What the environment gave is text, whatever it looks like.
    pub(in super::super) fn text(&self) -> Option<&'a str> {
        self.text_or(|at| {
            let quoted = match &at.node.value {
                Value::Bool(value) => Some(format!("write \"{value}\" if text is meant")),
                Value::Integer(value) => Some(format!("write \"{value}\" if text is meant")),
                Value::Float(value) => Some(format!("write \"{value}\" if text is meant")),
                _ => None,
            };
            at.refuse("be text", quoted);
        })
    }

    /// Reads text that may be secret: a refusal does not repeat it.
    pub(in super::super) fn secret_text(&self) -> Option<&'a str> {
        self.text_or(|at| at.refuse_secret("be text"))
    }

    /// Reads text that says something.
    pub(in super::super) fn text_that_is_not_empty(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() {
            self.report.error(self.node.at, format!("{} must not be empty", self.path));
        }
        Some(text).filter(|text| !text.is_empty())
    }

    /// Reads text, or refuses what is not in the caller's words.
    pub(in super::super) fn text_or(&self, refuse: impl FnOnce(&Self)) -> Option<&'a str> {
        match (&self.node.expanded, &self.node.value) {
            (Some(text), _) | (None, Value::Text(text)) => Some(text),
            (None, Value::Null) => None,
            _ => {
                refuse(self);
                None
            }
        }
    }

    /// Reads `true` or `false`.
    pub(in super::super) fn truth(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(value) => Some(value),
            Value::Null => None,
            _ => {
                self.refuse("be true or false", None);
                None
            }
        }
    }

    /// Reads a whole number in `range`; an end of `u64::MAX` is no bound worth naming.
    pub(in super::super) fn whole(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match self.node.value {
            Value::Integer(number) => u64::try_from(number).ok(),
            Value::Null => return None,
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let unquoted = match &self.node.value {
                Value::Text(text) => matches!(resolve_plain(text), Value::Integer(_)),
                _ => false,
            };
            let hint = unquoted.then(|| "write it without quotes".to_owned());
            self.refuse(&format!("be a whole number {}", bounds(&range)), hint);
        }
        number
    }

    /// Reads a whole number that may be negative, of 64 bits.
    pub(in super::super) fn integer(&self) -> Option<i64> {
        let number = match self.node.value {
            Value::Integer(number) => i64::try_from(number).ok(),
            Value::Null => return None,
            _ => None,
        };
        if number.is_none() {
            self.refuse("be a whole number of 64 bits", None);
        }
        number
    }

    /// Reads a list of texts, none of which is empty.
    pub(in super::super) fn texts(&self) -> Vec<String> {
        let texts = self.items().into_iter();
        texts.filter_map(|item| Some(item.text_that_is_not_empty()?.to_owned())).collect()
    }

    /// Reads a number of things, from `low` to what 32 bits can count.
    pub(in super::super) fn count(&self, low: u64) -> Option<usize> {
        self.whole(low..=u32::MAX.into()).and_then(|count| usize::try_from(count).ok())
    }

    /// Reads a number in `range`.
    pub(in super::super) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.node.value {
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            Value::Null => return None,
            _ => None,
        };
        // NaN is in no range.
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = (range.start(), range.end());
            let must = if *high == f64::MAX {
                format!("be a number of at least {low}")
            } else {
                format!("be a number from {low} to {high}")
            };
            self.refuse(&must, None);
        }
        number
    }

    /// Reads a duration in Go's notation. A bare number other than 0 is refused: Go would take it
    /// for nanoseconds, its author for seconds.
    pub(in super::super) fn duration(&self) -> Option<Duration> {
        let result = match &self.node.value {
            Value::Null => return None,
            Value::Integer(0) => Ok(Duration::ZERO),
            Value::Integer(number) => duration::parse(&number.to_string()),
            Value::Text(text) => duration::parse(text),
            _ => Err("write a number and a unit: `5s`".to_owned()),
        };
        let hint = match result {
            Ok(duration) => return Some(duration),
            // The hint would repeat the number.
            Err(_) if self.node.expanded.is_some() => "write a number and a unit: `5s`".to_owned(),
            Err(hint) => hint,
        };
        self.refuse("be a duration", Some(hint));
        None
    }

    /// Reads a number of bytes in `range`, with or without a unit.
    pub(in super::super) fn bytes(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let result = match &self.node.value {
            Value::Null => return None,
            Value::Integer(number) => bytes::parse(&number.to_string()),
            Value::Text(text) => bytes::parse(text),
            _ => bytes::parse(""),
        };
        match result {
            Ok(bytes) if range.contains(&bytes) => return Some(bytes),
            Ok(_) => self.refuse(&format!("be a number of bytes {}", bounds(&range)), None),
            Err(hint) => self.refuse("be a number of bytes", Some(hint)),
        }
        None
    }

    /// Reads one of the named values; the names in `later` are known but not supported yet.
    pub(in super::super) fn one_of<T: Copy>(&self, known: &[(&str, T)], later: Later) -> Option<T> {
        if self.is_null() {
            return None;
        }
        let text = self.text()?;
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names = known.iter().map(|(name, _)| *name).filter(|name| !name.is_empty());
        if let Some((name, _)) = later.iter().find(|(name, _)| *name == text) {
            let message = format!("{} `{name}` is not supported in this version", self.path);
            self.report.error_with_hint(self.node.at, message, known_names(names));
            return None;
        }
        let hint = closest(text, names.clone()).map(|name| format!("did you mean `{name}`?"));
        self.refuse(&format!("be one of: {}", names.collect::<Vec<_>>().join(", ")), hint);
        None
    }
}

fn bounds(range: &RangeInclusive<u64>) -> String {
    match (range.start(), range.end()) {
        (low, &u64::MAX) => format!("of at least {low}"),
        (low, high) => format!("from {low} to {high}"),
    }
}
