//! The bytes of a segment, and reading them whatever happened to them.
//!
//! Nothing here panics on any content, and no record is returned whose checksum is wrong. After
//! damage the cursor looks for the next record that checks. What it looks for has a random part
//! that differs from segment to segment, so that no body can pretend to hold records.

use std::io;

use bytes::{Buf, Bytes};

use crate::Disk;

/// Bytes of the header of a segment.
pub(crate) const HEADER: usize = 32;

/// Bytes before the body of a record.
pub(crate) const RECORD: usize = 37;

/// The longest body, in bytes, whatever a configuration says.
pub(crate) const MAX_BODY: usize = 256 * 1024 * 1024;

/// Higher sequences are taken for damage, so that counting on never overflows.
pub(crate) const MAX_SEQUENCE: u64 = 1 << 62;

const MAGIC: &[u8; 8] = b"tfspool\0";
const RECORD_MAGIC: [u8; 4] = [0xa7, b'T', b'F', 0x5e];
const VERSION: u32 = 1;

/// What a cursor reads at once, in bytes; longer records are read alone.
const CHUNK: usize = 256 * 1024;

/// What is known of a record beside its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) sequence: u64,
    pub(crate) time_ms: u64,
    pub(crate) kind: u8,
    pub(crate) items: u32,
}

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the spool, from 1 on, without gaps as long as nothing is lost.
    pub sequence: u64,
    /// When it was appended, in milliseconds since 1970.
    pub time_ms: u64,
    /// What the caller wrote, such as a signal.
    pub kind: u8,
    /// How many items the body has, as the caller counted them.
    pub items: u32,
    /// The bytes that were appended.
    pub body: Bytes,
}

/// Walks over the records of one segment.
#[derive(Debug)]
pub(crate) struct Cursor {
    offset: u64,
    /// `None` until a header or a record told.
    salt: Option<[u8; 4]>,
    /// Lower sequences cannot follow here.
    least: u64,
    buffer: Bytes,
    buffer_at: u64,
}

/// What a cursor came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// A record that checks, the place after it, and the bytes that were passed over before it.
    Record { record: Record, end: u64, skipped: u64 },
    /// No more; so many bytes at the end are no record.
    End { skipped: u64 },
}

enum Parsed {
    Record(Record),
    Longer(usize),
    Bad,
}

/// The name of the file of the segment that starts with `first`.
pub(crate) fn file_name(first: u64) -> String {
    format!("{first:020}.spool")
}

/// The first sequence of the segment in the file `name`.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".spool")?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let first = digits.parse().ok().filter(|_| plain)?;
    (1..MAX_SEQUENCE).contains(&first).then_some(first)
}

/// Writes the header of a segment.
pub(crate) fn put_header(to: &mut Vec<u8>, first: u64, salt: [u8; 4]) {
    let start = to.len();
    to.extend_from_slice(MAGIC);
    to.extend_from_slice(&VERSION.to_le_bytes());
    to.extend_from_slice(&first.to_le_bytes());
    to.extend_from_slice(&salt);
    to.extend_from_slice(&[0; 4]);
    let crc = crc32c::crc32c(&to[start..]);
    to.extend_from_slice(&crc.to_le_bytes());
}

/// Writes a record. The body is no longer than [`MAX_BODY`].
pub(crate) fn put_record(to: &mut Vec<u8>, salt: [u8; 4], head: Head, body: &[u8]) {
    let start = to.len();
    to.reserve(RECORD + body.len());
    to.extend_from_slice(&RECORD_MAGIC);
    to.extend_from_slice(&salt);
    to.extend_from_slice(&(body.len() as u32).to_le_bytes());
    to.extend_from_slice(&head.sequence.to_le_bytes());
    to.extend_from_slice(&head.time_ms.to_le_bytes());
    to.push(head.kind);
    to.extend_from_slice(&head.items.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&to[start..]), body);
    to.extend_from_slice(&crc.to_le_bytes());
    to.extend_from_slice(body);
}

/// The first sequence and the salt of a header that is whole.
fn parse_header(bytes: &[u8]) -> Option<(u64, [u8; 4])> {
    let (content, mut crc) = bytes.get(..HEADER)?.split_at(HEADER - 4);
    if crc.get_u32_le() != crc32c::crc32c(content) {
        return None;
    }
    let mut rest = content.strip_prefix(MAGIC)?;
    if rest.get_u32_le() != VERSION {
        return None;
    }
    let first = rest.get_u64_le();
    let salt = rest.first_chunk().copied()?;
    Some((first, salt))
}

