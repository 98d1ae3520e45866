//! Compression: requests out, replies in.

#[cfg(any(feature = "gzip", feature = "zstd"))]
mod stream;

use bytes::Bytes;
#[cfg(any(feature = "gzip", feature = "zstd"))]
use teleflow_pool::Pool;

#[cfg(feature = "gzip")]
use self::stream::Gzip;
#[cfg(feature = "zstd")]
use self::stream::Zstd;
use crate::Compression;

/// The most encoders kept for the next request: each takes from a quarter of a mebibyte to one.
#[cfg(any(feature = "gzip", feature = "zstd"))]
const MAX_IDLE: usize = 16;

/// The largest window of a reply in zstd, as a power of two: 8 MiB, twice the longest reply.
#[cfg(feature = "zstd")]
const ZSTD_WINDOW_LOG: u32 = 23;

/// Compresses requests, with encoders that are used again.
#[derive(Debug)]
#[cfg_attr(not(any(feature = "gzip", feature = "zstd")), derive(Default))]
pub(crate) struct Encoders {
    #[cfg(feature = "gzip")]
    gzip: Pool<Gzip>,
    #[cfg(feature = "zstd")]
    zstd: Pool<Zstd>,
}

/// The reply inflates to more than the limit, or is not what it says.
#[derive(Debug)]
pub(crate) enum InflateError {
    #[cfg(any(feature = "gzip", feature = "zstd"))]
    TooLong,
    #[cfg(any(feature = "gzip", feature = "zstd"))]
    Broken,
    /// A compression that is not built in.
    Unknown,
}

// === impl Encoders ===

#[cfg(any(feature = "gzip", feature = "zstd"))]
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
            Compression::Gzip => stream::run(&mut *self.gzip.acquire(), segments).await,
            #[cfg(feature = "zstd")]
            Compression::Zstd => stream::run(&mut *self.zstd.acquire(), segments).await,
            // What is left is `None`, which nobody asks for here, and copying is what it says.
            _ => segments.concat().into(),
        }
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
        b"gzip" => stream::read(flate2::read::MultiGzDecoder::new(compressed), limit),
        #[cfg(feature = "zstd")]
        b"zstd" => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)
                .map_err(|_| InflateError::Broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| InflateError::Broken)?;
            stream::read(decoder, limit)
        }
        _ => {
            let _ = (compressed, limit);
            Err(InflateError::Unknown)
        }
    }
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
