//! Counts the spans of an OTLP trace request as its bytes arrive.
//!
//! The sink shares a core with the generator, so it must cost next to nothing. The scanner steps
//! from one length to the next and never looks at a span's inside: about one step for 512 bytes.
//! It takes the gRPC message in any pieces, so the body is never put together.

use std::fmt;

/// The way down to a span: the field to enter at each depth, and at last the field to count.
const RESOURCE_SPANS: u64 = 1;
const SCOPE_SPANS: u64 = 2;
const SPANS: u64 = 2;
const PATH: [u64; 3] = [RESOURCE_SPANS, SCOPE_SPANS, SPANS];

/// The flag and the length before a gRPC message.
const PREFIX: usize = 5;

/// Counts the spans of one gRPC message of `ExportTraceServiceRequest`.
#[derive(Debug)]
pub struct Scanner {
    prefix: [u8; PREFIX],
    prefix_len: usize,
    /// Where in the message the next byte stands.
    position: u64,
    /// Where each entered message ends, the request first.
    ends: [u64; PATH.len()],
    depth: usize,
    state: State,
    spans: u64,
}

/// Why a body is not one plain gRPC message of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// The compressed flag is set; both gateways are told to send as they are.
    Compressed,
    /// The body ends before or after the message.
    Length,
    /// The bytes are not protobuf, or a field goes past its parent's end.
    Malformed,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Tag(Varint),
    Length {
        field: u64,
        value: Varint,
    },
    /// A number that is read only to know where it ends.
    Number(Varint),
    Skip {
        until: u64,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    shift: u32,
}

// === impl Scanner ===

impl Scanner {
    /// Starts before the first byte of a body.
    pub fn new() -> Self {
        Self {
            prefix: [0; PREFIX],
            prefix_len: 0,
            position: 0,
            ends: [0; PATH.len()],
            depth: 0,
            state: State::Tag(Varint::default()),
            spans: 0,
        }
    }

    /// Takes the next piece of the body.
    ///
    /// # Errors
    ///
    /// The body is compressed, too long, or no request; the scanner is of no use afterwards.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), ScanError> {
        while self.prefix_len < PREFIX {
            let Some((&byte, rest)) = piece.split_first() else { return Ok(()) };
            self.prefix[self.prefix_len] = byte;
            self.prefix_len += 1;
            piece = rest;
            if self.prefix_len == PREFIX {
                let [flag, length @ ..] = self.prefix;
                if flag != 0 {
                    return Err(ScanError::Compressed);
                }
                self.ends[0] = u32::from_be_bytes(length).into();
            }
        }
        if piece.len() as u64 > self.ends[0] - self.position {
            return Err(ScanError::Length);
        }
        while !piece.is_empty() {
            let taken = self.step(piece)?;
            self.position += taken as u64;
            piece = &piece[taken..];
            self.leave();
        }
        Ok(())
    }

    /// The spans of the whole message.
    ///
    /// # Errors
    ///
    /// The body ended too early.
    pub fn finish(self) -> Result<u64, ScanError> {
        let whole = self.prefix_len == PREFIX && self.position == self.ends[0];
        if whole { Ok(self.spans) } else { Err(ScanError::Length) }
    }

    /// Takes a few bytes of `piece`, which is not empty, and tells how many.
    fn step(&mut self, piece: &[u8]) -> Result<usize, ScanError> {
        let byte = piece[0];
        self.state = match self.state {
            State::Skip { until } => {
                let left = usize::try_from(until - self.position).unwrap_or(usize::MAX);
                return Ok(left.min(piece.len()));
            }
            State::Tag(mut varint) => match varint.push(byte)? {
                None => State::Tag(varint),
                Some(tag) => self.field(tag)?,
            },
            State::Number(mut varint) => match varint.push(byte)? {
                None => State::Number(varint),
                Some(_) => State::Tag(Varint::default()),
            },
            State::Length { field, mut value } => match value.push(byte)? {
                None => State::Length { field, value },
                Some(length) => self.enter(field, length)?,
            },
        };
        Ok(1)
    }

    /// What follows `tag`, whose last byte is the one at hand.
    fn field(&self, tag: u64) -> Result<State, ScanError> {
        let next = self.position + 1;
        match tag & 7 {
            0 => Ok(State::Number(Varint::default())),
            1 => Ok(State::Skip { until: self.end_of(next, 8)? }),
            2 => Ok(State::Length { field: tag >> 3, value: Varint::default() }),
            5 => Ok(State::Skip { until: self.end_of(next, 4)? }),
            _ => Err(ScanError::Malformed),
        }
    }

    /// Enters the message of `length` bytes that starts at the next byte, or steps over it.
    fn enter(&mut self, field: u64, length: u64) -> Result<State, ScanError> {
        let until = self.end_of(self.position + 1, length)?;
        if field != PATH[self.depth] {
            return Ok(State::Skip { until });
        }
        if self.depth + 1 == PATH.len() {
            self.spans += 1;
            return Ok(State::Skip { until });
        }
        self.depth += 1;
        self.ends[self.depth] = until;
        Ok(State::Tag(Varint::default()))
    }

    fn end_of(&self, from: u64, length: u64) -> Result<u64, ScanError> {
        let until = from.checked_add(length).filter(|until| *until <= self.ends[self.depth]);
        until.ok_or(ScanError::Malformed)
    }

    /// Goes back up wherever a message or a skipped field has just ended.
    fn leave(&mut self) {
        if matches!(self.state, State::Skip { until } if until == self.position) {
            self.state = State::Tag(Varint::default());
        }
        while self.depth > 0 && self.position == self.ends[self.depth] {
            self.depth -= 1;
        }
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Varint ===

impl Varint {
    /// Takes a byte; answers the number if it was the last one.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, ScanError> {
        if self.shift > 63 {
            return Err(ScanError::Malformed);
        }
        self.value |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        Ok((byte & 0x80 == 0).then_some(self.value))
    }
}

