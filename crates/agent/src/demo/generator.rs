//! Sends the shop's telemetry, each service as a client of its own, and counts what was taken.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use teleflow::exporter::{
    AnyExporter, ExportError, Exporter, GrpcConfig, GrpcExporter, HttpConfig, HttpExporter,
};
use teleflow::{Payload, Signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::encode;
use super::world::{self, SERVICES, Span};

/// How often every service sends what it has.
const TICK: Duration = Duration::from_millis(100);

/// How often a request that may be sent again is.
const ATTEMPTS: u32 = 5;

/// The generator's own count, taken at the clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Items in requests that were answered with success, by [`Signal::index`].
    pub(crate) accepted: [u64; 3],
    /// Requests that were given up.
    pub(crate) failed: u64,
    pub(crate) last_error: String,
    /// Attempts that ended without an answer, so that nobody knows whether they were taken.
    pub(crate) unanswered: u64,
    /// How long each request of the last second took. Taken out by [`Generator::counts`].
    pub(crate) latencies: Vec<Duration>,
}

/// A running generator.
#[derive(Debug)]
pub(crate) struct Generator {
    counts: Arc<Mutex<Counts>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Clients {
    services: Vec<AnyExporter>,
    counts: Arc<Mutex<Counts>>,
}

// === impl Generator ===

impl Generator {
    /// Starts sending.
    pub(crate) fn start(grpc: SocketAddr, http: SocketAddr, rate: u32) -> anyhow::Result<Self> {
        let mut services = Vec::new();
        for service in 0..SERVICES.len() {
            services.push(if service % 2 == 0 {
                AnyExporter::new(GrpcExporter::new(GrpcConfig::new(format!("http://{grpc}")))?)
            } else {
                AnyExporter::new(HttpExporter::new(HttpConfig::new(format!("http://{http}")))?)
            });
        }
        let counts = Arc::<Mutex<Counts>>::default();
        let clients = Clients { services, counts: Arc::clone(&counts) };
        let stop = CancellationToken::new();
        let task = tokio::spawn(generate(clients, rate, stop.clone()));
        Ok(Self { counts, stop, task })
    }

    /// What was sent so far.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = lock(&self.counts);
        let latencies = std::mem::take(&mut counts.latencies);
        Counts { latencies, ..counts.clone() }
    }

    /// Stops and waits for the answers to what is on its way.
    pub(crate) async fn stop(self) -> Counts {
        self.stop.cancel();
        if self.task.await.is_err() {
            lock(&self.counts).last_error = "the generator panicked".to_owned();
        }
        lock(&self.counts).clone()
    }
}

async fn generate(clients: Clients, rate: u32, stop: CancellationToken) {
    let clients = Arc::new(clients);
    let mut rng = Rng::new();
    let started = now();
    let mut ticks = interval(TICK);
    // A machine that is too slow for the rate sends less; it does not fall behind for ever.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut owed = 0.0;
    let mut last = Instant::now();
    for tick in 0u64.. {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        owed += (last.elapsed().as_secs_f64() * f64::from(rate)).min(f64::from(rate));
        last = Instant::now();
        let mut spans: Vec<Vec<Span>> = vec![Vec::new(); SERVICES.len()];
        while owed >= 1.0 {
            owed -= 1.0;
            for span in world::trace(&mut rng, now()) {
                spans[span.service].push(span);
            }
        }
        let mut sending = Vec::new();
        for (service, spans) in spans.into_iter().enumerate() {
            let mut payloads = Vec::new();
            if !spans.is_empty() {
                payloads.push(encode::spans(service, &spans.iter().collect::<Vec<_>>()));
                // Errors are logged, and some of what goes well.
                let logged: Vec<_> =
                    spans.iter().filter(|s| s.error.is_some() || rng.u8(..4) == 0).collect();
                if !logged.is_empty() {
                    payloads.push(encode::logs(service, &logged));
                }
            }
            if tick % 10 == 0 {
                payloads.push(encode::metrics(service, &mut rng, started, now()));
            }
            let clients = Arc::clone(&clients);
            sending.push(tokio::spawn(async move {
                for payload in payloads {
                    clients.send(service, payload).await;
                }
            }));
        }
        for sent in sending {
            // A panic there is counted as no answer: nothing was entered.
            let _ = sent.await;
        }
    }
}

// === impl Clients ===

impl Clients {
    async fn send(&self, service: usize, payload: Payload) {
        let (signal, items) = (payload.signal(), payload.items());
        for attempt in 1..=ATTEMPTS {
            let start = Instant::now();
            match self.services[service].export(payload.clone()).await {
                Ok(delivered) => {
                    let mut counts = lock(&self.counts);
                    counts.accepted[signal.index()] += items - delivered.rejected.min(items);
                    counts.latencies.push(start.elapsed());
                    return;
                }
                Err(error) if error.is_retryable() && attempt < ATTEMPTS => {
                    lock(&self.counts).unanswered += u64::from(!is_answer(&error));
                    tokio::time::sleep(error.retry_after().unwrap_or(TICK)).await;
                }
                Err(error) => {
                    let mut counts = lock(&self.counts);
                    counts.failed += 1;
                    counts.unanswered += u64::from(!is_answer(&error));
                    counts.last_error = error.to_string();
                    return;
                }
            }
        }
    }
}

/// Whether the gateway said that it did not take the request.
const fn is_answer(error: &ExportError) -> bool {
    matches!(
        error,
        ExportError::Status(_) | ExportError::Http { .. } | ExportError::TooLarge { .. }
    )
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}

/// What the generator sends of everything; for the report.
pub(crate) fn total(counts: &Counts) -> u64 {
    Signal::ALL.iter().map(|signal| counts.accepted[signal.index()]).sum()
}
