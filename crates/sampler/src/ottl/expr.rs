//! Expressions and conditions, compiled, and what they are on a span.

use super::call::Call;
use super::error::{EvalError, Problem};
use super::path::Field;
use super::record::Record;
use super::value::{Comparison, Value};

/// Something with a value.
#[derive(Debug)]
pub(super) enum Expr {
    Literal(Literal),
    Path(Path),
    Call(Box<Call>),
    Negated(Box<Self>, u32),
    /// A value and what happens to it, one after the other: not nested, so that a long sum is no
    /// deep one.
    Math(Box<Self>, Vec<Step>),
}

/// A value that the condition itself says.
#[derive(Debug)]
pub(super) enum Literal {
    Nil,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Duration(i64),
    TraceId([u8; 16]),
    SpanId([u8; 8]),
}

/// A part of the telemetry.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) field: Field,
    /// The names and places in it, outermost first.
    pub(super) keys: Box<[Key]>,
    pub(super) column: u32,
}

/// Where in a map or a list.
#[derive(Debug)]
pub(super) enum Key {
    Name(Box<str>),
    Place(u64),
}

/// An operator and its right side.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) operator: Operator,
    pub(super) right: Expr,
    pub(super) column: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// Something that is true or not.
#[derive(Debug)]
pub(super) enum Test {
    Always(bool),
    Compare(Expr, Comparison, Expr),
    /// A function that answers.
    Holds(Expr, u32),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

// === impl Test ===

impl Test {
    pub(super) fn compare(left: Expr, comparison: Comparison, right: Expr) -> Self {
        match (&left, &right) {
            // What functions make of literals is none: the Collector finds out about them late.
            (Expr::Literal(left), Expr::Literal(right)) if left.is_plain() && right.is_plain() => {
                Self::Always(comparison.holds(&left.value(), &right.value()))
            }
            _ => Self::Compare(left, comparison, right),
        }
    }

    pub(super) fn not(test: Self) -> Self {
        match test {
            Self::Always(is) => Self::Always(!is),
            test => Self::Not(Box::new(test)),
        }
    }

    /// As in the Collector, one that is always false stands for all of them: the others are not
    /// evaluated, and cannot fail.
    pub(super) fn all(tests: Vec<Self>) -> Self {
        Self::of_many(tests, false, Self::All)
    }

    /// As in the Collector, one that is always true stands for all of them.
    pub(super) fn any(tests: Vec<Self>) -> Self {
        Self::of_many(tests, true, Self::Any)
    }

    fn of_many(mut tests: Vec<Self>, decisive: bool, many: fn(Vec<Self>) -> Self) -> Self {
        if tests.iter().any(|test| matches!(test, Self::Always(is) if *is == decisive)) {
            return Self::Always(decisive);
        }
        tests.retain(|test| !matches!(test, Self::Always(_)));
        match tests.pop() {
            None => Self::Always(!decisive),
            Some(only) if tests.is_empty() => only,
            Some(last) => {
                tests.push(last);
                many(tests)
            }
        }
    }

