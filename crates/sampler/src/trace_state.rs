//! W3C `tracestate`: what OpenTelemetry's samplers say in it, beside what others do.
//!
//! A trace state is a list of entries, `key=value`, of whoever had a part in the trace. The entry
//! `ot` is OpenTelemetry's, a list again: `ot=th:e666;rv:0123456789abcd`. Samplers read and write
//! `th`, read `rv`, and leave the rest alone. The entries of others stay as they are, byte for byte
//! and in their order, whatever is in them: they are not ours to judge.
//!
//! In `ot`, what is against the rules says nothing, and is left out once the entry is written anew: a
//! member that is not `key:value` in the allowed characters, a key that was there before, a `th` or
//! `rv` that is no threshold or randomness. An entry of more than 256 characters is ignored as a
//! whole, and so is any `ot` after the first.

use std::borrow::Cow;
use std::fmt::Write as _;

use thiserror::Error;

use crate::{Randomness, Threshold};

/// A trace state that was read.
///
/// ```
/// use teleflow_sampler::{Threshold, TraceState};
///
/// let state = TraceState::parse("congo=t61rcWkgMzE,ot=th:8");
/// assert_eq!(state.threshold(), Some("8".parse()?));
/// let quarter = Threshold::from_probability(0.25)?;
/// assert_eq!(state.with_threshold(Some(quarter))?, "ot=th:c,congo=t61rcWkgMzE");
/// assert_eq!(state.with_threshold(None)?, "congo=t61rcWkgMzE");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceState<'a> {
    text: &'a str,
    /// The value of the first `ot`, unless it is too long to be read.
    ot: &'a str,
    threshold: Option<Threshold>,
    randomness: Option<Randomness>,
    /// Whether any `ot` has a `th`, be it what it may.
    has_threshold: bool,
    /// Whether `ot`, where it is, is there once and as it has to be.
    is_clean: bool,
}

/// The `ot` entry would have more than 256 characters.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the trace state's entry `ot` would have more than {MAX_VALUE} characters")]
pub struct TooLong;

/// The most characters of an entry's value.
const MAX_VALUE: usize = 256;

/// The most entries of a trace state.
const MAX_ENTRIES: usize = 32;

// === impl TraceState ===

impl<'a> TraceState<'a> {
    /// Reads a trace state. What cannot be understood is kept, and says nothing.
    pub fn parse(text: &'a str) -> Self {
        let mut state = Self { text, is_clean: true, ..Self::default() };
        if text.is_empty() {
            return state;
        }
        let mut is_first = true;
        for value in entries(text).filter_map(ot_value) {
            state.has_threshold |= value.split(';').any(|member| member.starts_with("th:"));
            if is_first && value.len() <= MAX_VALUE {
                state.read(value);
            } else {
                state.is_clean = false;
            }
            is_first = false;
        }
        state
    }

    fn read(&mut self, ot: &'a str) {
        self.ot = ot;
        let mut read = 0;
        for (key, value) in members(ot) {
            let is_valid = match key {
                "th" => {
                    self.threshold = value.parse().ok();
                    self.threshold.is_some()
                }
                "rv" => {
                    self.randomness = value.parse().ok();
                    self.randomness.is_some()
                }
                _ => true,
            };
            self.is_clean &= is_valid;
            read += key.len() + value.len() + 2;
        }
        // All was read if the members and what separates them are as long as the value.
        self.is_clean &= read == ot.len() + 1;
    }

    /// The text that was read.
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The probability with which everything before kept the trace, where that is known.
    pub const fn threshold(&self) -> Option<Threshold> {
        self.threshold
    }

    /// Whether all that it says about sampling can be read, and is said once.
    pub(crate) const fn is_readable(&self) -> bool {
        self.is_clean
    }

    /// The randomness that whoever started the trace gave it.
    pub const fn randomness(&self) -> Option<Randomness> {
        self.randomness
    }

    /// The same with another threshold, or with none. If that is a change, `ot` comes first; an `ot`
    /// that has nothing to say is left out. Where there would be more than 32 entries the last goes.
    ///
    /// # Errors
    ///
    /// If `ot` had no room for the threshold. Removing one always succeeds.
    pub fn with_threshold(&self, threshold: Option<Threshold>) -> Result<Cow<'a, str>, TooLong> {
        let is_same = match threshold {
            Some(_) => self.is_clean && threshold == self.threshold,
            None => !self.has_threshold,
        };
        if is_same {
            return Ok(Cow::Borrowed(self.text));
        }
        self.write(threshold, self.randomness).map(Cow::Owned)
    }

    /// The same with another threshold, or with none, and with randomness of its own: for a trace
    /// whose id has none.
    ///
    /// # Errors
    ///
    /// If `ot` had no room for them.
    pub fn with_randomness(
        &self,
        threshold: Option<Threshold>,
        randomness: Randomness,
    ) -> Result<Cow<'a, str>, TooLong> {
        if self.randomness == Some(randomness) {
            return self.with_threshold(threshold);
        }
        self.write(threshold, Some(randomness)).map(Cow::Owned)
    }

    fn write(
        &self,
        threshold: Option<Threshold>,
        randomness: Option<Randomness>,
    ) -> Result<String, TooLong> {
        const OT: &str = "ot=";
        let mut out = String::with_capacity(self.text.len() + 40);
        out.push_str(OT);
        for (key, value) in members(self.ot).filter(|(key, _)| !["th", "rv"].contains(key)) {
            separate(&mut out, OT.len(), ';');
            out.extend([key, ":", value]);
        }
        // Writing to a string cannot fail.
        if let Some(randomness) = randomness {
            separate(&mut out, OT.len(), ';');
            let _ = write!(out, "rv:{randomness}");
        }
        if let Some(threshold) = threshold {
            separate(&mut out, OT.len(), ';');
            let _ = write!(out, "th:{threshold}");
        }
        if out.len() - OT.len() > MAX_VALUE {
            return Err(TooLong);
        }
        let mut room = MAX_ENTRIES - 1;
        if out == OT {
            out.clear();
            room = MAX_ENTRIES;
        }
        for entry in entries(self.text).filter(|entry| ot_value(entry).is_none()).take(room) {
            separate(&mut out, 0, ',');
            out.push_str(entry);
        }
        Ok(out)
    }
}

/// Puts `separator` between what is there after `start` and what comes.
fn separate(out: &mut String, start: usize, separator: char) {
    if out.len() > start {
        out.push(separator);
    }
}

/// The entries, without the white space that may stand around them; those without content say
/// nothing, and are not counted.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(|entry| entry.trim_matches([' ', '\t'])).filter(|entry| !entry.is_empty())
}

fn ot_value(entry: &str) -> Option<&str> {
    entry.strip_prefix("ot=")
}

/// The members of an `ot` value that are as they have to be, each key once.
fn members(ot: &str) -> impl Iterator<Item = (&str, &str)> {
    let all = move || ot.split(';').filter_map(member);
    all().enumerate().filter_map(move |(index, (key, value))| {
        let is_first = all().take(index).all(|(before, _)| before != key);
        is_first.then_some((key, value))
    })
}

fn member(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once(':')?;
    let is_key = key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_value = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (is_key && is_value).then_some((key, value))
}
