//! The way in for telemetry that is made in the same program.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use teleflow_otlp::Payload;
use teleflow_receiver::Refused;

use crate::intake::Intake;

/// Feeds the lanes of a pipeline without a socket. Clones feed the same.
///
/// It stands for a receiver: [`Builder::inlet`](crate::Builder::inlet) makes it, lanes name it with
/// [`LaneConfig::from`](crate::LaneConfig::from), and
/// [`Builder::wait_for_result`](crate::Builder::wait_for_result) has it wait.
///
/// ```
/// use teleflow::exporter::{Console, QueueConfig};
/// use teleflow::{LaneConfig, Payload, Pipeline, Signal};
/// use tokio::time::Instant;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pipeline = Pipeline::builder()
///     .inlet("app")
///     .exporter("console", Console::stdout(), QueueConfig::default())
///     .lane(LaneConfig::new("traces", Signal::Traces).from("app").to("console"))
///     .start()
///     .await?;
/// let inlet = pipeline.inlet("app").expect("it was made above");
///
/// // ExportTraceServiceRequest { ResourceSpans { ScopeSpans { Span { name: "GET /" } } } }
/// let request = b"\x0a\x0b\x12\x09\x12\x07\x2a\x05GET /";
/// inlet.send(Payload::parse(Signal::Traces, request[..].into())?).await?;
///
/// let books = pipeline.shutdown(Instant::now()).await;
/// assert!(books.balance());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Inlet(Arc<Mutex<Option<Intake>>>);

// === impl Inlet ===

impl Inlet {
    pub(crate) fn new(intake: Intake) -> Self {
        Self(Arc::new(Mutex::new(Some(intake))))
    }

    /// Hands a payload to every lane of its signal, or to none; where the inlet waits for results,
    /// ends when every item has come to its end. A payload without items is taken and forgotten.
    ///
    /// # Errors
    ///
    /// [`Refused`] if it was not taken, or not delivered: it may be sent again.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it ends, the payload was taken or not, never in part.
    pub async fn send(&self, payload: Payload) -> Result<(), Refused> {
        let intake = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(intake) = intake else { return Err(Refused::shutting_down()) };
        let result = intake.hand_in(payload).await?;
        // Lanes end when nobody can feed them any more, and the result may come only then.
        drop(intake);
        result.wait().await
    }

    /// Takes nothing any more.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inlet").finish_non_exhaustive()
    }
}