    pub(super) fn eval<'a>(&'a self, record: &Record<'a>) -> Result<bool, EvalError> {
        match self {
            Self::Always(is) => Ok(*is),
            Self::Compare(left, comparison, right) => {
                let left = left.eval(record)?;
                Ok(comparison.holds(&left, &right.eval(record)?))
            }
            Self::Holds(expr, column) => match expr.eval(record)? {
                Value::Bool(is) => Ok(is),
                other => {
                    Err(super::convert::wants("a condition", "a truth value", &other).at(*column))
                }
            },
            Self::Not(test) => test.eval(record).map(|is| !is),
            Self::All(tests) => {
                for test in tests {
                    if !test.eval(record)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(tests) => {
                for test in tests {
                    if test.eval(record)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

// === impl Expr ===

impl Expr {
    pub(super) fn eval<'a>(&'a self, record: &Record<'a>) -> Result<Value<'a>, EvalError> {
        match self {
            Self::Literal(literal) => Ok(literal.value()),
            Self::Path(path) => record.get(path).map_err(|problem| problem.at(path.column)),
            Self::Call(call) => call.eval(record),
            Self::Negated(expr, column) => match expr.eval(record)? {
                Value::Int(value) => Ok(Value::Int(value.wrapping_neg())),
                Value::Double(value) => Ok(Value::Double(-value)),
                other => Err(super::convert::wants("-", "a number", &other).at(*column)),
            },
            Self::Math(first, steps) => {
                let mut value = first.eval(record)?;
                for step in steps {
                    let right = step.right.eval(record)?;
                    value = step
                        .operator
                        .apply(value, &right)
                        .map_err(|problem| problem.at(step.column))?;
                }
                Ok(value)
            }
        }
    }
}

// === impl Literal ===

impl Literal {
    /// Whether it is written down as it is.
    const fn is_plain(&self) -> bool {
        !matches!(self, Self::Duration(_) | Self::TraceId(_) | Self::SpanId(_))
    }

    pub(super) const fn value(&self) -> Value<'_> {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Text(text) => Value::text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Duration(value) => Value::Duration(*value),
            Self::TraceId(id) => Value::TraceId(*id),
            Self::SpanId(id) => Value::SpanId(*id),
        }
    }
}

// === impl Operator ===

impl Operator {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "+" => Self::Add,
            "-" => Self::Subtract,
            "*" => Self::Multiply,
            "/" => Self::Divide,
            _ => return None,
        })
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
        }
    }

    /// Whole numbers and durations that are too large begin anew from the other end, as in Go.
    fn apply<'a>(self, left: Value<'a>, right: &Value<'_>) -> Result<Value<'a>, Problem> {
        Ok(match (left, right) {
            (Value::Int(a), Value::Int(b)) => Value::Int(match self {
                Self::Add => a.wrapping_add(*b),
                Self::Subtract => a.wrapping_sub(*b),
                Self::Multiply => a.wrapping_mul(*b),
                Self::Divide if *b == 0 => return Err(Problem::DividedByZero),
                Self::Divide => a.wrapping_div(*b),
            }),
            (Value::Int(a), Value::Double(b)) => self.doubles(a as f64, *b)?,
            (Value::Double(a), Value::Int(b)) => self.doubles(a, *b as f64)?,
            (Value::Double(a), Value::Double(b)) => self.doubles(a, *b)?,
            (Value::Time(a), Value::Time(b)) if matches!(self, Self::Subtract) => {
                Value::Duration((a - b).clamp(i64::MIN.into(), i64::MAX.into()) as i64)
            }
            (Value::Time(a), Value::Duration(b)) => match self {
                Self::Add => Value::Time(a.saturating_add((*b).into())),
                Self::Subtract => Value::Time(a.saturating_sub((*b).into())),
                _ => return Err(self.refuses(&Value::Time(a))),
            },
            (Value::Duration(a), Value::Duration(b)) => Value::Duration(match self {
                Self::Add => a.wrapping_add(*b),
                Self::Subtract => a.wrapping_sub(*b),
                _ => return Err(self.refuses(right)),
            }),
            (Value::Duration(a), Value::Time(b)) if matches!(self, Self::Add) => {
                Value::Time(b.saturating_add(a.into()))
            }
            (Value::Int(_) | Value::Double(_), right) => {
                return Err(super::convert::wants(self.sign(), "a number", right));
            }
            (Value::Time(_) | Value::Duration(_), right) => return Err(self.refuses(right)),
            (left, _) => {
                return Err(super::convert::wants(
                    self.sign(),
                    "a number, a time or a duration",
                    &left,
                ));
            }
        })
    }

    fn doubles<'a>(self, a: f64, b: f64) -> Result<Value<'a>, Problem> {
        Ok(Value::Double(match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide if b == 0.0 => return Err(Problem::DividedByZero),
            Self::Divide => a / b,
        }))
    }

    /// Times and durations are added and subtracted, and nothing else.
    const fn refuses(self, right: &Value<'_>) -> Problem {
        let wanted = match self {
            Self::Add | Self::Subtract => "a time or a duration that goes with the left side",
            Self::Multiply | Self::Divide => "numbers, not times and durations",
        };
        super::convert::wants(self.sign(), wanted, right)
    }
}
