//! Compressed requests, within bounds.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use tokio::task;

use crate::body::exact;
use crate::rejection::Rejection;
use crate::request::InFlight;

/// How much is inflated between two looks at the bounds.
const STEP: usize = 256 * 1024;

/// How much is inflated before others get their turn on this thread.
const TURN: usize = 4 * STEP;

/// A frame of zstd names the window that a decoder has to hold, up to gigabytes: one with more than
/// 8 MiB is refused before that is allocated. It is what RFC 9659 allows on the web.
#[cfg(feature = "zstd")]
const MAX_WINDOW_LOG: u32 = 23;

/// How a request is compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    Gzip,
    #[cfg(feature = "zstd")]
    Zstd,
}

/// The name is not one of [`Encoding::NAMES`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unknown;

// === impl Encoding ===

impl Encoding {
    /// What is taken, for an answer's `accept-encoding`.
    #[cfg(not(feature = "zstd"))]
    pub(crate) const NAMES: &str = "gzip, identity";
    /// What is taken, for an answer's `accept-encoding`.
    #[cfg(feature = "zstd")]
    pub(crate) const NAMES: &str = "gzip, zstd, identity";

    /// `None` is no compression.
    pub(crate) fn of(name: &[u8]) -> Result<Option<Self>, Unknown> {
        match name.trim_ascii() {
            b"" => Ok(None),
            name if name.eq_ignore_ascii_case(b"identity") => Ok(None),
            name if name.eq_ignore_ascii_case(b"gzip") => Ok(Some(Self::Gzip)),
            #[cfg(feature = "zstd")]
            name if name.eq_ignore_ascii_case(b"zstd") => Ok(Some(Self::Zstd)),
            _ => Err(Unknown),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            #[cfg(feature = "zstd")]
            Self::Zstd => "zstd",
        }
    }

    /// What a decoder holds beside its input and output, at most.
    const fn window(self) -> usize {
        match self {
            Self::Gzip => 64 * 1024,
            #[cfg(feature = "zstd")]
            Self::Zstd => (1 << MAX_WINDOW_LOG) + 256 * 1024,
        }
    }

    fn decoder<'a>(self, compressed: &'a [u8]) -> io::Result<Box<dyn Read + Send + 'a>> {
        match self {
            Self::Gzip => Ok(Box::new(MultiGzDecoder::new(compressed))),
            #[cfg(feature = "zstd")]
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                Ok(Box::new(decoder))
            }
        }
    }

    /// Inflates `compressed` to at most as many bytes as the request may have, each drawn from the
    /// budget before it exists.
    pub(crate) async fn inflate(
        self,
        compressed: &[u8],
        in_flight: &mut InFlight<'_>,
    ) -> Result<Bytes, Rejection> {
        let invalid =
            |error: io::Error| Rejection::invalid(format!("invalid {}: {error}", self.name()));
        let limit = in_flight.limit();
        let mut decoder = self.decoder(compressed).map_err(invalid)?;
        let mut inflated = Vec::new();
        let mut next_turn = TURN;
        loop {
            // One byte over the limit tells a request that is too large from one that just fits.
            let step = STEP.min(limit.saturating_add(1) - inflated.len());
            in_flight.hold(step)?;
            make_room(&mut inflated, step, limit);
            let read =
                decoder.by_ref().take(step as u64).read_to_end(&mut inflated).map_err(invalid)?;
            if inflated.len() > limit {
                return Err(Rejection::too_large(limit));
            }
            if read < step {
                return Ok(exact(inflated));
            }
            if inflated.len() >= next_turn {
                if next_turn == TURN {
                    // From here on, many decoders of this thread may be alive at once.
                    in_flight.hold(self.window())?;
                }
                next_turn += TURN;
                task::yield_now().await;
            }
        }
    }
}

/// Makes room for `step` more bytes: twice as much as there was, but no more than a request may have
/// and the one byte that is too many. Left to itself the vector doubles for that one byte, and a bomb
/// costs twice the limit.
fn make_room(inflated: &mut Vec<u8>, step: usize, limit: usize) {
    if inflated.capacity() - inflated.len() < step {
        let most = limit.saturating_add(1);
        let doubled = inflated.capacity().saturating_mul(2);
        // Not a whole copy more for the last few bytes.
        let wanted = if doubled >= limit - limit / 8 { most } else { doubled };
        inflated.reserve_exact(wanted.max(inflated.len() + step) - inflated.len());
    }
}
