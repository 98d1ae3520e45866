//! The core: segments, what is committed of the last one, and readers.

mod clean;
mod write;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::open::{self, Report};
use crate::reader::{self, Read, Reader, ReaderId};
use crate::segment::{self, Cursor, Head, RECORD, Step};
use crate::stats::{Count, ReaderStats, Stats};
use crate::{AppendError, Config, Disk, Folder, OpenError, ReaderError, Sync};

/// Readers of one spool, at most.
const MAX_READERS: usize = 64;

/// So often in a row a place may fail to be read before it is given up.
const READ_TRIES: u32 = 3;

/// A queue on disk.
///
/// Between [`append`](Self::append) and [`commit`](Self::commit) a record is not yet in: only what
/// was committed is read, and counted.
#[derive(Debug)]
pub struct Spool<D = Folder> {
    disk: D,
    config: Config,
    segments: VecDeque<Segment>,
    active: Option<Active>,
    /// The sequence of the next record.
    next: u64,
    /// Bytes of all segments, committed or not.
    bytes: u64,
    readers: Vec<Reader>,
    stats: Stats,
    /// Why appends that no commit has answered are lost.
    failed: Option<io::Error>,
    /// Files came or went since the folder was made durable.
    folder_changed: bool,
    /// The active segment has bytes that were never made durable.
    unsynced: bool,
    synced_ms: u64,
    saved_ms: u64,
    /// Where records are put together.
    scratch: Vec<u8>,
}

/// What is known of a segment: its committed part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    /// `first - 1` without records.
    pub(crate) last: u64,
    pub(crate) count: Count,
    /// The length of the file.
    pub(crate) bytes: u64,
    /// Where the committed part ends.
    pub(crate) end: u64,
    pub(crate) salt: [u8; 4],
    pub(crate) oldest_ms: u64,
    pub(crate) newest_ms: u64,
}

/// The last segment, as long as it is appended to.
#[derive(Debug)]
struct Active {
    /// With what is not committed.
    whole: Segment,
}

// === impl Spool ===

impl Spool {
    /// Opens the spool in a folder, which is made if it is missing.
    ///
    /// Whatever the files contain, the spool starts; the report says what of it is lost. Reads
    /// everything once.
    ///
    /// # Errors
    ///
    /// The configuration is no good, the folder cannot be used, or another process uses it.
    pub fn open(folder: impl AsRef<Path>, config: Config) -> Result<(Self, Report), OpenError> {
        config.check()?;
        Self::open_on(Folder::lock(folder)?, config)
    }
}

impl<D: Disk> Spool<D> {
    /// Opens the spool on any disk.
    ///
    /// # Errors
    ///
    /// The configuration is no good, or the disk fails.
    pub fn open_on(mut disk: D, config: Config) -> Result<(Self, Report), OpenError> {
        config.check()?;
        let found = open::look(&mut disk)?;
        let stats = Stats { found: found.report.found, ..Stats::default() };
        let spool = Self {
            disk,
            config,
            bytes: found.segments.iter().map(|segment| segment.bytes).sum(),
            segments: found.segments,
            active: None,
            next: found.next,
            readers: found.readers,
            stats,
            failed: None,
            folder_changed: true,
            unsynced: false,
            synced_ms: 0,
            saved_ms: 0,
            scratch: Vec::new(),
        };
        Ok((spool, found.report))
    }

    /// Writes a record and returns its sequence, which is good once it is committed.
    ///
    /// `kind` and `items` are the caller's.
    ///
    /// # Errors
    ///
    /// There is no room, the body is too long, or the disk fails. Other appends are not touched;
    /// but after the disk failed to make durable what was appended before, all fail until the
    /// commit that says so.
    pub fn append(
        &mut self,
        now: SystemTime,
        kind: u8,
        items: u32,
        body: &[u8],
    ) -> Result<u64, AppendError> {
        if let Some(error) = &self.failed {
            return Err(io::Error::new(error.kind(), error.to_string()).into());
        }
        if body.len() > self.config.max_record {
            let max_record = self.config.max_record;
            return Err(AppendError::TooLarge { bytes: body.len(), max_record });
        }
        let now_ms = milliseconds(now);
        let needed = (RECORD + body.len()) as u64;
        if self.active.as_ref().is_some_and(|active| self.is_done(&active.whole, needed, now_ms)) {
            self.roll()?;
        }
        self.make_room(needed, items)?;
        match self.write(now_ms, kind, items, body) {
            Ok(sequence) => Ok(sequence),
            Err(error) => {
                self.stats.failed.add(Count::one(items));
                Err(error.into())
            }
        }
    }

