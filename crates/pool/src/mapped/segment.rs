//! A file that is written once, from its beginning to its end, and read through a mapping.

#![allow(unsafe_code, reason = "what a mapping shows is memory that a file's writer may change")]

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

use super::Error;
use crate::room::Room;

/// A file that has no name, mapped to be read. It goes with the last slice of it.
pub(super) struct Segment {
    map: MmapRaw,
    /// What it took of each.
    rooms: [Arc<Room>; 2],
}

/// A segment that has room left.
#[derive(Debug)]
pub(super) struct Filling {
    segment: Arc<Segment>,
    /// Nobody else has it. Its cursor is where the room begins.
    file: File,
    /// Where the room begins.
    at: usize,
}

/// A part of a segment that was written, and is not written again.
struct Part {
    segment: Arc<Segment>,
    from: usize,
    len: usize,
}

// === impl Segment ===

impl Segment {
    /// Makes one of so many bytes, that it takes of both rooms.
    pub(super) fn make(
        folder: &Path,
        bytes: u64,
        rooms: [&Arc<Room>; 2],
    ) -> Result<Filling, Error> {
        let len = usize::try_from(bytes).map_err(|_| Error::Full)?;
        let [shared, own] = rooms;
        if !shared.take(bytes) {
            return Err(Error::Full);
        }
        if !own.take(bytes) {
            shared.give_back(bytes);
            return Err(Error::Full);
        }
        let made = || -> io::Result<(File, MmapRaw)> {
            let file = tempfile::tempfile_in(folder)?;
            // Nothing is taken of the disk yet: a mapping must not be longer than its file.
            file.set_len(bytes)?;
            let map = MmapOptions::new().len(len).map_raw_read_only(&file)?;
            Ok((file, map))
        };
        match made() {
            Ok((file, map)) => {
                let rooms = [Arc::clone(shared), Arc::clone(own)];
                Ok(Filling { segment: Arc::new(Self { map, rooms }), file, at: 0 })
            }
            Err(error) => {
                rooms.into_iter().for_each(|room| room.give_back(bytes));
                Err(error.into())
            }
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let bytes = self.map.len() as u64;
        self.rooms.iter().for_each(|room| room.give_back(bytes));
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("bytes", &self.map.len()).finish_non_exhaustive()
    }
}

// === impl Filling ===

impl Filling {
    /// How many bytes there is room for.
    pub(super) fn left(&self) -> usize {
        self.segment.map.len() - self.at
    }

    /// Writes bytes, for which there is room. After an error it can be tried again.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Result<Bytes, Error> {
        debug_assert!(bytes.len() <= self.left(), "there is room for it");
        if let Err(error) = self.file.write_all(bytes) {
            // Some of it may have been written.
            if self.file.seek(SeekFrom::Start(self.at as u64)).is_err() {
                self.at = self.segment.map.len();
            }
            return Err(error.into());
        }
        let part = Part { segment: Arc::clone(&self.segment), from: self.at, len: bytes.len() };
        self.at += bytes.len();
        Ok(Bytes::from_owner(part))
    }
}

// === impl Part ===

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: The part is within the mapping, which is as long as its file and lives as long as
        // the segment. Its bytes do not change: they were written through the file before the part
        // was made, `Filling` alone has the file, and writes behind them from then on. Other parts
        // of the mapping may change meanwhile, and so no reference is made to the whole of it. The
        // file has no name by which somebody else could write to it or make it shorter.
        unsafe { slice::from_raw_parts(self.segment.map.as_ptr().add(self.from), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let room = Arc::new(Room::new(4096));
        let mut filling = Segment::make(folder.path(), 4096, [&room, &room.clone()]);
        assert!(matches!(filling, Err(Error::Full)), "both are the same, and taken from twice");
        assert_eq!(room.taken(), 0);

        let own = Arc::new(Room::new(4096));
        filling = Segment::make(folder.path(), 4096, [&room, &own]);
        let mut filling = filling.unwrap();
        let before = filling.copy(b"before").unwrap();
        let cannot_be_written = File::open("/dev/null").unwrap();
        let file = std::mem::replace(&mut filling.file, cannot_be_written);
        assert!(matches!(filling.copy(b"lost"), Err(Error::Io(_))));
        filling.file = file;
        assert_eq!(filling.left(), 4090);
        assert_eq!((before, filling.copy(b"after").unwrap()), ("before".into(), "after".into()));
        drop(filling);
        assert_eq!((room.taken(), own.taken()), (0, 0));
    }

    #[test]
    fn what_cannot_be_made_takes_nothing() {
        let (room, own) = (Arc::new(Room::new(4096)), Arc::new(Room::new(4096)));
        let made = Segment::make(Path::new("/no/where"), 4096, [&room, &own]);
        assert!(matches!(made, Err(Error::Io(_))));
        assert_eq!((room.taken(), own.taken()), (0, 0));
    }
}
