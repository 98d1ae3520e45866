//! An exporter that does as it is told, and the payloads for it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use teleflow_exporter::{Delivered, ExportError, Exporter};
use teleflow_otlp::{Payload, Signal};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A request of so many spans, each named `name`.
pub(crate) fn spans(count: u64, name: &str) -> Payload {
    let mut scope = Vec::new();
    for _ in 0..count {
        scope.extend(field(2, &field(5, name.as_bytes())));
    }
    let request = field(1, &field(2, &scope));
    let payload = Payload::parse(Signal::Traces, request.into()).unwrap();
    assert_eq!(payload.items(), count);
    payload
}

/// A length-delimited field of protobuf.
pub(crate) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut len = value.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(value);
    out
}

/// What an export ends with.
pub(crate) enum Step {
    Deliver,
    Reject(u64),
    Fail(ExportError),
    Panic,
    /// Waits for [`Scripted::release`], then delivers.
    Wait,
}

/// Takes a step of its script for each export; when that is at its end, delivers.
#[derive(Clone)]
pub(crate) struct Scripted(Arc<Inner>);

struct Inner {
    steps: Mutex<VecDeque<Step>>,
    /// When exports began, and with what.
    started: Mutex<Vec<(Instant, Bytes)>>,
    /// One permit an export that began.
    begun: Semaphore,
    gate: Semaphore,
}

impl Scripted {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self(Arc::new(Inner {
            steps: Mutex::new(steps.into_iter().collect()),
            started: Mutex::default(),
            begun: Semaphore::new(0),
            gate: Semaphore::new(0),
        }))
    }

    /// Waits until so many more exports have begun.
    pub(crate) async fn begun(&self, count: u32) {
        self.0.begun.acquire_many(count).await.unwrap().forget();
    }

    /// Lets so many waiting exports go.
    pub(crate) fn release(&self, count: usize) {
        self.0.gate.add_permits(count);
    }

    pub(crate) fn requests(&self) -> Vec<Bytes> {
        self.0.started.lock().unwrap().iter().map(|(_, request)| request.clone()).collect()
    }

    /// The seconds from the first export to each.
    pub(crate) fn seconds(&self) -> Vec<f64> {
        let started = self.0.started.lock().unwrap();
        started.iter().map(|(at, _)| at.duration_since(started[0].0).as_secs_f64()).collect()
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Exporter for Scripted {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.0.started.lock().unwrap().push((Instant::now(), payload.to_bytes()));
        self.0.begun.add_permits(1);
        let step = self.0.steps.lock().unwrap().pop_front().unwrap_or(Step::Deliver);
        match step {
            Step::Deliver => Ok(Delivered::ALL),
            Step::Reject(rejected) => Ok(Delivered { rejected, message: None }),
            Step::Fail(error) => Err(error),
            Step::Panic => panic!("as told"),
            Step::Wait => {
                self.0.gate.acquire().await.unwrap().forget();
                Ok(Delivered::ALL)
            }
        }
    }
}
