//! Progress of the readers, and segments that go.

use std::io;

use super::Spool;
use crate::reader::{self, Reader};
use crate::segment;
use crate::stats::{Count, ReaderStats};
use crate::{Disk, Sync};

impl<D: Disk> Spool<D> {
    pub(super) fn save_all(&mut self) -> io::Result<()> {
        let durable = self.config.sync != Sync::Never;
        let mut changed = false;
        for reader in &self.readers {
            if reader.saved == Some(reader.progress) {
                continue;
            }
            let (file, temporary) = (reader.file(), format!("{}.tmp", reader.name));
            self.disk.create(&temporary)?;
            self.disk.append(&temporary, &reader::encode(reader.progress))?;
            if durable {
                self.disk.sync(&temporary)?;
            }
            self.disk.rename(&temporary, &file)?;
            changed = true;
        }
        if changed && durable {
            self.disk.sync_dir()?;
            self.folder_changed = false;
        }
        for reader in &mut self.readers {
            reader.saved = Some(reader.progress);
        }
        Ok(())
    }

    /// Removes the segments that all readers have passed, by what is saved or by what is known.
    pub(super) fn clean(&mut self, known: bool) -> io::Result<()> {
        let passed =
            |reader: &Reader| if known { reader.progress } else { reader.saved.unwrap_or(0) };
        let Some(passed) = self.readers.iter().map(passed).min() else { return Ok(()) };
        let ended = |spool: &Self| spool.active.is_none() || spool.segments.len() > 1;
        while ended(self) && self.segments.front().is_some_and(|segment| segment.last <= passed) {
            self.drop_oldest(|stats| &mut stats.dropped_size)?;
        }
        Ok(())
    }

    /// Removes the oldest segment, and says what of it some reader has not passed.
    pub(super) fn drop_oldest(
        &mut self,
        books: fn(&mut ReaderStats) -> &mut Count,
    ) -> io::Result<Count> {
        let Some(segment) = self.segments.front().copied() else { return Ok(Count::default()) };
        match self.disk.remove(&segment::file_name(segment.first)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.segments.pop_front();
        self.bytes -= segment.bytes;
        self.folder_changed = true;
        let mut dropped = if self.readers.is_empty() { segment.count } else { Count::default() };
        for reader in &mut self.readers {
            let left = reader.forget(segment.first, segment.last, segment.count);
            books(&mut reader.stats).add(left);
            if left.records > dropped.records {
                dropped = left;
            }
        }
        Ok(dropped)
    }
}
