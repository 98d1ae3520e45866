//! Who may write a key to the second level, and in which order.
//!
//! A value that was loaded, then removed, must not be written afterwards. The first level is changed
//! under a lock, but a write to the second one takes a while, and a removal may come in the middle of
//! it. So whoever has changed the first level *claims* the key in the same step. What was claimed
//! before the latest change is not written. And one at a time has the *turn*: a removal waits for the
//! write that is under way, then removes what that has written.
//!
//! This orders what one process does. What another one has loaded before a removal here, it may
//! write after it; and a write that was given up halfway may still reach the server.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Keys that are being written or removed: as many as there are callers who do so.
pub(super) struct Writes<K> {
    shards: Box<[Mutex<HashMap<K, Claimed>>]>,
    hasher: RandomState,
}

struct Claimed {
    line: Arc<Line>,
    /// How many claims there are; the last one takes the key out of the map.
    claims: usize,
}

struct Line {
    turn: Semaphore,
    /// How many changes were claimed.
    changes: AtomicU64,
}

/// The right to write or remove one key.
pub(super) struct Claim<'a, K: Eq + Hash> {
    writes: &'a Writes<K>,
    key: &'a K,
    line: Arc<Line>,
    /// Of the change, or of the one that the load came after.
    number: u64,
}

/// Whether a claim may write now.
pub(super) enum Turn<'a> {
    /// It may, for as long as it holds this.
    Mine(SemaphorePermit<'a>),
    /// Another one writes, or waits for it.
    Busy,
    /// A later change has made it pointless.
    Passed,
}

const SHARDS: usize = 16;

// === impl Writes ===

impl<K: Clone + Eq + Hash> Writes<K> {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    /// For a value that was loaded: written unless a change comes first.
    pub(super) fn loaded<'a>(&'a self, key: &'a K) -> Claim<'a, K> {
        self.claim(key, 0)
    }

    /// For what a caller puts in or takes out: whatever was claimed before is not written any more.
    pub(super) fn changed<'a>(&'a self, key: &'a K) -> Claim<'a, K> {
        self.claim(key, 1)
    }

    fn claim<'a>(&'a self, key: &'a K, step: u64) -> Claim<'a, K> {
        let mut shard = self.shard(key);
        let claimed = match shard.entry(key.clone()) {
            Entry::Occupied(claimed) => claimed.into_mut(),
            Entry::Vacant(vacant) => {
                let line = Line { turn: Semaphore::new(1), changes: AtomicU64::new(0) };
                vacant.insert(Claimed { line: Arc::new(line), claims: 0 })
            }
        };
        claimed.claims += 1;
        // Relaxed: claims of a key are made under this lock, and who has the turn looks after the
        // one before has let go of it.
        let number = claimed.line.changes.fetch_add(step, Ordering::Relaxed) + step;
        Claim { writes: self, key, line: claimed.line.clone(), number }
    }
}

impl<K: Eq + Hash> Writes<K> {
    fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, Claimed>> {
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        // Each change is a single step, so one that panicked half-way left nothing half-done.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Claim ===

impl<K: Eq + Hash> Claim<'_, K> {
    pub(super) fn key(&self) -> &K {
        self.key
    }

    /// Whether no change of the key has been claimed since.
    pub(super) fn is_latest(&self) -> bool {
        self.line.changes.load(Ordering::Relaxed) == self.number
    }

    pub(super) fn try_turn(&self) -> Turn<'_> {
        if !self.is_latest() {
            return Turn::Passed;
        }
        match self.line.turn.try_acquire() {
            // Again, now that nobody else can be about to write.
            Ok(_) if !self.is_latest() => Turn::Passed,
            Ok(turn) => Turn::Mine(turn),
            Err(_) => Turn::Busy,
        }
    }

    /// Waits until nobody else writes the key; whoever has the turn has a deadline.
    pub(super) async fn turn(&self) -> SemaphorePermit<'_> {
        self.line.turn.acquire().await.expect("it is never closed")
    }
}

impl<K: Eq + Hash> Drop for Claim<'_, K> {
    fn drop(&mut self) {
        let mut shard = self.writes.shard(self.key);
        let Some(claimed) = shard.get_mut(self.key) else { return };
        claimed.claims -= 1;
        if claimed.claims == 0 {
            let last = shard.remove_entry(self.key);
            drop(shard);
            drop(last);
        }
    }
}
