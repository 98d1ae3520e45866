//! A second destination for when the first is away.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use teleflow_concurrency::{Breaker, BreakerConfig, Unfinished};
use teleflow_otlp::Payload;

use crate::circuit_breaker::guarded;
use crate::{AnyExporter, ConfigError, Delivered, ExportError, Exporter, Outgoing, Undelivered};

/// Sends to the first destination that takes payloads: the primary, as long as it does.
///
/// A destination that fails in a way that [may be tried again](ExportError::is_retryable) is passed
/// over for [`back_after`](Failover::new); then one payload tries it, and where that goes well, all
/// follow. The payload that met the failure goes to the next destination at once. What is wrong with
/// the payload itself is no reason to try elsewhere, and is the answer.
///
/// A payload whose answer was lost may so arrive at two destinations. What a destination took in
/// part goes elsewhere only with the rest.
///
/// With [`Retry`](crate::Retry) around it, what nobody takes is tried again.
///
/// ```
/// use std::time::Duration;
/// use teleflow_exporter::{AnyExporter, Console, Exporter, Failover};
/// use teleflow_otlp::{Payload, Signal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let both = [Console::stdout(), Console::stdout()].map(AnyExporter::new);
/// let exporter = Failover::new(both, Duration::from_secs(60))?;
/// exporter.export(Payload::empty(Signal::Traces)).await?;
/// assert_eq!(exporter.exports(), [1, 0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Failover {
    /// From the primary on.
    destinations: Box<[Destination]>,
}

#[derive(Debug)]
struct Destination {
    exporter: AnyExporter,
    breaker: Breaker,
    exports: AtomicU64,
}

// === impl Failover ===

impl Failover {
    /// To these, the best one first; a destination that failed is tried again after `back_after`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wrapper`] where there is no destination.
    pub fn new(
        destinations: impl IntoIterator<Item = AnyExporter>,
        back_after: Duration,
    ) -> Result<Self, ConfigError> {
        let config = BreakerConfig {
            failures: Some(1),
            failure_rate: None,
            open_for: back_after,
            probes: NonZeroU16::MIN,
            successes: NonZeroU16::MIN,
            unfinished: Unfinished::Ignore,
            ..BreakerConfig::default()
        };
        let destination = |exporter| {
            let breaker = Breaker::new(config.clone())?;
            Ok(Destination { exporter, breaker, exports: AtomicU64::new(0) })
        };
        let destinations: Box<[_]> =
            destinations.into_iter().map(destination).collect::<Result<_, ConfigError>>()?;
        if destinations.is_empty() {
            return Err(ConfigError::Wrapper("a failover has no destination"));
        }
        Ok(Self { destinations })
    }

    /// How many payloads each destination was tried with.
    pub fn exports(&self) -> Vec<u64> {
        let exports = |destination: &Destination| destination.exports.load(Ordering::Relaxed);
        self.destinations.iter().map(exports).collect()
    }
}

impl Exporter for Failover {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    /// # Cancel safety
    ///
    /// Dropping the future leaves it open whether the payload was delivered, and where.
    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        let mut outgoing = outgoing;
        let mut parts = Undelivered::default();
        let mut why: Option<ExportError> = None;
        for Destination { exporter, breaker, exports } in &self.destinations {
            let send = async {
                exports.fetch_add(1, Ordering::Relaxed);
                exporter.send(outgoing.clone()).await
            };
            let error = match guarded(breaker, send).await {
                Err(ExportError::Undelivered(part)) => match part.divided() {
                    (settled, Some(left)) => {
                        parts.merge(settled);
                        outgoing = Outgoing::new(left.payload);
                        left.error
                    }
                    (settled, None) => {
                        parts.merge(settled);
                        return parts.into_result();
                    }
                },
                Err(error) if error.is_retryable() => error,
                result => {
                    parts.add(outgoing.into_payload(), result);
                    return parts.into_result();
                }
            };
            // One that was tried says more than one that was passed over.
            let is_news = !matches!(error, ExportError::CircuitOpen { .. });
            if is_news || why.is_none() {
                why = Some(error);
            }
        }
        let error = why.unwrap_or(ExportError::Closed);
        parts.add(outgoing.into_payload(), Err(error));
        parts.into_result()
    }

    /// Flushes all of them; the answer is the first failure.
    async fn flush(&self) -> Result<(), ExportError> {
        let all = self.destinations.iter().map(|destination| destination.exporter.flush());
        join_all(all).await.into_iter().collect()
    }

    fn interrupt(&self) {
        self.destinations.iter().for_each(|destination| destination.exporter.interrupt());
    }

    /// Shuts all of them down; the answer is the first failure.
    async fn shutdown(&self) -> Result<(), ExportError> {
        let all = self.destinations.iter().map(|destination| destination.exporter.shutdown());
        join_all(all).await.into_iter().collect()
    }
}
