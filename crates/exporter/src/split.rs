//! Sending in pieces what is too large in one.

use std::sync::atomic::{AtomicU64, Ordering};

use teleflow_otlp::{Limits, Payload, split};

use crate::{Delivered, ExportError, Exporter, Left, Outgoing, Undelivered};

/// So many requests for one item alone are refused before those that are as large are dropped
/// without asking. A payload of which every item is too large would else be a request for each.
const MAX_REFUSED_ITEMS: usize = 16;

/// So many requests of one payload are refused before the rest of it is given up: a server that
/// refuses without rhyme or reason.
const MAX_REFUSED: usize = 1024;

/// Cuts in half what [is too large](ExportError::is_too_large), for the destination or by a limit of
/// ours, and sends the halves, one after the other, until they fit.
///
/// One item that is too large by itself is dropped: its part of the answer is an
/// [`ExportError::Undelivered`] of the kind `too_large`, and the others are not touched by it. What
/// was taken once is not sent again.
///
/// Goes around [`Retry`](crate::Retry), so that each piece has retries of its own.
///
/// ```
/// use teleflow_exporter::{Console, Exporter, SplitTooLarge};
/// use teleflow_otlp::{Payload, Signal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), teleflow_exporter::ExportError> {
/// let exporter = SplitTooLarge::new(Console::stdout());
/// exporter.export(Payload::empty(Signal::Traces)).await?;
/// assert_eq!(exporter.stats().split, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SplitTooLarge<E> {
    inner: E,
    split: AtomicU64,
    pieces: AtomicU64,
    dropped_items: AtomicU64,
}

/// What a [`SplitTooLarge`] did so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SplitStats {
    /// Payloads that were too large in one piece.
    pub split: u64,
    /// Requests that were sent in their place.
    pub pieces: u64,
    /// Items that were too large by themselves, or whose payload was refused too often.
    pub dropped_items: u64,
}

// === impl SplitTooLarge ===

impl<E> SplitTooLarge<E> {
    /// Wraps `inner`.
    pub fn new(inner: E) -> Self {
        Self {
            inner,
            split: AtomicU64::new(0),
            pieces: AtomicU64::new(0),
            dropped_items: AtomicU64::new(0),
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> SplitStats {
        SplitStats {
            split: self.split.load(Ordering::Relaxed),
            pieces: self.pieces.load(Ordering::Relaxed),
            dropped_items: self.dropped_items.load(Ordering::Relaxed),
        }
    }

    /// The exporter inside.
    pub fn inner(&self) -> &E {
        &self.inner
    }
}

impl<E: Exporter> SplitTooLarge<E> {
    async fn send_in_pieces(
        &self,
        payload: Payload,
        error: ExportError,
    ) -> Result<Delivered, ExportError> {
        self.split.fetch_add(1, Ordering::Relaxed);
        let mut parts = Undelivered::default();
        // The smallest that was refused: what is as large need not be sent to know it.
        let mut refused = payload.bytes();
        let mut refused_item = usize::MAX;
        let (mut refusals, mut refused_items) = (0, 0);
        // The next one is at the end.
        let mut waiting = Vec::new();
        self.cut(payload, error, &mut waiting, &mut parts);
        while let Some((payload, why)) = waiting.pop() {
            let bytes = payload.bytes();
            let is_one = payload.items() == 1;
            let is_known = is_one && bytes >= refused_item && refused_items >= MAX_REFUSED_ITEMS;
            if is_known || refusals >= MAX_REFUSED {
                self.drop_too_large(payload, why, &mut parts);
                continue;
            }
            if bytes >= refused && !is_one {
                self.cut(payload, why, &mut waiting, &mut parts);
                continue;
            }
            self.pieces.fetch_add(1, Ordering::Relaxed);
            match self.inner.export(payload.clone()).await {
                Err(error) if error.is_too_large() => {
                    refusals += 1;
                    refused = refused.min(bytes);
                    if is_one {
                        refused_items += 1;
                        refused_item = refused_item.min(bytes);
                    }
                    self.cut(payload, error, &mut waiting, &mut parts);
                }
                result => parts.add(payload, result),
            }
        }
        parts.into_result()
    }

    /// Puts the halves of `payload` where they are sent from, or drops what cannot be halved.
    fn cut(
        &self,
        payload: Payload,
        error: ExportError,
        waiting: &mut Vec<(Payload, ExportError)>,
        parts: &mut Undelivered,
    ) {
        let items = payload.items();
        let half = Limits { items: items.div_ceil(2), bytes: usize::MAX };
        let halves = if items > 1 { split(payload.clone(), half, half) } else { Vec::new() };
        // An envelope can be so large that it is not cut: repeated, it would be more than before.
        if halves.iter().all(|half| half.items() < items) && !halves.is_empty() {
            waiting.extend(halves.into_iter().rev().map(|half| (half, error.clone())));
        } else {
            self.drop_too_large(payload, error, parts);
        }
    }

    fn drop_too_large(&self, payload: Payload, error: ExportError, parts: &mut Undelivered) {
        self.dropped_items.fetch_add(payload.items(), Ordering::Relaxed);
        parts.leave(Left { payload, error });
    }
}

impl<E: Exporter> Exporter for SplitTooLarge<E> {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    /// # Cancel safety
    ///
    /// Dropping the future leaves it open which pieces were delivered.
    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        match self.inner.send(outgoing.clone()).await {
            Err(error) if error.is_too_large() => {
                self.send_in_pieces(outgoing.into_payload(), error).await
            }
            result => result,
        }
    }

    async fn flush(&self) -> Result<(), ExportError> {
        self.inner.flush().await
    }

    fn interrupt(&self) {
        self.inner.interrupt();
    }

    async fn shutdown(&self) -> Result<(), ExportError> {
        self.inner.shutdown().await
    }
}
