//! Functions, on a span.

use std::borrow::Cow;

use regex::Regex;

use super::convert::{self, wants};
use super::duration;
use super::error::{EvalError, Problem};
use super::expr::Expr;
use super::record::Record;
use super::value::{Comparison, Value};

/// A function and what it is asked about.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: Function,
    /// Where it is written.
    pub(super) column: u32,
}

#[derive(Debug)]
pub(super) enum Function {
    IsRootSpan,
    IsMatch(Expr, Regex),
    Is(Sort, Expr),
    IsEmpty(Expr),
    HasPrefix(Expr, Expr),
    HasSuffix(Expr, Expr),
    ContainsValue(Items, Expr),
    Len(Expr),
    Int(Expr),
    Double(Expr),
    Bool(Expr),
    String(Expr),
    ToLowerCase(Expr),
    ToUpperCase(Expr),
    Concat(Items, Expr),
    Duration(Expr),
    /// A duration in so many nanoseconds, counted whole.
    Whole(&'static str, i64, Expr),
    /// A duration in so many nanoseconds, with what is left over as a fraction.
    Parts(&'static str, i64, Expr),
    /// A time in so many nanoseconds since 1970.
    Unix(&'static str, i128, Expr),
    TraceId(Expr),
    SpanId(Expr),
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sort {
    String,
    Int,
    Double,
    Bool,
    Map,
    List,
}

/// Several values: each written down, or all in one list.
#[derive(Debug)]
pub(super) enum Items {
    Each(Vec<Expr>),
    List(Expr),
}

// === impl Call ===

impl Call {
    pub(super) fn eval<'a>(&'a self, record: &Record<'a>) -> Result<Value<'a>, EvalError> {
        let here = |problem: Problem| problem.at(self.column);
        Ok(match &self.function {
            Function::IsRootSpan => Value::Bool(record.is_root()),
            Function::IsMatch(target, pattern) => {
                let text = convert::text(target.eval(record)?).map_err(here)?;
                Value::Bool(text.is_some_and(|text| pattern.is_match(&text)))
            }
            Function::Is(sort, target) => Value::Bool(sort.includes(&target.eval(record)?)),
            Function::IsEmpty(target) => Value::Bool(is_empty(target.eval(record)?)),
            Function::HasPrefix(target, prefix) => {
                let target = self.text("HasPrefix", target, record)?;
                Value::Bool(target.starts_with(&*self.text("HasPrefix", prefix, record)?))
            }
            Function::HasSuffix(target, suffix) => {
                let target = self.text("HasSuffix", target, record)?;
                Value::Bool(target.ends_with(&*self.text("HasSuffix", suffix, record)?))
            }
            Function::ContainsValue(items, item) => {
                Value::Bool(self.contains(items, item, record)?)
            }
            Function::Len(target) => Value::Int(len(target.eval(record)?).map_err(here)?),
            Function::Int(target) => {
                let value = convert::int(&target.eval(record)?).map_err(here)?;
                value.map_or(Value::Nil, Value::Int)
            }
            Function::Double(target) => {
                let value = convert::float(&target.eval(record)?).map_err(here)?;
                value.map_or(Value::Nil, Value::Double)
            }
            Function::Bool(target) => {
                let value = convert::bool(&target.eval(record)?).map_err(here)?;
                value.map_or(Value::Nil, Value::Bool)
            }
            Function::String(target) => {
                let value = convert::text(target.eval(record)?).map_err(here)?;
                value.map_or(Value::Nil, Value::Text)
            }
            Function::ToLowerCase(target) => {
                let text = self.text("ToLowerCase", target, record)?;
                Value::Text(Cow::Owned(convert::lower(&text)))
            }
            Function::ToUpperCase(target) => {
                let text = self.text("ToUpperCase", target, record)?;
                Value::Text(Cow::Owned(convert::upper(&text)))
            }
            Function::Concat(items, delimiter) => {
                Value::Text(Cow::Owned(self.concat(items, delimiter, record)?))
            }
            Function::Duration(target) => {
                let text = self.text("Duration", target, record)?;
                let parsed = duration::parse(&text).ok_or(Problem::Unreadable("Duration"));
                Value::Duration(parsed.map_err(here)?)
            }
            Function::Whole(who, unit, target) => {
                Value::Int(self.duration(who, target, record)? / unit)
            }
            Function::Parts(who, unit, target) => {
                let nanos = self.duration(who, target, record)?;
                Value::Double((nanos / unit) as f64 + (nanos % unit) as f64 / *unit as f64)
            }
            Function::Unix(who, unit, target) => match target.eval(record)? {
                Value::Time(nanos) => Value::Int(nanos.div_euclid(*unit) as i64),
                other => return Err(here(wants(who, "a time", &other))),
            },
            Function::TraceId(target) => {
                Value::TraceId(id("TraceID", target.eval(record)?).map_err(here)?)
            }
            Function::SpanId(target) => {
                Value::SpanId(id("SpanID", target.eval(record)?).map_err(here)?)
            }
        })
    }

    fn text<'a>(
        &self,
        who: &'static str,
        expr: &'a Expr,
        record: &Record<'a>,
    ) -> Result<Cow<'a, str>, EvalError> {
        match expr.eval(record)? {
            Value::Text(text) => Ok(text),
            other => Err(wants(who, "a text", &other).at(self.column)),
        }
    }

    fn duration<'a>(
        &self,
        who: &'static str,
        expr: &'a Expr,
        record: &Record<'a>,
    ) -> Result<i64, EvalError> {
        match expr.eval(record)? {
            Value::Duration(nanos) => Ok(nanos),
            other => Err(wants(who, "a duration", &other).at(self.column)),
        }
    }

    fn contains<'a>(
        &self,
        items: &'a Items,
        item: &'a Expr,
        record: &Record<'a>,
    ) -> Result<bool, EvalError> {
        let is = |value: &Value<'_>, item: &Value<'_>| Comparison::Equal.holds(value, item);
        match items {
            Items::List(list) => {
                let mut list = match list.eval(record)? {
                    Value::List(list) => list,
                    other => return Err(wants("ContainsValue", "a list", &other).at(self.column)),
                };
                let item = item.eval(record)?;
                Ok(list.any(|value| is(&value.into(), &item)))
            }
            Items::Each(exprs) => {
                let item = item.eval(record)?;
                let mut found = false;
                // All are evaluated: where one fails, so does this, wherever the item is.
                for expr in exprs {
                    let value = expr.eval(record)?;
                    if !is_scalar(&value) {
                        let wanted = "a list of texts, numbers, truth values and bytes";
                        return Err(wants("ContainsValue", wanted, &value).at(self.column));
                    }
                    found |= is(&value, &item);
                }
                Ok(found)
            }
        }
    }

