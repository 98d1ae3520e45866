//! What a queue's two ends share, and the consumers at the far one.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt as _;
use teleflow_otlp::{Ack, Payload, Signal};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use super::{Drained, ExportTimes, Observer, Outcome, QueueConfig, Refused};
use crate::{AnyExporter, ExportError, Exporter as _};

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// One permit a queued payload; closed with the queue.
    pub(super) ready: Semaphore,
    /// Held by the one who waits for room: the others stand in line behind it, in order.
    pub(super) turn: Semaphore,
    /// Told when room came free; the holder of `turn` listens.
    pub(super) room: Notify,
    /// How many outcomes are being told at this moment.
    reporting: watch::Sender<usize>,
    observer: Arc<dyn Observer>,
    max_requests: usize,
    max: Size,
}

/// How large a payload is, or all that is held.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Size {
    pub(super) items: u64,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) queued: VecDeque<Payload>,
    /// Of `queued`.
    pub(super) items: u64,
    pub(super) bytes: usize,
    /// What each consumer is exporting. Whoever takes an entry out reports its outcome.
    pub(super) in_flight: Box<[Option<Flight>]>,
    /// Against the bounds: queued, in flight, and permits.
    pub(super) held_requests: usize,
    pub(super) held: Size,
    pub(super) times: ExportTimes,
    pub(super) closed: bool,
}

/// What has to be known of a payload that is in its exporter's hands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) signal: Signal,
    pub(super) items: u64,
    pub(super) bytes: usize,
    /// When its export, or its wait for one, began.
    pub(super) since: Instant,
}

/// A consumer's hold on its flight: reports it as abandoned unless it lands.
struct Landing<'a> {
    shared: &'a Shared,
    consumer: usize,
    /// Dropped with it, it says that the items were lost.
    ack: Ack,
}

/// Counts a report as long as it lasts, also when the observer panics.
struct Reporting<'a>(&'a Shared);

/// Why there is no room.
pub(super) enum NoRoom {
    Full,
    TooLarge,
    Closed,
}

// === impl NoRoom ===

impl NoRoom {
    pub(super) fn refuse(self, payload: Payload) -> Refused {
        match self {
            Self::Full => Refused::Full(payload),
            Self::TooLarge => Refused::TooLarge(payload),
            Self::Closed => Refused::Closed(payload),
        }
    }
}

// === impl Size ===

impl Size {
    pub(super) const fn of(payload: &Payload) -> Self {
        Self { items: payload.items(), bytes: payload.bytes() }
    }

