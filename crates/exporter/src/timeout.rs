//! A limit to how long an export takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use teleflow_otlp::Payload;

use crate::{Delivered, ExportError, Exporter, Outgoing};

/// Gives every export so much time.
///
/// Around [`Retry`](crate::Retry) it bounds all attempts together; inside, each. The exporters for
/// gRPC and HTTP have a limit of their own, which tells the server too.
///
/// ```
/// use std::time::Duration;
/// use teleflow_exporter::{Console, Exporter, Timeout};
/// use teleflow_otlp::{Payload, Signal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), teleflow_exporter::ExportError> {
/// let exporter = Timeout::new(Console::stdout(), Duration::from_secs(5));
/// exporter.export(Payload::empty(Signal::Traces)).await?;
/// assert_eq!(exporter.timed_out(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Timeout<E> {
    inner: E,
    limit: Duration,
    timed_out: AtomicU64,
}

// === impl Timeout ===

impl<E> Timeout<E> {
    /// Wraps `inner`. A limit of zero means none.
    pub fn new(inner: E, limit: Duration) -> Self {
        Self { inner, limit, timed_out: AtomicU64::new(0) }
    }

    /// How many exports took too long.
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// The exporter inside.
    pub fn inner(&self) -> &E {
        &self.inner
    }
}

impl<E: Exporter> Exporter for Timeout<E> {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    /// # Errors
    ///
    /// [`ExportError::Timeout`], which may be tried again, and then the payload may arrive twice.
    ///
    /// # Cancel safety
    ///
    /// As what is inside.
    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        let send = self.inner.send(outgoing);
        if self.limit.is_zero() {
            return send.await;
        }
        tokio::time::timeout(self.limit, send).await.unwrap_or_else(|_| {
            self.timed_out.fetch_add(1, Ordering::Relaxed);
            Err(ExportError::Timeout(self.limit))
        })
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
