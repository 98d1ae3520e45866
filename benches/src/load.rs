//! A generator of load: as fast as it is taken, or on a schedule.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time;

use crate::bodies::Bodies;
use crate::client::{Answer, Client, Protocol};
use crate::encoding::Encoding;
use crate::schedule::Schedule;

/// How long a lane that was refused waits, so that refusals do not become the load.
const PAUSE: Duration = Duration::from_millis(10);

/// How long the answers to the last requests may take.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// How the load is offered.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How it is sent.
    pub protocol: Protocol,
    /// How it is compressed.
    pub encoding: Encoding,
    /// TCP connections; over HTTP/1.1 so many for each lane.
    pub connections: usize,
    /// Requests in flight on each; every one is a lane with traces of its own.
    pub lanes: usize,
    /// When a lane sends its next request.
    pub pace: Pace,
}

/// When a lane sends its next request.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// When the last one is answered: as fast as the gateway takes them.
    Closed,
    /// At its time in a schedule of so many spans a second over all lanes, and latency counts from
    /// that time. A lane that is late sends at once until it has caught up.
    SpansPerSecond(f64),
    /// The same, but a request that could not be sent within the patience is given up, as a
    /// client does whose own queue is full.
    Impatient {
        /// Spans a second over all lanes.
        rate: f64,
        /// How late a request may be.
        patience: Duration,
    },
}

/// What has happened so far, in spans.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// In requests that were answered with success.
    pub accepted: u64,
    /// In requests that were answered otherwise.
    pub refused: u64,
    /// Those of them whose answer says when to come again.
    pub hinted: u64,
    /// In requests that were not answered.
    pub failed: u64,
    /// Accepted spans of complete traces that no sampler may drop.
    pub must_keep: u64,
}

/// What has happened when all lanes have ended.
#[derive(Debug)]
pub struct Ended {
    /// All that was sent.
    pub sent: Sent,
    /// The latencies, in microseconds and sorted.
    pub micros: Vec<u32>,
    /// Why the first request that was refused, or not answered, was.
    pub refusal: Option<String>,
}

/// Running lanes; [`stop`](Self::stop) ends them.
#[derive(Debug)]
pub struct Generator {
    state: Arc<State>,
    lanes: Vec<JoinHandle<Vec<u32>>>,
}

#[derive(Debug, Default)]
struct State {
    stop: AtomicBool,
    timing: AtomicBool,
    accepted: AtomicU64,
    refused: AtomicU64,
    hinted: AtomicU64,
    failed: AtomicU64,
    must_keep: AtomicU64,
    first_refusal: Mutex<Option<String>>,
}

/// One stream of requests, each sent after the one before.
struct Lane {
    state: Arc<State>,
    client: Client,
    protocol: Protocol,
    bodies: Arc<Bodies>,
    seed: u64,
    schedule: Option<Schedule>,
}

// === impl Load ===

impl Load {
    /// Opens the connections, one client for each lane.
    ///
    /// # Errors
    ///
    /// One cannot be made.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<Vec<Client>> {
        let mut clients = Vec::with_capacity(self.connections * self.lanes);
        for _ in 0..self.connections {
            let client = Client::connect(to, None, self.protocol, self.encoding).await?;
            for _ in 1..self.lanes {
                clients.push(match client.share() {
                    Some(client) => client,
                    None => Client::connect(to, None, self.protocol, self.encoding).await?,
                });
            }
            clients.push(client);
        }
        Ok(clients)
    }
}

// === impl Pace ===

impl Pace {
    /// Spans a second over all lanes, where that is given.
    pub const fn rate(self) -> Option<f64> {
        match self {
            Self::Closed => None,
            Self::SpansPerSecond(rate) | Self::Impatient { rate, .. } => Some(rate),
        }
    }
}

// === impl Generator ===

impl Generator {
    /// Starts to send, a lane for each client.
    pub fn start(clients: Vec<Client>, load: Load, bodies: &Arc<Bodies>) -> Self {
        let state = Arc::new(State::default());
        let (count, begin) = (clients.len(), Instant::now());
        let schedule = |number| match load.pace {
            Pace::Closed => None,
            Pace::SpansPerSecond(rate) => {
                Some(Schedule::new(begin, rate / bodies.spans() as f64, number, count, None))
            }
            Pace::Impatient { rate, patience } => {
                let rate = rate / bodies.spans() as f64;
                Some(Schedule::new(begin, rate, number, count, Some(patience)))
            }
        };
        let lane = |(number, client)| {
            let lane = Lane {
                state: Arc::clone(&state),
                client,
                protocol: load.protocol,
                bodies: Arc::clone(bodies),
                seed: fastrand::u64(..),
                schedule: schedule(number),
            };
            tokio::spawn(lane.run())
        };
        let lanes = clients.into_iter().enumerate().map(lane).collect();
        Self { state, lanes }
    }

