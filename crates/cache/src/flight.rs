//! Single flight: many who want the same thing at the same time, one who fetches it.
//!
//! The first to ask for a key leads: it runs its own load, in its own task, and whoever comes
//! meanwhile waits for its outcome. Nothing is spawned, so a load never outlives everyone who wants
//! it.
//!
//! A call is a semaphore with one permit and a place for the outcome. Holding the permit is leading.
//! When the leader is done it closes the semaphore, which wakes all who wait at once. When it is
//! cancelled it drops the permit, which wakes exactly one: the next leader.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::FutureExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::counters::Counters;

/// What those who wait for a load get when it fails or panics.
///
/// A load that is cancelled is not among this: its caller went away, which is nobody else's
/// business, so the next in line loads for itself and for the rest.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use teleflow_cache::{Flight, OnFailure};
///
/// let load = |outcome: Result<u32, &'static str>| async move {
///     tokio::task::yield_now().await;
///     outcome
/// };
/// let flight = Flight::new(OnFailure::TakeOver);
/// let (first, second) = tokio::join!(
///     flight.run(&"key", || load(Err("broken"))),
///     flight.run(&"key", || load(Ok(2))),
/// );
/// assert!(first.is_err());
/// assert_eq!(second.unwrap(), 2);
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// All get the same error: a source that is down is asked once for the whole crowd. The default.
    #[default]
    Share,
    /// Only the one who loaded gets its error; the next in line tries for itself and the rest. A
    /// source that is down is asked once by each, one after the other.
    TakeOver,
}

/// Why there is no value.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader returned this error; those who waited for it share it.
    #[error("the loader failed")]
    Failed(#[source] Arc<E>),
    /// The loader panicked in another task, which goes on with the panic.
    #[error("the loader panicked")]
    Panicked,
}

/// Runs at most one load for each key at a time and gives its outcome to all who asked meanwhile.
///
/// # Examples
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use teleflow_cache::{Flight, OnFailure};
///
/// let flight = Flight::<&str, u32, std::io::Error>::new(OnFailure::Share);
/// let (one, other) = tokio::join!(
///     flight.run(&"key", || async {
///         tokio::task::yield_now().await;
///         Ok(1)
///     }),
///     flight.run(&"key", || async { Ok(2) }),
/// );
/// assert_eq!((one?, other?), (1, 1));
/// assert_eq!((flight.stats().led, flight.stats().joined), (1, 1));
/// # Ok::<(), teleflow_cache::LoadError<std::io::Error>>(()) }).unwrap();
/// ```
pub struct Flight<K, T, E> {
    shards: Box<[Mutex<Shard<K, T, E>>]>,
    hasher: RandomState,
    on_failure: OnFailure,
    counters: Counters<COUNTERS>,
}

/// What a [`Flight`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlightStats {
    /// Loads started.
    pub led: u64,
    /// Outcomes that were another's.
    pub joined: u64,
    /// The loads started because the one before was cancelled, or failed under
    /// [`OnFailure::TakeOver`].
    pub taken_over: u64,
    /// Loads that returned an error.
    pub failed: u64,
    /// Loads that panicked.
    pub panicked: u64,
    /// Loads that were cancelled.
    pub cancelled: u64,
    /// Keys that are being loaded now.
    pub in_flight: u64,
}

struct Shard<K, T, E> {
    calls: HashMap<K, Joined<T, E>>,
    /// How often a key of this shard was taken out: see [`Marks`].
    detached: u64,
}

/// How often keys had been detached when something was begun, for each shard.
pub(crate) struct Marks([u64; SHARDS]);

struct Joined<T, E> {
    call: Arc<Call<T, E>>,
    /// How many hold a [`Seat`]; the last one to leave takes the call out of the map.
    members: usize,
}

struct Call<T, E> {
    turn: Semaphore,
    outcome: OnceLock<Result<T, LoadError<E>>>,
    led: AtomicBool,
}

/// One of those who are interested in a call.
struct Seat<'a, K: Eq + Hash, T, E> {
    flight: &'a Flight<K, T, E>,
    key: &'a K,
    call: Arc<Call<T, E>>,
}

