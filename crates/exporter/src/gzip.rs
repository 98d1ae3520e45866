//! gzip: requests out, replies in.

use std::io::Read as _;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};

/// Input compressed between two chances for other tasks: less than a millisecond's worth.
const SLICE: usize = 64 * 1024;

/// The most encoders kept for the next request: each takes about a quarter of a mebibyte.
const MAX_IDLE: usize = 16;

/// Compresses requests, with encoders that are used again.
#[derive(Debug, Default)]
pub(crate) struct Gzip {
    idle: Mutex<Vec<Compress>>,
}

/// The reply inflates to more than the limit, or is not gzip.
#[derive(Debug)]
pub(crate) enum InflateError {
    TooLong,
    Broken,
}

// === impl Gzip ===

impl Gzip {
    /// Compresses `segments` as one stream. Lets other tasks run every now and then.
    pub(crate) async fn compress(&self, segments: &[Bytes]) -> Bytes {
        let idle = self.lock().pop();
        let mut encoder = idle.unwrap_or_else(|| Compress::new_gzip(Compression::fast(), 15));
        let bytes: usize = segments.iter().map(Bytes::len).sum();
        let mut out = Vec::with_capacity(bytes / 4 + 64);
        let mut in_one_go = 0;
        for slice in segments.iter().flat_map(|segment| segment.chunks(SLICE)) {
            if in_one_go + slice.len() > SLICE {
                tokio::task::yield_now().await;
                in_one_go = 0;
            }
            in_one_go += slice.len();
            run(&mut encoder, slice, &mut out, FlushCompress::None);
        }
        run(&mut encoder, &[], &mut out, FlushCompress::Finish);
        encoder.reset();
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE {
            idle.push(encoder);
        }
        out.into()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Compress>> {
        self.idle.lock().expect("no code panics while it holds this lock")
    }
}

/// Takes all of `input` and, at the end of the stream, writes all that is left.
fn run(encoder: &mut Compress, mut input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
    loop {
        if out.spare_capacity_mut().len() < 64 {
            out.reserve(out.capacity().max(SLICE));
        }
        let before = encoder.total_in();
        let status = encoder
            .compress_vec(input, out, flush)
            .expect("an encoder that is between its creation and its end takes any input");
        input = &input[(encoder.total_in() - before) as usize..];
        let done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            _ => input.is_empty(),
        };
        if done {
            return;
        }
    }
}

/// Inflates a reply to at most `limit` bytes: no more are ever held.
pub(crate) fn inflate(compressed: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(compressed)
        .take(limit as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|_| InflateError::Broken)?;
    if out.len() > limit { Err(InflateError::TooLong) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_encoder_used_again_gives_the_same_stream() {
        let gzip = Gzip::default();
        // Noise, so that the output outgrows its first reservation; and nothing at all.
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(300_000).collect();
        for data in [&b"text "[..].repeat(40_000), &noise, &Vec::new(), &noise] {
            let whole = Bytes::from(data.clone());
            let cut = whole.len() / 3;
            let segments = [whole.slice(..cut), whole.slice(cut..)];
            let compressed = gzip.compress(&segments).await;
            assert_eq!(inflate(&compressed, data.len()).unwrap(), *data);
            assert_eq!(compressed, gzip.compress(&segments).await);
            assert_eq!(gzip.lock().len(), 1);
        }
    }

    #[tokio::test]
    async fn a_bomb_is_cut_at_the_limit() {
        let bomb = Gzip::default().compress(&[Bytes::from(vec![0; 1_000_000])]).await;
        assert!(matches!(inflate(&bomb, 4096), Err(InflateError::TooLong)));
        assert!(matches!(inflate(b"no gzip", 4096), Err(InflateError::Broken)));
        assert!(matches!(inflate(&bomb[..bomb.len() / 2], 1 << 30), Err(InflateError::Broken)));
    }
}
