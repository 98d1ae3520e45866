//! Where receivers put payloads: the entrance of the lanes.

mod entrance;
mod routing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use teleflow_otlp::{Ack, Answer, ExportResponse, Payload};
use teleflow_receiver::{Consumer, Refused, RefusedReason};
use tokio::sync::oneshot;

use self::entrance::Place;
pub(crate) use self::entrance::{Door, Entrance, MAX_BYTES, MAX_PAYLOADS};
pub(crate) use self::routing::Routing;

/// What one receiver feeds: the entrances of its lanes, by signal.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    pub(crate) lanes: Arc<[Vec<Entrance>; 3]>,
    /// Whether the sender is answered only when every item has come to its end.
    pub(crate) waits_for_result: bool,
}

/// What becomes of a payload that was handed in, where somebody waits for that.
pub(crate) struct Outcome(Option<oneshot::Receiver<Answer>>);

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
        // The answer of what is refused has nobody to hear it.
        let (payload, outcome) = self.await_result(payload);
        if let [lane] = &lanes[..] {
            lane.reserve(payload).await?.fill();
            return Ok(outcome);
        }
        let mut places = Vec::with_capacity(lanes.len());
        for (lane, payload) in lanes.iter().zip(payload.fan_out(lanes.len())) {
            places.push(lane.reserve(payload).await?);
        }
        places.into_iter().for_each(Place::fill);
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
