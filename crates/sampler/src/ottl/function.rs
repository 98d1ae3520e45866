//! Functions as they are written: their names and what they take.

use super::Subject;
use super::call::{Call, Function, Items, Sort, id};
use super::error::{ParseError, Problem, did_you_mean, quoted};
use super::expr::{Expr, Literal};
use super::value::Value;
use super::{convert, duration};
use crate::pattern;

/// What a function is given, as it is written.
#[derive(Debug)]
pub(super) struct Argument<'t> {
    /// Which parameter it is for, where that is said.
    pub(super) name: Option<&'t str>,
    pub(super) items: Items,
    pub(super) column: u32,
}

/// A function's name, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'t> {
    pub(super) text: &'t str,
    pub(super) column: u32,
}

/// Functions that are understood, with their parameters.
const KNOWN: &[(&str, &[&str])] = &[
    ("Bool", &["target"]),
    ("Concat", &["vals", "delimiter"]),
    ("ContainsValue", &["target", "item"]),
    ("Double", &["target"]),
    ("Duration", &["duration"]),
    ("HasPrefix", &["target", "prefix"]),
    ("HasSuffix", &["target", "suffix"]),
    ("Hours", &["duration"]),
    ("Int", &["target"]),
    ("IsBool", &["target"]),
    ("IsDouble", &["target"]),
    ("IsEmpty", &["target"]),
    ("IsInt", &["target"]),
    ("IsList", &["target"]),
    ("IsMap", &["target"]),
    ("IsMatch", &["target", "pattern"]),
    ("IsRootSpan", &[]),
    ("IsString", &["target"]),
    ("Len", &["target"]),
    ("Microseconds", &["duration"]),
    ("Milliseconds", &["duration"]),
    ("Minutes", &["duration"]),
    ("Nanoseconds", &["duration"]),
    ("Seconds", &["duration"]),
    ("SpanID", &["target"]),
    ("String", &["target"]),
    ("ToLowerCase", &["target"]),
    ("ToUpperCase", &["target"]),
    ("TraceID", &["target"]),
    ("UnixMicro", &["time"]),
    ("UnixMilli", &["time"]),
    ("UnixNano", &["time"]),
    ("UnixSeconds", &["time"]),
];

/// Functions that the Collector has beside them.
const NOT_YET: &[&str] = &[
    "All",
    "Any",
    "Base64Encode",
    "Coalesce",
    "CommunityID",
    "ConvertAttributesToElementsXML",
    "ConvertCase",
    "ConvertTextToElementsXML",
    "Day",
    "Decode",
    "ExtractGrokPatterns",
    "ExtractPatterns",
    "FNV",
    "Filter",
    "Find",
    "Format",
    "FormatTime",
    "GetXML",
    "Hex",
    "Hour",
    "Index",
    "InsertXML",
    "IsInCIDR",
    "IsValidLuhn",
    "Keys",
    "Log",
    "MD5",
    "MapEach",
    "MapKeys",
    "Minute",
    "Month",
    "Murmur3Hash",
    "Murmur3Hash128",
    "Nanosecond",
    "Now",
    "ParseCSV",
    "ParseInt",
    "ParseJSON",
    "ParseKeyValue",
    "ParseSeverity",
    "ParseSimplifiedXML",
    "ParseXML",
    "ProfileID",
    "Reduce",
    "RemoveXML",
    "SHA1",
    "SHA256",
    "SHA512",
    "Second",
    "SliceToMap",
    "Sort",
    "Split",
    "Substring",
    "Time",
    "ToCamelCase",
    "ToKeyValueString",
    "ToSnakeCase",
    "Trim",
    "TrimPrefix",
    "TrimSuffix",
    "TruncateTime",
    "URL",
    "UUID",
    "UUIDv7",
    "Unix",
    "UserAgent",
    "Values",
    "Weekday",
    "When",
    "XXH128",
    "XXH3",
    "Year",
];

/// Nanoseconds of each unit.
const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000 * MICROSECOND;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// The function of this name, if it is known.
pub(super) fn resolve(
    name: Name<'_>,
    subject: Subject,
) -> Result<&'static [&'static str], ParseError> {
    if let Some((_, parameters)) = KNOWN.iter().find(|(known, _)| *known == name.text) {
        if name.text == "IsRootSpan" && subject == Subject::Event {
            return Err(ParseError::new(
                name.column,
                "`IsRootSpan`",
                "a function about events",
                "it can only be asked of spans; write `span.parent_span_id.string == \
                 \"0000000000000000\"`"
                    .to_owned(),
            ));
        }
        return Ok(parameters);
    }
    let hint = if NOT_YET.contains(&name.text) {
        Some("OTTL has this function, teleflow does not yet".to_owned())
    } else {
        did_you_mean(name.text, KNOWN.iter().map(|(known, _)| *known))
    };
    Err(ParseError::new(
        name.column,
        quoted(name.text),
        "a function that can be used in conditions",
        hint,
    ))
}

