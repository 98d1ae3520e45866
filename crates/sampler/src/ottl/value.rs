//! What an expression is on a span, and how two of these compare.

use std::borrow::Cow;
use std::cmp::Ordering;

use teleflow_otlp::value::{AnyValue, Array, Attributes};

/// A value. What comes from the span is read where it lies.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
    Map(Attributes<'a>),
    List(Array<'a>),
    /// Nanoseconds since 1970: further than any time that a span can have, for sums.
    Time(i128),
    /// Nanoseconds.
    Duration(i64),
    TraceId([u8; 16]),
    SpanId([u8; 8]),
    /// The events or the links of a span, which can only be counted.
    Items(i64),
}

/// `==` and its kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

// === impl Value ===

impl<'a> Value<'a> {
    pub(super) const fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// What it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Double(_) => "a floating point number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::Map(_) => "a map",
            Self::List(_) => "a list",
            Self::Time(_) => "a time",
            Self::Duration(_) => "a duration",
            Self::TraceId(_) => "a trace id",
            Self::SpanId(_) => "a span id",
            Self::Items(_) => "a list of events or links",
        }
    }

    /// Whether there is nothing: the Collector takes bytes of which there are none for that, too.
    const fn is_nil(&self) -> bool {
        matches!(self, Self::Nil | Self::Bytes([]))
    }
}

impl<'a> From<AnyValue<'a>> for Value<'a> {
    fn from(value: AnyValue<'a>) -> Self {
        match value {
            AnyValue::Empty => Self::Nil,
            AnyValue::String(text) => Self::text(text),
            AnyValue::Bool(value) => Self::Bool(value),
            AnyValue::Int(value) => Self::Int(value),
            AnyValue::Double(value) => Self::Double(value),
            AnyValue::Array(list) => Self::List(list),
            AnyValue::Map(map) => Self::Map(map),
            AnyValue::Bytes(bytes) => Self::Bytes(bytes),
        }
    }
}

// === impl Comparison ===

impl Comparison {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    /// Whether it is true of two values. Of two that cannot be compared only `!=` is.
    pub(super) fn holds(self, a: &Value<'_>, b: &Value<'_>) -> bool {
        if a.is_nil() && b.is_nil() {
            return self.is(Some(Ordering::Equal));
        }
        match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => self.is(Some(a.cmp(b))),
            (Value::Int(a), Value::Int(b)) => self.is(Some(a.cmp(b))),
            (Value::Double(a), Value::Double(b)) => self.is(a.partial_cmp(b)),
            (Value::Int(a), Value::Double(b)) => self.is((*a as f64).partial_cmp(b)),
            (Value::Double(a), Value::Int(b)) => self.is(a.partial_cmp(&(*b as f64))),
            (Value::Text(a), Value::Text(b)) => self.texts(a, b),
            (Value::Bytes(a), Value::Bytes(b)) if !a.is_empty() && !b.is_empty() => {
                self.is(Some(a.cmp(b)))
            }
            (Value::Time(a), Value::Time(b)) => self.is(Some(a.cmp(b))),
            (Value::Duration(a), Value::Duration(b)) => self.is(Some(a.cmp(b))),
            (Value::TraceId(a), Value::TraceId(b)) => self.equality(|| a == b),
            (Value::SpanId(a), Value::SpanId(b)) => self.equality(|| a == b),
            (Value::Map(a), Value::Map(b)) => self.equality(|| same_maps(a, b)),
            (Value::List(a), Value::List(b)) => self.equality(|| same_lists(a, b)),
            _ => self == Self::NotEqual,
        }
    }

    fn is(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::NotEqual => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }

    /// Texts are nearly always asked for equality, which their lengths mostly answer.
    fn texts(self, a: &str, b: &str) -> bool {
        match self {
            Self::Equal => a == b,
            Self::NotEqual => a != b,
            _ => self.is(Some(a.cmp(b))),
        }
    }

    /// For values that are equal or not, and have no order.
    fn equality(self, is_equal: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Equal => is_equal(),
            Self::NotEqual => !is_equal(),
            _ => false,
        }
    }
}

/// Whether two maps have the same keys and values. Of a key that repeats the first counts.
///
/// Both are sorted first: maps come from whoever sends spans, and may be large.
fn same_maps(a: &Attributes<'_>, b: &Attributes<'_>) -> bool {
    let (a, b) = (sorted(a), sorted(b));
    a.len() == b.len()
        && a.iter()
            .zip(&b)
            .all(|((key, value), (other, of_other))| key == other && same_values(value, of_other))
}

fn sorted<'a>(map: &Attributes<'a>) -> Vec<(&'a str, AnyValue<'a>)> {
    let mut entries: Vec<_> = map.clone().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.dedup_by_key(|(key, _)| *key);
    entries
}

fn same_lists(a: &Array<'_>, b: &Array<'_>) -> bool {
    let mut b = b.clone();
    a.clone().all(|value| b.next().is_some_and(|other| same_values(&value, &other)))
        && b.next().is_none()
}

/// Within maps and lists a whole number equals no other number. They are nested no deeper than the
/// protocol's reader lets them.
fn same_values(a: &AnyValue<'_>, b: &AnyValue<'_>) -> bool {
    match (a, b) {
        (AnyValue::Empty, AnyValue::Empty) => true,
        (AnyValue::String(a), AnyValue::String(b)) => a == b,
        (AnyValue::Bool(a), AnyValue::Bool(b)) => a == b,
        (AnyValue::Int(a), AnyValue::Int(b)) => a == b,
        (AnyValue::Double(a), AnyValue::Double(b)) => a == b,
        (AnyValue::Bytes(a), AnyValue::Bytes(b)) => a == b,
        (AnyValue::Map(a), AnyValue::Map(b)) => same_maps(a, b),
        (AnyValue::Array(a), AnyValue::Array(b)) => same_lists(a, b),
        _ => false,
    }
}
