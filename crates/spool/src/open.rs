//! Starting on whatever is on the disk, and saying what of it is lost.

use std::collections::VecDeque;
use std::io;

use crate::Disk;
use crate::reader::{self, Reader};
use crate::segment::{self, Cursor, Step};
use crate::spool::Segment;
use crate::stats::Count;

/// So many places of damage are told; all are counted.
const TOLD: usize = 64;

/// What a spool found when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What can be read.
    pub found: Count,
    /// Segments that are used.
    pub segments: u64,
    /// Bytes that are no record, in the midst of others: something damaged them.
    pub damaged_bytes: u64,
    /// Bytes after the last record of a segment, cut off. The end of the process in the midst of an
    /// append leaves such, and what they held was never committed.
    pub torn_bytes: u64,
    /// Sequences missing between records that can be read.
    pub missing: u64,
    /// Where; the first 64 only.
    pub damage: Vec<Damage>,
    /// Segments that the disk could not read, renamed to `*.bad` and not used.
    pub unreadable: Vec<String>,
    /// Readers whose progress is lost; they begin with the oldest record.
    pub readers_lost: Vec<String>,
}

/// A place that is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How long, in bytes.
    pub bytes: u64,
    /// Whether it is the end of the file.
    pub torn: bool,
}

/// What is on disk, put together.
pub(crate) struct Found {
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) next: u64,
    pub(crate) report: Report,
}

struct Scan {
    segment: Segment,
    /// Of each reader, what it has passed.
    passed: Vec<Count>,
    damage: Vec<Damage>,
    damaged_bytes: u64,
    torn_bytes: u64,
    missing: u64,
    /// Where the last record ends.
    end: u64,
}

// === impl Report ===

impl Report {
    /// Whether nothing that was committed is lost. A torn end is none.
    pub fn is_clean(&self) -> bool {
        self.damaged_bytes == 0
            && self.missing == 0
            && self.unreadable.is_empty()
            && self.readers_lost.is_empty()
    }
}

/// Reads everything once.
///
/// # Errors
///
/// The folder cannot be listed, or a segment can neither be read nor renamed.
pub(crate) fn look(disk: &mut impl Disk) -> io::Result<Found> {
    let mut files = disk.list()?;
    files.sort_unstable();
    let mut report = Report::default();
    let mut readers = look_for_readers(disk, &files, &mut report);
    let progresses: Vec<u64> = readers.iter().map(|reader| reader.progress).collect();

    let mut scans = Vec::new();
    for (name, length) in &files {
        let Some(first) = segment::first_of(name) else { continue };
        match scan(disk, first, *length, segment::MAX_SEQUENCE, &progresses) {
            Ok(scan) => scans.push(scan),
            Err(_) => {
                disk.rename(name, &format!("{name}.bad"))?;
                report.unreadable.push(name.clone());
            }
        }
    }
    // What could not be committed is cut off and its sequences are given anew. If the cut did not
    // reach the disk, the newer segment is the one that counts.
    let mut limit = segment::MAX_SEQUENCE;
    for at in (0..scans.len()).rev() {
        let Segment { first, last, count, bytes, .. } = scans[at].segment;
        if count.records > 0 && last >= limit {
            scans[at] = scan(disk, first, bytes, limit, &progresses)?;
        }
        if scans[at].segment.count.records > 0 {
            limit = first;
        }
    }

    let mut next = progresses.iter().max().map_or(1, |progress| progress + 1);
    let mut segments: VecDeque<Segment> = VecDeque::new();
    for mut scan in scans {
        let name = segment::file_name(scan.segment.first);
        report.add(&scan);
        if scan.segment.count.records == 0 {
            // Left over if it cannot be removed, and removed another time.
            let _ = disk.remove(&name);
            continue;
        }
        if scan.torn_bytes > 0 && disk.truncate(&name, scan.end).is_ok() {
            scan.segment.bytes = scan.end;
        }
        if let Some(before) = segments.back() {
            report.missing += scan.segment.first.saturating_sub(before.last + 1);
        }
        for (reader, passed) in readers.iter_mut().zip(&scan.passed) {
            let left = scan.segment.count.without(*passed);
            reader.stats.found.add(left);
            if left.records > 0 && passed.records > 0 {
                let tally = reader.tallies.entry(scan.segment.first).or_default();
                (tally.read, tally.passed) = (*passed, *passed);
            }
        }
        next = next.max(scan.segment.last + 1);
        segments.push_back(scan.segment);
    }
    for reader in &mut readers {
        if let Some(oldest) = segments.front().filter(|_| reader.saved.is_some()) {
            report.missing += oldest.first.saturating_sub(reader.progress + 1);
        }
        reader.stats.held = reader.stats.found;
    }
    Ok(Found { segments, readers, next, report })
}

