//! What exporters count, asked after they have gone into the pipeline.

mod pulse;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use teleflow::Storage;
use teleflow::exporter::{
    AdaptiveConcurrency, AdaptiveConcurrencyStats, Balance, CircuitBreaker, EndpointStats,
    Failover, GrpcExporter, HttpExporter, QueueConfig, RateLimit, Retry, RetryStats, SplitStats,
    SplitTooLarge, WireStats,
};
use teleflow_concurrency::BreakerStats;
use tokio::time::Instant;

use self::pulse::{Beat, Pulse};

/// The parts of one exporter that count something. Cheap to clone.
///
/// Whoever makes the exporter passes each part through [`over`](Self::over), and wraps what comes
/// back in the next.
#[derive(Clone, Default)]
pub(crate) struct Watched {
    parts: Vec<Arc<dyn Counting>>,
    beats: Vec<Arc<Beat>>,
    queue: Option<QueueConfig>,
}

/// Part of an exporter that counts.
pub(crate) trait Counting: Send + Sync {
    /// Adds what it has counted.
    fn tell(&self, figures: &mut Figures);
}

/// What the parts of one exporter have counted. Several of a kind, as those of several endpoints, are
/// all in there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) wires: Vec<WireStats>,
    pub(crate) retries: Vec<RetryStats>,
    pub(crate) splits: Vec<SplitStats>,
    pub(crate) breakers: Vec<BreakerStats>,
    pub(crate) concurrency: Vec<AdaptiveConcurrencyStats>,
    /// How many requests waited for their turn in a rate.
    pub(crate) rate_waits: Vec<u64>,
    /// The endpoints that an exporter divides its items among.
    pub(crate) endpoints: Vec<EndpointStats>,
    /// Of each that sends to the first destination that is there: how often it sent to which.
    pub(crate) failovers: Vec<Vec<u64>>,
    /// For how long its destinations have been failing, zero where they are not.
    pub(crate) failing: Option<Duration>,
    /// How much its queues hold.
    pub(crate) queue: Option<QueueConfig>,
}

// === impl Watched ===

impl Watched {
    /// Keeps hold of a part.
    pub(crate) fn over<E: Counting + 'static>(&mut self, exporter: E) -> Arc<E> {
        let exporter = Arc::new(exporter);
        self.parts.push(Arc::<E>::clone(&exporter));
        exporter
    }

    /// Watches whether a destination takes anything.
    pub(crate) fn pulse<E>(&mut self, exporter: E) -> Pulse<E> {
        let beat = Arc::<Beat>::default();
        self.beats.push(Arc::clone(&beat));
        Pulse::new(exporter, beat)
    }

    /// Notes how much its queues hold.
    pub(crate) fn queue(&mut self, config: &QueueConfig, storage: Option<&Storage>) {
        let on_disk = storage.and_then(|storage| {
            NonZeroUsize::new(usize::try_from(storage.spool.max_bytes).unwrap_or(usize::MAX))
        });
        let max_bytes = on_disk.unwrap_or(config.max_bytes);
        self.queue = Some(QueueConfig { max_bytes, ..config.clone() });
    }

    /// For how long all of its destinations have been failing; `None` where one is not.
    pub(crate) fn failing(&self, now: Instant) -> Option<Duration> {
        let failing: Option<Vec<_>> = self.beats.iter().map(|beat| beat.failing(now)).collect();
        failing?.into_iter().min()
    }

    /// Asks all parts.
    pub(crate) fn figures(&self, now: Instant) -> Figures {
        let failing = self.failing(now).unwrap_or_default();
        let mut figures = Figures {
            failing: (!self.beats.is_empty()).then_some(failing),
            queue: self.queue.clone(),
            ..Figures::default()
        };
        self.parts.iter().for_each(|part| part.tell(&mut figures));
        figures
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.figures(Instant::now())).finish()
    }
}

// === impl Counting ===

impl Counting for GrpcExporter {
    fn tell(&self, figures: &mut Figures) {
        figures.wires.push(self.stats());
    }
}

impl Counting for HttpExporter {
    fn tell(&self, figures: &mut Figures) {
        figures.wires.push(self.stats());
    }
}

impl<E: Send + Sync> Counting for Retry<E> {
    fn tell(&self, figures: &mut Figures) {
        figures.retries.push(self.stats());
    }
}

impl<E: Send + Sync> Counting for SplitTooLarge<E> {
    fn tell(&self, figures: &mut Figures) {
        figures.splits.push(self.stats());
    }
}

impl<E: Send + Sync> Counting for CircuitBreaker<E> {
    fn tell(&self, figures: &mut Figures) {
        figures.breakers.push(self.stats());
    }
}

impl<E: Send + Sync> Counting for AdaptiveConcurrency<E> {
    fn tell(&self, figures: &mut Figures) {
        figures.concurrency.push(self.stats());
    }
}

impl<E: Send + Sync> Counting for RateLimit<E> {
    fn tell(&self, figures: &mut Figures) {
        figures.rate_waits.push(self.waited());
    }
}

impl Counting for Balance {
    fn tell(&self, figures: &mut Figures) {
        figures.endpoints.extend(self.stats());
    }
}

impl Counting for Failover {
    fn tell(&self, figures: &mut Figures) {
        figures.failovers.push(self.exports());
    }
}
