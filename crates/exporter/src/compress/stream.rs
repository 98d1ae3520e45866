//! Streams that are compressed and inflated, by encoders that are used again.

use std::io::{self, Read as _};

use bytes::Bytes;

use super::InflateError;

/// Input compressed between two chances for other tasks: less than a millisecond's worth.
const SLICE: usize = 64 * 1024;

/// zstd's level: on generated traces more than twice as fast as gzip at its level 1, and 5 % smaller.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;

#[cfg(feature = "gzip")]
#[derive(Debug)]
pub(super) struct Gzip {
    encoder: flate2::Compress,
    /// A stream has begun and not ended. zlib-rs does not forget all of it on a reset, so that the
    /// next stream would be broken: such an encoder is not used again.
    pub(super) is_midway: bool,
}

#[cfg(feature = "zstd")]
pub(super) struct Zstd(zstd::stream::raw::Encoder<'static>);

/// One stream that is being compressed.
pub(super) trait Stream {
    /// Takes some of `input` and says how much.
    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize;

    /// Writes what is left, as far as `out` has room; true where that was all.
    fn finish(&mut self, out: &mut Vec<u8>) -> bool;
}

/// Compresses `segments` as one stream.
pub(super) async fn run(stream: &mut impl Stream, segments: &[Bytes]) -> Bytes {
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
    pub(super) fn new() -> Self {
        let encoder = flate2::Compress::new_gzip(flate2::Compression::fast(), 15);
        Self { encoder, is_midway: false }
    }

    pub(super) fn reset(&mut self) {
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
    pub(super) fn new() -> Self {
        let encoder = zstd::stream::raw::Encoder::new(ZSTD_LEVEL);
        Self(encoder.expect("the level is one that zstd has, and memory ends the process anyway"))
    }

    pub(super) fn reset(&mut self) {
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

/// Reads to the end, which must come within `limit`.
pub(super) fn read(reader: impl io::Read, limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    let taken = reader.take(limit as u64 + 1).read_to_end(&mut out);
    taken.map_err(|_| InflateError::Broken)?;
    if out.len() > limit { Err(InflateError::TooLong) } else { Ok(out) }
}