/// The right to load. Dropped without an outcome, it counts as cancelled.
struct Lead<'a, K: Eq + Hash, T, E> {
    seat: &'a Seat<'a, K, T, E>,
    // Held until the outcome is there; dropping it lets the next one lead.
    _turn: SemaphorePermit<'a>,
    ended: bool,
}

const LED: usize = 0;
const JOINED: usize = 1;
const TAKEN_OVER: usize = 2;
const FAILED: usize = 3;
const PANICKED: usize = 4;
const CANCELLED: usize = 5;
const COUNTERS: usize = 6;

const SHARDS: usize = 16;

// === impl Flight ===

impl<K: Clone + Eq + Hash, T: Clone, E> Flight<K, T, E> {
    /// Creates one with nothing in flight.
    pub fn new(on_failure: OnFailure) -> Self {
        let shard = || Mutex::new(Shard { calls: HashMap::new(), detached: 0 });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            on_failure,
            counters: Counters::new(),
        }
    }

    /// Loads, or waits for the load that is under way.
    ///
    /// # Errors
    ///
    /// The load failed, or panicked in another task.
    ///
    /// # Panics
    ///
    /// Where `load` panics; the others get what [`OnFailure`] says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the load only if this caller leads, and then the next in line
    /// starts its own.
    pub async fn run<F>(&self, key: &K, load: impl FnOnce() -> F) -> Result<T, LoadError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let load = || async { load().await.map(|value| (value, ())) };
        self.run_then(key, load, |()| ()).await.map(|(value, _)| value)
    }

    /// As [`run`](Self::run), and the leader has `store` called with the extra that it loaded, before
    /// anyone can start another load of this key; not when the key was [detached](Self::detach)
    /// meanwhile.
    ///
    /// Who led, and stored, gets what `store` returned, and drops it outside of the lock that
    /// `store` runs under: `store` itself should run no code but ours.
    pub(crate) async fn run_then<X, R, F>(
        &self,
        key: &K,
        load: impl FnOnce() -> F,
        store: impl FnOnce(X) -> R,
    ) -> Result<(T, Option<R>), LoadError<E>>
    where
        F: Future<Output = Result<(T, X), E>>,
    {
        let seat = self.join(key);
        let Ok(turn) = seat.call.turn.acquire().await else {
            self.counters.add(JOINED, 1);
            let outcome = seat.call.outcome.get().expect("it is there before the semaphore closes");
            return outcome.clone().map(|value| (value, None));
        };
        let lead = Lead::start(&seat, turn);
        match AssertUnwindSafe(async { load().await }).catch_unwind().await {
            Ok(Ok((value, extra))) => {
                let stored = lead.finish(Ok(value.clone()), || store(extra));
                Ok((value, stored))
            }
            Ok(Err(error)) => {
                self.counters.add(FAILED, 1);
                let error = LoadError::Failed(Arc::new(error));
                lead.fail(error.clone());
                Err(error)
            }
            Err(panic) => {
                self.counters.add(PANICKED, 1);
                lead.fail(LoadError::Panicked);
                resume_unwind(panic)
            }
        }
    }

    /// What is under way for this key is for those who wait already: its leader will not store, and
    /// whoever comes later loads anew. Runs `change` before anyone can, and returns what it did.
    pub(crate) fn detach<R>(&self, key: &K, change: impl FnOnce() -> R) -> R {
        let mut shard = self.shard(key);
        shard.detached += 1;
        shard.calls.remove(key);
        change()
    }

    /// Marks to give to [`store_since`](Self::store_since).
    pub(crate) fn marks(&self) -> Marks {
        Marks(std::array::from_fn(|index| lock(&self.shards[index]).detached))
    }

    /// Runs `store`, unless a key of this one's shard has been detached since the marks were taken.
    pub(crate) fn store_since<R>(
        &self,
        key: &K,
        marks: &Marks,
        store: impl FnOnce() -> R,
    ) -> Option<R> {
        let index = self.shard_of(key);
        let shard = lock(&self.shards[index]);
        (shard.detached == marks.0[index]).then(store)
    }

    /// What has happened so far, and what is under way.
    pub fn stats(&self) -> FlightStats {
        let sum = |index| self.counters.sum(index);
        let in_flight = self.shards.iter().map(|shard| lock(shard).calls.len() as u64).sum();
        FlightStats {
            led: sum(LED),
            joined: sum(JOINED),
            taken_over: sum(TAKEN_OVER),
            failed: sum(FAILED),
            panicked: sum(PANICKED),
            cancelled: sum(CANCELLED),
            in_flight,
        }
    }

    fn join<'a>(&'a self, key: &'a K) -> Seat<'a, K, T, E> {
        let mut shard = self.shard(key);
        let call = match shard.calls.entry(key.clone()) {
            Entry::Occupied(mut joined) => {
                joined.get_mut().members += 1;
                joined.get().call.clone()
            }
            Entry::Vacant(vacant) => {
                let call = Arc::new(Call {
                    turn: Semaphore::new(1),
                    outcome: OnceLock::new(),
                    led: AtomicBool::new(false),
                });
                vacant.insert(Joined { call: call.clone(), members: 1 });
                call
            }
        };
        Seat { flight: self, key, call }
    }
}

