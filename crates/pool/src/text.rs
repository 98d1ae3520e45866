//! Bytes that are text.

#![allow(
    unsafe_code,
    reason = "text that was checked once is not checked again at each look: the check is linear"
)]

use std::fmt;
use std::ops::Deref;
use std::str::{self, Utf8Error};

use bytes::Bytes;

/// `Bytes` that are known to be UTF-8; a clone or a slice is the same memory.
///
/// ```
/// use bytes::Bytes;
/// use teleflow_pool::Text;
///
/// let bytes = Bytes::from_static("grün".as_bytes());
/// let text = Text::from_bytes(bytes.clone())?;
/// assert_eq!(text.slice(0..2), "gr");
/// assert_eq!(text.into_bytes().as_ptr(), bytes.as_ptr());
/// # Ok::<(), teleflow_pool::NotText>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(
    /// UTF-8; nothing but the constructors makes one, and `Bytes` never change.
    Bytes,
);

/// What was not UTF-8, given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not UTF-8")]
pub struct NotText {
    /// The bytes, untouched.
    pub bytes: Bytes,
    /// What is wrong with them.
    pub source: Utf8Error,
}

// === impl Text ===

impl Text {
    /// Checks the bytes, once, and copies nothing.
    ///
    /// # Errors
    ///
    /// They are not UTF-8.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, NotText> {
        match str::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(source) => Err(NotText { bytes, source }),
        }
    }

    /// Text that is part of the program.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor has checked the bytes or got them from a `str`, and `Bytes`
        // hands out shared slices only, so they are what they were.
        unsafe { str::from_utf8_unchecked(&self.0) }
    }

    /// The bytes, with no copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// A part of the text, in the same memory.
    ///
    /// # Panics
    ///
    /// Where the range is not within the text or cuts a character.
    #[must_use]
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        // Looked at as text first, which refuses to cut a character.
        let _ = &self.as_str()[range.clone()];
        Self(self.0.slice(range))
    }

    /// The text as a `String`: with no copy where no one else has the memory and it starts at its
    /// beginning, as `Bytes` decides.
    pub fn into_string(self) -> String {
        let bytes = Vec::from(self.0);
        // SAFETY: as in `as_str`; the vector has the same bytes.
        unsafe { String::from_utf8_unchecked(bytes) }
    }
}

impl From<String> for Text {
    /// Takes the string's memory over, with no copy.
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
