//! A receiver that waits for the result answers for what became of the items.

use std::num::NonZeroU64;
use std::time::Duration;

use teleflow::exporter::{Exporter as _, QueueConfig};
use teleflow::sampler::{self, Policy, Rule};
use teleflow::{LaneConfig, Payload, Pipeline, Signal, StartError, batcher};
use teleflow_testkit::sink::{Cue, Sink};
use teleflow_testkit::telemetry::Telemetry;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::pipeline::{
    account, grpc_client, http_client, in_a_while, in_order, on_free_ports, payload,
};

async fn start(sinks: &[&Sink], shape: impl Fn(LaneConfig) -> LaneConfig) -> Pipeline {
    let mut builder = Pipeline::builder().receiver("otlp", on_free_ports()).wait_for_result("otlp");
    let mut lane = LaneConfig::new("traces", Signal::Traces).from("otlp");
    for (index, sink) in sinks.iter().enumerate() {
        let name = format!("sink{index}");
        builder = builder.exporter(&*name, (*sink).clone(), in_order());
        lane = lane.to(name);
    }
    builder.lane(shape(lane)).start().await.unwrap()
}

fn spans(seed: u64) -> Payload {
    let mut telemetry = Telemetry::new(seed);
    let mut payloads = std::iter::repeat_with(|| payload(Signal::Traces, &mut telemetry));
    payloads.find(|payload| payload.items() > 3).unwrap()
}

#[tokio::test]
async fn the_sender_is_answered_when_the_items_have_arrived() {
    let sink = Sink::closed();
    let pipeline = start(&[&sink], |lane| lane).await;
    let payload = spans(1);
    let (grpc, http) = (grpc_client(&pipeline), http_client(&pipeline));
    let sent = [
        tokio::spawn({
            let payload = payload.clone();
            async move { grpc.export(payload).await }
        }),
        tokio::spawn({
            let payload = payload.clone();
            async move { http.export(payload).await }
        }),
    ];
    while pipeline.books().accounts[0].held < 2 * payload.items() {
        yield_now().await;
    }
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(sent.iter().all(|sent| !sent.is_finished()), "nothing has arrived");
    sink.open();
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
    assert_eq!(sink.items(Signal::Traces), 2 * payload.items());
    let books = pipeline.shutdown(in_a_while()).await;
    assert_eq!(account(&books, Signal::Traces).delivered, 2 * payload.items());
}

#[tokio::test]
async fn what_was_lost_may_be_sent_again() {
    let sink = Sink::new();
    let pipeline = start(&[&sink], |lane| lane).await;
    let payload = spans(2);
    let items = payload.items();
    sink.cue([Cue::Transient, Cue::Panic, Cue::Take]);
    for client in [0, 1] {
        let error = match client {
            0 => grpc_client(&pipeline).export(payload.clone()).await,
            _ => http_client(&pipeline).export(payload.clone()).await,
        };
        assert!(error.unwrap_err().is_retryable());
    }
    grpc_client(&pipeline).export(payload).await.unwrap();
    let books = pipeline.shutdown(in_a_while()).await;
    let traces = account(&books, Signal::Traces);
    assert_eq!((traces.accepted, traces.delivered), (3 * items, items));
    assert_eq!((traces.dropped["transient"], traces.dropped["panicked"]), (items, items));
}

#[tokio::test]
async fn what_was_refused_for_good_is_a_partial_success() {
    let sink = Sink::new();
    let pipeline = start(&[&sink], |lane| lane).await;
    let payload = spans(4);
    let items = payload.items();
    for (cue, rejected) in [(Cue::Reject(2), 2), (Cue::Permanent, items), (Cue::Take, 0)] {
        for client in [0, 1] {
            sink.cue([cue.clone()]);
            let delivered = match client {
                0 => grpc_client(&pipeline).export(payload.clone()).await.unwrap(),
                _ => http_client(&pipeline).export(payload.clone()).await.unwrap(),
            };
            assert_eq!(delivered.rejected, rejected);
            assert_eq!(delivered.message.is_some(), rejected > 0);
        }
    }
    let books = pipeline.shutdown(in_a_while()).await;
    let traces = account(&books, Signal::Traces);
    assert_eq!((traces.accepted, traces.rejected), (6 * items, 2 * (2 + items)));
}

#[tokio::test]
async fn of_several_destinations_the_worst_answer_counts() {
    let (good, bad) = (Sink::new(), Sink::new());
    let pipeline = start(&[&good, &bad], |lane| lane).await;
    let payload = spans(3);
    bad.cue([Cue::Transient]);
    let client = grpc_client(&pipeline);
    assert!(client.export(payload.clone()).await.unwrap_err().is_retryable());
    client.export(payload.clone()).await.unwrap();
    let books = pipeline.shutdown(in_a_while()).await;
    assert!(books.balance(), "{books}");
    assert_eq!(good.items(Signal::Traces), 2 * payload.items(), "it came twice");
    assert_eq!(bad.items(Signal::Traces), payload.items());
}

