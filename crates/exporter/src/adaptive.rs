//! As many requests at a time as the destination can take.

mod controller;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use teleflow_otlp::Payload;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

pub use self::controller::{Controller, Sample};
use crate::{ConfigError, Delivered, ExportError, Exporter, Outgoing};

/// How an [`AdaptiveConcurrency`] finds its limit. The defaults are Vector's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveConcurrencyConfig {
    /// What it starts with: 1. Raise it where a start must not be slow.
    pub initial: NonZeroUsize,
    /// What it never exceeds: 200.
    pub max: NonZeroUsize,
    /// What a limit is multiplied with that turned out too high: 0.9. Between 0 and 1.
    pub decrease: f64,
    /// How much the newest round trip counts in the average: 0.4. Between 0 and 1.
    pub weight: f64,
    /// How many deviations over the average are too long: 2.5. From 0. Raise it where round trips
    /// vary for other reasons than load.
    pub deviations: f64,
}

/// Sends as many requests at a time as the destination can take, and finds out how many that are.
///
/// A fixed number is too low for one destination and too high for another, and for the same one at
/// another time. This one grows by one a round trip as long as round trips do not get longer, and
/// shrinks by a tenth as soon as they do, or the destination says that it is
/// [overloaded](ExportError::is_overload) or does not answer in time. [`Controller`] decides.
///
/// The place of a request that was turned away stays empty for as long as the destination wants to be
/// left alone, or a second where it does not say. Being turned away takes no time: otherwise one
/// request after the other would come to a full house, as fast as it can say so.
///
/// Goes inside of [`Retry`](crate::Retry), so that a wait for another attempt takes no place that is
/// of use, and
/// behind a [`Queue`](crate::Queue) with at least [`max`](AdaptiveConcurrencyConfig::max) consumers:
/// those over the limit wait here, in the order in which they came.
///
/// ```
/// use teleflow_exporter::{AdaptiveConcurrency, AdaptiveConcurrencyConfig, Console, Exporter};
/// use teleflow_otlp::{Payload, Signal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = AdaptiveConcurrencyConfig::default();
/// let exporter = AdaptiveConcurrency::new(Console::stdout(), config)?;
/// exporter.export(Payload::empty(Signal::Traces)).await?;
/// assert_eq!((exporter.stats().limit, exporter.stats().in_flight), (1, 0));
/// # Ok(())
/// # }
/// ```
pub struct AdaptiveConcurrency<E> {
    inner: E,
    /// One permit a request that may start now.
    places: Semaphore,
    state: Mutex<State>,
    /// A request is over: one who waits for a place to have rested may have another one.
    freed: Notify,
    overloads: AtomicU64,
}

struct State {
    controller: Controller,
    /// The places that there are, taken or not. Follows the controller's limit.
    places: usize,
    in_flight: usize,
    /// Places that stay empty, each until then.
    resting: BinaryHeap<Reverse<Instant>>,
}

/// How long a place rests where the destination does not say.
const REST: Duration = Duration::from_secs(1);

/// What an [`AdaptiveConcurrency`] does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AdaptiveConcurrencyStats {
    /// How many requests may be under way.
    pub limit: usize,
    /// How many are. More than the limit for a while after it has shrunk.
    pub in_flight: usize,
    /// How many said so far that there were too many.
    pub overloads: u64,
}

/// A place that is taken, until it is given back.
struct Place<'a, E> {
    owner: &'a AdaptiveConcurrency<E>,
    permit: Option<SemaphorePermit<'a>>,
    begun: Instant,
    sample: Sample,
    /// How long nobody takes it after this.
    rest: Duration,
}

// === impl AdaptiveConcurrencyConfig ===

impl Default for AdaptiveConcurrencyConfig {
    fn default() -> Self {
        Self {
            initial: NonZeroUsize::MIN,
            max: NonZeroUsize::new(200).expect("it is not zero"),
            decrease: 0.9,
            weight: 0.4,
            deviations: 2.5,
        }
    }
}

// === impl AdaptiveConcurrency ===

