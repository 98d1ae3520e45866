//! The body of a request, read within bounds of size, memory and time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{self, Sleep};

use crate::rejection::Rejection;
use crate::request::InFlight;

/// What is reserved on a client's word alone. More is reserved as it comes.
const MAX_TRUSTED_LENGTH: usize = 1024 * 1024;

/// A body that draws from the budget as it comes, and ends with a [`Rejection`] when a bound is
/// reached.
#[derive(Debug)]
pub(crate) struct Metered {
    body: Incoming,
    in_flight: Arc<InFlight>,
    limit: usize,
    read: usize,
    /// Made when the body first has to be waited for: most have arrived with their head.
    timer: Option<Pin<Box<Sleep>>>,
}

// === impl Metered ===

impl Metered {
    /// Takes no more than `limit` bytes.
    pub(crate) fn new(body: Incoming, in_flight: Arc<InFlight>, limit: usize) -> Self {
        Self { body, in_flight, limit, read: 0, timer: None }
    }

    /// Gives up the rest of the body.
    pub(crate) fn into_inner(self) -> Incoming {
        self.body
    }

    /// Reads to the end, into one piece that is no larger than what it holds.
    ///
    /// The frames are copied: each is a slice of a read buffer, and would keep the whole of that
    /// in memory for as long as the payload lives.
    pub(crate) async fn read_to_end(&mut self) -> Result<Bytes, Rejection> {
        if self.body.size_hint().lower() > self.limit as u64 {
            return Err(Rejection::too_large(self.limit));
        }
        let mut all = Vec::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if all.is_empty() {
                // What is still to come, where the client has said so.
                let rest = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
                all.reserve_exact(data.len() + rest.min(MAX_TRUSTED_LENGTH));
            }
            all.extend_from_slice(&data);
        }
        Ok(exact(all))
    }

    fn take(&mut self, data: &Bytes) -> Result<(), Rejection> {
        self.in_flight.received.fetch_add(data.len() as u64, Relaxed);
        if data.len() > self.limit - self.read {
            return Err(Rejection::too_large(self.limit));
        }
        self.read += data.len();
        self.in_flight.hold(data.len())
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = Rejection;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Rejection>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let timeout = this.in_flight.core().timeouts.body;
            // Tokio's clock: the shell of the protocol is where time is waited for.
            let timer = this.timer.get_or_insert_with(|| Box::pin(time::sleep(timeout)));
            ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Rejection::timed_out(timeout))));
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                Some(frame.data_ref().map_or(Ok(()), |data| this.take(data)).map(|()| frame))
            }
            Some(Err(error)) => Some(Err(Rejection::cut_off(&error))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Gives back what a growing vector has reserved in excess, where it is worth a copy.
pub(crate) fn exact(mut bytes: Vec<u8>) -> Bytes {
    if bytes.capacity() - bytes.len() > bytes.len() / 8 {
        bytes.shrink_to_fit();
    }
    bytes.into()
}
