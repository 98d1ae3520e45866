//! A gateway that can be killed.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use teleflow::exporter::{
    AnyExporter, Delivered, ExportError, Exporter, OnFull, QueueConfig, Retry, RetryConfig,
};
use teleflow::otlp::{Code, Status};
use teleflow::sampler::{self, Policy, Rule};
use teleflow::{Books, Inlet, LaneConfig, Payload, Pipeline, Sending, Signal, batcher};

use crate::link::Link;

/// What the gateway is made of, and the pipeline while it lives.
#[derive(Debug)]
pub(crate) struct Gateway {
    config: Config,
    destinations: Vec<AnyExporter>,
    running: Option<Pipeline>,
    door: Door,
    /// The books of those that were killed, as they were then.
    killed: Vec<Books>,
}

#[derive(Clone, Debug)]
struct Config {
    waits_for_result: bool,
    sampling: Option<sampler::Config>,
    shards: NonZeroUsize,
    batch: Option<batcher::Config>,
    sending: Sending,
}

/// Where requests come in, while there is somebody; reached over a link. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) link: Link,
    inlet: Arc<Mutex<Option<Inlet>>>,
}

impl Gateway {
    pub(crate) async fn start(
        rng: &mut Rng,
        waits_for_result: bool,
        samples: bool,
        destinations: Vec<AnyExporter>,
    ) -> Self {
        let batch = |rng: &mut Rng| {
            let min_items = rng.u64(1..60);
            batcher::Config {
                min_items,
                max_items: NonZeroU64::new(min_items + rng.u64(..40)),
                timeout: Duration::from_millis(rng.u64(1..2000)),
                ..batcher::Config::default()
            }
        };
        let queue = QueueConfig {
            max_requests: NonZeroUsize::new(rng.usize(3..200)).unwrap(),
            num_consumers: NonZeroUsize::new(rng.usize(1..5)).unwrap(),
            on_full: if rng.bool() { OnFull::Wait } else { OnFull::Reject },
            ..QueueConfig::default()
        };
        let retry = RetryConfig {
            initial_interval: Duration::from_millis(rng.u64(10..1000)),
            max_interval: Duration::from_secs(10),
            max_elapsed_time: Duration::from_secs(if rng.bool() {
                rng.u64(1..10)
            } else {
                rng.u64(10..600)
            }),
            ..RetryConfig::default()
        };
        let shards = if samples { *rng.choice(&[1, 2, 5]).unwrap() } else { 1 };
        let config = Config {
            waits_for_result,
            shards: NonZeroUsize::new(shards).unwrap(),
            sampling: samples.then(|| sampler::Config {
                rules: vec![Rule::new("some", Policy::percent(60.0, ""))].into(),
                decision_wait: Duration::from_millis(rng.u64(1..3000)),
                hash_seed: rng.u64(..),
                ..sampler::Config::default()
            }),
            batch: rng.bool().then(|| batch(rng)),
            sending: Sending { queue, batch: rng.bool().then(|| batch(rng)), ..Sending::default() },
        };
        let destinations = destinations
            .into_iter()
            .map(|exporter| AnyExporter::new(Retry::new(exporter, retry.clone()).unwrap()))
            .collect();
        let door = Door { link: Link::new(rng), inlet: Arc::default() };
        let mut gateway = Self { config, destinations, running: None, door, killed: Vec::new() };
        gateway.revive().await;
        gateway
    }

    pub(crate) fn door(&self) -> Door {
        self.door.clone()
    }

    /// Starts a pipeline, where there is none.
    pub(crate) async fn revive(&mut self) {
        if self.running.is_some() {
            return;
        }
        let mut builder = Pipeline::builder().inlet("in");
        if self.config.waits_for_result {
            builder = builder.wait_for_result("in");
        }
        let mut lane = LaneConfig::new("traces", Signal::Traces).from("in");
        for (index, exporter) in self.destinations.iter().enumerate() {
            let name = format!("out{index}");
            builder = builder.exporter(&*name, exporter.clone(), self.config.sending.clone());
            lane = lane.to(name);
        }
        lane.sampler.clone_from(&self.config.sampling);
        lane.shards = self.config.shards;
        lane.batcher.clone_from(&self.config.batch);
        let pipeline = builder.lane(lane).start().await.unwrap();
        *self.door.inlet.lock().unwrap() = pipeline.inlet("in");
        self.running = Some(pipeline);
    }

    /// Ends the pipeline without a word.
    pub(crate) fn kill(&mut self) {
        *self.door.inlet.lock().unwrap() = None;
        if let Some(pipeline) = self.running.take() {
            let books = pipeline.books();
            assert!(books.balance(), "{books}");
            self.killed.push(books);
        }
    }

    pub(crate) fn check(&self) {
        if let Some(pipeline) = &self.running {
            let books = pipeline.books();
            assert!(books.balance(), "{books}");
        }
    }

    /// Shuts down, and gives the books of all its lives.
    pub(crate) async fn end(mut self, patience: Duration) -> Vec<Books> {
        *self.door.inlet.lock().unwrap() = None;
        if let Some(pipeline) = self.running.take() {
            let books = pipeline.shutdown(tokio::time::Instant::now() + patience).await;
            assert!(books.balance(), "{books}");
            assert!(books.accounts.iter().all(|account| account.held == 0), "{books}");
            self.killed.push(books);
        }
        self.killed
    }
}

impl Door {
    /// Sends a payload in; what the gateway cannot take now may be sent again.
    pub(crate) async fn send(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let items = payload.items();
        self.link.carry(items, self.hand_in(payload)).await
    }

    async fn hand_in(&self, payload: Payload) -> Result<Delivered, ExportError> {
        let Some(inlet) = self.inlet.lock().unwrap().clone() else {
            return Err(ExportError::Unreachable("nobody is there".into()));
        };
        // What comes over a link is in memory of its own.
        let request = Bytes::copy_from_slice(&payload.to_bytes());
        let received = Payload::trusted(payload.signal(), request, payload.items());
        match inlet.send(received).await {
            Ok(response) => {
                let message = (response.rejected > 0).then_some(response.message);
                Ok(Delivered { rejected: response.rejected, message })
            }
            Err(refused) => {
                let status = Status::new(Code::Unavailable, refused.to_string());
                Err(ExportError::Status(Status { retry_delay: refused.retry_after, ..status }))
            }
        }
    }
}

impl Exporter for Door {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        self.send(payload).await
    }
}
