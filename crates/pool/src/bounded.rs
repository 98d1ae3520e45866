//! A pool with a limit on the objects alive, which makes callers wait their turn.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::mem;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::stats::Stats;
use crate::sync::{Mutex, MutexGuard, let_go, lock, wake};

/// Why a lease always has its object: only its end takes it out.
const HELD: &str = "the object is there until the lease ends";

/// At most `max_size` objects, in use or idle; who finds none waits for one to come back.
///
/// Those who wait are served in the order in which they first asked; no one who comes later goes
/// before them. A clone is the same pool. No runtime is needed: waiting is a plain future.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::num::NonZeroUsize;
/// use teleflow_pool::Bounded;
///
/// let max_size = NonZeroUsize::new(2).unwrap();
/// let pool = Bounded::new(max_size, 100, String::new, String::clear);
/// let mut lease = pool.acquire().await?;
/// lease.push_str("text");
/// drop(lease);
/// assert_eq!(*pool.acquire().await?, "");
/// assert_eq!(pool.stats().created, 1);
/// # Ok::<(), teleflow_pool::AcquireError>(()) }).unwrap();
/// ```
pub struct Bounded<T>(Arc<Shared<T>>);

/// Why there is no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// All are in use: try again, wait, or make the pool larger.
    #[error("every object is in use")]
    Empty,
    /// As many wait already as may: the pool is too small for its callers.
    #[error("too many wait for an object")]
    Crowded,
    /// The deadline came first.
    #[error("no object came back before the deadline")]
    TimedOut,
    /// The pool was closed.
    #[error("the pool is closed")]
    Closed,
}

/// An object of a [`Bounded`] pool, which goes back when this is dropped.
#[must_use = "dropped at once, the object goes straight back"]
pub struct BoundedLease<T> {
    object: Option<T>,
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    create: Box<dyn Fn() -> T + Send + Sync>,
    reset: Box<dyn Fn(&mut T) + Send + Sync>,
    max_size: usize,
    max_waiting: usize,
}

struct State<T> {
    idle: Vec<T>,
    /// Objects, and rights to make one: idle, granted and in use.
    alive: usize,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    /// What was given to those at the front and has not been fetched; they are not in `waiting`.
    granted: HashMap<u64, Grant<T>>,
    next: u64,
    closed: bool,
    stats: Stats,
}

struct Waiting {
    turn: u64,
    waker: Waker,
}

/// One of `max_size` places, with or without the object in it.
enum Grant<T> {
    Object(T),
    Create,
}

/// A place in the line, given up on drop.
struct Turn<'a, T> {
    shared: &'a Arc<Shared<T>>,
    number: Option<u64>,
}

/// A place without an object, passed on unless one is made.
struct Making<'a, T>(&'a Shared<T>);

/// An object on its way back; when it does not arrive, its place does.
struct Return<'a, T> {
    shared: &'a Shared<T>,
    object: Option<T>,
    is_reset: bool,
}

// === impl Bounded ===

