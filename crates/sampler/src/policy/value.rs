//! What an attribute's value has to be.

use regex::RegexSet;
use teleflow_otlp::value::AnyValue;

use crate::pattern;
use crate::policy::Policy;
use crate::tail::ConfigError;

/// The most memory that the regular expressions of a policy may take once they are read, in bytes.
const MAX_REGEX: usize = 8 * 1024 * 1024;

/// What an attribute's value has to be.
#[derive(Clone, Debug)]
pub(crate) enum ValueTest {
    /// One of these texts, sorted.
    OneOf(Box<[Box<str>]>),
    /// A text in which one of these matches somewhere; and how they were written.
    Regex(RegexSet, Box<[String]>),
    /// A number, whole or not.
    Within(i128, i128),
    /// A truth value.
    Is(bool),
}

// === impl ValueTest ===

impl ValueTest {
    /// The attribute that a policy looks at, what it has to be, and whether the policy is inverted;
    /// `None` for policies that look at something else.
    ///
    /// # Errors
    ///
    /// If a regular expression cannot be read, or there is no bound; `path` names the policy.
    pub(crate) fn new<'a>(
        policy: &'a Policy,
        path: &str,
    ) -> Result<Option<(&'a str, Self, bool)>, ConfigError> {
        let error = |problem| ConfigError::Rule { rule: path.into(), problem };
        Ok(Some(match policy {
            Policy::StringAttribute { key, values, is_regex: true, is_inverted } => {
                let set = pattern::compile_set(values, MAX_REGEX).map_err(error)?;
                (key, Self::Regex(set, values.clone().into()), *is_inverted)
            }
            Policy::StringAttribute { key, values, is_regex: false, is_inverted } => {
                let values = values.iter().filter(|value| !value.is_empty());
                let mut values: Vec<Box<str>> = values.map(|value| (**value).into()).collect();
                values.sort_unstable();
                (key, Self::OneOf(values.into()), *is_inverted)
            }
            Policy::NumericAttribute { min: None, max: None, .. } => {
                return Err(error("a number needs a least or a most value".into()));
            }
            Policy::NumericAttribute { key, min, max, is_inverted } => {
                let min = min.map_or(i128::MIN, i128::from);
                let max = max.map_or(i128::MAX, i128::from);
                (key, Self::Within(min, max), *is_inverted)
            }
            Policy::BooleanAttribute { key, value, is_inverted } => {
                (key, Self::Is(*value), *is_inverted)
            }
            _ => return Ok(None),
        }))
    }

    /// Whether an attribute of a span or of a resource is as it has to be. An empty text is no text
    /// for a span, and may match an expression for a resource: as the Collector has it.
    pub(crate) fn matches(&self, value: &AnyValue<'_>, is_span: bool) -> bool {
        match (self, value) {
            (Self::OneOf(values), AnyValue::String(text)) => {
                values.binary_search_by(|value| (**value).cmp(text)).is_ok()
            }
            (Self::Regex(set, _), AnyValue::String(text)) => {
                !(is_span && text.is_empty()) && set.is_match(text)
            }
            (Self::Within(min, max), AnyValue::Int(number)) => {
                (*min..=*max).contains(&i128::from(*number))
            }
            (Self::Within(min, max), AnyValue::Double(number)) => is_within(*number, *min, *max),
            (Self::Is(is), AnyValue::Bool(value)) => is == value,
            _ => false,
        }
    }

    /// What it has to be, in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::OneOf(values) => format!("one of {values:?}"),
            Self::Regex(_, patterns) => format!("a match of {patterns:?}"),
            Self::Within(min, i128::MAX) => format!("at least {min}"),
            Self::Within(i128::MIN, max) => format!("at most {max}"),
            Self::Within(min, max) => format!("within {min}..={max}"),
            Self::Is(value) => value.to_string(),
        }
    }
}

/// Exact, though not every whole number is a floating point number: what is not whole lies between
/// two that are. What is not a number at all is within no bounds.
fn is_within(number: f64, min: i128, max: i128) -> bool {
    !number.is_nan() && number.floor() as i128 >= min && number.ceil() as i128 <= max
}
