//! Where receivers put payloads: the entrance of the lanes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use teleflow_otlp::{Ack, Answer, ExportResponse, Payload};
use teleflow_receiver::{Consumer, Refused, RefusedReason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

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
    /// Whether what is behind the lane is full, and nobody is to be held up for that.
    pub(crate) is_full: Arc<AtomicBool>,
}

/// What one receiver feeds: the entrances of its lanes, by signal.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    pub(crate) lanes: Arc<[Vec<Entrance>; 3]>,
    /// Whether the sender is answered only when every item has come to its end.
    pub(crate) waits_for_result: bool,
}

/// What becomes of a payload that was handed in, where somebody waits for that.
pub(crate) struct Outcome(Option<oneshot::Receiver<Answer>>);

/// Room in a lane.
type Place<'a> = (&'a Entrance, OwnedSemaphorePermit, mpsc::Permit<'a, Taken>);

// === impl Entrance ===

impl Entrance {
    pub(crate) fn new(
        sender: mpsc::Sender<Taken>,
        ledger: Ledger,
        is_full: Arc<AtomicBool>,
    ) -> Self {
        Self { sender, bytes: Arc::new(Semaphore::new(MAX_BYTES)), ledger, is_full }
    }

    /// Waits for room for a payload, unless there is none behind the lane either.
    async fn reserve(&self, payload: &Payload) -> Result<Place<'_>, Refused> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(Refused::overloaded(None));
        }
        // One payload may be larger than all the room there is; it then takes all of it.
        let bytes = payload.bytes().min(MAX_BYTES) as u32;
        let permit = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        match (permit, self.sender.reserve().await) {
            (Ok(permit), Ok(place)) => Ok((self, permit, place)),
            _ => Err(Refused::shutting_down()),
        }
    }
}

/// Hands a payload in. Awaits nothing: a payload is taken by all lanes or by none.
fn fill((lane, permit, place): Place<'_>, payload: Payload) {
    lane.ledger.accept(payload.items());
    place.send((payload, permit));
}

// === impl Intake ===

impl Intake {
    /// Has the payload answered for, if this receiver waits for that.
    fn await_result(&self, payload: Payload) -> (Payload, Outcome) {
        if !self.waits_for_result {
            return (payload, Outcome(None));
        }
        let (tell, told) = oneshot::channel();
        // The sender may have gone meanwhile.
        let ack = Ack::new(payload.items(), |answer| {
            let _ = tell.send(answer);
        });
        (payload.with_ack(ack), Outcome(Some(told)))
    }
}

impl Intake {
    /// Hands a payload to every lane of its signal, or to none: room is reserved in all of them
    /// first, and nothing is awaited once the first has taken it.
    pub(crate) async fn hand_in(&self, payload: Payload) -> Result<Outcome, Refused> {
        let lanes = &self.lanes[payload.signal().index()];
        if let [lane] = &lanes[..] {
            let place = lane.reserve(&payload).await?;
            let (payload, outcome) = self.await_result(payload);
            fill(place, payload);
            return Ok(outcome);
        }
        let mut places = Vec::with_capacity(lanes.len());
        for lane in lanes {
            places.push(lane.reserve(&payload).await?);
        }
        let (payload, outcome) = self.await_result(payload);
        let ways = payload.fan_out(places.len());
        places.into_iter().zip(ways).for_each(|(place, payload)| fill(place, payload));
        Ok(outcome)
    }
}

impl Consumer for Intake {
    /// Takes a payload for every lane of its signal, or for none. Where the receiver waits for the
    /// result, that comes after.
    async fn consume(&self, payload: Payload) -> Result<ExportResponse, Refused> {
        self.hand_in(payload).await?.wait().await
    }
}

// === impl Outcome ===

impl Outcome {
    /// What the sender is told. Of a payload of which any item was lost it may send all again.
    pub(crate) async fn wait(self) -> Result<ExportResponse, Refused> {
        let Some(told) = self.0 else { return Ok(ExportResponse::default()) };
        // Dropped without an answer, items count as lost.
        if let Ok(answer) = told.await
            && answer.dropped == 0
        {
            let rejected = answer.rejected;
            let message = if rejected > 0 { "refused by a destination" } else { "" };
            return Ok(ExportResponse { rejected, message: message.to_owned() });
        }
        Err(Refused {
            reason: RefusedReason::Unavailable,
            retry_after: None,
            message: "not delivered: send it again later".into(),
        })
    }
}
