//! What is wrong with a condition, and what goes wrong while it is evaluated.

use thiserror::Error;

/// A text is no condition, or none that is understood here.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("column {column}: found {found}, expected {expected}{}", Hint(hint.as_deref()))]
pub struct ParseError {
    column: u32,
    found: String,
    expected: String,
    hint: Option<String>,
}

/// A condition cannot be evaluated on this span, such as one that asks for the prefix of a number.
///
/// It names kinds of values and never a value: those are not ours to show.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("column {column}: {problem}")]
pub struct EvalError {
    column: u32,
    problem: Problem,
}

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(super) enum Problem {
    #[error("this is about an event, and there is none")]
    NoEvent,
    #[error("{who} wants {wanted}, and this is {found}")]
    Wants { who: &'static str, wanted: &'static str, found: &'static str },
    #[error("divided by 0")]
    DividedByZero,
    #[error("{0} cannot be indexed")]
    NotIndexable(&'static str),
    #[error("a map is indexed by a text, and this is a number")]
    WantsTextKey,
    #[error("a list is indexed by a number, and this is a text")]
    WantsNumberKey,
    #[error("the list is shorter than that")]
    OutOfBounds,
    #[error("{0}: the text cannot be read as that")]
    Unreadable(&'static str),
    #[error("{0}: it has the wrong length")]
    WrongLength(&'static str),
    #[error("{0} cannot be written as text")]
    NoText(&'static str),
}

struct Hint<'a>(Option<&'a str>);

/// The most characters of a text that an error shows.
const MAX_SHOWN: usize = 40;

// === impl ParseError ===

impl ParseError {
    pub(super) fn new(
        column: u32,
        found: impl Into<String>,
        expected: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) -> Self {
        Self { column, found: found.into(), expected: expected.into(), hint: hint.into() }
    }

    /// Where it is: the number of the character, beginning with 1.
    pub const fn column(&self) -> u32 {
        self.column
    }

    /// What is there.
    pub fn found(&self) -> &str {
        &self.found
    }

    /// What would be right there.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// How it may be mended, where that can be guessed.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl std::fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

// === impl EvalError ===

impl EvalError {
    /// Where in the condition it is: the number of the character, beginning with 1.
    pub const fn column(&self) -> u32 {
        self.column
    }
}

// === impl Problem ===

impl Problem {
    pub(super) const fn at(self, column: u32) -> EvalError {
        EvalError { column, problem: self }
    }
}

/// A part of the condition as an error shows it: in quotes, and not at any length.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("`{}...`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// "did you mean" the most similar of the names, if any is similar.
pub(super) fn did_you_mean<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    // Longer names are nobody's typing error, and comparing them would cost.
    if name.len() > MAX_SHOWN {
        return None;
    }
    let limit = 1 + name.len() / 4;
    let nearest = known
        .into_iter()
        .map(|other| (distance(name, other), other))
        .filter(|(distance, _)| *distance <= limit)
        .min()?;
    Some(format!("did you mean `{}`?", nearest.1))
}

/// How many characters are to be added, left out or replaced, case aside.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(!from.eq_ignore_ascii_case(&to));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
