//! What a spool is told at the start.

use std::time::Duration;

use crate::segment::{HEADER, MAX_BODY, RECORD};

/// What a spool keeps, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of all segments together, at most.
    pub max_bytes: u64,
    /// Bytes of a segment, after which the next one is begun. Space is given back, and dropped, a
    /// segment at a time.
    pub segment_bytes: u64,
    /// Bytes of a body, at most.
    pub max_record: usize,
    /// How long a record is kept that some reader has not acknowledged; a record may stay an eighth
    /// longer, with its segment. `None` is for ever.
    pub max_age: Option<Duration>,
    /// What happens when `max_bytes` are reached.
    pub on_full: OnFull,
    /// When what was appended is made durable.
    pub sync: Sync,
    /// Bytes from the first record that a reader has not acknowledged to the last one it was given,
    /// after which it is given no more: at most this and one record.
    pub window: u64,
}

/// What happens to an append for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It is refused, so that the caller can tell its own caller.
    #[default]
    Refuse,
    /// The oldest segment is dropped, and counted.
    DropOldest,
}

/// When appends and acknowledgements are made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// In every commit, before it returns: what was committed survives a loss of power.
    #[default]
    Always,
    /// In the first commit after that time: a loss of power takes what is younger, the end of the
    /// process alone nothing.
    Interval(Duration),
    /// When the operating system likes to.
    Never,
}

/// Why a configuration is no good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Bodies are limited to 256 MiB.
    #[error("max_record is {0} bytes, which is not between 1 and 268435456")]
    Record(usize),
    /// A segment needs room for its header and the longest record.
    #[error("max_bytes is {given}, which has no room for a record of max_record: at least {least}")]
    Room {
        /// What was asked for, in bytes.
        given: u64,
        /// The smallest that works, in bytes.
        least: u64,
    },
    /// Dropping a segment would drop everything.
    #[error("segment_bytes is {0}, which is not between 1 and a half of max_bytes")]
    Segment(u64),
    /// Nothing could be read.
    #[error("window is 0")]
    Window,
    /// Everything would be dropped at once.
    #[error("max_age is 0")]
    Age,
}

// === impl Config ===

impl Default for Config {
    /// 1 GiB in segments of 32 MiB, records up to 16 MiB, no age, `Refuse`, `Always`, a window of
    /// 16 MiB.
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            segment_bytes: 32 << 20,
            max_record: 16 << 20,
            max_age: None,
            on_full: OnFull::Refuse,
            sync: Sync::Always,
            window: 16 << 20,
        }
    }
}

impl Config {
    /// Says whether a spool can work with this.
    ///
    /// # Errors
    ///
    /// The first value that is no good.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=MAX_BODY).contains(&self.max_record) {
            return Err(ConfigError::Record(self.max_record));
        }
        let least = (HEADER + RECORD + self.max_record) as u64;
        if self.max_bytes < least {
            return Err(ConfigError::Room { given: self.max_bytes, least });
        }
        if !(1..=self.max_bytes / 2).contains(&self.segment_bytes) {
            return Err(ConfigError::Segment(self.segment_bytes));
        }
        if self.window == 0 {
            return Err(ConfigError::Window);
        }
        if self.max_age.is_some_and(|age| age.as_millis() == 0) {
            return Err(ConfigError::Age);
        }
        Ok(())
    }
}