impl<K: Eq + Hash, T, E> Flight<K, T, E> {
    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, T, E>> {
        lock(&self.shards[self.shard_of(key)])
    }

    fn shard_of(&self, key: &K) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }
}

/// Each change of a shard is a single step, so one that panicked half-way left nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, T, E> fmt::Debug for Flight<K, T, E> {
    /// Names no key and no value: either may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("on_failure", &self.on_failure).finish_non_exhaustive()
    }
}

// === impl Seat ===

impl<K: Eq + Hash, T, E> Seat<'_, K, T, E> {
    /// Takes this very call out of the map; a later one of the same key stays.
    fn is_mine(&self, joined: &Joined<T, E>) -> bool {
        Arc::ptr_eq(&joined.call, &self.call)
    }
}

impl<K: Eq + Hash, T, E> Drop for Seat<'_, K, T, E> {
    fn drop(&mut self) {
        let mut shard = self.flight.shard(self.key);
        let Some(joined) = shard.calls.get_mut(self.key) else { return };
        if !self.is_mine(joined) {
            return;
        }
        joined.members -= 1;
        if joined.members == 0 {
            shard.calls.remove(self.key);
        }
    }
}

// === impl Lead ===

impl<'a, K: Eq + Hash, T, E> Lead<'a, K, T, E> {
    fn start(seat: &'a Seat<'a, K, T, E>, turn: SemaphorePermit<'a>) -> Self {
        let counters = &seat.flight.counters;
        counters.add(LED, 1);
        // Relaxed: the permit orders one leader after the other.
        if seat.call.led.swap(true, Ordering::Relaxed) {
            counters.add(TAKEN_OVER, 1);
        }
        Self { seat, _turn: turn, ended: false }
    }

    /// Hands the outcome to all who wait, and out of the map, so that the next one who asks looks
    /// again. Returns what `store` did, unless the key was detached.
    fn finish<R>(
        mut self,
        outcome: Result<T, LoadError<E>>,
        store: impl FnOnce() -> R,
    ) -> Option<R> {
        let Seat { flight, key, call } = self.seat;
        let (stored, _removed) = {
            let mut shard = flight.shard(key);
            if shard.calls.get(*key).is_some_and(|joined| self.seat.is_mine(joined)) {
                (Some(store()), shard.calls.remove(*key))
            } else {
                (None, None)
            }
        };
        self.ended = true;
        // The permit makes this the only one; it cannot be set yet.
        let _ = call.outcome.set(outcome);
        call.turn.close();
        stored
    }

    fn fail(mut self, error: LoadError<E>) {
        match self.seat.flight.on_failure {
            OnFailure::Share => {
                self.finish(Err(error), || ());
            }
            OnFailure::TakeOver => self.ended = true,
        }
    }
}

impl<K: Eq + Hash, T, E> Drop for Lead<'_, K, T, E> {
    fn drop(&mut self) {
        if !self.ended {
            self.seat.flight.counters.add(CANCELLED, 1);
        }
    }
}

// === impl LoadError ===

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(error.clone()),
            Self::Panicked => Self::Panicked,
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
            Self::Panicked => f.write_str("Panicked"),
        }
    }
}