/// Puts the arguments in the order of the parameters.
pub(super) fn order<'t>(
    name: Name<'_>,
    parameters: &[&str],
    arguments: Vec<Argument<'t>>,
) -> Result<Vec<Argument<'t>>, ParseError> {
    if arguments.len() != parameters.len() {
        let found = match arguments.len() {
            0 => "no argument".to_owned(),
            1 => "1 argument".to_owned(),
            count => format!("{count} arguments"),
        };
        return Err(ParseError::new(
            name.column,
            format!("{} with {found}", quoted(name.text)),
            format!("`{}({})`", name.text, parameters.join(", ")),
            None,
        ));
    }
    let mut places: Vec<Option<Argument<'t>>> = parameters.iter().map(|_| None).collect();
    let mut any_named = false;
    for (index, argument) in arguments.into_iter().enumerate() {
        let column = argument.column;
        let place = match argument.name {
            None if any_named => {
                return Err(ParseError::new(
                    column,
                    "an argument without a name",
                    "a name, as those before it have one",
                    None,
                ));
            }
            None => index,
            Some(parameter) => {
                any_named = true;
                let known = parameters.iter().position(|known| *known == parameter);
                known.ok_or_else(|| {
                    ParseError::new(
                        column,
                        quoted(parameter),
                        format!("a parameter of `{}({})`", name.text, parameters.join(", ")),
                        did_you_mean(parameter, parameters.iter().copied()),
                    )
                })?
            }
        };
        if places[place].replace(argument).is_some() {
            return Err(ParseError::new(
                column,
                "the same parameter again",
                format!("each parameter of `{}` once", name.text),
                None,
            ));
        }
    }
    // There are as many as places, and none went to a place that was taken.
    Ok(places.into_iter().flatten().collect())
}

/// The function, of arguments in the order of its parameters.
pub(super) fn compile(name: Name<'_>, arguments: Vec<Argument<'_>>) -> Result<Expr, ParseError> {
    let mut arguments = arguments.into_iter();
    let mut next = || {
        arguments.next().ok_or_else(|| {
            ParseError::new(name.column, quoted(name.text), "one more argument", None)
        })
    };
    let function = match name.text {
        "IsRootSpan" => Function::IsRootSpan,
        "IsMatch" => {
            let target = next()?.one()?;
            Function::IsMatch(target, next()?.pattern()?)
        }
        "IsString" => Function::Is(Sort::String, next()?.maybe(Sort::String)?),
        "IsInt" => Function::Is(Sort::Int, next()?.maybe(Sort::Int)?),
        "IsDouble" => Function::Is(Sort::Double, next()?.maybe(Sort::Double)?),
        "IsBool" => Function::Is(Sort::Bool, next()?.maybe(Sort::Bool)?),
        "IsMap" => Function::Is(Sort::Map, next()?.maybe(Sort::Map)?),
        "IsList" => Function::Is(Sort::List, next()?.one()?),
        "IsEmpty" => Function::IsEmpty(next()?.one()?),
        "HasPrefix" => Function::HasPrefix(next()?.text()?, next()?.text()?),
        "HasSuffix" => Function::HasSuffix(next()?.text()?, next()?.text()?),
        "ContainsValue" => {
            let items = next()?.items;
            Function::ContainsValue(items, next()?.one()?)
        }
        "Len" => Function::Len(next()?.one()?),
        "Int" => Function::Int(next()?.converted(convert::int)?),
        "Double" => Function::Double(next()?.converted(convert::float)?),
        "Bool" => Function::Bool(next()?.converted(convert::bool)?),
        "String" => Function::String(next()?.one()?),
        "ToLowerCase" => Function::ToLowerCase(next()?.text()?),
        "ToUpperCase" => Function::ToUpperCase(next()?.text()?),
        "Concat" => {
            let items = next()?.items;
            Function::Concat(items, next()?.text()?)
        }
        "Duration" => {
            let argument = next()?;
            let column = argument.column;
            match argument.text()? {
                Expr::Literal(Literal::Text(text)) => {
                    let nanos = duration::parse(&text).ok_or_else(|| {
                        ParseError::new(
                            column,
                            quoted(&text),
                            "a duration such as \"1m30s\" or \"250ms\"",
                            None,
                        )
                    })?;
                    return Ok(Expr::Literal(Literal::Duration(nanos)));
                }
                expr => Function::Duration(expr),
            }
        }
        "Nanoseconds" => Function::Whole("Nanoseconds", 1, next()?.one()?),
        "Microseconds" => Function::Whole("Microseconds", MICROSECOND, next()?.one()?),
        "Milliseconds" => Function::Whole("Milliseconds", MILLISECOND, next()?.one()?),
        "Seconds" => Function::Parts("Seconds", SECOND, next()?.one()?),
        "Minutes" => Function::Parts("Minutes", MINUTE, next()?.one()?),
        "Hours" => Function::Parts("Hours", HOUR, next()?.one()?),
        "UnixNano" => Function::Unix("UnixNano", 1, next()?.one()?),
        "UnixMicro" => Function::Unix("UnixMicro", MICROSECOND.into(), next()?.one()?),
        "UnixMilli" => Function::Unix("UnixMilli", MILLISECOND.into(), next()?.one()?),
        "UnixSeconds" => Function::Unix("UnixSeconds", SECOND.into(), next()?.one()?),
        "TraceID" => {
            let argument = next()?;
            match argument.id("TraceID", 16)? {
                Ok(id) => return Ok(Expr::Literal(Literal::TraceId(id))),
                Err(expr) => Function::TraceId(expr),
            }
        }
        "SpanID" => {
            let argument = next()?;
            match argument.id("SpanID", 8)? {
                Ok(id) => return Ok(Expr::Literal(Literal::SpanId(id))),
                Err(expr) => Function::SpanId(expr),
            }
        }
        // `resolve` has refused all other names.
        other => {
            return Err(ParseError::new(name.column, quoted(other), "a known function", None));
        }
    };
    Ok(Expr::Call(Box::new(Call { function, column: name.column })))
}