#[tokio::test]
async fn batches_answer_each_sender_for_its_own_items() {
    let sink = Sink::new();
    // Every batch holds items of several requests, and every request is in several batches.
    let batch = batcher::Config {
        min_items: 7,
        max_items: NonZeroU64::new(7),
        timeout: Duration::from_millis(50),
        ..batcher::Config::default()
    };
    let pipeline = start(&[&sink], |lane| lane.batch(batch.clone())).await;
    // One batch of all is lost.
    sink.cue([Cue::Take, Cue::Take, Cue::Transient]);
    let mut sent = Vec::new();
    let mut items = 0;
    for seed in 0..10 {
        let (client, payload) = (grpc_client(&pipeline), spans(seed));
        items += payload.items();
        sent.push(tokio::spawn(async move { client.export(payload).await }));
    }
    let mut failed = 0;
    for sent in sent {
        failed += u64::from(sent.await.unwrap().is_err());
    }
    let books = pipeline.shutdown(in_a_while()).await;
    let traces = account(&books, Signal::Traces);
    assert_eq!((traces.accepted, traces.dropped["transient"]), (items, 7));
    assert!((1..=7).contains(&failed), "{failed} of ten have lost some of seven items");
}

#[tokio::test]
async fn with_a_sampler_the_answer_comes_with_the_decision() {
    let sink = Sink::new();
    let sampling = sampler::Config {
        rules: vec![Rule::new("half", Policy::percent(50.0, ""))].into(),
        decision_wait: Duration::from_millis(30),
        ..sampler::Config::default()
    };
    let pipeline = start(&[&sink], |lane| lane.sample(sampling.clone())).await;
    let client = grpc_client(&pipeline);
    let mut sent = 0;
    for seed in 0..8 {
        let payload = spans(seed);
        sent += payload.items();
        client.export(payload).await.unwrap();
        let books = pipeline.books();
        let traces = account(&books, Signal::Traces);
        assert_eq!((traces.accepted, traces.held), (sent, 0), "all of it is decided and delivered");
    }
    let books = pipeline.shutdown(in_a_while()).await;
    let traces = account(&books, Signal::Traces);
    assert!(traces.sampled_out > 0 && traces.delivered > 0, "{books}");
}

#[tokio::test]
async fn at_the_end_nobody_is_kept_waiting_for_a_decision() {
    let sink = Sink::new();
    let sampling = sampler::Config {
        rules: vec![Rule::new("all", Policy::Always)].into(),
        decision_wait: Duration::from_secs(3600),
        ..sampler::Config::default()
    };
    let batch = batcher::Config { timeout: Duration::MAX, ..batcher::Config::default() };
    let shape = |lane: LaneConfig| lane.sample(sampling.clone()).batch(batch.clone());
    let pipeline = start(&[&sink], shape).await;
    let (client, payload) = (grpc_client(&pipeline), spans(6));
    let items = payload.items();
    let sent = tokio::spawn(async move { client.export(payload).await });
    while pipeline.books().accounts[0].held < items {
        yield_now().await;
    }
    let books = pipeline.shutdown(in_a_while()).await;
    assert_eq!(account(&books, Signal::Traces).delivered, items);
    sent.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_waits_when_the_time_is_up_is_told_to_send_again() {
    let sink = Sink::closed();
    let pipeline = start(&[&sink], |lane| lane).await;
    let (client, payload) = (grpc_client(&pipeline), spans(5));
    let items = payload.items();
    let sent = tokio::spawn(async move { client.export(payload).await });
    while pipeline.books().accounts[0].held < items {
        yield_now().await;
    }
    let books = pipeline.shutdown(Instant::now()).await;
    assert_eq!(account(&books, Signal::Traces).dropped["shutdown"], items);
    assert!(sent.await.unwrap().unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_receiver_that_does_not_exist_waits_for_nothing() {
    let lane = LaneConfig::new("traces", Signal::Traces).from("otlp").to("sink");
    let builder = Pipeline::builder()
        .receiver("otlp", on_free_ports())
        .exporter("sink", Sink::new(), QueueConfig::default())
        .lane(lane)
        .wait_for_result("oltp");
    let error = builder.start().await.unwrap_err();
    assert!(matches!(&error, StartError::NoReceiver(name) if name == "oltp"), "{error}");
}
