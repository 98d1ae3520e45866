//! When requests arrive at the second gateway, seen from the last place before the wire.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use teleflow::Payload;
use teleflow::exporter::{Delivered, ExportError, Exporter, Outgoing};
use tokio::time::Instant;

/// What all of the first tier sent, in order. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    all: Vec<(Instant, usize)>,
    unreachable: u64,
    refused: u64,
    /// Items in requests after which the sender does not know whether they arrived.
    uncertain: u64,
}

/// Notes what goes through it.
#[derive(Debug)]
pub(crate) struct Noted<E> {
    pub(crate) inner: E,
    pub(crate) arrivals: Arrivals,
}

// === impl Arrivals ===

impl Arrivals {
    /// The most bytes that arrived in any second of this time, and when that ended.
    pub(crate) fn most_in_a_second(&self, time: Range<Instant>) -> (usize, Instant) {
        let state = self.0.lock().unwrap();
        let mut all: Vec<_> = state.all.iter().filter(|(at, _)| time.contains(at)).collect();
        all.sort();
        let (mut from, mut bytes, mut most) = (0, 0, (0, time.start));
        for (at, arrived) in &all {
            bytes += arrived;
            while all[from].0 + Duration::from_secs(1) <= *at {
                bytes -= all[from].1;
                from += 1;
            }
            most = most.max((bytes, *at));
        }
        most
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap().all.len() as u64
    }

    pub(crate) fn unreachable(&self) -> u64 {
        self.0.lock().unwrap().unreachable
    }

    pub(crate) fn refused(&self) -> u64 {
        self.0.lock().unwrap().refused
    }

    pub(crate) fn uncertain(&self) -> u64 {
        self.0.lock().unwrap().uncertain
    }

    fn note(&self, at: Instant, payload: &Payload, result: &Result<Delivered, ExportError>) {
        let mut state = self.0.lock().unwrap();
        match result {
            Ok(_) => {}
            Err(ExportError::Status(_)) => state.refused += 1,
            Err(ExportError::Unreachable(_)) => state.unreachable += 1,
            Err(_) => state.refused += 1,
        }
        if matches!(result, Err(ExportError::Unreachable(_) | ExportError::Timeout(_))) {
            state.uncertain += payload.items();
        }
        state.all.push((at, payload.bytes()));
    }
}

impl<E: Exporter> Exporter for Noted<E> {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(Outgoing::new(payload)).await
    }

    async fn send(&self, outgoing: Outgoing) -> Result<Delivered, ExportError> {
        let (at, payload) = (Instant::now(), outgoing.payload().clone());
        let result = self.inner.send(outgoing).await;
        self.arrivals.note(at, &payload, &result);
        result
    }

    async fn shutdown(&self) -> Result<(), ExportError> {
        self.inner.shutdown().await
    }
}
