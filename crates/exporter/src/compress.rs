//! Compression: requests out, replies in.

use std::io::{self, Read as _};

use bytes::Bytes;
use teleflow_pool::Pool;

use crate::Compression;

/// Input compressed between two chances for other tasks: less than a millisecond's worth.
const SLICE: usize = 64 * 1024;

/// The most encoders kept for the next request: each takes from a quarter of a mebibyte to one.
const MAX_IDLE: usize = 16;

/// zstd's level: the one with which it is faster than gzip's fastest and still smaller.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;

/// The largest window of a reply in zstd, as a power of two: 8 MiB, twice the longest reply.
#[cfg(feature = "zstd")]
const ZSTD_WINDOW_LOG: u32 = 23;

/// Compresses requests, with encoders that are used again.
#[derive(Debug)]
pub(crate) struct Encoders {
    #[cfg(feature = "gzip")]
    gzip: Pool<Gzip>,
    #[cfg(feature = "zstd")]
    zstd: Pool<Zstd>,
}

#[cfg(feature = "gzip")]
#[derive(Debug)]
struct Gzip {
    encoder: flate2::Compress,
    /// A stream has begun and not ended. zlib-rs does not forget all of it on a reset, so that the
    /// next stream would be broken: such an encoder is not used again.
    is_midway: bool,
}

#[cfg(feature = "zstd")]
struct Zstd(zstd::stream::raw::Encoder<'static>);

/// The reply inflates to more than the limit, or is not what it says.
#[derive(Debug)]
pub(crate) enum InflateError {
    TooLong,
    Broken,
    /// A compression that is not built in.
    Unknown,
}

/// One stream that is being compressed.
trait Stream {
    /// Takes some of `input` and says how much.
    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize;

    /// Writes what is left, as far as `out` has room; true where that was all.
    fn finish(&mut self, out: &mut Vec<u8>) -> bool;
}

// === impl Encoders ===

impl Default for Encoders {
    fn default() -> Self {
        Self {
            #[cfg(feature = "gzip")]
            gzip: Pool::builder(Gzip::new)
                .reset(Gzip::reset)
                .keep_if(|gzip| !gzip.is_midway)
                .capacity(MAX_IDLE)
                .name("gzip encoders")
                .build(),
            #[cfg(feature = "zstd")]
            zstd: Pool::builder(Zstd::new)
                .reset(Zstd::reset)
                .capacity(MAX_IDLE)
                .name("zstd encoders")
                .build(),
        }
    }
}

impl Encoders {
    /// Compresses `segments` as one stream. Lets other tasks run every now and then.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing is left behind: the encoder starts anew or is not used again.
    pub(crate) async fn compress(&self, compression: Compression, segments: &[Bytes]) -> Bytes {
        match compression {
            #[cfg(feature = "gzip")]
            Compression::Gzip => run(&mut *self.gzip.acquire(), segments).await,
            #[cfg(feature = "zstd")]
            Compression::Zstd => run(&mut *self.zstd.acquire(), segments).await,
            // What is left is `None`, which nobody asks for here, and copying is what it says.
            _ => segments.concat().into(),
        }
    }
}

async fn run(stream: &mut impl Stream, segments: &[Bytes]) -> Bytes {
    let bytes: usize = segments.iter().map(Bytes::len).sum();
    let mut out = Vec::with_capacity(bytes / 4 + 64);
    let mut in_one_go = 0;
    for mut slice in segments.iter().flat_map(|segment| segment.chunks(SLICE)) {
        if in_one_go + slice.len() > SLICE {
            tokio::task::yield_now().await;
            in_one_go = 0;
        }
        in_one_go += slice.len();
        while !slice.is_empty() {
            make_room(&mut out);
            slice = &slice[stream.run(slice, &mut out)..];
        }
    }
    loop {
        make_room(&mut out);
        if stream.finish(&mut out) {
            return out.into();
        }
    }
}

fn make_room(out: &mut Vec<u8>) {
    if out.capacity() - out.len() < 64 {
        out.reserve(out.capacity().max(SLICE));
    }
}

// === impl Stream ===

#[cfg(feature = "gzip")]
impl Gzip {
    fn new() -> Self {
        let encoder = flate2::Compress::new_gzip(flate2::Compression::fast(), 15);
        Self { encoder, is_midway: false }
    }

    fn reset(&mut self) {
        if !self.is_midway {
            self.encoder.reset();
        }
    }

    fn step(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        flush: flate2::FlushCompress,
    ) -> flate2::Status {
        self.is_midway = true;
        let status = self.encoder.compress_vec(input, out, flush);
        status.expect("an encoder that is between its creation and its end takes any input")
    }
}

#[cfg(feature = "gzip")]
impl Stream for Gzip {
    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let before = self.encoder.total_in();
        self.step(input, out, flate2::FlushCompress::None);
        (self.encoder.total_in() - before) as usize
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let status = self.step(&[], out, flate2::FlushCompress::Finish);
        self.is_midway = status != flate2::Status::StreamEnd;
        !self.is_midway
    }
}

