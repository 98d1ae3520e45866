//! What exporters count, asked after they have gone into the pipeline.

use std::fmt;
use std::sync::Arc;

use teleflow::exporter::{
    AdaptiveConcurrency, AdaptiveConcurrencyStats, Balance, CircuitBreaker, EndpointStats,
    GrpcExporter, HttpExporter, RateLimit, Retry, RetryStats, SplitStats, SplitTooLarge, WireStats,
};
use teleflow_concurrency::BreakerStats;

/// The parts of one exporter that count something. Cheap to clone.
///
/// Whoever makes the exporter passes each part through [`over`](Self::over), and wraps what comes
/// back in the next.
#[derive(Clone, Default)]
pub(crate) struct Watched(Vec<Arc<dyn Counting>>);

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
}

// === impl Watched ===

impl Watched {
    /// Keeps hold of a part.
    pub(crate) fn over<E: Counting + 'static>(&mut self, exporter: E) -> Arc<E> {
        let exporter = Arc::new(exporter);
        self.0.push(Arc::<E>::clone(&exporter));
        exporter
    }

    /// Asks all parts.
    pub(crate) fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        self.0.iter().for_each(|part| part.tell(&mut figures));
        figures
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.figures()).finish()
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