impl<T> Bounded<T> {
    /// Makes a pool of at most `max_size` objects, empty, for which `max_waiting` callers may wait.
    ///
    /// `create` runs where an object is acquired and `reset` where one is given back, under no
    /// lock.
    pub fn new(
        max_size: NonZeroUsize,
        max_waiting: usize,
        create: impl Fn() -> T + Send + Sync + 'static,
        reset: impl Fn(&mut T) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                idle: Vec::new(),
                alive: 0,
                waiting: VecDeque::new(),
                granted: HashMap::new(),
                next: 0,
                closed: false,
                stats: Stats { name: "bounded", ..Stats::default() },
            }),
            create: Box::new(create),
            reset: Box::new(reset),
            max_size: max_size.get(),
            max_waiting,
        }))
    }

    /// Takes an object if one is there or may be made, and no one waits.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Empty`] or [`AcquireError::Closed`].
    ///
    /// # Panics
    ///
    /// Where the factory does; the place passes to the next one then.
    pub fn try_acquire(&self) -> Result<BoundedLease<T>, AcquireError> {
        let grant = self.0.lock().take(self.0.max_size)?;
        Ok(self.0.redeem(grant))
    }

    /// Takes an object as soon as the turn comes.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Crowded`] or [`AcquireError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the future gives up its turn; what was granted meanwhile goes to
    /// the next in line. Nothing is lost.
    ///
    /// # Panics
    ///
    /// Where the factory does; the place passes to the next one then.
    pub async fn acquire(&self) -> Result<BoundedLease<T>, AcquireError> {
        let grant = Turn { shared: &self.0, number: None }.await?;
        Ok(self.0.redeem(grant))
    }

    /// Takes an object if the turn comes before `deadline` is done.
    ///
    /// The deadline is a future of the caller's runtime. An object that is there is taken even where
    /// the deadline has passed.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    /// # .block_on(async {
    /// use std::num::NonZeroUsize;
    /// use std::time::Duration;
    /// use teleflow_pool::{AcquireError, Bounded};
    ///
    /// let pool = Bounded::new(NonZeroUsize::MIN, 10, String::new, String::clear);
    /// let held = pool.acquire().await?;
    /// let second = pool.acquire_before(tokio::time::sleep(Duration::from_millis(50))).await;
    /// assert_eq!(second.unwrap_err(), AcquireError::TimedOut);
    /// # drop(held); Ok::<(), AcquireError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`], [`AcquireError::Crowded`] or [`AcquireError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// As that of [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// Where the factory does; the place passes to the next one then.
    pub async fn acquire_before(
        &self,
        deadline: impl Future<Output = ()>,
    ) -> Result<BoundedLease<T>, AcquireError> {
        let grant = {
            let mut turn = pin!(Turn { shared: &self.0, number: None });
            let mut deadline = pin!(deadline);
            std::future::poll_fn(|cx| {
                if let Poll::Ready(grant) = turn.as_mut().poll(cx) {
                    return Poll::Ready(grant);
                }
                deadline.as_mut().poll(cx).map(|()| Err(AcquireError::TimedOut))
            })
            .await?
        };
        Ok(self.0.redeem(grant))
    }

    /// Lets no one in any more: who waits is told, and what comes back is dropped.
    pub fn close(&self) {
        let (waiting, idle) = {
            let mut state = self.0.lock();
            state.closed = true;
            let idle = state.take_idle();
            (mem::take(&mut state.waiting), idle)
        };
        // Before the objects, whose drop may panic.
        waiting.into_iter().for_each(|waiting| wake(waiting.waker));
        drop(idle);
    }

    /// Drops the idle objects and says how many those were.
    pub fn clear(&self) -> usize {
        let idle = self.0.lock().take_idle();
        idle.len()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// What the pool did and has.
    pub fn stats(&self) -> Stats {
        let state = self.0.lock();
        let granted = state.granted.values().filter(|grant| matches!(grant, Grant::Object(_)));
        Stats { available: state.idle.len() + granted.count(), ..state.stats }
    }
}

impl<T> Clone for Bounded<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Bounded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded")
            .field("max_size", &self.0.max_size)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    /// Makes a lease of what was granted.
    fn redeem(self: &Arc<Self>, grant: Grant<T>) -> BoundedLease<T> {
        let object = match grant {
            Grant::Object(object) => {
                self.lock().stats.hits += 1;
                object
            }
            Grant::Create => {
                let making = Making(self);
                let object = (self.create)();
                mem::forget(making);
                self.lock().stats.created += 1;
                object
            }
        };
        self.lock().stats.gets += 1;
        BoundedLease { object: Some(object), shared: Arc::clone(self) }
    }

    /// Passes a place on to the first in line, or keeps it for whoever comes.
    fn give(&self, grant: Grant<T>) {
        let (left, waker) = {
            let mut state = self.lock();
            if state.closed {
                state.alive -= 1;
                state.stats.dropped += u64::from(matches!(grant, Grant::Object(_)));
                (Some(grant), None)
            } else if let Some(first) = state.waiting.pop_front() {
                state.granted.insert(first.turn, grant);
                (None, Some(first.waker))
            } else {
                match grant {
                    Grant::Object(object) => state.idle.push(object),
                    Grant::Create => state.alive -= 1,
                }
                (None, None)
            }
        };
        // Both run code of others, so neither under the lock.
        if let Some(waker) = waker {
            wake(waker);
        }
        drop(left);
    }
}

