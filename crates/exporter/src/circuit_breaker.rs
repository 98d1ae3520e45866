//! Leaving a destination alone that fails again and again.

use teleflow_concurrency::{Breaker, BreakerConfig, BreakerStats, Call};
use teleflow_otlp::Payload;

use crate::{ConfigError, Delivered, ExportError, Exporter, Outgoing};

/// Sends nothing to a destination that keeps failing, until a probe went well.
///
/// Only what [may be tried again](ExportError::is_retryable) counts as a failure: it says something of
/// the destination, while everything else is about the payload. What is refused while the breaker is
/// open fails with [`ExportError::CircuitOpen`] and is itself retryable.
///
/// Goes inside of [`Retry`](crate::Retry), which then waits until a probe is due; and it is how
/// [`Balance`](crate::Balance) and [`Failover`](crate::Failover) learn early that a destination is
/// away.
///
/// ```
/// use teleflow_concurrency::{BreakerConfig, BreakerState};
/// use teleflow_exporter::{CircuitBreaker, Console, Exporter};
/// use teleflow_otlp::{Payload, Signal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let exporter = CircuitBreaker::new(Console::stdout(), BreakerConfig::default())?;
/// exporter.export(Payload::empty(Signal::Traces)).await?;
/// assert_eq!(exporter.stats().state, BreakerState::Closed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CircuitBreaker<E> {
    inner: E,
    breaker: Breaker,
}

// === impl CircuitBreaker ===

impl<E> CircuitBreaker<E> {
    /// Wraps `inner`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Breaker`] for settings that make no sense.
    pub fn new(inner: E, config: BreakerConfig) -> Result<Self, ConfigError> {
        Ok(Self { inner, breaker: Breaker::new(config)? })
    }

    /// What was done so far.
    pub fn stats(&self) -> BreakerStats {
        self.breaker.stats()
    }

    /// The exporter inside.
    pub fn inner(&self) -> &E {
        &self.inner
    }
}

impl<E: Exporter> Exporter for CircuitBreaker<E> {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    /// # Cancel safety
    ///
    /// Dropped, the export counts as the breaker's configuration says: as a failure, by default.
    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        guarded(&self.breaker, self.inner.send(outgoing)).await
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

/// Runs an export, if the breaker admits it.
pub(crate) async fn guarded(
    breaker: &Breaker,
    export: impl Future<Output = Result<Delivered, ExportError>>,
) -> Result<Delivered, ExportError> {
    let call = match breaker.check(tokio::time::Instant::now().into_std()) {
        Ok(call) => call,
        Err(refused) => {
            return Err(ExportError::CircuitOpen { retry_after: refused.retry_after });
        }
    };
    let result = export.await;
    settle(call, &result);
    result
}

/// Tells the breaker how an export went.
pub(crate) fn settle(call: Call<'_>, result: &Result<Delivered, ExportError>) {
    let now = tokio::time::Instant::now().into_std();
    match result {
        Err(error) if is_failure(error) => call.failure(now),
        _ => call.success(now),
    }
}

/// Whether an error says something of the destination.
fn is_failure(error: &ExportError) -> bool {
    match error {
        ExportError::Undelivered(part) => part.left.iter().any(|left| is_failure(&left.error)),
        ExportError::Diverged(error) => is_failure(error),
        ExportError::Panicked => true,
        error => error.is_retryable(),
    }
}
