//! The pools of a telemetry pipeline: spans, messages, contexts.

use crate::pairs::Pairs;
use crate::pool::{Builder, Pool};
use crate::recycle::Recycle;

/// How much a span has room for from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanRoom {
    /// Attributes; 16.
    pub attributes: usize,
    /// Events; 8.
    pub events: usize,
}

/// A message: headers and a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its headers.
    pub headers: Pairs,
    /// Its body.
    pub body: Vec<u8>,
}

// === impl SpanRoom ===

impl Default for SpanRoom {
    fn default() -> Self {
        Self { attributes: 16, events: 8 }
    }
}

// === impl Message ===

impl Message {
    /// The room for a body, in bytes, with which a pooled message is made.
    pub const BODY: usize = 1024;

    /// What a body that is kept may have grown to, in bytes.
    pub const MAX_BODY: usize = 64 * Self::BODY;
}

impl Recycle for Message {
    fn recycle(&mut self) {
        self.headers.recycle();
        self.body.clear();
        if Self::MAX_BODY < self.body.capacity() {
            self.body.shrink_to(Self::BODY);
        }
    }
}

/// Describes a pool of 10 000 spans of the caller's type.
///
/// `create` is told how much room a span is to have; [`Recycle`] keeps that room, so that a span
/// that is used again allocates nothing for it.
///
/// ```
/// use teleflow_pool::{Recycle, spans};
///
/// struct Span {
///     attributes: Vec<(&'static str, i64)>,
///     events: Vec<&'static str>,
/// }
///
/// impl Recycle for Span {
///     fn recycle(&mut self) {
///         self.attributes.clear();
///         self.events.clear();
///     }
/// }
///
/// let pool = spans(|room| Span {
///     attributes: Vec::with_capacity(room.attributes),
///     events: Vec::with_capacity(room.events),
/// })
/// .build();
/// pool.acquire().attributes.push(("answer", 42));
/// let span = pool.acquire();
/// assert!(span.attributes.is_empty() && 16 <= span.attributes.capacity());
/// ```
pub fn spans<S: Recycle + 'static>(
    create: impl Fn(SpanRoom) -> S + Send + Sync + 'static,
) -> Builder<S> {
    Pool::builder(move || create(SpanRoom::default()))
        .reset(S::recycle)
        .capacity(10_000)
        .name("spans")
}

/// Describes a pool of 10 000 messages, each with a header map and room for a body of 1 KiB.
///
/// ```
/// let pool = teleflow_pool::messages().build();
/// let mut message = pool.acquire();
/// message.headers.insert("content-type", "application/json");
/// message.body.extend_from_slice(b"{}");
/// ```
pub fn messages() -> Builder<Message> {
    Pool::builder(|| Message {
        headers: Pairs::with_capacity(16),
        body: Vec::with_capacity(Message::BODY),
    })
    .reset(Message::recycle)
    .capacity(10_000)
    .name("messages")
}

/// Describes a pool of 10 000 contexts of keys and values.
///
/// ```
/// let pool = teleflow_pool::contexts().build();
/// pool.acquire().insert("tenant", "a");
/// assert_eq!(pool.acquire().get("tenant"), None);
/// ```
pub fn contexts() -> Builder<Pairs> {
    Pool::builder(|| Pairs::with_capacity(8))
        .reset(Pairs::recycle)
        .capacity(10_000)
        .name("contexts")
}
