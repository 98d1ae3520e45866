//! A payload on its way out, with the forms of it that have been made for the wire.

use std::fmt;
use std::sync::Arc;

use teleflow_otlp::Payload;

#[cfg(any(feature = "grpc", feature = "http"))]
pub(crate) use self::forms::{Form, Maker};

/// A payload, and what was made of it to be sent: shared by every retry and every destination.
///
/// Who sends a payload several times makes one of these and gives each attempt a clone of it: what
/// is encoded and compressed for the first is there for the others. Each form is made at most once,
/// by the first who needs it, also where several need it at the same time; it is let go of with the
/// last clone.
///
/// Nobody waits for one: who answers for the items takes the payload's `Ack` out before, as
/// [`Queue`](crate::Queue) does.
///
/// The forms take memory beside the payload as long: compressed ones less than it, JSON several times
/// as much.
///
/// ```
/// use teleflow_exporter::Outgoing;
/// use teleflow_otlp::{Payload, Signal};
///
/// let outgoing = Outgoing::new(Payload::empty(Signal::Traces));
/// assert_eq!(outgoing.clone().into_payload().items(), outgoing.payload().items());
/// ```
#[derive(Clone)]
pub struct Outgoing(Arc<Inner>);

struct Inner {
    payload: Payload,
    #[cfg(any(feature = "grpc", feature = "http"))]
    forms: forms::Forms,
}

// === impl Outgoing ===

impl Outgoing {
    /// A payload of which nothing has been made yet.
    pub fn new(payload: Payload) -> Self {
        Self(Arc::new(Inner {
            payload,
            #[cfg(any(feature = "grpc", feature = "http"))]
            forms: forms::Forms::default(),
        }))
    }

    /// The payload.
    pub fn payload(&self) -> &Payload {
        &self.0.payload
    }

    /// The payload, without what was made of it.
    pub fn into_payload(self) -> Payload {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => inner.payload,
            Err(shared) => shared.payload.clone(),
        }
    }
}

impl From<Payload> for Outgoing {
    fn from(payload: Payload) -> Self {
        Self::new(payload)
    }
}

impl fmt::Debug for Outgoing {
    /// Prints sizes and no telemetry.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("signal", &self.payload().signal())
            .field("items", &self.payload().items())
            .field("bytes", &self.payload().bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(any(feature = "grpc", feature = "http"))]
mod forms {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;
    use teleflow_otlp::Payload;
    use tokio::sync::OnceCell;

    use super::Outgoing;
    use crate::compress::Encoders;
    use crate::{Compression, Encoding, ExportError};

    /// By encoding and compression. Protobuf as it is needs no place: it is the payload.
    #[derive(Default)]
    pub(super) struct Forms([[OnceCell<Form>; Compression::COUNT]; Encoding::COUNT]);

    /// The bytes of a request.
    #[derive(Clone, Debug)]
    pub(crate) struct Form {
        pub(crate) pieces: Vec<Bytes>,
        /// How many bytes they were before compression.
        pub(crate) plain_bytes: usize,
    }

    /// Makes forms, and counts them.
    #[derive(Debug, Default)]
    pub(crate) struct Maker {
        encoders: Encoders,
        encoded: AtomicU64,
        compressed: AtomicU64,
    }

    // === impl Form ===

    impl Form {
        /// How many bytes go over the wire.
        pub(crate) fn bytes(&self) -> usize {
            self.pieces.iter().map(Bytes::len).sum()
        }
    }

    // === impl Outgoing ===

    impl Outgoing {
        /// The request in this form; `maker` makes it, unless it is there.
        ///
        /// # Cancel safety
        ///
        /// Dropped while it makes the form, another who waits for the same form makes it.
        pub(crate) async fn form(
            &self,
            encoding: Encoding,
            compression: Compression,
            maker: &Maker,
        ) -> Result<Form, ExportError> {
            let payload = self.payload();
            if encoding == Encoding::Protobuf && compression == Compression::None {
                let pieces = payload.segments().to_vec();
                return Ok(Form { pieces, plain_bytes: payload.bytes() });
            }
            let row = &self.0.forms.0[encoding.index()];
            let make = async || {
                let plain = match (encoding, row[Compression::None.index()].get()) {
                    (_, Some(plain)) => plain.clone(),
                    (encoding, None) => maker.encode(encoding, payload)?,
                };
                Ok(maker.compress(compression, plain).await)
            };
            row[compression.index()].get_or_try_init(make).await.cloned()
        }
    }

    // === impl Maker ===

    impl Maker {
        /// How many requests were encoded in something else than what they came in, and how many
        /// were compressed.
        pub(crate) fn counts(&self) -> (u64, u64) {
            (self.encoded.load(Ordering::Relaxed), self.compressed.load(Ordering::Relaxed))
        }

        fn encode(&self, encoding: Encoding, payload: &Payload) -> Result<Form, ExportError> {
            match encoding {
                Encoding::Protobuf => {
                    let pieces = payload.segments().to_vec();
                    Ok(Form { pieces, plain_bytes: payload.bytes() })
                }
                #[cfg(feature = "json")]
                Encoding::Json => {
                    self.encoded.fetch_add(1, Ordering::Relaxed);
                    let json =
                        teleflow_otlp::json::from_protobuf(payload.signal(), &payload.to_bytes())
                            .map_err(|error| {
                            ExportError::Permanent(format!("no JSON can be made of it: {error}"))
                        })?;
                    let plain_bytes = json.len();
                    Ok(Form { pieces: vec![json.into()], plain_bytes })
                }
            }
        }

        async fn compress(&self, compression: Compression, plain: Form) -> Form {
            if compression == Compression::None {
                return plain;
            }
            self.compressed.fetch_add(1, Ordering::Relaxed);
            let compressed = self.encoders.compress(compression, &plain.pieces).await;
            Form { pieces: vec![compressed], plain_bytes: plain.plain_bytes }
        }
    }
}
