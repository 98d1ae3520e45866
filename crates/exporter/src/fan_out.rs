//! The same payload to several destinations.

use futures_util::future::join_all;
use teleflow_otlp::Payload;

use crate::{AnyExporter, Delivered, ExportError, Exporter, Outgoing};

/// Sends every payload to all of its destinations at the same time; the worst answer is the answer.
///
/// The bytes are shared, and so is every wire form that several destinations have in common: it is
/// made once. Retry goes inside, around each destination: once one has taken a payload, an
/// answer from here is [`ExportError::Diverged`], which nobody sends again.
///
/// An export lasts as long as the slowest destination takes. That one destination never holds
/// another up is the business of queues: where it matters, each destination gets a
/// [`Queue`](crate::Queue) of its own, and the queues' owner fans out.
///
/// From the best to the worst: taken in full; taken with some items rejected; delivered in part;
/// failed, and may be tried again; failed for good.
///
/// ```
/// use teleflow_exporter::{AnyExporter, Console, Exporter, FanOut};
/// use teleflow_otlp::{Payload, Signal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), teleflow_exporter::ExportError> {
/// let both = FanOut::new([Console::stdout(), Console::stdout()].map(AnyExporter::new));
/// both.export(Payload::empty(Signal::Traces)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FanOut {
    destinations: Box<[AnyExporter]>,
}

// === impl FanOut ===

impl FanOut {
    /// To all of these. Without any, everything is delivered.
    pub fn new(destinations: impl IntoIterator<Item = AnyExporter>) -> Self {
        Self { destinations: destinations.into_iter().collect() }
    }
}

impl Exporter for FanOut {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    /// # Cancel safety
    ///
    /// Dropping the future leaves it open which destinations have taken the payload.
    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        let all = self.destinations.iter().map(|destination| destination.send(outgoing.clone()));
        let answers = join_all(all).await;
        let somebody_took_it = answers.iter().any(took_some);
        let worst = answers.into_iter().max_by_key(badness).unwrap_or(Ok(Delivered::ALL));
        worst.map_err(|error| match error {
            error if somebody_took_it => ExportError::Diverged(Box::new(error)),
            error => error,
        })
    }

    /// Flushes all of them; the answer is the first failure.
    async fn flush(&self) -> Result<(), ExportError> {
        let all = self.destinations.iter().map(|destination| destination.flush());
        join_all(all).await.into_iter().collect()
    }

    fn interrupt(&self) {
        self.destinations.iter().for_each(Exporter::interrupt);
    }

    /// Shuts all of them down; the answer is the first failure.
    async fn shutdown(&self) -> Result<(), ExportError> {
        let all = self.destinations.iter().map(|destination| destination.shutdown());
        join_all(all).await.into_iter().collect()
    }
}

/// Whether a part of it may be settled: then the whole cannot be sent again, nor one destination's
/// rest to all.
fn took_some(answer: &Result<Delivered, ExportError>) -> bool {
    matches!(answer, Ok(_) | Err(ExportError::Diverged(_) | ExportError::Undelivered(_)))
}

/// The larger the worse. Of two that are equally bad, the later destination's is the answer.
fn badness(answer: &Result<Delivered, ExportError>) -> (u8, u64) {
    match answer {
        Ok(delivered) => (0, delivered.rejected),
        Err(ExportError::Undelivered(part)) => (1, part.left_items()),
        Err(error) if error.is_retryable() => (2, 0),
        Err(_) => (3, 0),
    }
}
