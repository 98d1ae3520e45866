//! What is wrong with a file, and what is only odd: gathered in one go, shown by line.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;

/// More errors than this help no one; the rest is only counted.
const MAX_ERRORS: usize = 50;

/// A place in a file. Lines and columns start at 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A place that is kept beside what is written there. It compares equal to any other: what is
/// configured is the same wherever it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place(pub(super) Position);

/// One reason why a file is refused. Whoever wrote the file can act on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ConfigError {
    /// The file's name, as the caller gave it.
    pub(crate) file: String,
    /// Where, unless it is the file as a whole.
    pub(crate) position: Option<Position>,
    /// What is wrong, naming the key.
    pub(crate) message: String,
    /// What to write instead, or what is known.
    pub(crate) hint: Option<String>,
}

/// Every reason found why a file is refused, in the order of the file. There is at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ConfigErrors {
    pub(super) errors: Vec<ConfigError>,
    /// How many more there are.
    omitted: usize,
}

/// Something in an accepted file that its author may not have meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Warning {
    /// The file's name, as the caller gave it.
    pub(crate) file: String,
    /// Where.
    pub(crate) position: Position,
    /// What is odd, naming the key.
    pub(crate) message: String,
}

/// Gathers what the readers find, so that one run shows all of it.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    found: RefCell<Found>,
}

#[derive(Debug, Default)]
struct Found {
    errors: Vec<ConfigError>,
    omitted: usize,
    warnings: Vec<Warning>,
}

// === impl Report ===

impl Report {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: RefCell::default() }
    }

    /// Notes a reason to refuse the file.
    pub(super) fn error(&self, at: Position, message: impl Into<String>) {
        self.push(Some(at), message.into(), None);
    }

    /// Notes a reason to refuse the file, and what to do about it.
    pub(super) fn error_with_hint(
        &self,
        at: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(Some(at), message.into(), Some(hint.into()));
    }

    /// Notes a reason that lies in the file as a whole.
    pub(super) fn file_error(&self, message: impl Into<String>) {
        self.push(None, message.into(), None);
    }

    /// Notes something odd.
    pub(super) fn warn(&self, position: Position, message: String) {
        let warning = Warning { file: self.file.clone(), position, message };
        self.found.borrow_mut().warnings.push(warning);
    }

    /// The warnings, if nothing was wrong.
    pub(super) fn finish(self) -> Result<Vec<Warning>, ConfigErrors> {
        let Found { mut errors, omitted, mut warnings } = self.found.into_inner();
        if errors.is_empty() {
            warnings.sort_by_key(|warning| warning.position);
            return Ok(warnings);
        }
        errors.sort_by_key(|error| error.position);
        Err(ConfigErrors { errors, omitted })
    }

    fn push(&self, position: Option<Position>, message: String, hint: Option<String>) {
        let mut found = self.found.borrow_mut();
        if found.errors.len() < MAX_ERRORS {
            found.errors.push(ConfigError { file: self.file.clone(), position, message, hint });
        } else {
            found.omitted += 1;
        }
    }
}

// === impl ConfigErrors ===

impl ConfigErrors {
    /// A single error that lies in the file as a whole.
    pub(super) fn of_file(file: &str, message: impl Into<String>) -> Self {
        let (file, message) = (file.to_owned(), message.into());
        Self { errors: vec![ConfigError { file, position: None, message, hint: None }], omitted: 0 }
    }

    /// What was found wrong with a file that could be read; `None` if that is nothing.
    pub(crate) fn found(
        file: &str,
        found: impl IntoIterator<Item = (Place, String)>,
    ) -> Option<Self> {
        let report = Report::new(file);
        found.into_iter().for_each(|(Place(at), message)| report.error(at, message));
        report.finish().err()
    }

    /// The file is not text after `valid`.
    pub(super) fn not_text(file: &str, valid: &[u8]) -> Self {
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let last = valid.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        // Characters, not bytes: those that do not continue one.
        let column = last.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() + 1;
        let mut errors = Self::of_file(file, "this is not UTF-8 text");
        errors.errors.iter_mut().for_each(|error| error.position = Some(Position { line, column }));
        errors
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl Error for ConfigErrors {}

// === impl Place ===

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

// === impl ConfigError, Warning, Position ===

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(position) = self.position {
            write!(f, "{position}:")?;
        }
        write!(f, " {}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl Error for ConfigError {}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.position, self.message)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}
