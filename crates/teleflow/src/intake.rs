//! Where receivers put payloads: the entrance of the lanes.

use std::sync::Arc;

use teleflow_otlp::Payload;
use teleflow_receiver::{Consumer, Refused};
use tokio::sync::{Semaphore, mpsc};

use crate::books::Ledger;
use crate::lane::Taken;

/// How many payloads may wait for a lane, and how many bytes they may take. A lane that is behind
/// holds its receivers up, and they refuse what they cannot hold.
pub(crate) const MAX_PAYLOADS: usize = 1024;
pub(crate) const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The entrance of one lane.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    pub(crate) sender: mpsc::Sender<Taken>,
    pub(crate) bytes: Arc<Semaphore>,
    pub(crate) ledger: Ledger,
}

/// What one receiver feeds: the entrances of its lanes, by signal.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    pub(crate) lanes: Arc<[Vec<Entrance>; 3]>,
}

// === impl Entrance ===

impl Entrance {
    pub(crate) fn new(sender: mpsc::Sender<Taken>, ledger: Ledger) -> Self {
        Self { sender, bytes: Arc::new(Semaphore::new(MAX_BYTES)), ledger }
    }
}

// === impl Consumer ===

impl Consumer for Intake {
    /// Takes a payload for every lane of its signal, or for none: room is reserved in all of them
    /// first, and nothing is awaited once the first has taken it.
    async fn consume(&self, payload: Payload) -> Result<(), Refused> {
        let lanes = &self.lanes[payload.signal().index()];
        // One payload may be larger than all the room there is; it then takes all of it.
        let bytes = payload.bytes().min(MAX_BYTES) as u32;
        if let [lane] = &lanes[..] {
            let permit = Arc::clone(&lane.bytes).acquire_many_owned(bytes).await;
            let place = lane.sender.reserve().await;
            let (Ok(permit), Ok(place)) = (permit, place) else {
                return Err(Refused::shutting_down());
            };
            lane.ledger.accept(payload.items());
            place.send((payload, permit));
            return Ok(());
        }
        let mut places = Vec::with_capacity(lanes.len());
        for lane in lanes {
            let permit = Arc::clone(&lane.bytes).acquire_many_owned(bytes).await;
            let place = lane.sender.reserve().await;
            let (Ok(permit), Ok(place)) = (permit, place) else {
                return Err(Refused::shutting_down());
            };
            places.push((lane, permit, place));
        }
        for (lane, permit, place) in places {
            lane.ledger.accept(payload.items());
            place.send((payload.clone(), permit));
        }
        Ok(())
    }
}