    /// What has happened so far.
    pub fn sent(&self) -> Sent {
        self.state.sent()
    }

    /// Keeps the latency of each request that is sent from now on and accepted.
    pub fn start_timing(&self) {
        self.state.timing.store(true, Ordering::Relaxed);
    }

    /// Keeps no latency any longer.
    pub fn stop_timing(&self) {
        self.state.timing.store(false, Ordering::Relaxed);
    }

    /// Ends each lane after its last answer.
    ///
    /// # Errors
    ///
    /// The last answers do not come.
    pub async fn stop(self) -> io::Result<Ended> {
        self.state.stop.store(true, Ordering::Relaxed);
        let mut micros = Vec::new();
        let answers = async {
            for lane in self.lanes {
                micros.append(&mut lane.await.map_err(io::Error::other)?);
            }
            Ok::<_, io::Error>(())
        };
        time::timeout(LAST_ANSWERS, answers).await??;
        micros.sort_unstable();
        let mut first = self.state.first_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Ended { sent: self.state.sent(), micros, refusal: first.take() })
    }
}

// === impl State ===

impl State {
    fn sent(&self) -> Sent {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Sent {
            accepted: of(&self.accepted),
            refused: of(&self.refused),
            hinted: of(&self.hinted),
            failed: of(&self.failed),
            must_keep: of(&self.must_keep),
        }
    }

    fn keep(&self, reason: String) {
        let mut first = self.first_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(reason);
    }
}

// === impl Sent ===

impl Sent {
    /// Spans in requests that came to an end.
    pub const fn ended(&self) -> u64 {
        self.accepted + self.refused + self.failed
    }

    /// What has happened since `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            accepted: self.accepted - before.accepted,
            refused: self.refused - before.refused,
            hinted: self.hinted - before.hinted,
            failed: self.failed - before.failed,
            must_keep: self.must_keep - before.must_keep,
        }
    }
}

// === impl Lane ===

impl Lane {
    async fn run(mut self) -> Vec<u32> {
        let bodies = Arc::clone(&self.bodies);
        let spans = bodies.spans() as u64;
        let mut latencies = Vec::new();
        let mut source = match bodies.source(self.seed) {
            Ok(source) => source,
            Err(error) => {
                self.state.keep(error.to_string());
                return latencies;
            }
        };
        // Whether the request before, which began this one's traces, was accepted.
        let mut begun = false;
        while !self.state.stop.load(Ordering::Relaxed) {
            let due = self.turn().await;
            let (framed, must_keep) = match source.advance() {
                Ok(next) => next,
                Err(error) => {
                    self.state.keep(error.to_string());
                    break;
                }
            };
            // Of all that is sent in the window, whenever the answer comes: what takes longest is
            // not to be left out.
            let timed = self.state.timing.load(Ordering::Relaxed);
            let since = due.unwrap_or_else(Instant::now);
            let answer = self.client.send(self.protocol.body(&framed)).await;
            source.reuse(framed);
            if answer == Answer::Accepted {
                self.state.accepted.fetch_add(spans, Ordering::Relaxed);
                if begun {
                    self.state.must_keep.fetch_add(must_keep, Ordering::Relaxed);
                }
                begun = true;
                if timed {
                    let micros = since.elapsed().as_micros();
                    latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
                }
                continue;
            }
            begun = false;
            match answer {
                Answer::Refused { hinted, reason } => {
                    self.state.refused.fetch_add(spans, Ordering::Relaxed);
                    let hinted = if hinted { spans } else { 0 };
                    self.state.hinted.fetch_add(hinted, Ordering::Relaxed);
                    self.state.keep(reason);
                }
                Answer::Failed(reason) => {
                    self.state.failed.fetch_add(spans, Ordering::Relaxed);
                    self.state.keep(reason);
                }
                Answer::Accepted => {}
            }
            if self.client.is_closed() {
                break;
            }
            if due.is_none() {
                time::sleep(PAUSE).await;
            }
        }
        latencies
    }

    /// Waits for this lane's turn, if it has any, and returns when that was.
    async fn turn(&mut self) -> Option<Instant> {
        let due = self.schedule.as_mut()?.turn(Instant::now());
        time::sleep_until(due.into()).await;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_of_the_time_between() {
        let before = Sent { accepted: 10, refused: 2, ..Sent::default() };
        let after = Sent { accepted: 30, refused: 5, failed: 1, ..Sent::default() };
        let sent = after.since(&before);
        assert_eq!((sent.accepted, sent.ended()), (20, 24));
    }
}
