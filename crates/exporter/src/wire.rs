//! What the two protocols have in common on the wire.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};
use teleflow_otlp::ExportResponse;

use crate::compress::{self, InflateError};
use crate::escape::Escaped;
use crate::{Delivered, ExportError, MAX_SERVER_DELAY};

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

/// The next part of a body.
pub(crate) async fn next_frame<B: Body + Unpin>(
    body: &mut B,
) -> Option<Result<Frame<B::Data>, B::Error>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// Inflates a reply that is compressed as `encoding` says.
pub(crate) fn inflated(
    encoding: &[u8],
    reply: &[u8],
    limit: usize,
) -> Result<Vec<u8>, ExportError> {
    let bad = |what: &str| ExportError::BadAnswer(what.to_owned());
    compress::inflate(encoding, reply, limit).map_err(|error| match error {
        #[cfg(any(feature = "gzip", feature = "zstd"))]
        InflateError::TooLong => too_long(limit),
        #[cfg(any(feature = "gzip", feature = "zstd"))]
        InflateError::Broken => bad("it cannot be inflated"),
        InflateError::Unknown => bad("its compression is unknown"),
    })
}

/// What a server did with a request of so many items, by its reply; `None` where that is none.
pub(crate) fn delivered(
    reply: Option<ExportResponse>,
    items: u64,
) -> Result<Delivered, ExportError> {
    let reply =
        reply.ok_or_else(|| ExportError::BadAnswer("it is no reply to an export".to_owned()))?;
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

/// An answer that is an error by its HTTP status. `Retry-After` counts wherever it stands.
pub(crate) fn http_error(head: &Parts) -> ExportError {
    let retry_after = head.headers.get(http::header::RETRY_AFTER);
    let retry_after =
        retry_after.and_then(|value| self::retry_after(value.to_str().ok()?, SystemTime::now()));
    ExportError::Http { status: head.status.as_u16(), retry_after }
}

/// `Retry-After`, in seconds or as a date. A date that has passed is no delay.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let delay = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // So many digits that they are no number are a long time all the same.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(delay.min(MAX_SERVER_DELAY))
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

    #[test]
    fn retry_after_is_read_in_both_forms_and_never_negative() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:00 GMT").unwrap();
        for (value, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(3600)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value:?}");
        }
    }

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
        let reply = ExportResponse { rejected: 10, message: String::new() };
        assert_eq!(delivered(Some(reply), 3).unwrap(), Delivered { rejected: 3, message: None });
    }
}