impl<E> AdaptiveConcurrency<E> {
    /// Wraps `inner`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Wrapper`] where a field is outside of its range.
    pub fn new(inner: E, config: AdaptiveConcurrencyConfig) -> Result<Self, ConfigError> {
        let controller = Controller::new(config)?;
        let places = controller.limit();
        Ok(Self {
            inner,
            places: Semaphore::new(places),
            state: Mutex::new(State {
                controller,
                places,
                in_flight: 0,
                resting: BinaryHeap::new(),
            }),
            freed: Notify::new(),
            overloads: AtomicU64::new(0),
        })
    }

    /// What it does now, and did so far.
    pub fn stats(&self) -> AdaptiveConcurrencyStats {
        let state = self.state();
        AdaptiveConcurrencyStats {
            limit: state.controller.limit(),
            in_flight: state.in_flight,
            overloads: self.overloads.load(Ordering::Relaxed),
        }
    }

    /// The exporter inside.
    pub fn inner(&self) -> &E {
        &self.inner
    }

    async fn place(&self) -> Place<'_, E> {
        let permit = self.places.acquire().await.expect("nobody closes the semaphore");
        loop {
            let taken = self.state().take(Instant::now());
            let Err(rested) = taken else { break };
            // Time alone makes room, or another request that ends.
            let _ = timeout_at(rested, self.freed.notified()).await;
        }
        Place {
            owner: self,
            permit: Some(permit),
            begun: Instant::now(),
            sample: Sample::Nothing,
            rest: Duration::ZERO,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

impl State {
    /// Takes a place that is not resting, or says when the first of those will have rested.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while self.resting.peek().is_some_and(|Reverse(until)| *until <= now) {
            self.resting.pop();
        }
        match self.resting.peek() {
            Some(Reverse(until)) if self.in_flight + self.resting.len() >= self.places => {
                Err(*until)
            }
            _ => {
                self.in_flight += 1;
                self.controller.used(self.in_flight);
                Ok(())
            }
        }
    }
}

impl<E: Exporter> Exporter for AdaptiveConcurrency<E> {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    /// # Cancel safety
    ///
    /// Dropped, it gives its place back and says nothing of the destination.
    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        let mut place = self.place().await;
        let result = self.inner.send(outgoing).await;
        place.sample = match &result {
            Err(error) if error.is_overload() => {
                place.rest = error.retry_after().unwrap_or(REST);
                Sample::Overload
            }
            // A destination under too much load does not answer at all.
            Err(ExportError::Timeout(_)) => Sample::Overload,
            Ok(_) | Err(ExportError::Status(_) | ExportError::Http { .. }) => {
                Sample::Answered(place.begun.elapsed())
            }
            Err(_) => Sample::Nothing,
        };
        if place.sample == Sample::Overload {
            self.overloads.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    async fn flush(&self) -> Result<(), ExportError> {
        self.inner.flush().await
    }

    /// Also ends the rest of places.
    fn interrupt(&self) {
        self.state().resting.clear();
        self.freed.notify_waiters();
        self.inner.interrupt();
    }

    async fn shutdown(&self) -> Result<(), ExportError> {
        self.inner.shutdown().await
    }
}

impl<E: fmt::Debug> fmt::Debug for AdaptiveConcurrency<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveConcurrency")
            .field("inner", &self.inner)
            .field("stats", &self.stats())
            .finish()
    }
}

// === impl Place ===

impl<E> Drop for Place<'_, E> {
    fn drop(&mut self) {
        let mut state = self.owner.state();
        let now = Instant::now();
        state.in_flight -= 1;
        state.controller.sample(now.into_std(), self.sample);
        if let Some(until) = now.checked_add(self.rest)
            && until > now
        {
            state.resting.push(Reverse(until));
        }
        let limit = state.controller.limit();
        if state.places > limit {
            // Its place goes with it, and those that nobody has; others that are too many go when
            // they are given back.
            if let Some(permit) = self.permit.take() {
                permit.forget();
                state.places -= 1;
            }
            state.places -= self.owner.places.forget_permits(state.places.saturating_sub(limit));
        } else if state.places < limit {
            self.owner.places.add_permits(limit - state.places);
            state.places = limit;
        }
        drop(state);
        self.owner.freed.notify_one();
    }
}
