//! A bounded queue between tasks that finds its own size.

mod state;
mod turn;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use self::state::{Line, Side, State};
use self::turn::Turn;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::wake::wake_all;

/// Calls that do not wait read the clock once in so many.
const CALLS_A_LOOK: u32 = 64;

/// How large an [`AdaptiveBuffer`] may be, and how often it asks itself.
///
/// ```
/// use teleflow_concurrency::{AdaptiveBuffer, AdaptiveBufferConfig, AdaptiveBufferConfigError};
///
/// let config = AdaptiveBufferConfig { min: 64, max: 8, ..Default::default() };
/// let error = AdaptiveBuffer::<u32>::new(config).unwrap_err();
/// assert_eq!(error, AdaptiveBufferConfigError::Sizes);
/// ```
#[derive(Clone, Debug)]
pub struct AdaptiveBufferConfig {
    /// Items it has room for at least, and at first: 64.
    pub min: usize,
    /// Items it has room for at most: 65 536.
    pub max: usize,
    /// How often it looks how full it is: every 5 s. Where bursts are shorter than that, set it to
    /// a fraction of their length.
    pub look_every: Duration,
}

/// A configuration that makes no sense.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AdaptiveBufferConfigError {
    /// `min` is zero, or above `max`.
    #[error("the least size is zero or above the greatest")]
    Sizes,
    /// `look_every` is zero.
    #[error("the interval between looks is zero")]
    Interval,
}

/// A first-in first-out queue for any number of senders and receivers, whose capacity follows its
/// use: more than 0.8 full it doubles, less than 0.2 full it halves, within its limits.
///
/// A change of size neither drops nor reorders anything: it never goes below what is inside. A full
/// buffer makes [`send`](Self::send) wait and [`try_send`](Self::try_send) give the item back.
///
/// It looks at itself when its time has come and somebody calls or waits for it; no task of its own
/// is needed. The look itself is [`look`](Self::look), with `now` as its argument.
///
/// ```
/// use teleflow_concurrency::{AdaptiveBuffer, AdaptiveBufferConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let buffer = AdaptiveBuffer::new(AdaptiveBufferConfig { min: 2, ..Default::default() })?;
/// buffer.send("first").await?;
/// buffer.try_send("second")?;
/// assert!(buffer.try_send("third").is_err());
/// buffer.close();
/// assert_eq!(buffer.recv().await, Some("first"));
/// assert_eq!(buffer.recv().await, Some("second"));
/// assert_eq!(buffer.recv().await, None);
/// # Ok(())
/// # }
/// ```
pub struct AdaptiveBuffer<T> {
    state: Mutex<State<T>>,
    config: AdaptiveBufferConfig,
}

/// What a look changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resized {
    /// There is more room.
    Grown {
        /// Items before.
        from: usize,
        /// Items now.
        to: usize,
    },
    /// There is less room.
    Shrunk {
        /// Items before.
        from: usize,
        /// Items now.
        to: usize,
    },
}

/// The item that was not taken.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SendError<T> {
    /// There is no room now, or what room there is belongs to those who wait. Only from
    /// [`AdaptiveBuffer::try_send`].
    #[error("the buffer is full")]
    Full(T),
    /// The buffer takes nothing any more.
    #[error("the buffer is closed")]
    Closed(T),
}

/// What an [`AdaptiveBuffer`] holds, and what it did so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveBufferStats {
    /// Items inside.
    pub len: usize,
    /// Items it has room for now.
    pub capacity: usize,
    /// The one divided by the other.
    pub utilisation: f64,
    /// Senders that wait.
    pub senders_waiting: usize,
    /// Receivers that wait.
    pub receivers_waiting: usize,
    /// Items taken in.
    pub sent: u64,
    /// Items given out.
    pub received: u64,
    /// Items given back because there was no room.
    pub refused: u64,
    /// How often it grew.
    pub grown: u64,
    /// How often it shrank.
    pub shrunk: u64,
}

// === impl AdaptiveBufferConfig ===

impl Default for AdaptiveBufferConfig {
    fn default() -> Self {
        Self { min: 64, max: 65_536, look_every: Duration::from_secs(5) }
    }
}

// === impl SendError ===

impl<T> SendError<T> {
    /// The item.
    ///
    /// ```
    /// use teleflow_concurrency::SendError;
    ///
    /// assert_eq!(SendError::Full("item").into_item(), "item");
    /// ```
    pub fn into_item(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }
}

// === impl AdaptiveBuffer ===

