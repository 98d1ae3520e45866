//! The `Exporter` trait: how a payload leaves.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use teleflow_otlp::Payload;

use crate::{ExportError, Outgoing};

/// Takes payloads to where they are kept.
///
/// An exporter sends what it is given, once: retry, queueing and concurrency are wrapped around it.
/// It may be called for several payloads at a time.
///
/// ```
/// use teleflow_exporter::{Delivered, ExportError, Exporter};
/// use teleflow_otlp::Payload;
///
/// /// Keeps nothing.
/// #[derive(Debug)]
/// struct Null;
///
/// impl Exporter for Null {
///     async fn export(&self, _payload: Payload) -> Result<Delivered, ExportError> {
///         Ok(Delivered::ALL)
///     }
/// }
/// ```
pub trait Exporter: fmt::Debug + Send + Sync + 'static {
    /// Delivers `payload`, or says why not.
    ///
    /// # Errors
    ///
    /// Says by [`ExportError::is_retryable`] whether the same payload may be sent again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open whether the payload was delivered.
    fn export(
        &self,
        payload: Payload,
    ) -> impl Future<Output = Result<Delivered, ExportError>> + Send;

    /// Delivers a payload of which others may have made, or may want, the same wire form.
    ///
    /// What sends over a wire overrides this and shares what it made; the rest exports the payload.
    ///
    /// # Errors
    ///
    /// As [`export`](Self::export).
    ///
    /// # Cancel safety
    ///
    /// As [`export`](Self::export).
    fn send(
        &self,
        outgoing: Outgoing,
    ) -> impl Future<Output = Result<Delivered, ExportError>> + Send {
        self.export(outgoing.into_payload())
    }

    /// Makes lasting what was delivered, as far as the destination has such a notion.
    fn flush(&self) -> impl Future<Output = Result<(), ExportError>> + Send {
        ready(Ok(()))
    }

    /// Ends waits between attempts: what could be sent again is given back at once, in
    /// [`ExportError::Undelivered`], and so is what fails from now on. For a shutdown, where what is
    /// given back is kept elsewhere; who wraps an exporter hands it on.
    fn interrupt(&self) {}

    /// Flushes and lets go of files and connections. No `export` follows.
    fn shutdown(&self) -> impl Future<Output = Result<(), ExportError>> + Send {
        self.flush()
    }
}

/// What became of a payload that arrived.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Delivered {
    /// How many of its items the destination refused for good: OTLP's partial success.
    pub rejected: u64,
    /// What the destination says about it; a warning where nothing was rejected.
    pub message: Option<String>,
}

/// An exporter of any type, shared.
#[derive(Clone)]
pub struct AnyExporter(Arc<dyn Erased>);

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, ExportError>> + Send + 'a>>;

/// `Exporter` without its anonymous types, so that it can be a trait object.
trait Erased: fmt::Debug + Send + Sync {
    fn export(&self, payload: Payload) -> Boxed<'_, Delivered>;
    fn send(&self, outgoing: Outgoing) -> Boxed<'_, Delivered>;
    fn flush(&self) -> Boxed<'_, ()>;
    fn interrupt(&self);
    fn shutdown(&self) -> Boxed<'_, ()>;
}

// === impl Delivered ===

impl Delivered {
    /// Everything was taken.
    pub const ALL: Self = Self { rejected: 0, message: None };
}

// === impl AnyExporter ===

impl AnyExporter {
    /// Hides the type of `exporter`.
    pub fn new(exporter: impl Exporter) -> Self {
        Self(Arc::new(exporter))
    }
}

impl fmt::Debug for AnyExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Exporter for AnyExporter {
    fn export(
        &self,
        payload: Payload,
    ) -> impl Future<Output = Result<Delivered, ExportError>> + Send {
        self.0.export(payload)
    }

    fn send(
        &self,
        outgoing: Outgoing,
    ) -> impl Future<Output = Result<Delivered, ExportError>> + Send {
        self.0.send(outgoing)
    }

    fn flush(&self) -> impl Future<Output = Result<(), ExportError>> + Send {
        self.0.flush()
    }

    fn interrupt(&self) {
        self.0.interrupt();
    }

    fn shutdown(&self) -> impl Future<Output = Result<(), ExportError>> + Send {
        self.0.shutdown()
    }
}

/// Shared, so that who made an exporter can still ask it for its statistics.
impl<E: Exporter> Exporter for Arc<E> {
    fn export(
        &self,
        payload: Payload,
    ) -> impl Future<Output = Result<Delivered, ExportError>> + Send {
        E::export(self, payload)
    }

    fn send(
        &self,
        outgoing: Outgoing,
    ) -> impl Future<Output = Result<Delivered, ExportError>> + Send {
        E::send(self, outgoing)
    }

    fn flush(&self) -> impl Future<Output = Result<(), ExportError>> + Send {
        E::flush(self)
    }

    fn interrupt(&self) {
        E::interrupt(self);
    }

    fn shutdown(&self) -> impl Future<Output = Result<(), ExportError>> + Send {
        E::shutdown(self)
    }
}

impl<E: Exporter> Erased for E {
    fn export(&self, payload: Payload) -> Boxed<'_, Delivered> {
        Box::pin(Exporter::export(self, payload))
    }

    fn send(&self, outgoing: Outgoing) -> Boxed<'_, Delivered> {
        Box::pin(Exporter::send(self, outgoing))
    }

    fn flush(&self) -> Boxed<'_, ()> {
        Box::pin(Exporter::flush(self))
    }

    fn interrupt(&self) {
        Exporter::interrupt(self);
    }

    fn shutdown(&self) -> Boxed<'_, ()> {
        Box::pin(Exporter::shutdown(self))
    }
}
