//! What can go wrong, by whom it is asked.

use std::io;

use crate::ConfigError;

/// Why a spool cannot be opened. Nothing that its files contain is a reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration is no good.
    #[error("spool: {0}")]
    Config(#[from] ConfigError),
    /// The folder cannot be used, or another process uses it.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Why a record was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There is no room, and the configuration says to refuse.
    #[error("the spool is full: {bytes} of {max_bytes} bytes")]
    Full {
        /// What is on disk, in bytes.
        bytes: u64,
        /// The bound, in bytes.
        max_bytes: u64,
    },
    /// The body is longer than a record may be.
    #[error("a record of {bytes} bytes is longer than max_record, {max_record}")]
    TooLarge {
        /// The length of the body.
        bytes: usize,
        /// The bound, in bytes.
        max_record: usize,
    },
    /// The record has more items than the spool holds at all.
    #[error("a record of {items} items is more than max_items, {max_items}")]
    TooManyItems {
        /// Items in the record.
        items: u32,
        /// The bound.
        max_items: u64,
    },
    /// It could not be written.
    #[error("the spool cannot write: {0}")]
    Io(#[from] io::Error),
}

/// Why there is no such reader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReaderError {
    /// A name becomes a file name.
    #[error("the reader name {0:?} is not 1 to 64 of a-z, 0-9, `-` and `_`")]
    Name(String),
    /// Each reader costs a file and memory.
    #[error("the spool has {0} readers already")]
    TooMany(usize),
}