    /// Takes in what was appended since the last commit, and makes it durable where the
    /// configuration says so.
    ///
    /// # Errors
    ///
    /// The disk fails. With [`Sync::Always`] what was appended since the last commit is not in then,
    /// but for what went to a segment that ended in between, and its sequences are given anew;
    /// otherwise all of it is in, but may not be durable.
    pub fn commit(&mut self, now: SystemTime) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            self.cut();
            return Err(error);
        }
        let now_ms = milliseconds(now);
        match self.config.sync {
            Sync::Always => self.publish_durable(),
            Sync::Interval(interval) => {
                self.publish();
                if is_due(&mut self.synced_ms, now_ms, interval) {
                    self.sync_active()
                } else {
                    Ok(())
                }
            }
            Sync::Never => {
                self.publish();
                Ok(())
            }
        }
    }

    /// Drops what is too old. Returns the time when that may next be worth it.
    ///
    /// # Errors
    ///
    /// The disk fails to remove a segment; it is tried again in the next call.
    pub fn expire(&mut self, now: SystemTime) -> io::Result<Option<SystemTime>> {
        let Some(max_age) = self.config.max_age else { return Ok(None) };
        let (now_ms, max_ms) = (milliseconds(now), as_ms(max_age));
        while let Some(oldest) = self.segments.front().copied() {
            let until = oldest.newest_ms.saturating_add(max_ms);
            if oldest.count.records == 0 || now_ms < until {
                return Ok(UNIX_EPOCH.checked_add(Duration::from_millis(until)));
            }
            if self.segments.len() == 1 && self.active.is_some() {
                self.roll()?;
            }
            let dropped = self.drop_oldest(|stats| &mut stats.dropped_age)?;
            self.stats.dropped_age.add(dropped);
        }
        Ok(None)
    }

    /// Adds a reader, or finds the one of that name.
    ///
    /// A new one begins with the oldest record; one that is known already is given again what it
    /// has not acknowledged.
    ///
    /// # Errors
    ///
    /// The name cannot be one of a file, or there are 64 readers.
    pub fn reader(&mut self, name: &str) -> Result<ReaderId, ReaderError> {
        if let Some(at) = self.readers.iter().position(|reader| reader.name == name) {
            self.readers[at].rewind();
            return Ok(ReaderId(at));
        }
        if !reader::is_name(name) {
            return Err(ReaderError::Name(name.chars().take(80).collect()));
        }
        if self.readers.len() >= MAX_READERS {
            return Err(ReaderError::TooMany(MAX_READERS));
        }
        let oldest = self.segments.front().map_or(self.next, |segment| segment.first);
        let mut reader = Reader::new(name, oldest - 1, None);
        for segment in &self.segments {
            reader.stats.found.add(segment.count);
        }
        reader.stats.held = reader.stats.found;
        self.readers.push(reader);
        Ok(ReaderId(self.readers.len() - 1))
    }

    /// The next record of a reader.
    ///
    /// # Errors
    ///
    /// The disk fails. After three times in a row the rest of that segment is given up for this
    /// reader, and counted as damaged.
    pub fn read(&mut self, id: ReaderId) -> io::Result<Read> {
        let Some(reader) = self.readers.get_mut(id.0) else { return Ok(Read::Empty) };
        loop {
            if reader.window() >= self.config.window {
                return Ok(Read::WindowFull);
            }
            if reader.cursor.is_none() {
                let at = self.segments.partition_point(|segment| segment.last <= reader.read_to);
                let Some(segment) = self.segments.get(at) else { return Ok(Read::Empty) };
                reader.at = segment.first;
            }
            let found = self.segments.binary_search_by_key(&reader.at, |segment| segment.first);
            let Some((at, segment)) = found.ok().map(|at| (at, self.segments[at])) else {
                reader.cursor = None;
                continue;
            };
            let cursor =
                reader.cursor.get_or_insert_with(|| Cursor::new(segment.first, Some(segment.salt)));
            if cursor.offset() >= segment.end {
                if self.active.is_some() && at + 1 == self.segments.len() {
                    return Ok(Read::Empty);
                }
                reader.finish(segment.first, segment.last, segment.count);
                continue;
            }
            match cursor.step(&self.disk, &segment::file_name(segment.first), segment.end) {
                Ok(Step::Record { record, .. }) => {
                    reader.failures = 0;
                    if (reader.read_to + 1..=segment.last).contains(&record.sequence) {
                        reader.give(&record);
                        return Ok(Read::Record(record));
                    }
                }
                Ok(Step::End { .. }) => {}
                Err(error) => {
                    reader.failures += 1;
                    if reader.failures < READ_TRIES {
                        return Err(error);
                    }
                    reader.failures = 0;
                    cursor.jump(segment.end);
                }
            }
        }
    }

    /// Takes note that a reader is done with a record, in any order. False where the record was not
    /// given to it, or is acknowledged already.
    ///
    /// What counts after a restart is what [`save`](Self::save) has seen.
    pub fn ack(&mut self, id: ReaderId, sequence: u64) -> bool {
        self.readers.get_mut(id.0).is_some_and(|reader| reader.ack(sequence))
    }

    /// Gives a reader again what it has not acknowledged, or what it has acknowledged only behind
    /// something that it has not.
    pub fn rewind(&mut self, id: ReaderId) {
        if let Some(reader) = self.readers.get_mut(id.0) {
            reader.rewind();
        }
    }

    /// Keeps the progress of all readers, and removes the segments that all have passed.
    ///
    /// With [`Sync::Interval`] only once in that time.
    ///
    /// # Errors
    ///
    /// The disk fails. What was acknowledged may be read again after a restart.
    pub fn save(&mut self, now: SystemTime) -> io::Result<()> {
        if let Sync::Interval(interval) = self.config.sync
            && !is_due(&mut self.saved_ms, milliseconds(now), interval)
        {
            return Ok(());
        }
        let saved = self.save_all();
        if saved.is_err() {
            self.stats.sync_failures += 1;
        }
        // A full disk has room again only when something goes.
        let full = saved.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull);
        self.clean(full)?;
        saved
    }

    /// Commits, saves and makes everything durable, whatever the configuration says.
    ///
    /// # Errors
    ///
    /// The disk fails.
    pub fn close(mut self, now: SystemTime) -> io::Result<()> {
        let committed = self.commit(now);
        let synced = self.sync_active();
        self.active = None;
        let saved = self.save_all().and_then(|()| self.clean(false));
        committed.and(synced).and(saved)
    }

    /// What was counted since the start.
    pub fn stats(&self) -> Stats {
        Stats { segments: self.segments.len() as u64, bytes: self.bytes, ..self.stats }
    }

    /// What was counted for one reader.
    pub fn reader_stats(&self, id: ReaderId) -> Option<ReaderStats> {
        let reader = self.readers.get(id.0)?;
        Some(ReaderStats { progress: reader.progress, window: reader.window(), ..reader.stats })
    }
}

// === impl Segment ===

impl Segment {
    pub(crate) fn new(first: u64, bytes: u64) -> Self {
        Self {
            first,
            last: first - 1,
            count: Count::default(),
            bytes,
            end: 0,
            salt: [0; 4],
            oldest_ms: 0,
            newest_ms: 0,
        }
    }

    pub(crate) fn push(&mut self, head: Head) {
        if self.count.records == 0 {
            self.oldest_ms = head.time_ms;
        }
        self.newest_ms = self.newest_ms.max(head.time_ms);
        self.last = head.sequence;
        self.count.add(Count::one(head.items));
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    as_ms(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether `interval` has gone by since `last`, which is `now` from then on. A clock that was set
/// back counts as gone by.
fn is_due(last: &mut u64, now_ms: u64, interval: Duration) -> bool {
    let due = now_ms.checked_sub(*last).is_none_or(|gone| gone >= as_ms(interval));
    if due {
        *last = now_ms;
    }
    due
}
