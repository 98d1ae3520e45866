//! Appending, and what of it is committed.

use std::io;

use super::{Active, Segment, Spool, as_ms};
use crate::segment::{self, HEADER, Head};
use crate::stats::Count;
use crate::{AppendError, Disk, OnFull, Sync};

/// The buffer that records are put together in is kept where it is no longer than that.
const MAX_SCRATCH: usize = 1 << 20;

impl<D: Disk> Spool<D> {
    pub(super) fn is_done(&self, segment: &Segment, needed: u64, now_ms: u64) -> bool {
        let span = self.config.max_age.map_or(u64::MAX, |age| as_ms(age) / 8);
        segment.bytes > HEADER as u64
            && (segment.bytes + needed > self.config.segment_bytes
                || now_ms.saturating_sub(segment.oldest_ms) > span)
    }

    pub(super) fn make_room(&mut self, needed: u64, items: u32) -> Result<(), AppendError> {
        loop {
            let header = if self.active.is_some() { 0 } else { HEADER as u64 };
            if self.bytes + needed + header <= self.config.max_bytes {
                return Ok(());
            }
            if self.config.on_full == OnFull::Refuse || self.segments.is_empty() {
                return Err(self.refuse(items));
            }
            if self.segments.len() == 1 && self.active.is_some() {
                self.roll()?;
            }
            let dropped = self.drop_oldest(|stats| &mut stats.dropped_size)?;
            self.stats.dropped_size.add(dropped);
        }
    }

    /// Counts a record for which there is no room.
    pub(crate) fn refuse(&mut self, items: u32) -> AppendError {
        self.stats.refused.add(Count::one(items));
        AppendError::Full { bytes: self.bytes, max_bytes: self.config.max_bytes }
    }

    pub(super) fn write(
        &mut self,
        now_ms: u64,
        kind: u8,
        items: u32,
        body: &[u8],
    ) -> io::Result<u64> {
        let sequence = self.next;
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let (first, salt) = match &self.active {
            Some(active) => (active.whole.first, active.whole.salt),
            None => {
                let salt = fastrand::u32(..).to_le_bytes();
                segment::put_header(&mut bytes, sequence, salt);
                (sequence, salt)
            }
        };
        let head = Head { sequence, time_ms: now_ms, kind, items };
        segment::put_record(&mut bytes, salt, head, body);
        let written = bytes.len() as u64;
        let appended = self.put(first, &bytes);
        if bytes.capacity() <= MAX_SCRATCH {
            self.scratch = bytes;
        }
        appended?;
        if self.active.is_none() {
            let segment = Segment { salt, end: HEADER as u64, ..Segment::new(first, 0) };
            self.segments.push_back(segment);
            self.active = Some(Active { whole: segment });
        }
        if let Some(Active { whole }) = &mut self.active {
            whole.push(head);
            whole.bytes += written;
            whole.end = whole.bytes;
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes += written;
        }
        self.bytes += written;
        self.unsynced = true;
        self.next += 1;
        Ok(sequence)
    }

    /// Appends to the active segment, or begins one. What fails leaves nothing behind.
    fn put(&mut self, first: u64, bytes: &[u8]) -> io::Result<()> {
        let name = segment::file_name(first);
        if self.active.is_none() {
            self.disk.create(&name)?;
            self.folder_changed = true;
        }
        let before = self.active.as_ref().map_or(0, |active| active.whole.bytes);
        if let Err(error) = self.disk.append(&name, bytes) {
            if self.active.is_none() {
                // Left over it has no record, and goes when the spool is opened.
                let _ = self.disk.remove(&name);
            } else if self.disk.truncate(&name, before).is_err() {
                // What is behind the end cannot be told from what is appended next.
                self.fail(io::Error::new(error.kind(), error.to_string()));
            }
            return Err(error);
        }
        Ok(())
    }

    /// Nothing more goes to the active segment, and the next commit says why.
    pub(super) fn fail(&mut self, error: io::Error) {
        if self.config.sync == Sync::Always {
            self.failed = Some(error);
        } else {
            self.publish();
            self.active = None;
        }
    }

    /// Ends the active segment; the next append begins another.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        let ended = match self.config.sync {
            Sync::Always => self.publish_durable(),
            Sync::Interval(_) => {
                self.publish();
                self.sync_active()
            }
            Sync::Never => {
                self.publish();
                Ok(())
            }
        };
        if let Err(error) = ended {
            // What the earlier appends of this group were is for their commit to say.
            if self.config.sync == Sync::Always {
                self.failed = Some(io::Error::new(error.kind(), error.to_string()));
            }
            return Err(error);
        }
        self.active = None;
        Ok(())
    }

    pub(super) fn publish_durable(&mut self) -> io::Result<()> {
        let synced = self.sync_active();
        if synced.is_ok() {
            self.publish();
        } else {
            self.cut();
        }
        synced
    }

    /// Makes the active segment durable.
    pub(super) fn sync_active(&mut self) -> io::Result<()> {
        let Some(active) = self.active.as_ref().filter(|_| self.unsynced) else { return Ok(()) };
        let name = segment::file_name(active.whole.first);
        self.stats.syncs += 1;
        let synced = self.disk.sync(&name).and_then(|()| self.sync_folder());
        if synced.is_err() {
            self.stats.sync_failures += 1;
            if self.config.sync != Sync::Always {
                // What the system lost of it is not known, and nothing is added to it.
                self.active = None;
            }
        }
        self.unsynced = false;
        synced
    }

    pub(super) fn sync_folder(&mut self) -> io::Result<()> {
        if self.folder_changed {
            self.disk.sync_dir()?;
            self.folder_changed = false;
        }
        Ok(())
    }

    /// Shows what was appended to the readers.
    pub(super) fn publish(&mut self) {
        let Some((active, segment)) = self.active.as_ref().zip(self.segments.back_mut()) else {
            return;
        };
        let added = active.whole.count.without(segment.count);
        *segment = active.whole;
        self.stats.accepted.add(added);
        for reader in &mut self.readers {
            reader.stats.accepted.add(added);
            reader.stats.held.add(added);
        }
    }

    /// Takes back what was appended and not committed, and ends the active segment.
    pub(super) fn cut(&mut self) {
        let Some(active) = self.active.take() else { return };
        self.unsynced = false;
        let Some(segment) = self.segments.back_mut() else { return };
        self.stats.failed.add(active.whole.count.without(segment.count));
        self.next = segment.last + 1;
        let name = segment::file_name(segment.first);
        self.folder_changed = true;
        // If neither can be done, the segment that takes the same sequences is the one that counts.
        if segment.count.records == 0 {
            let _ = self.disk.remove(&name);
            self.bytes -= segment.bytes;
            self.segments.pop_back();
        } else if self.disk.truncate(&name, segment.end).is_ok() {
            self.bytes -= segment.bytes - segment.end;
            segment.bytes = segment.end;
        }
    }
}
