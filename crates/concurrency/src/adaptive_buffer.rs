//! A bounded queue between tasks that finds its own size.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use crate::sync::{Mutex, MutexGuard, lock};
use crate::wake::wake_all;

/// Calls that do not wait read the clock once in so many.
const CALLS_A_LOOK: u32 = 64;

/// How large an [`AdaptiveBuffer`] may be, and how often it asks itself.
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

struct State<T> {
    items: VecDeque<T>,
    capacity: usize,
    closed: bool,
    /// Those who wait for room; what was promised to one is a free place.
    senders: Line,
    /// Those who wait for an item; what was promised to one is an item inside.
    receivers: Line,
    next_look: Option<Instant>,
    calls: u32,
    sent: u64,
    received: u64,
    refused: u64,
    grown: u64,
    shrunk: u64,
}

/// Who waits, and who was promised what he waited for and has not fetched it.
#[derive(Default)]
struct Line {
    waiting: BTreeMap<u64, Waker>,
    /// Tickets that left `waiting` by a promise.
    promised: usize,
    next: u64,
}

/// A wait for room or for an item. Dropped, it leaves the line and passes on what it was promised.
struct Turn<'a, T> {
    buffer: &'a AdaptiveBuffer<T>,
    side: Side,
    ticket: Option<u64>,
}

#[derive(Clone, Copy)]
enum Side {
    Sender,
    Receiver,
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

// === impl State ===

impl<T> State<T> {
    /// Free places that were promised to nobody.
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.items.len() + self.senders.promised)
    }

    /// Items that were promised to nobody.
    fn spare(&self) -> usize {
        self.items.len().saturating_sub(self.receivers.promised)
    }

    /// Puts an item in, and promises it to the first who waits.
    fn put(&mut self, item: T) -> Option<Waker> {
        self.items.push_back(item);
        self.sent += 1;
        self.receivers.promise()
    }

    /// Takes an item out, and promises its place to the first who waits.
    fn take(&mut self) -> Option<(T, Option<Waker>)> {
        let item = self.items.pop_front()?;
        self.received += 1;
        let waker = if self.room() > 0 { self.senders.promise() } else { None };
        Some((item, waker))
    }

    fn line(&mut self, side: Side) -> &mut Line {
        match side {
            Side::Sender => &mut self.senders,
            Side::Receiver => &mut self.receivers,
        }
    }

    fn is_there_any(&self, side: Side) -> bool {
        match side {
            Side::Sender => self.room() > 0,
            Side::Receiver => self.spare() > 0,
        }
    }
}

// === impl Line ===

impl Line {
    fn promise(&mut self) -> Option<Waker> {
        let (_, waker) = self.waiting.pop_first()?;
        self.promised += 1;
        Some(waker)
    }
}

// === impl Turn ===

impl<T> Turn<'_, T> {
    /// Ends a wait that is over: the caller, who holds the lock, takes what was promised. Tells
    /// whether something was.
    fn redeem(&mut self, state: &mut State<T>) -> bool {
        if self.ticket.take().is_none() {
            return true;
        }
        if state.closed {
            return false;
        }
        state.line(self.side).promised -= 1;
        true
    }
}

impl<T> Future for Turn<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut waker = Some(context.waker().clone());
        let side = self.side;
        let mut state = self.buffer.lock();
        if state.closed {
            return Poll::Ready(());
        }
        match self.ticket {
            Some(ticket) => match state.line(side).waiting.get_mut(&ticket) {
                None => return Poll::Ready(()),
                Some(old) => {
                    if let Some(new) = waker.take() {
                        waker = Some(std::mem::replace(old, new));
                    }
                }
            },
            None => {
                let any = state.is_there_any(side);
                let line = state.line(side);
                let ticket = line.next;
                line.next += 1;
                self.ticket = Some(ticket);
                if any {
                    // Promised at once, so that it stays there until it is redeemed.
                    line.promised += 1;
                    return Poll::Ready(());
                }
                line.waiting.extend(waker.take().map(|waker| (ticket, waker)));
            }
        }
        drop(state);
        // Here and not under the lock: the old waker may run code of the executor.
        drop(waker);
        Poll::Pending
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let buffer = self.buffer;
        let mut state = buffer.lock();
        let left = state.line(self.side).waiting.remove(&ticket);
        let mut next = None;
        if left.is_none() && self.redeem(&mut state) && state.is_there_any(self.side) {
            // What was promised goes to the next.
            next = state.line(self.side).promise();
        }
        drop(state);
        wake(next, None);
        // Not under the lock: a waker's drop may run code of the executor.
        drop(left);
    }
}
