//! Compresses requests and inflates what a gateway sends.

use std::io::{self, Read};

use flate2::{Compress, Compression, FlushCompress, Status};
use zstd::bulk::Compressor;

use crate::payload::PREFIX;

/// What no request of a benchmark inflates to.
const LARGEST: u64 = 256 << 20;

/// How a request is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    #[default]
    None,
    /// The fastest level: the generator has one core for itself and the sink.
    Gzip,
    /// The fastest level.
    Zstd,
}

/// Compresses one request after the other.
#[derive(Debug)]
pub struct Encoder(Inner);

enum Inner {
    None,
    Gzip(Box<Compress>),
    Zstd(Compressor<'static>),
}

// === impl Encoding ===

impl Encoding {
    /// As headers and config files name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The one that a header names.
    pub fn named(name: &str) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Zstd].into_iter().find(|encoding| encoding.name() == name)
    }

    /// Inflates `body`.
    ///
    /// # Errors
    ///
    /// It is not what it says, or far too large.
    pub fn inflate(self, body: Vec<u8>) -> io::Result<Vec<u8>> {
        let reader: Box<dyn Read + '_> = match self {
            Self::None => return Ok(body),
            Self::Gzip => Box::new(flate2::read::GzDecoder::new(&*body)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(&*body)?),
        };
        let mut plain = Vec::with_capacity(8 * body.len());
        reader.take(LARGEST).read_to_end(&mut plain)?;
        Ok(plain)
    }
}

// === impl Encoder ===

impl Encoder {
    /// Starts with nothing compressed.
    ///
    /// # Errors
    ///
    /// There is no memory for its state.
    pub fn new(encoding: Encoding) -> io::Result<Self> {
        Ok(Self(match encoding {
            Encoding::None => Inner::None,
            Encoding::Gzip => Inner::Gzip(Box::new(Compress::new_gzip(Compression::fast(), 15))),
            Encoding::Zstd => Inner::Zstd(Compressor::new(1)?),
        }))
    }

    /// Compresses a gRPC message with its prefix into one with its prefix.
    ///
    /// # Errors
    ///
    /// The compressor fails, which it has no reason to.
    pub fn encode(&mut self, framed: &[u8]) -> io::Result<Vec<u8>> {
        let plain = &framed[PREFIX..];
        let mut out = vec![1; PREFIX];
        match &mut self.0 {
            Inner::None => return Ok(framed.to_vec()),
            Inner::Gzip(compress) => {
                compress.reset();
                out.reserve(plain.len() / 3);
                loop {
                    let taken = usize::try_from(compress.total_in()).map_err(io::Error::other)?;
                    let finish = FlushCompress::Finish;
                    let status = compress.compress_vec(&plain[taken..], &mut out, finish)?;
                    if status == Status::StreamEnd {
                        break;
                    }
                    out.reserve(plain.len() / 4 + 1024);
                }
            }
            Inner::Zstd(compressor) => {
                out.extend_from_slice(&compressor.compress(plain)?);
            }
        }
        let length = u32::try_from(out.len() - PREFIX).map_err(io::Error::other)?;
        out[1..PREFIX].copy_from_slice(&length.to_be_bytes());
        Ok(out)
    }
}

// === impl Inner ===

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Gzip(_) => "Gzip",
            Self::Zstd(_) => "Zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    #[test]
    fn what_is_compressed_is_inflated() {
        let payload = Payload::new(100);
        let mut sequence = payload.sequence(1);
        for encoding in [Encoding::None, Encoding::Gzip, Encoding::Zstd] {
            let mut encoder = Encoder::new(encoding).unwrap();
            for _ in 0..2 {
                let mut framed = Vec::new();
                sequence.write(&mut framed);
                let encoded = encoder.encode(&framed).unwrap();
                assert_eq!(encoded[0], u8::from(encoding != Encoding::None));
                let length = u32::from_be_bytes(encoded[1..PREFIX].try_into().unwrap());
                assert_eq!(length as usize, encoded.len() - PREFIX);
                assert!(encoding == Encoding::None || encoded.len() < framed.len() / 2);
                let plain = encoding.inflate(encoded[PREFIX..].to_vec()).unwrap();
                assert!(plain == framed[PREFIX..], "{encoding:?}");
            }
        }
    }

    #[test]
    fn garbage_is_an_error() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            assert!(encoding.inflate(vec![7; 100]).is_err());
            assert_eq!(Encoding::named(encoding.name()), Some(encoding));
        }
        assert_eq!(Encoding::named("br"), None);
    }
}
