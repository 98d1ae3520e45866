use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use teleflow::exporter::{
    Exporter, GrpcConfig, GrpcExporter, HttpConfig, HttpExporter, OnFull, QueueConfig,
};
use teleflow::sampler::{self, Policy, Rule};
use teleflow::{
    Account, Books, LaneConfig, Payload, Phase, Pipeline, Signal, StartError, receiver,
};
use teleflow_testkit::sink::{Cue, Sink};
use teleflow_testkit::telemetry::Telemetry;
use tokio::time::Instant;

pub(crate) fn on_free_ports() -> receiver::Config {
    receiver::Config {
        grpc: Some(receiver::GrpcConfig {
            endpoint: "127.0.0.1:0".into(),
            ..receiver::GrpcConfig::default()
        }),
        http: Some(receiver::HttpConfig {
            endpoint: "127.0.0.1:0".into(),
            ..receiver::HttpConfig::default()
        }),
        ..receiver::Config::default()
    }
}

pub(crate) fn in_order() -> QueueConfig {
    QueueConfig { num_consumers: NonZeroUsize::MIN, ..QueueConfig::default() }
}

fn lane(signal: Signal) -> LaneConfig {
    LaneConfig::new(signal.name(), signal).from("otlp").to("sink")
}

/// A pipeline of one lane for each signal, from real sockets into `sink`.
async fn start(
    sink: &Sink,
    queue: QueueConfig,
    shape: impl Fn(LaneConfig) -> LaneConfig,
) -> Pipeline {
    let mut builder =
        Pipeline::builder().receiver("otlp", on_free_ports()).exporter("sink", sink.clone(), queue);
    for signal in Signal::ALL {
        builder = builder.lane(shape(lane(signal)));
    }
    builder.start().await.unwrap()
}

pub(crate) fn grpc_client(pipeline: &Pipeline) -> GrpcExporter {
    let endpoint = format!("http://{}", pipeline.grpc_addr("otlp").unwrap());
    GrpcExporter::new(GrpcConfig::new(endpoint)).unwrap()
}

pub(crate) fn http_client(pipeline: &Pipeline) -> HttpExporter {
    let endpoint = format!("http://{}", pipeline.http_addr("otlp").unwrap());
    HttpExporter::new(HttpConfig::new(endpoint)).unwrap()
}

pub(crate) fn payload(signal: Signal, telemetry: &mut Telemetry) -> Payload {
    Payload::parse(signal, Bytes::from(telemetry.request(signal, 10))).unwrap()
}

pub(crate) fn in_a_while() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Sends fifty payloads of each signal over both protocols; returns the items sent, by signal.
async fn send(pipeline: &Pipeline, seed: u64) -> [u64; 3] {
    let (grpc, http) = (grpc_client(pipeline), http_client(pipeline));
    let mut telemetry = Telemetry::new(seed);
    let mut sent = [0; 3];
    for round in 0..50 {
        for signal in Signal::ALL {
            let payload = payload(signal, &mut telemetry);
            sent[signal.index()] += payload.items();
            if round % 2 == 0 {
                grpc.export(payload).await.unwrap();
            } else {
                http.export(payload).await.unwrap();
            }
            assert!(pipeline.books().balance(), "{}", pipeline.books());
        }
    }
    sent
}