fn look_for_readers(
    disk: &mut impl Disk,
    files: &[(String, u64)],
    report: &mut Report,
) -> Vec<Reader> {
    let mut readers = Vec::new();
    for (file, _) in files {
        if file.ends_with(".tmp") {
            let _ = disk.remove(file);
        }
        let Some(name) = reader::reader_of(file) else { continue };
        // One byte more, so that a longer file is seen to be.
        let mut bytes = [0; 21];
        let progress = match disk.read_at(file, 0, &mut bytes) {
            Ok(length) => reader::decode(&bytes[..length]),
            Err(_) => None,
        };
        if progress.is_none() {
            report.readers_lost.push(name.to_owned());
        }
        readers.push(Reader::new(name, progress.unwrap_or(0), progress));
    }
    readers
}

fn scan(
    disk: &impl Disk,
    first: u64,
    length: u64,
    limit: u64,
    progresses: &[u64],
) -> io::Result<Scan> {
    let file = segment::file_name(first);
    let mut cursor = Cursor::new(first, None);
    let mut scan = Scan {
        segment: Segment::new(first, length),
        passed: vec![Count::default(); progresses.len()],
        damage: Vec::new(),
        damaged_bytes: 0,
        torn_bytes: 0,
        missing: 0,
        end: 0,
    };
    loop {
        let before = cursor.offset();
        match cursor.step(disk, &file, length)? {
            Step::Record { record, .. } if record.sequence >= limit => {}
            Step::Record { record, end, skipped } => {
                if skipped > 0 {
                    scan.tell(Damage {
                        file: file.clone(),
                        offset: before,
                        bytes: skipped,
                        torn: false,
                    });
                    scan.damaged_bytes += skipped;
                }
                scan.missing += record.sequence - (scan.segment.last + 1);
                let count = Count::one(record.items);
                for (passed, progress) in scan.passed.iter_mut().zip(progresses) {
                    if record.sequence <= *progress {
                        passed.add(count);
                    }
                }
                scan.segment.push(record.head());
                scan.segment.end = end;
                scan.end = end;
            }
            Step::End { skipped } => {
                if skipped > 0 {
                    scan.tell(Damage { file, offset: before, bytes: skipped, torn: true });
                    scan.torn_bytes += skipped;
                }
                break;
            }
        }
    }
    if let Some(salt) = cursor.salt() {
        scan.segment.salt = salt;
    }
    Ok(scan)
}

impl Report {
    fn add(&mut self, scan: &Scan) {
        self.damaged_bytes += scan.damaged_bytes;
        self.torn_bytes += scan.torn_bytes;
        self.missing += scan.missing;
        let room = TOLD - self.damage.len();
        self.damage.extend(scan.damage.iter().take(room).cloned());
        if scan.segment.count.records > 0 {
            self.found.add(scan.segment.count);
            self.segments += 1;
        }
    }
}

// === impl Scan ===

impl Scan {
    fn tell(&mut self, damage: Damage) {
        if self.damage.len() < TOLD {
            self.damage.push(damage);
        }
    }
}
