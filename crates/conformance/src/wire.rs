//! Requests as bytes: what no client library would send must be sent as well.

pub mod grpc;
pub mod http;

use std::io::{self, Read, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The most of an answer that is read.
pub(crate) const MAX_ANSWER: usize = 16 << 20;

/// Compresses as fast as it can: bodies may be large.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // A vector takes everything.
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// Inflates at most `limit` bytes.
pub(crate) fn gunzip(bytes: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    GzDecoder::new(bytes).take((limit as u64).saturating_add(1)).read_to_end(&mut out)?;
    if limit < out.len() {
        return Err(io::Error::other(format!("inflates to more than {limit} bytes")));
    }
    Ok(out)
}
