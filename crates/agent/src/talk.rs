//! How the program talks to the person who started it.
//!
//! Whoever reads its output may leave first, as `head` does, or stop reading and stay, as a pager
//! does and a pipe that nobody reads. That is no reason to stop, to panic as the standard macros
//! do, or to wait for ever with a drain half done: a thread for each stream does the writing, and
//! who wants to say something waits for it only so long. What cannot be said is not said.

mod voice;

use std::fmt;
use std::io::{self, Write as _};
use std::sync::LazyLock;
use std::time::Duration;

pub(crate) use self::voice::{Limits, Offered, Voice};

/// Says a line on the standard output.
macro_rules! say {
    ($($words:tt)*) => { $crate::talk::line($crate::talk::out(), format_args!($($words)*)) };
}

/// Says a line on the standard error.
macro_rules! complain {
    ($($words:tt)*) => { $crate::talk::line($crate::talk::err(), format_args!($($words)*)) };
}

/// A reader that needs longer than that is taken for one that has stopped, and a log of more lines or
/// bytes than that for one that is not read.
const LIMITS: Limits = Limits {
    patience: Duration::from_secs(3),
    max_said: 64,
    max_lines: 4096,
    max_bytes: 1024 * 1024,
};

/// Waits at its drop until the standard error has what was offered to it, as long as for one line
/// that is said: also where `main` panics.
#[derive(Debug)]
pub(crate) struct LastWords;

/// The standard output.
pub(crate) fn out() -> &'static Voice {
    static OUT: LazyLock<Voice> = LazyLock::new(|| Voice::new(io::stdout(), LIMITS));
    &OUT
}

/// The standard error.
pub(crate) fn err() -> &'static Voice {
    static ERR: LazyLock<Voice> = LazyLock::new(|| Voice::new(io::stderr(), LIMITS));
    &ERR
}

/// Says a line: for `say!` and `complain!`.
pub(crate) fn line(mut voice: &Voice, words: fmt::Arguments<'_>) {
    // In one piece, so that no other line comes between.
    _ = voice.write_all(format!("{words}\n").as_bytes());
}

// === impl LastWords ===

impl Drop for LastWords {
    fn drop(&mut self) {
        err().finish();
    }
}
