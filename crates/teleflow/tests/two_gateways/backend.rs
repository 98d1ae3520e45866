//! Where telemetry is kept, at a pace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock};
use std::time::Duration;

use teleflow::Payload;
use teleflow::exporter::{Delivered, ExportError, Exporter};
use tokio::sync::Mutex;

use crate::clock::pass;
use teleflow_testkit::numbered::numbers;

/// Works on one request at a time. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Backend(Arc<State>);

#[derive(Debug)]
struct State {
    /// Bytes a second.
    pace: Lock<f64>,
    /// Held by the one that is worked on; the others are in line.
    turn: Mutex<()>,
    /// By a span's number, how often it came.
    taken: Lock<HashMap<u64, u32>>,
}

// === impl Backend ===

impl Backend {
    pub(crate) fn new(pace: f64) -> Self {
        let (turn, taken) = (Mutex::default(), Lock::default());
        Self(Arc::new(State { pace: Lock::new(pace), turn, taken }))
    }

    pub(crate) fn set_pace(&self, pace: f64) {
        *self.0.pace.lock().unwrap() = pace;
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.0.taken.lock().unwrap().contains_key(&number)
    }

    /// Spans that came, each once however often it did.
    pub(crate) fn spans(&self) -> u64 {
        self.0.taken.lock().unwrap().len() as u64
    }

    /// How often something came that was there already.
    pub(crate) fn duplicates(&self) -> u64 {
        self.0.taken.lock().unwrap().values().map(|&times| u64::from(times - 1)).sum()
    }
}

impl Exporter for Backend {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let _turn = self.0.turn.lock().await;
        let pace = *self.0.pace.lock().unwrap();
        pass(Duration::from_secs_f64(payload.bytes() as f64 / pace)).await;
        let mut taken = self.0.taken.lock().unwrap();
        numbers(&payload).into_iter().for_each(|number| *taken.entry(number).or_default() += 1);
        Ok(Delivered::ALL)
    }
}