impl<T> AdaptiveBuffer<T> {
    /// Creates an empty buffer of its least size.
    ///
    /// # Errors
    ///
    /// [`AdaptiveBufferConfigError`] for what makes no sense.
    pub fn new(config: AdaptiveBufferConfig) -> Result<Self, AdaptiveBufferConfigError> {
        if config.min == 0 || config.min > config.max {
            return Err(AdaptiveBufferConfigError::Sizes);
        }
        if config.look_every.is_zero() {
            return Err(AdaptiveBufferConfigError::Interval);
        }
        let state = State {
            items: VecDeque::with_capacity(config.min),
            capacity: config.min,
            closed: false,
            senders: Line::default(),
            receivers: Line::default(),
            next_look: None,
            calls: 0,
            sent: 0,
            received: 0,
            refused: 0,
            grown: 0,
            shrunk: 0,
        };
        Ok(Self { state: Mutex::new(state), config })
    }

    /// Puts `item` in if there is room and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`SendError`] gives the item back.
    pub fn try_send(&self, item: T) -> Result<(), SendError<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(SendError::Closed(item));
        }
        let mut looked = self.count_call(&mut state);
        if state.room() == 0 && looked.is_none() {
            // Just when it is full, a look may help.
            looked = self.look_if_due(&mut state, Instant::now());
        }
        if state.room() == 0 {
            state.refused += 1;
            drop(state);
            wake(None, looked);
            return Err(SendError::Full(item));
        }
        let waker = state.put(item);
        drop(state);
        wake(waker, looked);
        Ok(())
    }

    /// Waits for room and puts `item` in. Senders that wait are served in the order of arrival.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] gives the item back, also in the middle of the wait.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, it drops the item, which the buffer has not taken then.
    ///
    /// # Panics
    ///
    /// When it must wait outside of a tokio runtime that has time.
    pub async fn send(&self, item: T) -> Result<(), SendError<T>> {
        let item = match self.put_at_once(item) {
            Err(SendError::Full(item)) => item,
            done => return done,
        };
        let mut turn = Turn { buffer: self, side: Side::Sender, ticket: None };
        self.watch(&mut turn).await;
        let mut state = self.lock();
        // The promise is kept with this lock: nobody saw the place free in between.
        let promised = turn.redeem(&mut state);
        if state.closed {
            return Err(SendError::Closed(item));
        }
        debug_assert!(promised, "woken without a promise, and not closed");
        let looked = self.count_call(&mut state);
        let waker = state.put(item);
        drop(state);
        wake(waker, looked);
        Ok(())
    }

    /// Takes the oldest item, if there is one that nobody waits for.
    pub fn try_recv(&self) -> Option<T> {
        let mut state = self.lock();
        let looked = self.count_call(&mut state);
        let taken = if state.spare() > 0 { state.take() } else { None };
        drop(state);
        let (item, waker) = taken.unzip();
        wake(waker.flatten(), looked);
        item
    }

    /// Waits for the oldest item; `None` when the buffer is closed and empty. Receivers that wait
    /// are served in the order of arrival.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes no item and loses none.
    ///
    /// # Panics
    ///
    /// When it must wait outside of a tokio runtime that has time.
    pub async fn recv(&self) -> Option<T> {
        if let Some(item) = self.try_recv() {
            return Some(item);
        }
        let mut turn = Turn { buffer: self, side: Side::Receiver, ticket: None };
        self.watch(&mut turn).await;
        let mut state = self.lock();
        turn.redeem(&mut state);
        let looked = self.count_call(&mut state);
        // Closed, it may find nothing.
        let taken = state.take();
        drop(state);
        let (item, waker) = taken.unzip();
        wake(waker.flatten(), looked);
        item
    }

    /// Takes nothing in any more. What is inside can still be received.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        // All promises are off: who was promised room is sent away, and items go to whoever asks.
        state.senders.promised = 0;
        state.receivers.promised = 0;
        let mut wakers: Vec<_> = std::mem::take(&mut state.senders.waiting).into_values().collect();
        wakers.extend(std::mem::take(&mut state.receivers.waiting).into_values());
        drop(state);
        wake_all(wakers);
    }

    /// Looks how full it is and adjusts its size, if its time has come: the first look after the
    /// interval counts from the first call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use teleflow_concurrency::{AdaptiveBuffer, AdaptiveBufferConfig, Resized};
    /// use tokio::time::Instant;
    ///
    /// let buffer = AdaptiveBuffer::new(AdaptiveBufferConfig { min: 4, ..Default::default() })?;
    /// let start = Instant::now();
    /// assert_eq!(buffer.look(start), None, "the interval begins");
    /// for item in 0..4 {
    ///     buffer.try_send(item)?;
    /// }
    /// let later = start + Duration::from_secs(5);
    /// assert_eq!(buffer.look(later), Some(Resized::Grown { from: 4, to: 8 }));
    /// assert_eq!(buffer.stats().utilisation, 0.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn look(&self, now: Instant) -> Option<Resized> {
        let mut state = self.lock();
        let (resized, wakers) = self.look_if_due(&mut state, now)?;
        drop(state);
        wake_all(wakers);
        resized
    }

    /// What it holds, and what it did so far.
    pub fn stats(&self) -> AdaptiveBufferStats {
        let state = self.lock();
        AdaptiveBufferStats {
            len: state.items.len(),
            capacity: state.capacity,
            utilisation: state.items.len() as f64 / state.capacity as f64,
            senders_waiting: state.senders.waiting.len(),
            receivers_waiting: state.receivers.waiting.len(),
            sent: state.sent,
            received: state.received,
            refused: state.refused,
            grown: state.grown,
            shrunk: state.shrunk,
        }
    }

    /// The part of a send that does not wait. What is free now is nobody's who waits.
    fn put_at_once(&self, item: T) -> Result<(), SendError<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(SendError::Closed(item));
        }
        let looked = self.count_call(&mut state);
        let sent = if state.room() > 0 { Ok(state.put(item)) } else { Err(SendError::Full(item)) };
        drop(state);
        match sent {
            Ok(waker) => {
                wake(waker, looked);
                Ok(())
            }
            Err(error) => {
                wake(None, looked);
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    /// Counts a call that did not wait, and looks once in a while.
    fn count_call(&self, state: &mut State<T>) -> Option<(Option<Resized>, Vec<Waker>)> {
        state.calls = state.calls.wrapping_add(1);
        if self.config.min == self.config.max || !state.calls.is_multiple_of(CALLS_A_LOOK) {
            return None;
        }
        self.look_if_due(state, Instant::now())
    }

    /// `None`: it was not time.
    fn look_if_due(
        &self,
        state: &mut State<T>,
        now: Instant,
    ) -> Option<(Option<Resized>, Vec<Waker>)> {
        let due = *state.next_look.get_or_insert(now + self.config.look_every);
        if now < due {
            return None;
        }
        state.next_look = Some(now + self.config.look_every);
        let (from, len) = (state.capacity, state.items.len() + state.senders.promised);
        let to = decide(len, from, self.config.min, self.config.max);
        if to == from {
            return Some((None, Vec::new()));
        }
        state.capacity = to;
        if to < from {
            state.shrunk += 1;
            state.items.shrink_to(to);
            return Some((Some(Resized::Shrunk { from, to }), Vec::new()));
        }
        state.grown += 1;
        state.items.reserve_exact(to - state.items.len());
        let mut wakers = Vec::new();
        while state.capacity > state.items.len() + state.senders.promised {
            let Some(waker) = state.senders.promise() else { break };
            wakers.push(waker);
        }
        Some((Some(Resized::Grown { from, to }), wakers))
    }

    /// Waits for the turn, and looks meanwhile whenever it is time and a look could change
    /// something for the better.
    async fn watch(&self, turn: &mut Turn<'_, T>) {
        loop {
            let next_look = {
                let mut state = self.lock();
                let useful = match turn.side {
                    Side::Sender => state.capacity < self.config.max,
                    Side::Receiver => state.capacity > self.config.min,
                };
                let every = self.config.look_every;
                useful.then(|| *state.next_look.get_or_insert_with(|| Instant::now() + every))
            };
            let Some(next_look) = next_look else { return (&mut *turn).await };
            // A timer costs more than most turns take to come.
            let mut timer = None;
            let its_turn = std::future::poll_fn(|context| {
                if Pin::new(&mut *turn).poll(context).is_ready() {
                    return Poll::Ready(true);
                }
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(next_look)));
                timer.as_mut().poll(context).map(|()| false)
            });
            if its_turn.await {
                return;
            }
            self.look(Instant::now());
        }
    }
}

impl<T> fmt::Debug for AdaptiveBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("AdaptiveBuffer")
            .field("len", &state.items.len())
            .field("capacity", &state.capacity)
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

/// The size for a buffer of `capacity` that holds `len`: at least `len` whenever it was before.
fn decide(len: usize, capacity: usize, min: usize, max: usize) -> usize {
    let (len, size) = (len as u128, capacity as u128);
    if len * 10 > size * 8 {
        capacity.saturating_mul(2).min(max)
    } else if len * 10 < size * 2 {
        (capacity / 2).max(min)
    } else {
        capacity
    }
}

fn wake(waker: Option<Waker>, looked: Option<(Option<Resized>, Vec<Waker>)>) {
    let more = looked.map(|(_, wakers)| wakers).unwrap_or_default();
    wake_all(waker.into_iter().chain(more));
}