    pub(super) const fn fits(self, room: Self) -> bool {
        self.items <= room.items && self.bytes <= room.bytes
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(config: &QueueConfig, observer: Arc<dyn Observer>) -> Self {
        Self {
            state: Mutex::new(State {
                queued: VecDeque::new(),
                items: 0,
                bytes: 0,
                in_flight: vec![None; config.num_consumers.get()].into(),
                held_requests: 0,
                held: Size::default(),
                times: ExportTimes::default(),
                closed: false,
            }),
            ready: Semaphore::new(0),
            turn: Semaphore::new(1),
            room: Notify::new(),
            reporting: watch::Sender::new(0),
            observer,
            max_requests: config.max_requests.get(),
            max: Size {
                items: config.max_items.map_or(u64::MAX, NonZeroU64::get),
                bytes: config.max_bytes.get(),
            },
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// Takes room for one payload.
    pub(super) fn take(&self, size: Size) -> Result<(), NoRoom> {
        let mut state = self.lock();
        if state.closed {
            return Err(NoRoom::Closed);
        }
        if !size.fits(self.max) {
            return Err(NoRoom::TooLarge);
        }
        let room = Size {
            items: self.max.items - state.held.items,
            bytes: self.max.bytes - state.held.bytes,
        };
        if state.held_requests >= self.max_requests || !size.fits(room) {
            return Err(NoRoom::Full);
        }
        state.held_requests += 1;
        state.held.items += size.items;
        state.held.bytes += size.bytes;
        Ok(())
    }

    /// Takes the oldest payload out, for a consumer to export.
    fn start(&self, consumer: usize) -> Option<Payload> {
        let mut state = self.lock();
        let payload = state.queued.pop_front()?;
        state.items -= payload.items();
        state.bytes -= payload.bytes();
        state.in_flight[consumer] = Some(Flight {
            signal: payload.signal(),
            items: payload.items(),
            bytes: payload.bytes(),
            since: Instant::now(),
        });
        Some(payload)
    }

    /// Ends a flight, unless a drain has ended it already, and says which it was.
    fn end(&self, consumer: usize, outcome: Outcome<'_>) -> Option<Flight> {
        let mut state = self.lock();
        let flight = state.in_flight[consumer].take()?;
        state.times.add(flight.since.elapsed());
        state.held_requests -= 1;
        state.held.items -= flight.items;
        state.held.bytes -= flight.bytes;
        // Before the lock is given back: a drain that finds no flight knows of the report.
        let _reporting = Reporting::begin(self);
        drop(state);
        self.room.notify_one();
        self.observer.outcome(flight.signal, flight.items, outcome);
        Some(flight)
    }

    /// Waits until no observer is being told of an outcome.
    pub(super) async fn reported(&self) {
        let mut reporting = self.reporting.subscribe();
        // Fails only where the sender is gone, which is ours.
        let _ = reporting.wait_for(|count| *count == 0).await;
    }

    /// Abandons everything that is held, in a queue that is closed: room is of no use any more.
    pub(super) fn abandon(&self) -> Drained {
        let mut left = Vec::new();
        {
            let mut state = self.lock();
            left.extend(state.in_flight.iter_mut().filter_map(Option::take));
            left.extend(state.queued.drain(..).map(|payload| Flight {
                signal: payload.signal(),
                items: payload.items(),
                bytes: payload.bytes(),
                since: Instant::now(),
            }));
            state.items = 0;
            state.bytes = 0;
        }
        let mut drained = Drained::default();
        for Flight { signal, items, bytes, .. } in left {
            drained.abandoned_requests += 1;
            drained.abandoned_items += items;
            drained.abandoned_bytes += bytes as u64;
            self.observer.outcome(signal, items, Outcome::Abandoned);
        }
        drained
    }
}

// === impl Landing ===

impl Landing<'_> {
    fn land(mut self, outcome: Outcome<'_>) {
        if let Some(flight) = self.shared.end(self.consumer, outcome) {
            std::mem::take(&mut self.ack).settle(outcome.tally(flight.items).answer());
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        // Does nothing after `land`: the flight is over then.
        self.shared.end(self.consumer, Outcome::Abandoned);
    }
}

// === impl Reporting ===

impl<'a> Reporting<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.reporting.send_modify(|count| *count += 1);
        Self(shared)
    }
}

impl Drop for Reporting<'_> {
    fn drop(&mut self) {
        self.0.reporting.send_modify(|count| *count -= 1);
    }
}

/// Exports one payload after the other until the queue is closed and empty.
pub(super) async fn consume(shared: Arc<Shared>, exporter: AnyExporter, consumer: usize) {
    loop {
        // Once the queue is closed, what is left is taken without being told of it.
        if let Ok(permit) = shared.ready.acquire().await {
            permit.forget();
        }
        let Some(mut payload) = shared.start(consumer) else {
            if shared.lock().closed {
                return;
            }
            continue;
        };
        let landing = Landing { shared: &shared, consumer, ack: payload.take_ack() };
        shared.observer.started(payload.signal(), payload.items());
        // Inside of the block, so that a panic before the first await is caught too.
        let export = AssertUnwindSafe(async { exporter.export(payload).await });
        let result = export.catch_unwind().await.unwrap_or(Err(ExportError::Panicked));
        match &result {
            Ok(delivered) => landing.land(Outcome::Delivered(delivered)),
            Err(error) => landing.land(Outcome::Failed(error)),
        }
    }
}
