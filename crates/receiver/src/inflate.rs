//! gzip within bounds.

use std::io::Read;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use crate::body::exact;
use crate::rejection::Rejection;
use crate::request::InFlight;

/// How much is inflated between two looks at the bounds.
const STEP: usize = 256 * 1024;

/// Inflates `compressed` to at most `limit` bytes, each drawn from the budget before it exists.
pub(crate) fn gunzip(
    compressed: &[u8],
    limit: usize,
    in_flight: &InFlight,
) -> Result<Bytes, Rejection> {
    let mut decoder = MultiGzDecoder::new(compressed);
    let mut inflated = Vec::new();
    loop {
        // One byte over the limit tells a request that is too large from one that just fits.
        let step = STEP.min(limit.saturating_add(1) - inflated.len());
        in_flight.hold(step)?;
        let read = decoder
            .by_ref()
            .take(step as u64)
            .read_to_end(&mut inflated)
            .map_err(|error| Rejection::invalid(format!("invalid gzip: {error}")))?;
        if inflated.len() > limit {
            return Err(Rejection::too_large(limit));
        }
        if read < step {
            break;
        }
    }
    Ok(exact(inflated))
}
