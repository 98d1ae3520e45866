//! The sending queue: bounds what waits for an exporter and accounts for every payload.
//!
//! Payloads go in at one end; consumers take them out in order, export several at a time and tell
//! an [`Observer`] what became of each, and whoever waits for the payload too. A payload counts against the bounds until its export is
//! over: the memory it takes is free only then.

mod shared;
mod times;

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use teleflow_otlp::{Payload, Signal};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::shared::{NoRoom, Shared, Size, consume};
pub use self::times::ExportTimes;
use crate::{AnyExporter, Delivered, ExportError, Tally};

/// How much a queue holds. The defaults are the Collector's, and a byte limit that it does not have.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// The most payloads held, those in flight included: 1000. At least as many as `num_consumers`,
    /// or some of them never have work.
    pub max_requests: NonZeroUsize,
    /// The most bytes held, before compression, those in flight included: 256 MiB.
    ///
    /// A larger payload than this is never taken. Set it by the memory that an outage of the
    /// destination may cost.
    pub max_bytes: NonZeroUsize,
    /// The most items held, those in flight included: no limit. A payload with more is never taken.
    pub max_items: Option<NonZeroU64>,
    /// How many payloads are exported at a time: 10. With 1, they leave in the order in which they
    /// came.
    pub num_consumers: NonZeroUsize,
    /// What [`Queue::push`] does with a payload for which there is no room: rejects it.
    pub on_full: OnFull,
}

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnFull {
    /// Gives the payload back at once. The Collector's default.
    #[default]
    Reject,
    /// Waits for room and so holds the sender up: the Collector's `block_on_overflow`.
    Wait,
}

/// A payload that was not taken. It comes back.
#[derive(Debug, Error)]
pub enum Refused {
    /// No room now: there may be later.
    #[error("the queue is full")]
    Full(Payload),
    /// It will never fit.
    #[error("the payload, {} items of {} bytes, is more than the queue holds", .0.items(), .0.bytes())]
    TooLarge(Payload),
    /// The queue takes nothing any more.
    #[error("the queue is closed")]
    Closed(Payload),
}

/// Is told what becomes of every payload that a queue took.
///
/// Each is started at most once and has exactly one outcome, whatever happens: also when an
/// exporter panics, the deadline of a drain passes, or the queue is dropped. Calls come from several
/// threads. One should be short, for it holds a consumer up, and must not panic.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// An export begins.
    fn started(&self, signal: Signal, items: u64) {
        let _ = (signal, items);
    }

    /// An export is over, or will never be.
    fn outcome(&self, signal: Signal, items: u64, outcome: Outcome<'_>) {
        let _ = (signal, items, outcome);
    }
}

/// What became of a payload.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It arrived; [`Delivered::rejected`] of its items were refused for good.
    Delivered(&'a Delivered),
    /// It was given up: where [`ExportError::is_retryable`], because retries ran out (or there are
    /// none), and else because no retry can help.
    Failed(&'a ExportError),
    /// It was still here when the time was up. Where its export had started, it may have arrived.
    Abandoned,
}

/// A bounded queue in front of an exporter.
///
/// Dropping it abandons what it holds; [`drain`](Self::drain) delivers that first.
pub struct Queue {
    shared: Arc<Shared>,
    consumers: Mutex<JoinSet<()>>,
    on_full: OnFull,
}

/// Room for one payload, taken before the payload is given up. Dropped, it gives the room back.
#[derive(Debug)]
#[must_use = "the room is given back at once"]
pub struct Permit<'a> {
    shared: &'a Shared,
    /// What was reserved.
    size: Size,
    /// What a pushed payload holds on to.
    kept: Option<Size>,
}

