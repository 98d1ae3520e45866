//! Batches that are made for one exporter alone.

use std::num::NonZeroU64;
use std::time::Duration;

use teleflow::exporter::{Delivered, ExportError, Exporter};
use teleflow::{LaneConfig, Payload, Pipeline, Sending, Signal, StartError, batcher};
use teleflow_testkit::sink::Sink;
use teleflow_testkit::telemetry::Telemetry;
use tokio::time::Instant;

use crate::pipeline::{grpc_client, in_a_while, on_free_ports, payload};

fn batches(min_items: u64, timeout: Duration) -> Sending {
    let max_items = NonZeroU64::new(min_items);
    let batch = batcher::Config { min_items, max_items, timeout, ..batcher::Config::default() };
    Sending { batch: Some(batch), ..Sending::default() }
}

async fn start(exporters: [(&Sink, Sending); 2]) -> Pipeline {
    let mut builder = Pipeline::builder().receiver("otlp", on_free_ports());
    let mut lane = LaneConfig::new("logs", Signal::Logs).from("otlp");
    for (name, (sink, sending)) in ["one", "two"].into_iter().zip(exporters) {
        builder = builder.exporter(name, sink.clone(), sending);
        lane = lane.to(name);
    }
    builder.lane(lane).start().await.unwrap()
}

async fn send(pipeline: &Pipeline, requests: usize) -> u64 {
    let client = grpc_client(pipeline);
    let mut telemetry = Telemetry::new(1);
    let mut items = 0;
    for _ in 0..requests {
        let payload = payload(Signal::Logs, &mut telemetry);
        items += payload.items();
        client.export(payload).await.unwrap();
    }
    items
}

#[tokio::test]
async fn each_exporter_gets_the_sizes_it_wants() {
    let (plain, batched) = (Sink::new(), Sink::new());
    let sending = batches(50, Duration::from_secs(3600));
    let pipeline = start([(&plain, Sending::default()), (&batched, sending)]).await;
    let items = send(&pipeline, 40).await;
    assert!(items > 150, "{items}");
    let stats = &pipeline.stats().lanes[0];
    let [(name, _, held, _)] = &stats.batchers[..] else { panic!("one has a batcher") };
    assert!(name == "two" && *held < 50);
    let books = pipeline.shutdown(in_a_while()).await;
    assert!(books.balance(), "{books}");
    for account in &books.accounts {
        assert_eq!((account.accepted, account.delivered, account.held), (items, items, 0));
    }
    assert!(plain.taken().len() > 20);
    let sizes: Vec<_> = batched.taken().iter().map(|batch| batch.items()).collect();
    let (last, full) = sizes.split_last().unwrap();
    assert!(full.iter().all(|&size| size == 50) && *last <= 50, "{sizes:?}");
}

#[tokio::test]
async fn a_batch_that_is_old_enough_goes_without_more() {
    let (one, two) = (Sink::new(), Sink::new());
    let sending = || batches(1_000_000, Duration::from_millis(20));
    let pipeline = start([(&one, sending()), (&two, sending())]).await;
    let items = send(&pipeline, 5).await;
    let deadline = in_a_while();
    while one.items(Signal::Logs) < items || two.items(Signal::Logs) < items {
        assert!(Instant::now() < deadline, "nothing is flushed");
        tokio::task::yield_now().await;
    }
    assert!(pipeline.shutdown(in_a_while()).await.balance());
}

#[tokio::test]
async fn what_waits_in_a_batch_when_the_time_is_up_is_in_the_books() {
    let (one, two) = (Sink::closed(), Sink::closed());
    let sending = || batches(1_000_000, Duration::from_secs(3600));
    let pipeline = start([(&one, sending()), (&two, sending())]).await;
    let items = send(&pipeline, 5).await;
    let books = pipeline.shutdown(Instant::now()).await;
    for account in &books.accounts {
        assert!(account.balances(), "{books}");
        assert_eq!((account.dropped["shutdown"], account.held), (items, 0));
    }
}

#[tokio::test]
async fn a_batch_that_can_never_be_full_is_refused_by_the_exporters_name() {
    let mut sending = batches(10, Duration::ZERO);
    sending.batch.as_mut().unwrap().max_items = NonZeroU64::new(5);
    let lane = LaneConfig::new("logs", Signal::Logs).from("otlp").to("sink");
    let builder = Pipeline::builder().receiver("otlp", on_free_ports());
    let error = builder.exporter("sink", Sink::new(), sending).lane(lane).start().await;
    let error = error.unwrap_err();
    assert!(matches!(&error, StartError::Sending { exporter, .. } if exporter == "sink"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_may_adapt_waits_as_long_as_exports_take() {
    let wait = |slow: Duration| async move {
        let sink = Slow(Sink::new(), slow);
        let range = batcher::WaitRange::default();
        let batch = batcher::Config {
            min_items: u64::MAX,
            adaptive: Some(range),
            ..batcher::Config::default()
        };
        let sending = Sending { batch: Some(batch), ..Sending::default() };
        let pipeline = Pipeline::builder()
            .inlet("in")
            .exporter("sink", sink.clone(), sending)
            .lane(LaneConfig::new("logs", Signal::Logs).from("in").to("sink"))
            .start()
            .await
            .unwrap();
        let inlet = pipeline.inlet("in").unwrap();
        let mut telemetry = Telemetry::new(1);
        for _ in 0..400 {
            inlet.send(payload(Signal::Logs, &mut telemetry)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(books.balance() && books.accounts[0].held == 0, "{books}");
        sink.0.taken().len()
    };
    let (fast, slow) = (wait(Duration::from_millis(5)).await, wait(Duration::from_secs(3)).await);
    // Of twenty seconds; the 200 ms at which both begin would make about eighty.
    assert!(fast > 250 && slow < 40, "{fast} and {slow} batches");
}

/// A sink that takes its time.
#[derive(Clone, Debug)]
struct Slow(Sink, Duration);

impl Exporter for Slow {
    async fn export(&self, payload: Payload) -> Result<Delivered, ExportError> {
        tokio::time::sleep(self.1).await;
        self.0.export(payload).await
    }
}