#[cfg(feature = "zstd")]
impl Zstd {
    fn new() -> Self {
        let encoder = zstd::stream::raw::Encoder::new(ZSTD_LEVEL);
        Self(encoder.expect("the level is one that zstd has, and memory ends the process anyway"))
    }

    fn reset(&mut self) {
        use zstd::stream::raw::Operation as _;

        self.0.reinit().expect("a session can be given up at any time");
    }
}

#[cfg(feature = "zstd")]
impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Zstd")
    }
}

#[cfg(feature = "zstd")]
impl Stream for Zstd {
    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        use zstd::stream::raw::{InBuffer, Operation as _, OutBuffer};

        let mut source = InBuffer::around(input);
        let at = out.len();
        self.0
            .run(&mut source, &mut OutBuffer::around_pos(out, at))
            .expect("an encoder in order takes any input");
        source.pos()
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        use zstd::stream::raw::{Operation as _, OutBuffer};

        let at = out.len();
        let left = self
            .0
            .finish(&mut OutBuffer::around_pos(out, at), true)
            .expect("an encoder in order can end its stream");
        left == 0
    }
}

/// Inflates a reply to at most `limit` bytes: no more are ever held.
pub(crate) fn inflate(
    encoding: &[u8],
    compressed: &[u8],
    limit: usize,
) -> Result<Vec<u8>, InflateError> {
    match encoding {
        #[cfg(feature = "gzip")]
        b"gzip" => read(flate2::read::MultiGzDecoder::new(compressed), limit),
        #[cfg(feature = "zstd")]
        b"zstd" => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)
                .map_err(|_| InflateError::Broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| InflateError::Broken)?;
            read(decoder, limit)
        }
        _ => {
            let _ = (compressed, limit);
            Err(InflateError::Unknown)
        }
    }
}

#[allow(dead_code, reason = "called for each compression that is built in, and there may be none")]
fn read(reader: impl io::Read, limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    let taken = reader.take(limit as u64 + 1).read_to_end(&mut out);
    taken.map_err(|_| InflateError::Broken)?;
    if out.len() > limit { Err(InflateError::TooLong) } else { Ok(out) }
}

#[cfg(test)]
#[cfg(all(feature = "gzip", feature = "zstd"))]
mod tests {
    use super::*;

    const ALL: [(Compression, &[u8]); 2] =
        [(Compression::Gzip, b"gzip"), (Compression::Zstd, b"zstd")];

    #[tokio::test]
    async fn an_encoder_used_again_gives_the_same_stream() {
        let encoders = Encoders::default();
        // Noise, so that the output outgrows its first reservation; and nothing at all.
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(300_000).collect();
        for (compression, name) in ALL {
            for data in [&b"text "[..].repeat(40_000), &noise, &Vec::new(), &noise] {
                let whole = Bytes::from(data.clone());
                let cut = whole.len() / 3;
                let segments = [whole.slice(..cut), whole.slice(cut..)];
                let compressed = encoders.compress(compression, &segments).await;
                assert_eq!(inflate(name, &compressed, data.len()).unwrap(), *data);
                assert_eq!(compressed, encoders.compress(compression, &segments).await);
            }
        }
        assert_eq!(encoders.gzip.stats().created, 1);
        assert_eq!(encoders.zstd.stats().created, 1);
    }

    #[tokio::test]
    async fn an_encoder_whose_stream_was_given_up_starts_anew() {
        let encoders = Encoders::default();
        let large = [Bytes::from(vec![7; 1_000_000])];
        for (compression, name) in ALL {
            // It yields after the first slice, and is dropped there.
            let given_up = futures_util::poll!(Box::pin(encoders.compress(compression, &large)));
            assert!(given_up.is_pending());
            let small = encoders.compress(compression, &[Bytes::from_static(b"small")]).await;
            assert_eq!(inflate(name, &small, 100).unwrap(), b"small", "{compression:?}");
        }
    }

    #[tokio::test]
    async fn a_bomb_is_cut_at_the_limit() {
        for (compression, name) in ALL {
            let bomb = Bytes::from(vec![0; 1_000_000]);
            let bomb = Encoders::default().compress(compression, &[bomb]).await;
            assert!(matches!(inflate(name, &bomb, 4096), Err(InflateError::TooLong)));
            assert!(matches!(inflate(name, b"not so", 4096), Err(InflateError::Broken)));
            let half = &bomb[..bomb.len() / 2];
            assert!(matches!(inflate(name, half, 1 << 30), Err(InflateError::Broken)));
        }
        assert!(matches!(inflate(b"br", b"", 1), Err(InflateError::Unknown)));
    }

    #[test]
    fn a_window_of_zstd_over_8_mib_is_refused_before_memory_is_taken() {
        // A frame that asks for a window of 128 MiB and holds nothing: magic, descriptor without a
        // single segment, window descriptor (exponent 17), an empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00];
        assert!(matches!(inflate(b"zstd", &frame, 4096), Err(InflateError::Broken)));
        let small = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0, 0x01, 0x00, 0x00];
        assert_eq!(inflate(b"zstd", &small, 4096).unwrap(), b"");
    }
}