/// What a queue holds at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct QueueStats {
    /// Payloads that wait for a consumer.
    pub queued_requests: usize,
    /// Spans, data points and log records in them.
    pub queued_items: u64,
    /// Bytes in them, before compression.
    pub queued_bytes: usize,
    /// Payloads in export, those that wait for a retry included.
    pub in_flight_requests: usize,
    /// Items in them.
    pub in_flight_items: u64,
    /// Bytes in them, before compression.
    pub in_flight_bytes: usize,
}

/// What a drain left behind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Drained {
    /// Payloads whose outcome is [`Outcome::Abandoned`].
    pub abandoned_requests: u64,
    /// Items in them.
    pub abandoned_items: u64,
    /// Bytes in them, before compression.
    pub abandoned_bytes: u64,
}

// === impl QueueConfig ===

impl Default for QueueConfig {
    fn default() -> Self {
        let nonzero = |n| NonZeroUsize::new(n).expect("the constants below are not zero");
        Self {
            max_requests: nonzero(1000),
            max_bytes: nonzero(256 * 1024 * 1024),
            max_items: None,
            num_consumers: nonzero(10),
            on_full: OnFull::Reject,
        }
    }
}

// === impl Refused ===

impl Refused {
    /// The payload.
    pub fn into_payload(self) -> Payload {
        match self {
            Self::Full(payload) | Self::TooLarge(payload) | Self::Closed(payload) => payload,
        }
    }
}

// === impl Outcome ===

impl Outcome<'_> {
    /// What it means for `items`.
    pub fn tally(&self, items: u64) -> Tally {
        match self {
            Self::Delivered(delivered) => Tally::of(items, Ok(delivered)),
            Self::Failed(error) => Tally::of(items, Err(error)),
            Self::Abandoned => Tally { dropped: vec![("shutdown", items)], ..Tally::default() },
        }
    }
}

// === impl Queue ===