    fn concat<'a>(
        &self,
        items: &'a Items,
        delimiter: &'a Expr,
        record: &Record<'a>,
    ) -> Result<String, EvalError> {
        let here = |problem: Problem| problem.at(self.column);
        let delimiter = self.text("Concat", delimiter, record)?;
        let mut out = String::new();
        let mut add = |index: usize, text: Option<&str>| {
            if index > 0 {
                out.push_str(&delimiter);
            }
            out.push_str(text.unwrap_or("<nil>"));
        };
        match items {
            Items::Each(exprs) => {
                for (index, expr) in exprs.iter().enumerate() {
                    let text = convert::text(expr.eval(record)?).map_err(here)?;
                    add(index, text.as_deref());
                }
            }
            Items::List(expr) => match expr.eval(record)? {
                Value::Nil => {}
                Value::List(list) => {
                    for (index, value) in list.enumerate() {
                        add(index, Some(&convert::item_text(value).map_err(here)?));
                    }
                }
                other => return Err(here(wants("Concat", "a list", &other))),
            },
        }
        Ok(out)
    }
}

// === impl Sort ===

impl Sort {
    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Int => "a whole number",
            Self::Double => "a floating point number",
            Self::Bool => "a truth value",
            Self::Map => "a map",
            Self::List => "a list",
        }
    }

    pub(super) const fn includes(self, value: &Value<'_>) -> bool {
        match self {
            Self::String => matches!(value, Value::Text(_)),
            Self::Int => matches!(value, Value::Int(_)),
            Self::Double => matches!(value, Value::Double(_)),
            Self::Bool => matches!(value, Value::Bool(_)),
            Self::Map => matches!(value, Value::Map(_)),
            Self::List => matches!(value, Value::List(_) | Value::Items(_)),
        }
    }
}

/// Whether it may be in a list that is written out, as the Collector makes lists.
const fn is_scalar(value: &Value<'_>) -> bool {
    matches!(
        value,
        Value::Nil
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Double(_)
            | Value::Text(_)
            | Value::Bytes(_)
    )
}

/// Of texts and bytes how many bytes, of lists and maps how many entries.
fn len(value: Value<'_>) -> Result<i64, Problem> {
    Ok(match value {
        Value::Text(text) => text.len() as i64,
        Value::Bytes(bytes) => bytes.len() as i64,
        Value::Map(map) => map.count() as i64,
        Value::List(list) => list.count() as i64,
        Value::Items(count) => count,
        other => return Err(wants("Len", "a text, a list or a map", &other)),
    })
}

/// Whether it is nothing, or the least of its kind.
fn is_empty(value: Value<'_>) -> bool {
    match value {
        Value::Nil => true,
        Value::Bool(value) => !value,
        Value::Int(value) | Value::Duration(value) => value == 0,
        // A negative zero is not all zeros.
        Value::Double(value) => value.to_bits() == 0,
        Value::Text(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Map(mut map) => map.next().is_none(),
        Value::List(mut list) => list.next().is_none(),
        // Go's zero is the year 1, and spans have only later times.
        Value::Time(_) | Value::Items(_) => false,
        Value::TraceId(id) => id == [0; 16],
        Value::SpanId(id) => id == [0; 8],
    }
}

/// An id from its bytes, or from their hexadecimal digits.
pub(super) fn id<const N: usize>(who: &'static str, value: Value<'_>) -> Result<[u8; N], Problem> {
    let bytes = match &value {
        Value::Text(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        other => return Err(wants(who, "bytes, or a text of hexadecimal digits", other)),
    };
    if let Ok(id) = bytes.try_into() {
        return Ok(id);
    }
    if bytes.len() != 2 * N {
        return Err(Problem::WrongLength(who));
    }
    convert::unhex(bytes).ok_or(Problem::Unreadable(who))
}