// === impl ScanError ===

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compressed => "the body is compressed",
            Self::Length => "the body is longer or shorter than its message",
            Self::Malformed => "the body is not a trace request",
        })
    }
}

impl std::error::Error for ScanError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    fn scan(body: &[u8], piece: usize) -> Result<u64, ScanError> {
        let mut scanner = Scanner::new();
        for piece in body.chunks(piece) {
            scanner.feed(piece)?;
        }
        scanner.finish()
    }

    #[test]
    fn spans_are_counted_whatever_the_pieces() {
        let payload = Payload::new(100);
        let mut body = Vec::new();
        payload.sequence(1).write(&mut body);
        for piece in [1, 2, 3, 7, 512, 1000, body.len()] {
            assert_eq!(scan(&body, piece), Ok(100), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_message_without_spans_has_none() {
        assert_eq!(scan(&[0, 0, 0, 0, 0], 5), Ok(0));
        // An empty ResourceSpans, and a number field that nobody knows.
        assert_eq!(scan(&[0, 0, 0, 0, 5, 0x0a, 0, 0x78, 0x80, 1], 1), Ok(0));
    }

    #[test]
    fn a_compressed_body_is_refused() {
        assert_eq!(scan(&[1, 0, 0, 0, 0], 5), Err(ScanError::Compressed));
    }

    #[test]
    fn a_body_of_another_length_is_refused() {
        assert_eq!(scan(&[0, 0, 0, 0], 4), Err(ScanError::Length));
        assert_eq!(scan(&[0, 0, 0, 0, 2, 0x0a], 6), Err(ScanError::Length));
        assert_eq!(scan(&[0, 0, 0, 0, 0, 0x0a], 6), Err(ScanError::Length));
    }

    #[test]
    fn a_field_past_its_parent_is_refused() {
        assert_eq!(scan(&[0, 0, 0, 0, 2, 0x0a, 9], 7), Err(ScanError::Malformed));
        assert_eq!(scan(&[0, 0, 0, 0, 4, 0x0a, 2, 0x12, 9], 9), Err(ScanError::Malformed));
    }
}