// === impl Function ===

impl Function {
    /// Whether it answers yes or no, and so is a condition.
    pub(super) const fn is_condition(&self) -> bool {
        matches!(
            self,
            Self::IsRootSpan
                | Self::IsMatch(..)
                | Self::Is(..)
                | Self::IsEmpty(_)
                | Self::HasPrefix(..)
                | Self::HasSuffix(..)
                | Self::ContainsValue(..)
                | Self::Bool(_)
        )
    }
}

// === impl Argument ===

impl Argument<'_> {
    /// One value, and no list of them.
    fn one(self) -> Result<Expr, ParseError> {
        match self.items {
            Items::List(expr) => Ok(expr),
            Items::Each(_) => Err(ParseError::new(
                self.column,
                "a list",
                "a single value",
                "lists are for `ContainsValue` and `Concat`".to_owned(),
            )),
        }
    }

    /// A text, or what may turn out to be one.
    fn text(self) -> Result<Expr, ParseError> {
        let column = self.column;
        let expr = self.one()?;
        match &expr {
            Expr::Literal(Literal::Text(_)) => Ok(expr),
            Expr::Literal(other) => {
                Err(ParseError::new(column, other.value().kind(), "a text", None))
            }
            _ => Ok(expr),
        }
    }

    /// What may turn out to be of a sort: a literal that is not never will.
    fn maybe(self, sort: Sort) -> Result<Expr, ParseError> {
        let column = self.column;
        match self.one()? {
            Expr::Literal(literal) if !sort.includes(&literal.value()) => {
                let hint = "this is always false".to_owned();
                Err(ParseError::new(column, literal.value().kind(), sort.name(), hint))
            }
            expr => Ok(expr),
        }
    }

    /// What can be converted, as far as that is known.
    fn converted<T>(
        self,
        convert: impl FnOnce(&Value<'_>) -> Result<T, Problem>,
    ) -> Result<Expr, ParseError> {
        let column = self.column;
        let expr = self.one()?;
        if let Expr::Literal(literal) = &expr
            && let Err(problem) = convert(&literal.value())
        {
            let found = literal.value().kind();
            return Err(ParseError::new(
                column,
                found,
                "what can be converted",
                problem.to_string(),
            ));
        }
        Ok(expr)
    }

    fn pattern(self) -> Result<regex::Regex, ParseError> {
        let column = self.column;
        match self.one()? {
            Expr::Literal(Literal::Text(text)) => pattern::compile(&text).map_err(|error| {
                ParseError::new(column, quoted(&text), "a regular expression", error)
            }),
            _ => Err(ParseError::new(
                column,
                "a pattern that is not written out",
                "a regular expression in double quotes",
                "OTTL compiles patterns from spans while it runs; teleflow does not".to_owned(),
            )),
        }
    }

    /// An id that is written out, or what will be one.
    fn id<const N: usize>(
        self,
        who: &'static str,
        bytes: usize,
    ) -> Result<Result<[u8; N], Expr>, ParseError> {
        let column = self.column;
        match self.one()? {
            Expr::Literal(literal) => {
                id(who, literal.value()).map(Ok).map_err(|problem: Problem| {
                    ParseError::new(
                        column,
                        literal.value().kind(),
                        format!("{bytes} bytes, as 0x and {} hexadecimal digits", 2 * bytes),
                        problem.to_string(),
                    )
                })
            }
            expr => Ok(Err(expr)),
        }
    }
}
