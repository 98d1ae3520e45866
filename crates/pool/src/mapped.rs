//! Bytes in files that are mapped into memory: for what is held for long and seldom looked at.
//!
//! Bytes are written to a file and read through a mapping of it, as [`Bytes`]. They are in the page
//! cache as long as there is memory for it, and on disk when there is not: what the process itself
//! takes for them is some words each. They stay as long as the last of their slices, and nothing of
//! them after the process, however it ends: files have no name once they are there.
//!
//! Files are written from their beginning to their end, and a file goes when nothing in it is used
//! any more. So one slice may keep a file: room is given back soonest where slices go about in the
//! order in which they came. A file is a sixteenth of what its writer holds, from 1 MiB to 64 MiB.
//!
//! A disk that is full is an error of [`Writer::copy`], as is one that fails. One that fails later,
//! when bytes are read that are no longer in the page cache, ends the process (`SIGBUS`). So does
//! nothing else: nobody can make a file without a name shorter. For a disk of this machine; a file
//! system across a network may tell too late that it is full.
//!
//! ```
//! use teleflow_pool::mapped::Arena;
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let arena = Arena::open(folder, 64 * 1024 * 1024)?;
//! let mut writer = arena.writer();
//! let bytes = writer.copy(b"on disk, perhaps")?;
//! assert_eq!(bytes, "on disk, perhaps");
//!
//! drop((writer, bytes));
//! assert_eq!(arena.used_bytes(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod segment;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use self::segment::{Filling, Segment};
use crate::room::Room;

/// Where files are, and how much room they may take together. Clones are the same arena.
#[derive(Clone, Debug)]
pub struct Arena {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    room: Arc<Room>,
}

/// Writes into the files of an [`Arena`], of which it has one open at a time.
///
/// What it wrote stays when it goes.
#[derive(Debug)]
pub struct Writer {
    arena: Arc<Shared>,
    /// What its files take.
    own: Arc<Room>,
    filling: Option<Filling>,
}

/// Why bytes were not written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The arena has no room for one more file: there is, when slices have gone.
    #[error("all room for files is taken")]
    Full,
    /// The disk is full, or fails.
    #[error("a file cannot be made or written")]
    Io(#[from] io::Error),
}

/// The smallest file and the largest, unless something larger has to fit.
const SMALLEST: u64 = 1024 * 1024;
const LARGEST: u64 = 64 * SMALLEST;

// === impl Arena ===

impl Arena {
    /// An arena of files in a folder that is there. Together they take `max_bytes` at most, with what
    /// is not written yet and what nobody needs any more.
    ///
    /// # Errors
    ///
    /// If no file can be made, written and mapped there: that is tried.
    pub fn open(folder: impl AsRef<Path>, max_bytes: u64) -> io::Result<Self> {
        let folder = folder.as_ref().to_owned();
        let room = Arc::new(Room::new(max_bytes));
        let shared = Arc::new(Shared { folder, room });
        let try_out = Arc::new(Room::new(u64::MAX));
        Segment::make(&shared.folder, SMALLEST, [&try_out, &try_out])
            .and_then(|mut filling| filling.copy(b"try"))
            .map_err(|error| match error {
                Error::Full => io::Error::from(io::ErrorKind::StorageFull),
                Error::Io(error) => error,
            })?;
        Ok(Self { shared })
    }

    /// A writer. Makes no file before there is something to write.
    pub fn writer(&self) -> Writer {
        let own = Arc::new(Room::new(u64::MAX));
        Writer { arena: Arc::clone(&self.shared), own, filling: None }
    }

    /// What the files take now, in bytes, with what is not written yet.
    pub fn used_bytes(&self) -> u64 {
        self.shared.room.taken()
    }

    /// What they may take, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.shared.room.most()
    }
}

// === impl Writer ===

impl Writer {
    /// Copies bytes into a file. Blocks while it writes, as long as the operating system lets it.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] where the arena has no room, and [`Error::Io`] where the disk has none or
    /// fails. Either may be over at the next call.
    pub fn copy(&mut self, bytes: &[u8]) -> Result<Bytes, Error> {
        if bytes.is_empty() {
            return Ok(Bytes::new());
        }
        if let Some(filling) = &mut self.filling
            && filling.left() >= bytes.len()
        {
            return filling.copy(bytes);
        }
        let size = (self.own.taken() / 16).clamp(SMALLEST, LARGEST).min(self.arena.room.most());
        let len = bytes.len() as u64;
        // What is large has a file of its own: one that is begun would be left with much room.
        if len > size / 8 {
            return self.make(len)?.copy(bytes);
        }
        // The one before has little room left, which is given up.
        self.filling = None;
        let filling = match self.make(size) {
            Err(Error::Full) if size > SMALLEST => self.make(SMALLEST)?,
            made => made?,
        };
        self.filling.insert(filling).copy(bytes)
    }

    /// What its files take now, in bytes, with what is not written yet.
    pub fn used_bytes(&self) -> u64 {
        self.own.taken()
    }

    fn make(&self, size: u64) -> Result<Filling, Error> {
        Segment::make(&self.arena.folder, size, [&self.arena.room, &self.own])
    }
}