#[track_caller]
pub(crate) fn account(books: &Books, signal: Signal) -> &Account {
    assert!(books.balance(), "{books}");
    let mut accounts = books.of(signal);
    let account = accounts.next().unwrap();
    assert!(accounts.next().is_none());
    account
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_was_sent_arrives_over_both_protocols() {
    let sink = Sink::new();
    let pipeline =
        start(&sink, QueueConfig::default(), |lane| lane.batch(Default::default())).await;
    assert_eq!(pipeline.phase(), Phase::Serving);
    let sent = send(&pipeline, 1).await;
    let books = pipeline.shutdown(in_a_while()).await;
    assert_eq!(pipeline.phase(), Phase::Stopped);
    for signal in Signal::ALL {
        let account = account(&books, signal);
        assert_eq!(account.accepted, sent[signal.index()]);
        assert_eq!(account.delivered, sent[signal.index()]);
        assert_eq!(account.held, 0);
        assert_eq!(sink.items(signal), sent[signal.index()]);
    }
    assert!(sink.is_shut_down());
    assert_eq!(pipeline.shutdown(Instant::now()).await, books, "a second call changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sampled_out_is_in_the_books_and_the_rest_arrives() {
    let sink = Sink::new();
    let sampling = sampler::Config {
        rules: vec![Rule::new("half", Policy::percent(50.0, ""))].into(),
        ..sampler::Config::default()
    };
    let pipeline = start(&sink, QueueConfig::default(), |lane| {
        let samples = lane.signal == Signal::Traces;
        let lane = lane.batch(Default::default());
        if samples { lane.sample(sampling.clone()) } else { lane }
    })
    .await;
    let sent = send(&pipeline, 2).await;
    assert_eq!(account(&pipeline.books(), Signal::Traces).held, sent[0], "nothing is decided yet");
    let books = pipeline.shutdown(in_a_while()).await;
    let traces = account(&books, Signal::Traces);
    assert_eq!(traces.accepted, sent[0]);
    assert!(traces.sampled_out > 0 && traces.delivered > 0, "{books}");
    assert_eq!(traces.held, 0);
    assert_eq!(sink.items(Signal::Traces), traces.delivered);
    assert_eq!(account(&books, Signal::Logs).delivered, sent[2]);
}

#[tokio::test]
async fn every_way_to_fail_has_its_entry() {
    let sink = Sink::new();
    let pipeline = start(&sink, in_order(), |lane| lane).await;
    let client = http_client(&pipeline);
    let mut telemetry = Telemetry::new(3);
    let one = std::iter::repeat_with(|| payload(Signal::Logs, &mut telemetry))
        .find(|payload| payload.items() > 2)
        .unwrap();
    let n = one.items();
    sink.cue([Cue::Take, Cue::Reject(2), Cue::Transient, Cue::Permanent, Cue::Panic]);
    for _ in 0..6 {
        client.export(one.clone()).await.unwrap();
    }
    let books = pipeline.shutdown(in_a_while()).await;
    let logs = account(&books, Signal::Logs);
    assert_eq!(logs.accepted, 6 * n);
    assert_eq!(logs.delivered, n + (n - 2) + n);
    assert_eq!(logs.rejected, 2 + n, "a partial success, and a permanent failure");
    assert_eq!(logs.dropped["transient"], n, "there was no retry around the sink");
    assert_eq!(logs.dropped["panicked"], n);
    assert_eq!(logs.held, 0);
}

fn of_two(on_full: OnFull) -> QueueConfig {
    QueueConfig {
        max_requests: NonZeroUsize::new(2).unwrap(),
        num_consumers: NonZeroUsize::MIN,
        on_full,
        ..QueueConfig::default()
    }
}

#[tokio::test]
async fn a_full_queue_has_senders_refused_or_holds_them_up_and_loses_nothing() {
    for on_full in [OnFull::Reject, OnFull::Wait] {
        let sink = Sink::closed();
        let pipeline = start(&sink, of_two(on_full), |lane| lane).await;
        let client = grpc_client(&pipeline);
        let mut telemetry = Telemetry::new(4);
        let (mut taken, mut refusal) = (0, None);
        for _ in 0..200 {
            let payload = payload(Signal::Traces, &mut telemetry);
            let items = payload.items();
            match client.export(payload).await {
                Ok(_) => taken += items,
                Err(error) => refusal = Some(error),
            }
        }
        match on_full {
            OnFull::Reject => {
                let refusal = refusal.unwrap();
                assert!(refusal.is_overload() && refusal.is_retryable(), "{refusal}");
                assert!(refusal.retry_after().is_some_and(|wait| !wait.is_zero()), "{refusal}");
            }
            OnFull::Wait => assert!(refusal.is_none(), "{refusal:?}"),
        }
        assert!(pipeline.books().balance());
        sink.open();
        let books = pipeline.shutdown(in_a_while()).await;
        let traces = account(&books, Signal::Traces);
        assert_eq!((traces.accepted, traces.held), (taken, 0));
        assert_eq!((traces.delivered, sink.items(Signal::Traces)), (taken, taken));
        assert!(traces.dropped.is_empty(), "{books}");
    }
}

#[tokio::test]
async fn of_two_destinations_a_full_one_drops_and_the_other_goes_on() {
    let (full, other) = (Sink::closed(), Sink::new());
    let lane = LaneConfig::new("traces", Signal::Traces).from("otlp").to("full").to("other");
    let pipeline = Pipeline::builder()
        .receiver("otlp", on_free_ports())
        .exporter("full", full.clone(), of_two(OnFull::Reject))
        .exporter("other", other.clone(), QueueConfig::default())
        .lane(lane)
        .start()
        .await
        .unwrap();
    let client = grpc_client(&pipeline);
    let mut telemetry = Telemetry::new(4);
    let mut sent = 0;
    for _ in 0..50 {
        let payload = payload(Signal::Traces, &mut telemetry);
        sent += payload.items();
        client.export(payload).await.unwrap();
    }
    while other.items(Signal::Traces) < sent {
        tokio::task::yield_now().await;
    }
    full.open();
    let books = pipeline.shutdown(in_a_while()).await;
    assert!(books.balance(), "{books}");
    let [full, other] = &books.accounts[..] else { panic!("there are two destinations") };
    assert_eq!((full.accepted, other.accepted, other.delivered), (sent, sent, sent));
    assert_eq!(full.dropped["queue_full"], sent - full.delivered);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_at_the_deadline_is_given_up_and_counted() {
    let sink = Sink::closed();
    let queue = QueueConfig {
        max_requests: NonZeroUsize::new(2).unwrap(),
        on_full: OnFull::Wait,
        ..QueueConfig::default()
    };
    let sampling = sampler::Config {
        rules: vec![Rule::new("all", Policy::Always)].into(),
        ..sampler::Config::default()
    };
    let pipeline = start(&sink, queue, |lane| {
        if lane.signal == Signal::Traces { lane.sample(sampling.clone()) } else { lane }
    })
    .await;
    let sent = send(&pipeline, 5).await;
    let before = Instant::now();
    let books = pipeline.shutdown(before + Duration::from_secs(3)).await;
    assert!(before.elapsed() < Duration::from_secs(6), "the deadline bounds the shutdown");
    for signal in Signal::ALL {
        let account = account(&books, signal);
        assert_eq!((account.delivered, account.held), (0, 0), "{books}");
        assert_eq!(account.dropped["shutdown"], sent[signal.index()], "{books}");
    }
}

#[tokio::test]
async fn each_destination_has_its_own_account() {
    let (good, bad) = (Sink::new(), Sink::new());
    bad.cue(std::iter::repeat_n(Cue::Permanent, 1000));
    let pipeline = Pipeline::builder()
        .receiver("otlp", on_free_ports())
        .exporter("good", good.clone(), QueueConfig::default())
        .exporter("bad", bad, QueueConfig::default())
        .lane(LaneConfig::new("a", Signal::Logs).from("otlp").to("good").to("bad"))
        .lane(LaneConfig::new("b", Signal::Logs).from("otlp").to("good"))
        .start()
        .await
        .unwrap();
    let client = http_client(&pipeline);
    let mut telemetry = Telemetry::new(6);
    let mut sent = 0;
    for _ in 0..20 {
        let payload = payload(Signal::Logs, &mut telemetry);
        sent += payload.items();
        client.export(payload).await.unwrap();
    }
    // A signal that no lane carries is not taken and lost: it is not taken.
    let refused = client.export(payload(Signal::Metrics, &mut telemetry)).await.unwrap_err();
    assert!(!refused.is_retryable(), "{refused}");

    let books = pipeline.shutdown(in_a_while()).await;
    assert!(books.balance(), "{books}");
    let of = |lane: &str, to: &str| {
        books.accounts.iter().find(|a| a.lane == lane && a.destination == to).unwrap()
    };
    assert_eq!((of("a", "good").delivered, of("a", "good").rejected), (sent, 0));
    assert_eq!((of("a", "bad").delivered, of("a", "bad").rejected), (0, sent));
    assert_eq!(of("b", "good").delivered, sent);
    assert_eq!(good.items(Signal::Logs), 2 * sent);
}

#[tokio::test]
async fn parts_that_do_not_fit_are_named() {
    let sink = Sink::new();
    let builder = || {
        Pipeline::builder().receiver("otlp", on_free_ports()).exporter(
            "sink",
            sink.clone(),
            QueueConfig::default(),
        )
    };
    let lane = || LaneConfig::new("logs", Signal::Logs);
    for (builder, message) in [
        (
            builder().lane(lane().from("otlp").to("nowhere")),
            "lane `logs` names the exporter `nowhere`, which does not exist",
        ),
        (builder().lane(lane().to("sink")), "lane `logs` has no receiver"),
        (
            builder().lane(lane().from("otlp").to("sink").to("sink")),
            "lane `logs` names the exporter `sink` twice",
        ),
        (builder().receiver("otlp", on_free_ports()), "there are two receivers named `otlp`"),
        (
            builder().lane(lane().from("otlp").to("sink").sample(sampler::Config::default())),
            "lane `logs` carries no traces, so it cannot have a tail sampler",
        ),
    ] {
        assert_eq!(builder.start().await.unwrap_err().to_string(), message);
    }

    let first = builder().lane(lane().from("otlp").to("sink")).start().await.unwrap();
    let taken = receiver::Config {
        grpc: Some(receiver::GrpcConfig {
            endpoint: first.grpc_addr("otlp").unwrap().to_string(),
            ..receiver::GrpcConfig::default()
        }),
        ..on_free_ports()
    };
    let second = Pipeline::builder().receiver("again", taken).start().await.unwrap_err();
    assert!(matches!(&second, StartError::Bind { receiver, .. } if receiver == "again"));
    first.shutdown(in_a_while()).await;
}
