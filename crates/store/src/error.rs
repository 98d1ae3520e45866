//! Why a file cannot be opened or read, and what an export makes of SQLite's errors.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use rusqlite::{Error, ErrorCode};
use teleflow_exporter::ExportError;
use teleflow_otlp::json;
use thiserror::Error;

/// Why a store cannot be opened. The file is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder that should hold the file is not there: whoever set the path can make it.
    #[error("{}: there is no folder {}", .path.display(), .folder.display())]
    NoFolder {
        /// The file that was asked for.
        path: PathBuf,
        /// Where it should be.
        folder: PathBuf,
    },
    /// The file or its folder cannot be opened or written: whoever owns it can act.
    #[error("{}: it cannot be opened for writing", .path.display())]
    NotWritable {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// The file cannot be opened for reading, most often because there is none.
    #[error("{}: it cannot be opened for reading", .path.display())]
    NotReadable {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// There is a file, and it is not a SQLite database or a damaged one: choose another path.
    #[error("{}: not a SQLite database, or a damaged one", .path.display())]
    NotADatabase {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// A SQLite database of some other program: choose another path.
    #[error(
        "{}: a SQLite database, but not one of teleflow's (application_id {application_id}, user_version {version})",
        .path.display()
    )]
    Foreign {
        /// The file that was asked for.
        path: PathBuf,
        /// The number that names the program which made it; 0 where none did.
        application_id: i32,
        /// That program's version of the schema.
        version: i32,
    },
    /// A newer teleflow wrote it: use that, or choose another path.
    #[error(
        "{}: its schema has version {found}, and this program knows versions up to {supported}",
        .path.display()
    )]
    Newer {
        /// The file that was asked for.
        path: PathBuf,
        /// The version of its schema.
        found: i32,
        /// The newest version that this program reads and writes.
        supported: i32,
    },
    /// An older teleflow wrote it, and reading cannot migrate it: open it as a store first.
    #[error(
        "{}: its schema has version {found}; opening it for writing brings it to version {supported}",
        .path.display()
    )]
    Older {
        /// The file that was asked for.
        path: PathBuf,
        /// The version of its schema.
        found: i32,
        /// The version that this program reads.
        supported: i32,
    },
    /// Another process keeps it locked for longer than [`Config::busy_timeout`].
    ///
    /// [`Config::busy_timeout`]: crate::Config::busy_timeout
    #[error("{}: another process keeps it locked", .path.display())]
    Locked {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// The file system cannot hold a write-ahead log, most often because it is a network one.
    #[error("{}: no write-ahead log is possible on its file system", .path.display())]
    NoLog {
        /// The file that was asked for.
        path: PathBuf,
    },
    /// [`Config::max_bytes`] is too little for tables, indexes and log to live in.
    ///
    /// [`Config::max_bytes`]: crate::Config::max_bytes
    #[error("a store of {given} bytes is too small: the least is {least}")]
    TooSmall {
        /// What was asked for.
        given: u64,
        /// The least that is accepted.
        least: u64,
    },
    /// Anything else that SQLite or the system says.
    #[error("{}: it cannot be opened", .path.display())]
    Sqlite {
        /// The file that was asked for.
        path: PathBuf,
        /// What they say.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// A file could not be read.
#[derive(Debug, Error)]
#[error("the store cannot be read")]
pub struct ReadError(#[source] Box<dyn StdError + Send + Sync>);

// === impl OpenError ===

impl OpenError {
    pub(crate) fn from_sqlite(path: &Path, error: Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::NotADatabase { path }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                Self::NotWritable { path }
            }
            _ => Self::Sqlite { path, source: error.into() },
        }
    }

    pub(crate) fn from_io(path: &Path, error: std::io::Error) -> Self {
        Self::Sqlite { path: path.to_owned(), source: error.into() }
    }
}

// === impl ReadError ===

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

impl From<json::Error> for ReadError {
    fn from(error: json::Error) -> Self {
        Self(error.into())
    }
}

/// What a failed transaction means for its payloads: the one table.
///
/// What an operator can mend (space, locks, permissions, a mount) may be tried again; a damaged or
/// altered database will fail the same way each time.
pub(crate) fn export_error(path: &Path, error: &Error) -> ExportError {
    let message = format!("{}: {error}", path.display());
    match error.sqlite_error_code() {
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure,
        ) => ExportError::Transient(message),
        _ => ExportError::Permanent(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn what_an_operator_can_mend_is_retryable_and_damage_is_not() {
        let retryable = |code| {
            export_error(Path::new("x.db"), &Error::SqliteFailure(ffi::Error::new(code), None))
                .is_retryable()
        };
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_FULL, ffi::SQLITE_IOERR, ffi::SQLITE_READONLY] {
            assert!(retryable(code), "{code}");
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_ERROR] {
            assert!(!retryable(code), "{code}");
        }
    }
}
