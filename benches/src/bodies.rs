//! The requests that lanes send, compressed as they go or beforehand.

use std::io;

use bytes::Bytes;

use crate::encoding::{Encoder, Encoding};
use crate::payload::{Payload, Sequence, VARIANTS};

/// The requests of a load.
#[derive(Debug)]
pub struct Bodies {
    payload: Payload,
    encoding: Encoding,
    /// Compressed beforehand, for a gateway to which fresh trace ids make no difference.
    fixed: Vec<Bytes>,
}

/// The requests of one lane, in order.
#[derive(Debug)]
pub struct Source<'a> {
    bodies: &'a Bodies,
    sequence: Sequence<'a>,
    encoder: Encoder,
    next: usize,
    buffer: Vec<u8>,
}

// === impl Bodies ===

impl Bodies {
    /// Encodes requests of `spans` spans. Where they are compressed and need not be `fresh`, with
    /// trace ids that never come again, they are compressed here and not while they are sent.
    ///
    /// # Errors
    ///
    /// They cannot be compressed.
    pub fn new(spans: usize, encoding: Encoding, fresh: bool) -> io::Result<Self> {
        let payload = Payload::new(spans);
        let mut fixed = Vec::new();
        if encoding != Encoding::None && !fresh {
            let mut sequence = payload.sequence(0);
            let mut encoder = Encoder::new(encoding)?;
            for _ in 0..VARIANTS {
                let mut framed = Vec::new();
                sequence.write(&mut framed);
                fixed.push(Bytes::from(encoder.encode(&framed)?));
            }
        }
        Ok(Self { payload, encoding, fixed })
    }

    /// The spans in each.
    pub fn spans(&self) -> usize {
        self.payload.spans()
    }

    /// Starts the requests of one lane; lanes with other seeds send other traces.
    ///
    /// # Errors
    ///
    /// There is no memory to compress with.
    pub fn source(&self, seed: u64) -> io::Result<Source<'_>> {
        Ok(Source {
            bodies: self,
            sequence: self.payload.sequence(seed),
            encoder: Encoder::new(self.encoding)?,
            next: seed as usize % VARIANTS,
            buffer: Vec::new(),
        })
    }
}

// === impl Source ===

impl Source<'_> {
    /// The next message with its gRPC prefix, and the spans of the traces that end in it and must
    /// be kept.
    ///
    /// # Errors
    ///
    /// It cannot be compressed.
    pub fn advance(&mut self) -> io::Result<(Bytes, u64)> {
        if let Some(body) = self.bodies.fixed.get(self.next) {
            self.next = (self.next + 1) % self.bodies.fixed.len();
            return Ok((body.clone(), 0));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let must_keep = self.sequence.write(&mut buffer);
        if self.bodies.encoding == Encoding::None {
            return Ok((Bytes::from(buffer), must_keep));
        }
        let encoded = self.encoder.encode(&buffer)?;
        self.buffer = buffer;
        Ok((Bytes::from(encoded), must_keep))
    }

    /// Takes the buffer back, unless the request was cut off on its way.
    pub fn reuse(&mut self, body: Bytes) {
        if self.bodies.encoding == Encoding::None && body.is_unique() {
            self.buffer = Vec::from(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_compressed_beforehand_where_they_may_be_the_same() {
        let fixed = Bodies::new(2, Encoding::Zstd, false).unwrap();
        assert_eq!(fixed.fixed.len(), VARIANTS);
        let fresh = Bodies::new(2, Encoding::Zstd, true).unwrap();
        let mut source = fresh.source(1).unwrap();
        let (first, second) = (source.advance().unwrap().0, source.advance().unwrap().0);
        assert_ne!(first, second);
        assert_eq!(first[0], 1, "the flag of a compressed message");
    }
}
