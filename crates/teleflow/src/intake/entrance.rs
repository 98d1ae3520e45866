//! The entrance of one lane, and of its shards where it has several.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use teleflow_otlp::Payload;
use teleflow_receiver::Refused;
use teleflow_sampler::{Digest, InvalidShards};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::routing::Routing;
use crate::books::Ledger;
use crate::lane::Taken;

/// How many payloads may wait for a lane, or for each of its shards, and how many bytes they may
/// take in the whole lane. A lane that is behind holds its receivers up, and they refuse what they
/// cannot hold.
pub(crate) const MAX_PAYLOADS: usize = 1024;
pub(crate) const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The entrance of one lane.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    pub(crate) door: Door,
    pub(crate) bytes: Arc<Semaphore>,
    pub(crate) ledger: Ledger,
    /// Whether what is behind the lane is full, and nobody is to be held up for that.
    pub(crate) is_full: Arc<AtomicBool>,
}

/// Where payloads go in.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// All into one task.
    One(mpsc::Sender<Taken>),
    /// Each trace into the task of its shard.
    Shards(Arc<Shards>),
}

/// The tasks of a lane's shards, and who belongs where.
#[derive(Debug)]
pub(crate) struct Shards {
    senders: Vec<mpsc::Sender<Taken>>,
    pub(super) routing: Arc<Routing>,
}

/// Room in a lane, and what goes there.
pub(super) enum Place<'a> {
    One(&'a Entrance, mpsc::Permit<'a, Taken>, Payload, OwnedSemaphorePermit),
    Parts(&'a Entrance, Vec<(mpsc::Permit<'a, Taken>, Taken)>),
}

// === impl Entrance ===

impl Entrance {
    pub(crate) fn new(door: Door, ledger: Ledger, is_full: Arc<AtomicBool>) -> Self {
        Self { door, bytes: Arc::new(Semaphore::new(MAX_BYTES)), ledger, is_full }
    }

    /// Waits for room for a payload, unless there is none behind the lane either.
    ///
    /// All who need several places take them in one order, so that nobody holds what another one
    /// needs and waits for him: bytes first, then shard by shard.
    pub(super) async fn reserve(&self, payload: Payload) -> Result<Place<'_>, Refused> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(Refused::overloaded(None));
        }
        let sender = match &self.door {
            Door::One(sender) => sender,
            Door::Shards(shards) => return self.reserve_parts(shards, payload).await,
        };
        let permit = self.reserve_bytes(payload.bytes()).await?;
        let place = sender.reserve().await.map_err(|_| Refused::shutting_down())?;
        Ok(Place::One(self, place, payload, permit))
    }

    async fn reserve_parts<'a>(
        &'a self,
        shards: &'a Shards,
        payload: Payload,
    ) -> Result<Place<'a>, Refused> {
        let parts = shards.routing.part(payload);
        let bytes = parts.iter().map(|(_, part)| part.bytes()).sum();
        let mut room = self.reserve_bytes(bytes).await?;
        let mut places = Vec::with_capacity(parts.len());
        for (shard, part) in parts {
            let place = shards.senders[shard].reserve().await;
            let bytes = part.bytes().min(room.num_permits());
            let (Ok(place), Some(permit)) = (place, room.split(bytes)) else {
                return Err(Refused::shutting_down());
            };
            places.push((place, (part, permit)));
        }
        Ok(Place::Parts(self, places))
    }

    async fn reserve_bytes(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        // One payload may be larger than all the room there is; it then takes all of it.
        let bytes = bytes.min(MAX_BYTES) as u32;
        let permit = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        permit.map_err(|_| Refused::shutting_down())
    }
}

// === impl Door ===

impl Door {
    /// Leads to one task or to shards, for which payloads are read if nothing but their samplers
    /// will.
    ///
    /// # Errors
    ///
    /// If there is no task, or more than can be shards.
    pub(crate) fn new(
        mut senders: Vec<mpsc::Sender<Taken>>,
        hash_seed: u64,
        reads: bool,
    ) -> Result<Self, InvalidShards> {
        if senders.len() < 2 {
            return senders.pop().map(Self::One).ok_or(InvalidShards(0));
        }
        let routing = Arc::new(Routing::new(senders.len(), hash_seed, reads)?);
        Ok(Self::Shards(Arc::new(Shards { senders, routing })))
    }

    /// What parts payloads, where there are shards. It does not hold the door open.
    pub(crate) fn routing(&self) -> Option<Arc<Routing>> {
        match self {
            Self::One(_) => None,
            Self::Shards(shards) => Some(Arc::clone(&shards.routing)),
        }
    }
}

// === impl Place ===

impl Place<'_> {
    /// Hands in what it is for. Awaits nothing: a payload is taken by all lanes and shards or by
    /// none.
    pub(super) fn fill(self) {
        match self {
            Self::One(lane, place, payload, permit) => {
                lane.ledger.accept(payload.items());
                place.send((Digest::unread(payload), permit));
            }
            Self::Parts(lane, parts) => {
                lane.ledger.accept(parts.iter().map(|(_, (part, _))| part.items()).sum());
                parts.into_iter().for_each(|(place, taken)| place.send(taken));
            }
        }
    }
}
