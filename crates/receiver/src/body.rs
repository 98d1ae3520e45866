//! The body of a request, read within bounds of size, memory and time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use teleflow_otlp::Code;
use tokio::time::{self, Sleep};

use crate::rejection::Rejection;
use crate::request::InFlight;

/// What is allocated on a client's word alone. More is allocated as it comes.
const MAX_TRUSTED_LENGTH: usize = 1024 * 1024;

/// The bytes before each message of gRPC: whether it is compressed, and its length.
pub(crate) const PREFIX: usize = 5;

/// A body that draws from the budget before and as it comes, and ends with a [`Rejection`] when a
/// bound is reached.
#[derive(Debug)]
pub(crate) struct Metered<'a, 'b> {
    body: &'a mut Incoming,
    in_flight: &'a mut InFlight<'b>,
    /// Made when the body first has to be waited for: most have arrived with their head.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The one message of a gRPC call.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) is_compressed: bool,
    pub(crate) bytes: Bytes,
}

// === impl Metered ===

impl<'a, 'b> Metered<'a, 'b> {
    pub(crate) fn new(body: &'a mut Incoming, in_flight: &'a mut InFlight<'b>) -> Self {
        Self { body, in_flight, timer: None }
    }

    /// Reads to the end, into one piece that is no larger than what it holds.
    ///
    /// The frames are copied: each is a slice of a read buffer, and would keep the whole of that
    /// in memory for as long as the payload lives.
    pub(crate) async fn read_to_end(mut self) -> Result<Bytes, Rejection> {
        let limit = self.in_flight.limit();
        let announced = self.body.size_hint().lower();
        if announced > limit as u64 {
            return Err(Rejection::too_large(limit));
        }
        let announced = announced as usize;
        self.in_flight.promise(announced)?;
        let mut all = Vec::with_capacity(announced.min(MAX_TRUSTED_LENGTH));
        while let Some(data) = self.data().await? {
            if data.len() > limit - all.len() {
                return Err(Rejection::too_large(limit));
            }
            self.in_flight.arrive(data.len())?;
            all.extend_from_slice(&data);
        }
        Ok(exact(all))
    }

    /// Reads the message of a call, which has to be its only one.
    pub(crate) async fn read_message(mut self) -> Result<Message, Rejection> {
        let limit = self.in_flight.limit();
        let mut data = self.prefixed().await?;
        let (flag, length) = (data[0], [data[1], data[2], data[3], data[4]]);
        let length = u32::from_be_bytes(length) as usize;
        if flag > 1 {
            return Err(Rejection::protocol(
                Code::Internal,
                "the compression flag is neither 0 nor 1",
            ));
        }
        if length > limit {
            return Err(Rejection::too_large(limit));
        }
        self.in_flight.promise(length)?;
        let mut message = Vec::with_capacity(length.min(data.len().max(MAX_TRUSTED_LENGTH)));
        data.advance(PREFIX);
        let mut next = Some(data);
        while let Some(data) = next.take() {
            if data.len() > length - message.len() {
                return Err(Rejection::protocol(
                    Code::Internal,
                    "the call has more than one message",
                ));
            }
            self.in_flight.arrive(data.len())?;
            message.extend_from_slice(&data);
            // Before the wait: the buffer that it is a slice of can then be filled again. With one
            // that is held, a large request costs half as much again.
            drop(data);
            next = self.data().await?;
        }
        if message.len() < length {
            return Err(Rejection::protocol(
                Code::Internal,
                "the call ends in the middle of its message",
            ));
        }
        Ok(Message { is_compressed: flag == 1, bytes: exact(message) })
    }

    /// The first piece of a call that has a whole prefix.
    async fn prefixed(&mut self) -> Result<Bytes, Rejection> {
        let mut start = Vec::new();
        while let Some(data) = self.data().await? {
            if start.is_empty() && data.len() >= PREFIX {
                return Ok(data);
            }
            start.extend_from_slice(&data);
            if start.len() >= PREFIX {
                return Ok(start.into());
            }
        }
        let what = if start.is_empty() { "has no message" } else { "ends in a message's prefix" };
        Err(Rejection::protocol(Code::Internal, format!("the call {what}")))
    }

    /// The next piece. Trailers are skipped.
    async fn data(&mut self) -> Result<Option<Bytes>, Rejection> {
        loop {
            match self.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(rejection)) => return Err(rejection),
                None => return Ok(None),
            }
        }
    }

    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, Rejection>> {
        poll_fn(|cx| {
            let Poll::Ready(frame) = Pin::new(&mut *self.body).poll_frame(cx) else {
                let timeout = self.in_flight.core().timeouts.body;
                // Tokio's clock: the shell of the protocol is where time is waited for.
                let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep(timeout)));
                ready!(timer.as_mut().poll(cx));
                return Poll::Ready(Some(Err(Rejection::timed_out(timeout))));
            };
            Poll::Ready(frame.map(|frame| frame.map_err(|error| Rejection::cut_off(&error))))
        })
        .await
    }
}

/// Gives back what a growing vector has reserved in excess, where it is worth a copy.
pub(crate) fn exact(mut bytes: Vec<u8>) -> Bytes {
    if bytes.capacity() - bytes.len() > bytes.len() / 8 {
        bytes.shrink_to_fit();
    }
    bytes.into()
}
