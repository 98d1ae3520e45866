//! Where a queue on disk is, and what it is told.

use std::io;
use std::path::{Path, PathBuf};

use teleflow_spool::{Config, OpenError, Pace, Report, Shell, ShellConfig};
use thiserror::Error;
use tokio::task::spawn_blocking;

/// Has an exporter's queues on disk: what waits there survives the end of the process.
///
/// Each lane that leads to the exporter has a queue of its own, in a folder of its own:
/// `folder/<exporter>/<lane>`, with what is not a letter, a digit, `-` or `.` written as `%` and two
/// hexadecimal digits.
///
/// ```
/// use teleflow::exporter::QueueConfig;
/// use teleflow::{Sending, Storage};
///
/// let queue = QueueConfig::default();
/// let sending = Sending { queue, storage: Some(Storage::new("/var/lib/teleflow")), batch: None };
/// # let _ = sending;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The folder; it is made where it is missing.
    pub folder: PathBuf,
    /// Bounds of size and age, what happens when they are reached, and when it is made durable.
    pub spool: Config,
    /// Bounds in records and items, and how much may wait in memory for the disk.
    pub shell: ShellConfig,
    /// How fast an exporter is given what is on disk, so that a destination that is back is not run
    /// over. Without limit it is as fast as the exporter.
    pub pace: Pace,
}

/// Why a queue on disk cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StorageError {
    /// It cannot be opened.
    #[error("{}: {source}", .folder.display())]
    Open {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        source: OpenError,
    },
    /// It was opened, and then failed.
    #[error("{}: {source}", .folder.display())]
    Io {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

// === impl Storage ===

impl Storage {
    /// Keeps everything in `folder`, with the defaults of [`Config`], but for requests of up to
    /// 128 MiB.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            spool: Config { max_record: 128 << 20, ..Config::default() },
            shell: ShellConfig::default(),
            pace: Pace::default(),
        }
    }

    /// Opens what belongs to a lane and an exporter, and says what of it is lost.
    pub(super) async fn open(
        &self,
        exporter: &str,
        lane: &str,
    ) -> Result<(Shell, Report, PathBuf), StorageError> {
        let folder = self.folder.join(file_name(exporter)).join(file_name(lane));
        let (spool, shell) = (self.spool, self.shell);
        let (path, wanted) = (folder.clone(), folder.clone());
        // Everything is read once, which may take seconds.
        let opened = spawn_blocking(move || open(&path, spool, shell)).await;
        let (shell, report) = opened.unwrap_or_else(|error| {
            Err(StorageError::Io { folder: wanted, source: io::Error::other(error) })
        })?;
        Ok((shell, report, folder))
    }
}

fn open(folder: &Path, spool: Config, shell: ShellConfig) -> Result<(Shell, Report), StorageError> {
    Shell::open(folder, spool, shell)
        .map_err(|source| StorageError::Open { folder: folder.to_owned(), source })
}

/// A name as a name of a file, that no other name has.
fn file_name(name: &str) -> String {
    let mut file = String::new();
    for byte in name.bytes() {
        // Dots only in between: `..` is another folder.
        let is_plain = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if is_plain || (byte == b'.' && !file.is_empty()) {
            file.push(char::from(byte));
        } else {
            file.push_str(&format!("%{byte:02x}"));
        }
    }
    if file.is_empty() { "%".to_owned() } else { file }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_plain_and_different() {
        let names = ["otlp", "otlp/backend", "otlp%2fbackend", "..", ".", "", "ä", "a.b", "a b"];
        let files: Vec<_> = names.iter().map(|name| file_name(name)).collect();
        assert_eq!(
            files,
            [
                "otlp",
                "otlp%2fbackend",
                "otlp%252fbackend",
                "%2e.",
                "%2e",
                "%",
                "%c3%a4",
                "a.b",
                "a%20b"
            ]
        );
    }
}
