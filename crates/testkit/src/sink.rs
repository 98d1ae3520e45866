//! An exporter that keeps what it gets, and fails on cue.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use teleflow_exporter::{Delivered, ExportError, Exporter};
use teleflow_otlp::{Payload, Signal};
use tokio::sync::Semaphore;

/// Keeps every payload that it takes. Clones share what they keep.
#[derive(Clone, Debug)]
pub struct Sink {
    state: Arc<Mutex<State>>,
    gate: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    taken: Vec<Payload>,
    attempts: u64,
    cues: VecDeque<Cue>,
    shut_down: bool,
}

/// What to do with the next payload, instead of taking it.
#[derive(Clone, Debug)]
pub enum Cue {
    /// Take it.
    Take,
    /// Take it, and say that so many of its items are rejected.
    Reject(u64),
    /// Fail, and may be tried again.
    Transient,
    /// Fail for good.
    Permanent,
    /// Panic.
    Panic,
}

// === impl Sink ===

impl Default for Sink {
    fn default() -> Self {
        Self { state: Arc::default(), gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }
}

impl Sink {
    /// A sink that takes everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// A sink that takes nothing until [`open`](Self::open).
    pub fn closed() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), ..Self::default() }
    }

    /// Lets everything through that waits and that comes.
    pub fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS - self.gate.available_permits());
    }

    /// What to do with the next payloads, in order; afterwards all are taken.
    pub fn cue(&self, cues: impl IntoIterator<Item = Cue>) {
        self.state().cues.extend(cues);
    }

    /// How many items of a signal were taken and not rejected.
    pub fn items(&self, signal: Signal) -> u64 {
        let state = self.state();
        state.taken.iter().filter(|p| p.signal() == signal).map(Payload::items).sum()
    }

    /// What was taken.
    pub fn taken(&self) -> Vec<Payload> {
        self.state().taken.clone()
    }

    /// How often something was to be exported.
    pub fn attempts(&self) -> u64 {
        self.state().attempts
    }

    /// Whether the sink was shut down.
    pub fn is_shut_down(&self) -> bool {
        self.state().shut_down
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exporter for Sink {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let permit = self.gate.acquire().await;
        let permit = permit.map_err(|_| ExportError::Closed)?;
        drop(permit);
        let mut state = self.state();
        state.attempts += 1;
        match state.cues.pop_front().unwrap_or(Cue::Take) {
            Cue::Take => {
                state.taken.push(payload);
                Ok(Delivered::ALL)
            }
            Cue::Reject(rejected) => {
                state.taken.push(payload);
                Ok(Delivered { rejected, message: Some("on cue".into()) })
            }
            Cue::Transient => Err(ExportError::Transient("on cue".into())),
            Cue::Permanent => Err(ExportError::Permanent("on cue".into())),
            Cue::Panic => {
                drop(state);
                panic!("on cue")
            }
        }
    }

    async fn shutdown(&self) -> Result<(), ExportError> {
        self.state().shut_down = true;
        Ok(())
    }
}