fn parse_record(bytes: &Bytes, salt: Option<[u8; 4]>, least: u64, left: u64) -> Parsed {
    if left < RECORD as u64 {
        return Parsed::Bad;
    }
    if bytes.len() < RECORD {
        return Parsed::Longer(RECORD);
    }
    let (mut header, rest) = bytes.split_at(RECORD);
    let checked = &header[..RECORD - 4];
    let mut magic = [0; 4];
    header.copy_to_slice(&mut magic);
    let mut own_salt = [0; 4];
    header.copy_to_slice(&mut own_salt);
    if magic != RECORD_MAGIC || salt.is_some_and(|salt| salt != own_salt) {
        return Parsed::Bad;
    }
    let length = header.get_u32_le() as usize;
    let sequence = header.get_u64_le();
    let time_ms = header.get_u64_le();
    let kind = header.get_u8();
    let items = header.get_u32_le();
    let crc = header.get_u32_le();
    let total = RECORD + length;
    if length > MAX_BODY || total as u64 > left || !(least..MAX_SEQUENCE).contains(&sequence) {
        return Parsed::Bad;
    }
    let Some(body) = rest.get(..length) else { return Parsed::Longer(total) };
    if crc32c::crc32c_append(crc32c::crc32c(checked), body) != crc {
        return Parsed::Bad;
    }
    Parsed::Record(Record { sequence, time_ms, kind, items, body: bytes.slice(RECORD..total) })
}

// === impl Record ===

impl Record {
    pub(crate) const fn head(&self) -> Head {
        let Self { sequence, time_ms, kind, items, .. } = *self;
        Head { sequence, time_ms, kind, items }
    }
}

// === impl Cursor ===

impl Cursor {
    /// Starts before the first record of the segment that starts with the sequence `first`.
    ///
    /// `salt` is given where the segment was written or read before.
    pub(crate) fn new(first: u64, salt: Option<[u8; 4]>) -> Self {
        let offset = if salt.is_some() { HEADER as u64 } else { 0 };
        Self { offset, salt, least: first, buffer: Bytes::new(), buffer_at: 0 }
    }

    /// Where the next record is looked for.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives up everything before `end`.
    pub(crate) fn jump(&mut self, end: u64) {
        self.offset = end;
    }

    /// What marks the records of this segment, as far as known.
    pub(crate) fn salt(&self) -> Option<[u8; 4]> {
        self.salt
    }

    /// The next record before `end`, a place in the file.
    ///
    /// # Errors
    ///
    /// The file cannot be read; the cursor stays and may be asked again.
    pub(crate) fn step(&mut self, disk: &impl Disk, name: &str, end: u64) -> io::Result<Step> {
        let mut skipped = 0;
        if self.offset == 0 && self.salt.is_none() {
            let bytes = self.fill(disk, name, HEADER, end)?;
            match parse_header(&bytes) {
                Some((_, salt)) => {
                    self.salt = Some(salt);
                    self.offset = HEADER as u64;
                }
                // The header is where it always is: records start behind it even so.
                None if end >= HEADER as u64 => {
                    self.offset = HEADER as u64;
                    skipped = HEADER as u64;
                }
                None => {
                    self.offset = end;
                    return Ok(Step::End { skipped: end });
                }
            }
        }
        let mut wanted = RECORD;
        while self.offset < end {
            let bytes = self.fill(disk, name, wanted, end)?;
            match parse_record(&bytes, self.salt, self.least, end - self.offset) {
                Parsed::Record(record) => {
                    self.offset += (RECORD + record.body.len()) as u64;
                    self.least = record.sequence + 1;
                    if self.salt.is_none() {
                        self.salt = bytes[4..].first_chunk().copied();
                    }
                    return Ok(Step::Record { record, end: self.offset, skipped });
                }
                // A file that ends early, although it was longer a moment ago.
                Parsed::Longer(total) if total <= wanted && bytes.len() < wanted => {
                    skipped += end - self.offset;
                    self.offset = end;
                }
                Parsed::Longer(total) => wanted = total,
                Parsed::Bad => {
                    let passed = self.pass(&bytes);
                    let passed = passed.min(end - self.offset);
                    self.offset += passed;
                    skipped += passed;
                    wanted = RECORD;
                }
            }
        }
        Ok(Step::End { skipped })
    }

    /// How far the next place is where a record may start, or the end of `bytes`.
    fn pass(&self, bytes: &[u8]) -> u64 {
        let mut mark = [0; 8];
        mark[..4].copy_from_slice(&RECORD_MAGIC);
        mark[4..].copy_from_slice(&self.salt.unwrap_or_default());
        let mark = if self.salt.is_some() { &mark[..] } else { &mark[..4] };
        let found = bytes.windows(mark.len()).skip(1).position(|window| window == mark);
        let passed = found.map_or_else(
            // The mark may have begun in the last bytes.
            || bytes.len().saturating_sub(mark.len() - 1).max(1),
            |found| found + 1,
        );
        passed as u64
    }

    /// At least `wanted` bytes from the offset on, unless `end` or the file's end is nearer.
    fn fill(&mut self, disk: &impl Disk, name: &str, wanted: usize, end: u64) -> io::Result<Bytes> {
        let left = usize::try_from(end - self.offset).unwrap_or(usize::MAX);
        let wanted = wanted.min(left);
        let within =
            self.offset.checked_sub(self.buffer_at).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = within.filter(|at| at + wanted <= self.buffer.len()) {
            let until = self.buffer.len().min(at.saturating_add(left));
            return Ok(self.buffer.slice(at..until));
        }
        let mut bytes = vec![0; wanted.max(CHUNK.min(left))];
        let mut length = 0;
        while length < bytes.len() {
            match disk.read_at(name, self.offset + length as u64, &mut bytes[length..]) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(length);
        self.buffer = bytes.into();
        self.buffer_at = self.offset;
        Ok(self.buffer.clone())
    }
}
