//! A gateway of the first tier: an inlet, a queue and the way to the second.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use teleflow::exporter::{
    AdaptiveConcurrency, AdaptiveConcurrencyConfig, AnyExporter, GrpcConfig, GrpcExporter, OnFull,
    QueueConfig, Retry, RetryBudget, RetryBudgetConfig, RetryConfig,
};
use teleflow::{Books, LaneConfig, Pipeline, Signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arrivals::{Arrivals, Noted};
use crate::clock::pass;
use crate::spans::{REQUEST, SPANS, request};

/// How it behaves towards the second.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manners {
    /// As many requests at a time as the second can take, and a retry budget.
    Adaptive,
    /// Ten requests at a time, and a retry budget.
    Budget,
    /// Ten requests at a time: what a config file makes that says nothing of it.
    Plain,
}

#[derive(Debug)]
pub(crate) struct First {
    pipeline: Pipeline,
}

// === impl First ===

impl First {
    pub(crate) async fn start(second: &Path, manners: Manners, arrivals: Arrivals) -> Self {
        let grpc = GrpcConfig {
            // The answer comes when the backend has it.
            timeout: Duration::from_secs(30),
            ..GrpcConfig::new(format!("unix:{}", second.display()))
        };
        let inner = Noted { inner: GrpcExporter::new(grpc).unwrap(), arrivals };
        // What was accepted is tried until it arrives.
        let retry = RetryConfig { max_elapsed_time: Duration::ZERO, ..RetryConfig::default() };
        let budget = || {
            let now = Instant::now().into_std();
            Arc::new(RetryBudget::new(RetryBudgetConfig::default(), now).unwrap())
        };
        let exporter = match manners {
            Manners::Adaptive => {
                let config = AdaptiveConcurrencyConfig::default();
                let adaptive = AdaptiveConcurrency::new(inner, config).unwrap();
                AnyExporter::new(Retry::new(adaptive, retry).unwrap().with_budget(budget()))
            }
            Manners::Budget => {
                AnyExporter::new(Retry::new(inner, retry).unwrap().with_budget(budget()))
            }
            Manners::Plain => AnyExporter::new(Retry::new(inner, retry).unwrap()),
        };
        let consumers = if manners == Manners::Adaptive { 200 } else { 10 };
        let queue = QueueConfig {
            max_requests: NonZeroUsize::new(1_000_000).unwrap(),
            num_consumers: NonZeroUsize::new(consumers).unwrap(),
            on_full: OnFull::Wait,
            ..QueueConfig::default()
        };
        let lane = LaneConfig::new("traces", Signal::Traces).from("in").to("second");
        let pipeline = Pipeline::builder()
            .inlet("in")
            .exporter("second", exporter, queue)
            .lane(lane)
            .start()
            .await
            .unwrap();
        Self { pipeline }
    }

    /// Sends `pace` bytes a second in, give or take, until the `end`; gives the numbers of all spans that
    /// were accepted.
    pub(crate) fn feed(
        &self,
        mut rng: Rng,
        pace: f64,
        end: CancellationToken,
        mut next: u64,
    ) -> impl Future<Output = Vec<u64>> + Send + 'static {
        let inlet = self.pipeline.inlet("in").unwrap();
        async move {
            let mut accepted = Vec::new();
            while !end.is_cancelled() {
                let usual = REQUEST as f64 / pace;
                pass(Duration::from_secs_f64(usual * (0.5 + rng.f64()))).await;
                if inlet.send(request(next)).await.is_ok() {
                    accepted.extend(next..next + SPANS);
                }
                next += SPANS;
            }
            accepted
        }
    }

    pub(crate) fn books(&self) -> Books {
        self.pipeline.books()
    }

    pub(crate) async fn end(self) -> Books {
        self.pipeline.shutdown(Instant::now() + Duration::from_secs(60)).await
    }
}