// === impl State ===

impl<T> State<T> {
    /// Takes a place, where no one waits for it.
    fn take(&mut self, max_size: usize) -> Result<Grant<T>, AcquireError> {
        if self.closed {
            Err(AcquireError::Closed)
        } else if !self.waiting.is_empty() {
            Err(AcquireError::Empty)
        } else if let Some(object) = self.idle.pop() {
            Ok(Grant::Object(object))
        } else if self.alive < max_size {
            self.alive += 1;
            Ok(Grant::Create)
        } else {
            Err(AcquireError::Empty)
        }
    }

    fn take_idle(&mut self) -> Vec<T> {
        let idle = mem::take(&mut self.idle);
        self.alive -= idle.len();
        self.stats.dropped += idle.len() as u64;
        idle
    }
}

// === impl Turn ===

impl<T> Future for Turn<'_, T> {
    type Output = Result<Grant<T>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloned before and dropped after the lock is held: a waker is code of the runtime.
        let mut waker = cx.waker().clone();
        let shared = self.shared;
        let mut state = shared.lock();
        let Some(turn) = self.number else {
            return match state.take(shared.max_size) {
                Err(AcquireError::Empty) if shared.max_waiting <= state.waiting.len() => {
                    Poll::Ready(Err(AcquireError::Crowded))
                }
                Err(AcquireError::Empty) => {
                    let turn = state.next;
                    state.next += 1;
                    state.waiting.push_back(Waiting { turn, waker });
                    drop(state);
                    self.number = Some(turn);
                    Poll::Pending
                }
                taken => {
                    drop(state);
                    let_go(waker);
                    Poll::Ready(taken)
                }
            };
        };
        if let Some(grant) = state.granted.remove(&turn) {
            drop(state);
            self.number = None;
            let_go(waker);
            return Poll::Ready(Ok(grant));
        }
        if state.closed {
            drop(state);
            self.number = None;
            return Poll::Ready(Err(AcquireError::Closed));
        }
        if let Some(waiting) = state.waiting.iter_mut().find(|waiting| waiting.turn == turn) {
            mem::swap(&mut waiting.waker, &mut waker);
        }
        drop(state);
        Poll::Pending
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let Some(turn) = self.number else { return };
        let mut state = self.shared.lock();
        let granted = state.granted.remove(&turn);
        let position = state.waiting.iter().position(|waiting| waiting.turn == turn);
        let left = position.and_then(|position| state.waiting.remove(position));
        drop(state);
        drop(left);
        if let Some(grant) = granted {
            self.shared.give(grant);
        }
    }
}

// === impl Making ===

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        self.0.give(Grant::Create);
    }
}

// === impl Return ===

impl<T> Drop for Return<'_, T> {
    fn drop(&mut self) {
        let grant = match self.object.take() {
            Some(object) if self.is_reset => Grant::Object(object),
            lost => {
                self.shared.lock().stats.dropped += 1;
                // Its own drop may panic as well: the place goes back first.
                self.shared.give(Grant::Create);
                return drop(lost);
            }
        };
        self.shared.give(grant);
    }
}

// === impl BoundedLease ===

impl<T> Deref for BoundedLease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.object.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for BoundedLease<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.object.as_mut().expect(HELD)
    }
}

impl<T> Drop for BoundedLease<T> {
    fn drop(&mut self) {
        self.shared.lock().stats.puts += 1;
        let mut back = Return { shared: &self.shared, object: self.object.take(), is_reset: false };
        let reset = AssertUnwindSafe(|| {
            if let Some(object) = &mut back.object {
                (self.shared.reset)(object);
            }
            back.is_reset = true;
            drop(back);
        });
        if thread::panicking() {
            // A second panic would end the program, so it stops here.
            let _ = panic::catch_unwind(reset);
        } else {
            (reset.0)();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for BoundedLease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoundedLease").field(&**self).finish()
    }
}