impl Queue {
    /// Starts the consumers, as tasks of the current runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn(exporter: AnyExporter, config: QueueConfig, observer: Arc<dyn Observer>) -> Self {
        let shared = Arc::new(Shared::new(&config, observer));
        let mut tasks = JoinSet::new();
        for consumer in 0..config.num_consumers.get() {
            tasks.spawn(consume(Arc::clone(&shared), exporter.clone(), consumer));
        }
        Self { shared, consumers: Mutex::new(tasks), on_full: config.on_full }
    }

    /// Takes `payload` if there is room now. One without items is taken and forgotten: the protocol
    /// wants no empty requests sent.
    ///
    /// # Errors
    ///
    /// [`Refused`] gives the payload back.
    pub fn try_push(&self, payload: Payload) -> Result<(), Refused> {
        let size = Size::of(&payload);
        match self.shared.take(size) {
            Ok(()) => Permit { shared: &self.shared, size, kept: None }.push(payload),
            Err(no_room) => Err(no_room.refuse(payload)),
        }
    }

    /// Takes `payload`; when there is no room, does what [`QueueConfig::on_full`] says.
    ///
    /// Those who wait are served in the order in which they came. A [`try_push`](Self::try_push)
    /// meanwhile may be faster than they.
    ///
    /// # Errors
    ///
    /// [`Refused`] gives the payload back: `Full` only where the queue rejects.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the payload, which the queue has not taken then. Where it must
    /// survive, [`reserve`](Self::reserve) room first.
    pub async fn push(&self, payload: Payload) -> Result<(), Refused> {
        if self.on_full == OnFull::Reject {
            return self.try_push(payload);
        }
        match self.reserve_size(Size::of(&payload)).await {
            Ok(permit) => permit.push(payload),
            Err(no_room) => Err(no_room.refuse(payload)),
        }
    }

    /// Waits for room for `payload`, whatever [`QueueConfig::on_full`] says.
    ///
    /// # Errors
    ///
    /// [`Refused`], with a clone of the payload, where it can never fit or the queue is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses the place in line and nothing else.
    pub async fn reserve(&self, payload: &Payload) -> Result<Permit<'_>, Refused> {
        let reserved = self.reserve_size(Size::of(payload)).await;
        reserved.map_err(|no_room| no_room.refuse(payload.clone()))
    }

    async fn reserve_size(&self, size: Size) -> Result<Permit<'_>, NoRoom> {
        let shared = &self.shared;
        let Ok(_turn) = shared.turn.acquire().await else { return Err(NoRoom::Closed) };
        loop {
            match shared.take(size) {
                Ok(()) => return Ok(Permit { shared, size, kept: None }),
                // Room that came free before the wait begins leaves its word here.
                Err(NoRoom::Full) => shared.room.notified().await,
                Err(no_room) => return Err(no_room),
            }
        }
    }

    /// Takes nothing more; what is held is still exported.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.ready.close();
        self.shared.turn.close();
        self.shared.room.notify_one();
    }

    /// Closes the queue, waits until everything is exported or `deadline` has passed, and abandons
    /// the rest. The exporter itself is not shut down.
    ///
    /// When it returns, every outcome has been told. The deadline is kept even where an exporter
    /// blocks its thread, as long as the runtime has another.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again, with another deadline.
    pub async fn drain(&self, deadline: Instant) -> Drained {
        self.close();
        if deadline > Instant::now() {
            let ended = async { while self.next_end().await.is_some() {} };
            // Where they all ended in time, nothing is left to abandon.
            let _ = tokio::time::timeout_at(deadline, ended).await;
        }
        let drained = self.shared.abandon();
        self.lock_consumers().abort_all();
        self.shared.reported().await;
        drained
    }

    /// Waits until one more consumer has ended; `None` when all have.
    async fn next_end(&self) -> Option<()> {
        std::future::poll_fn(|cx| self.lock_consumers().poll_join_next(cx)).await.map(drop)
    }

    /// What is held now.
    pub fn stats(&self) -> QueueStats {
        let state = self.shared.lock();
        let mut stats = QueueStats {
            queued_requests: state.queued.len(),
            queued_items: state.items,
            queued_bytes: state.bytes,
            ..QueueStats::default()
        };
        for flight in state.in_flight.iter().flatten() {
            stats.in_flight_requests += 1;
            stats.in_flight_items += flight.items;
            stats.in_flight_bytes += flight.bytes;
        }
        stats
    }

    /// How long the exports took that have ended since this was last asked, retries included: the
    /// last 64 of them. Who makes batches can learn from it how long to collect.
    pub fn take_export_times(&self) -> impl Iterator<Item = Duration> + use<> {
        self.shared.lock().times.take()
    }

    fn lock_consumers(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.consumers.lock().expect("no code panics while it holds this lock")
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
        self.shared.abandon();
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

// === impl Permit ===

impl Permit<'_> {
    /// Puts `payload` in the queue.
    ///
    /// # Errors
    ///
    /// [`Refused::Closed`], where the queue was closed since the room was reserved.
    ///
    /// # Panics
    ///
    /// If `payload` is larger than the one that the room was reserved for.
    pub fn push(mut self, payload: Payload) -> Result<(), Refused> {
        let size = Size::of(&payload);
        assert!(size.fits(self.size), "the room was reserved for another payload");
        if payload.is_empty() {
            return Ok(());
        }
        let mut state = self.shared.lock();
        if state.closed {
            drop(state);
            return Err(Refused::Closed(payload));
        }
        // The payload keeps what it needs; dropping the permit gives back the rest.
        self.kept = Some(size);
        state.items += payload.items();
        state.bytes += payload.bytes();
        state.queued.push_back(payload);
        drop(state);
        self.shared.ready.add_permits(1);
        Ok(())
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.kept == Some(self.size) {
            return;
        }
        let kept = self.kept.unwrap_or_default();
        let mut state = self.shared.lock();
        state.held.bytes -= self.size.bytes - kept.bytes;
        state.held.items -= self.size.items - kept.items;
        state.held_requests -= usize::from(self.kept.is_none());
        drop(state);
        self.shared.room.notify_one();
    }
}
