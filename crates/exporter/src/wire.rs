//! What the two protocols have in common on the wire.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use teleflow_otlp::ExportResponse;

use crate::escape::Escaped;
use crate::{Delivered, ExportError};

/// `User-Agent`.
pub(crate) const USER_AGENT: &str = concat!("teleflow-exporter/", env!("CARGO_PKG_VERSION"));

/// Pieces shorter than this are copied together: a frame or a write of their own would cost more.
const SMALL: usize = 8 * 1024;

/// How much is copied together at most.
const GATHERED: usize = 64 * 1024;

/// The most characters of a server's message that are kept.
const MAX_MESSAGE_CHARS: usize = 256;

/// A request's body: pieces of known length. Sends large ones without copying them.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    left: u64,
}

// === impl Pieces ===

impl Pieces {
    /// `head`, then the segments, one after the other.
    pub(crate) fn new(head: &[u8], segments: Vec<Bytes>) -> Self {
        let left = head.len() + segments.iter().map(Bytes::len).sum::<usize>();
        let mut pieces = Vec::with_capacity(2);
        let mut small = Vec::with_capacity(left.min(SMALL));
        small.extend_from_slice(head);
        for segment in segments {
            if segment.len() < SMALL {
                small.extend_from_slice(&segment);
                if small.len() >= GATHERED {
                    pieces.push(std::mem::take(&mut small).into());
                }
            } else {
                if !small.is_empty() {
                    pieces.push(std::mem::take(&mut small).into());
                }
                pieces.push(segment);
            }
        }
        if !small.is_empty() {
            pieces.push(small.into());
        }
        Self { pieces: pieces.into_iter(), left: left as u64 }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.next();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Reads the reply of a server that took a request of so many items.
pub(crate) fn delivered(reply: &[u8], items: u64) -> Result<Delivered, ExportError> {
    let reply = ExportResponse::decode(reply)
        .ok_or_else(|| ExportError::BadAnswer("it is no reply to an export".to_owned()))?;
    // No server can have refused more than it got: the books rely on it.
    let rejected = reply.rejected.min(items);
    let message = (!reply.message.is_empty()).then(|| said(&reply.message));
    Ok(Delivered { rejected, message })
}

/// What a server says, short and fit for a log.
pub(crate) fn said(message: &str) -> String {
    let end = message.char_indices().nth(MAX_MESSAGE_CHARS).map_or(message.len(), |(at, _)| at);
    let cut = if end < message.len() { "…" } else { "" };
    format!("{}{cut}", Escaped(&message[..end]))
}

pub(crate) fn too_long(limit: usize) -> ExportError {
    ExportError::BadAnswer(format!("it is longer than {limit} bytes"))
}

/// The error at the bottom: the ones above it name the floors it came through.
pub(crate) fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(head: &[u8], lengths: &[usize]) -> Vec<usize> {
        let segments: Vec<_> = lengths.iter().map(|&len| Bytes::from(vec![7; len])).collect();
        let body = Pieces::new(head, segments.clone());
        let whole: Vec<u8> = body.pieces.clone().flatten().collect();
        assert_eq!(whole, [head, &segments.concat()[..]].concat());
        assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
        body.pieces.map(|piece| piece.len()).collect()
    }

    #[test]
    fn small_pieces_are_gathered_and_large_ones_left_alone() {
        assert_eq!(pieces(b"", &[]), [] as [usize; 0]);
        assert_eq!(pieces(b"12345", &[]), [5]);
        assert_eq!(pieces(b"12345", &[100, 200]), [305]);
        assert_eq!(pieces(b"12345", &[1_000_000]), [5, 1_000_000]);
        assert_eq!(pieces(b"", &[100, 9000, 100, 200]), [100, 9000, 300]);
        assert_eq!(pieces(b"", &[8000; 10]), [72_000, 8000]);
    }

    #[test]
    fn a_large_piece_is_the_same_memory() {
        let segment = Bytes::from(vec![7; 100_000]);
        let mut body = Pieces::new(b"", vec![segment.clone()]);
        assert_eq!(body.pieces.next().unwrap().as_ptr(), segment.as_ptr());
    }

    #[test]
    fn what_a_server_says_is_cut_and_escaped() {
        assert_eq!(said("too\nold"), "too\\nold");
        assert_eq!(said(&"ä".repeat(256)), "ä".repeat(256));
        assert_eq!(said(&"ä".repeat(257)), "ä".repeat(256) + "…");
    }

    #[test]
    fn a_server_cannot_refuse_more_than_it_got() {
        let reply = ExportResponse { rejected: 10, message: String::new() }.encode();
        assert_eq!(delivered(&reply, 3).unwrap(), Delivered { rejected: 3, message: None });
    }
}
