//! Where the variables come from, and what they may be.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::{EnvError, EnvWarning, MAX_ENV_BYTES};

/// The variables with any of some prefixes, of which the first one counts most.
pub(super) struct Source<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    prefixes: &'a [&'a str],
    warnings: Vec<EnvWarning>,
}

/// A variable that is set.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    /// Not empty, and no space around it.
    pub(super) value: String,
}

const TOO_LONG: &str = "is longer than 65536 bytes";

// === impl Source ===

impl<'a> Source<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>, prefixes: &'a [&'a str]) -> Self {
        Self { lookup, prefixes, warnings: Vec::new() }
    }

    pub(super) fn warn(&mut self, variable: String, problem: impl Into<String>) {
        self.warnings.push(EnvWarning { variable, problem: problem.into() });
    }

    pub(super) fn into_warnings(self) -> Vec<EnvWarning> {
        self.warnings
    }

    /// What is set, whatever its length.
    fn set(&self, suffix: &str) -> Vec<Variable> {
        let names = self.prefixes.iter().map(|prefix| format!("{prefix}{suffix}"));
        let set = names.filter_map(|name| {
            let value = (self.lookup)(&name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| Variable { name, value: value.to_owned() })
        });
        set.collect()
    }

    /// The first value that `read` can use. The others before it are warned of.
    fn first<T>(
        &mut self,
        suffix: &str,
        read: impl Fn(&Variable) -> Result<T, String>,
    ) -> Option<T> {
        for variable in self.set(suffix) {
            let read = if variable.value.len() > MAX_ENV_BYTES {
                Err(TOO_LONG.to_owned())
            } else {
                read(&variable)
            };
            match read {
                Ok(value) => return Some(value),
                Err(problem) => self.warn(variable.name, problem),
            }
        }
        None
    }

    /// A text, with the name of the variable that has it.
    pub(super) fn value(&mut self, suffix: &str) -> Option<Variable> {
        let take = |variable: &Variable| {
            Ok(Variable { name: variable.name.clone(), value: variable.value.clone() })
        };
        self.first(suffix, take)
    }

    /// A text that nothing may stand in for.
    pub(super) fn url(&mut self, suffix: &str) -> Result<Option<Variable>, EnvError> {
        match self.set(suffix).into_iter().next() {
            Some(Variable { name, value }) if value.len() > MAX_ENV_BYTES => {
                Err(EnvError { variable: name, problem: TOO_LONG.to_owned() })
            }
            first => Ok(first),
        }
    }

    /// One of these names, in either case.
    pub(super) fn choice<T: Copy>(&mut self, suffix: &str, known: &[(&str, T)]) -> Option<T> {
        self.first(suffix, |variable| {
            let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(&variable.value));
            found.map(|&(_, value)| value).ok_or_else(|| {
                let names: Vec<&str> = known.iter().map(|&(name, _)| name).collect();
                format!("is none of {}", names.join(", "))
            })
        })
    }

    /// `true` and nothing else is true, as the specification asks.
    pub(super) fn flag(&mut self, suffix: &str) -> bool {
        let Some(Variable { name, value }) = self.value(suffix) else { return false };
        let is_true = value.eq_ignore_ascii_case("true");
        if !is_true && !value.eq_ignore_ascii_case("false") {
            self.warn(name, "is neither true nor false, and counts as false");
        }
        is_true
    }

    /// A number of milliseconds.
    pub(super) fn millis(&mut self, suffix: &str) -> Option<Duration> {
        self.first(suffix, |variable| {
            let millis = variable.value.parse::<u32>();
            let problem = || format!("is no number of milliseconds up to {}", u32::MAX);
            millis.map(|millis| Duration::from_millis(millis.into())).map_err(|_| problem())
        })
    }

    /// A number from 1, with the name of the variable that has it.
    pub(super) fn positive(&mut self, suffix: &str) -> Option<(NonZeroU64, String)> {
        self.first(suffix, |variable| {
            let number = variable.value.parse::<NonZeroU32>();
            let problem = || format!("is no number from 1 to {}", u32::MAX);
            number.map(|number| (number.into(), variable.name.clone())).map_err(|_| problem())
        })
    }
}
