//! The few things that a spool asks of a file system, so that tests can fail each of them.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Open files that are kept; all are closed when there are more.
const OPEN_FILES: usize = 16;

/// The name of the file that is locked.
const LOCK: &str = "lock";

/// A folder of files.
///
/// [`Folder`] is one of the operating system; tests have others. Files are named without a path.
pub trait Disk: Send + 'static {
    /// Names and lengths in bytes of all files.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Makes an empty file, in place of one of that name.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Writes all of `bytes` at the end of a file. After an error any part may be written.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content of a file durable.
    ///
    /// # Errors
    ///
    /// What the file system says. Nothing written since the last success can be relied on then.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Reads some bytes from the place `offset` on; 0 at the end.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Shortens a file.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;

    /// Gives a file another name, in place of one that has it.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Makes durable which files there are and how they are named.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn sync_dir(&mut self) -> io::Result<()>;
}

/// A folder of the operating system, locked as long as this lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: File,
    /// The lock ends when the file is closed, and with the process in any case.
    _lock: File,
    files: Mutex<HashMap<String, Arc<File>>>,
}

// === impl Folder ===

impl Folder {
    /// Makes the folder if it is missing, and locks it.
    ///
    /// # Errors
    ///
    /// The folder cannot be made or read, or another process has locked it
    /// ([`io::ErrorKind::WouldBlock`]).
    pub fn lock(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        fs::create_dir_all(&path).map_err(|error| in_folder(&path, "cannot be made", &error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(|error| in_folder(&path, "has no lock file", &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("spool folder {} is in use by another process", path.display());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
            }
            Err(TryLockError::Error(error)) => {
                return Err(in_folder(&path, "cannot be locked", &error));
            }
        }
        let folder =
            File::open(&path).map_err(|error| in_folder(&path, "cannot be opened", &error))?;
        Ok(Self { path, folder, _lock: lock, files: Mutex::default() })
    }

    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(name) {
            return Ok(file.clone());
        }
        // A segment is read while it is written, so one handle does both.
        let file = OpenOptions::new().read(true).append(true).open(self.path.join(name))?;
        if files.len() >= OPEN_FILES {
            files.clear();
        }
        Ok(files.entry(name.to_owned()).or_insert_with(|| Arc::new(file)).clone())
    }

    fn close(&self, name: &str) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Names that are no text are none of ours.
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK
                && entry.file_type()?.is_file()
            {
                files.push((name, entry.metadata()?.len()));
            }
        }
        Ok(files)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.close(name);
        File::create(self.path.join(name)).map(drop)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.as_ref().write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file(name)?.read_at(into, offset)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.file(name)?.set_len(length)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.close(from);
        self.close(to);
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.close(name);
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        self.folder.sync_all()
    }
}

fn in_folder(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("spool folder {} {what}: {error}", path.display()))
}
