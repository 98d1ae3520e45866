//! Where one reader is: what it was given, what of that it acknowledged, what is passed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Buf;

use crate::segment::{Cursor, MAX_SEQUENCE, RECORD, Record};
use crate::stats::{Count, ReaderStats};

const MAGIC: &[u8; 8] = b"tfsread\x01";

/// Which reader of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderId(pub(crate) usize);

/// What a reader is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next record.
    Record(Record),
    /// Too much is given and not acknowledged.
    WindowFull,
    /// There is no more for now.
    Empty,
}

#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) name: String,
    /// Everything up to here is acknowledged, dropped or lost.
    pub(crate) progress: u64,
    /// What of that is on disk; `None` where there is no good file.
    pub(crate) saved: Option<u64>,
    /// The last sequence that was given or passed over.
    pub(crate) read_to: u64,
    /// The first sequence of the segment that the cursor is in.
    pub(crate) at: u64,
    pub(crate) cursor: Option<Cursor>,
    /// How often in a row the same place could not be read.
    pub(crate) failures: u32,
    /// Of segments that are neither untouched nor done, by first sequence.
    pub(crate) tallies: BTreeMap<u64, Tally>,
    pub(crate) stats: ReaderStats,
    given: VecDeque<Given>,
    /// Bytes given so far, so that differences are sizes of windows.
    given_bytes: u64,
}

/// What one reader has had of one segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) read: Count,
    pub(crate) passed: Count,
    pub(crate) damaged: Count,
}

#[derive(Debug)]
struct Given {
    sequence: u64,
    segment: u64,
    count: Count,
    start: u64,
    acked: bool,
}

pub(crate) fn is_name(name: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

/// The reader that the file `name` is of.
pub(crate) fn reader_of(name: &str) -> Option<&str> {
    name.strip_suffix(".reader").filter(|name| is_name(name))
}

pub(crate) fn encode(progress: u64) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&progress.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Option<u64> {
    let (content, mut crc) = bytes.split_at_checked(16).filter(|(_, crc)| crc.len() == 4)?;
    if crc.get_u32_le() != crc32c::crc32c(content) {
        return None;
    }
    let progress = content.strip_prefix(MAGIC)?.get_u64_le();
    (progress < MAX_SEQUENCE).then_some(progress)
}

// === impl Reader ===

impl Reader {
    pub(crate) fn new(name: &str, progress: u64, saved: Option<u64>) -> Self {
        Self {
            name: name.to_owned(),
            progress,
            saved,
            read_to: progress,
            at: 0,
            cursor: None,
            failures: 0,
            tallies: BTreeMap::new(),
            stats: ReaderStats::default(),
            given: VecDeque::new(),
            given_bytes: 0,
        }
    }

    pub(crate) fn file(&self) -> String {
        format!("{}.reader", self.name)
    }

    pub(crate) fn window(&self) -> u64 {
        self.given.front().map_or(0, |given| self.given_bytes - given.start)
    }

    pub(crate) fn give(&mut self, record: &Record) {
        let count = Count::one(record.items);
        let given = Given {
            sequence: record.sequence,
            segment: self.at,
            count,
            start: self.given_bytes,
            acked: false,
        };
        self.given.push_back(given);
        self.given_bytes += (RECORD + record.body.len()) as u64;
        self.read_to = record.sequence;
        self.tallies.entry(self.at).or_default().read.add(count);
    }

    pub(crate) fn ack(&mut self, sequence: u64) -> bool {
        let Ok(at) = self.given.binary_search_by_key(&sequence, |given| given.sequence) else {
            return false;
        };
        let first_time = !std::mem::replace(&mut self.given[at].acked, true);
        while let Some(given) = self.given.pop_front_if(|given| given.acked) {
            self.tallies.entry(given.segment).or_default().passed.add(given.count);
            self.stats.delivered.add(given.count);
            self.stats.held.take(given.count);
        }
        self.settle();
        first_time
    }

    /// Moves the progress to before the first record that is not acknowledged.
    pub(crate) fn settle(&mut self) {
        self.progress = self.given.front().map_or(self.read_to, |given| given.sequence - 1);
    }

    /// What was given and not passed is given again.
    pub(crate) fn rewind(&mut self) {
        self.given.clear();
        self.read_to = self.progress;
        self.cursor = None;
        self.failures = 0;
        for tally in self.tallies.values_mut() {
            tally.read = tally.passed;
        }
    }

    /// Takes note that the cursor came to the end of a segment that will not grow.
    pub(crate) fn finish(&mut self, first: u64, last: u64, count: Count) {
        let tally = self.tallies.entry(first).or_default();
        let damaged = count.without(tally.read).without(tally.damaged);
        tally.damaged.add(damaged);
        self.stats.damaged.add(damaged);
        self.stats.held.take(damaged);
        self.read_to = self.read_to.max(last);
        self.cursor = None;
        self.failures = 0;
        self.settle();
    }

    /// Forgets a segment that is dropped, and says what of it was not passed.
    pub(crate) fn forget(&mut self, first: u64, last: u64, count: Count) -> Count {
        let left = if self.progress >= last {
            Count::default()
        } else {
            let mut tally = self.tallies.get(&first).copied().unwrap_or_default();
            // Done with, though something before is not: that was not lost.
            for done in self.given.iter().filter(|given| given.sequence <= last && given.acked) {
                tally.passed.add(done.count);
                self.stats.delivered.add(done.count);
                self.stats.held.take(done.count);
            }
            count.without(tally.passed).without(tally.damaged)
        };
        self.tallies.remove(&first);
        self.given.retain(|given| given.sequence > last);
        if self.at == first {
            self.cursor = None;
        }
        self.read_to = self.read_to.max(last);
        self.settle();
        self.stats.held.take(left);
        left
    }
}
