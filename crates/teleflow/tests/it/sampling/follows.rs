//! A lane of log records that follows a lane of traces.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use teleflow::exporter::{OnFull, QueueConfig};
use teleflow::otlp::{log, tree};
use teleflow::sampler::{Config, Policy};
use teleflow::{Account, Books, LaneConfig, Payload, Pipeline, Signal};
use teleflow_testkit::reference::Request;
use teleflow_testkit::sink::Sink;
use teleflow_testkit::telemetry::Telemetry;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{SHARDS, WAIT, config, lane, pass, queue, settle, spans};
use crate::pipeline::{in_a_while, payload};

fn records() -> LaneConfig {
    LaneConfig::new("logs", Signal::Logs).from("in").to("records").follow("traces")
}

/// The lane that follows may come before the other.
async fn start(
    sinks: [&Sink; 2],
    queue: QueueConfig,
    shards: usize,
    waits_for_result: bool,
) -> Pipeline {
    let mut builder = Pipeline::builder()
        .inlet("in")
        .exporter("sink", sinks[0].clone(), queue.clone())
        .exporter("records", sinks[1].clone(), queue)
        .lane(records())
        .lane(lane(config(Policy::Always), shards));
    if waits_for_result {
        builder = builder.wait_for_result("in");
    }
    builder.start().await.unwrap()
}

/// Of the lane of traces, and of that of records.
#[track_caller]
fn accounts(books: &Books) -> [&Account; 2] {
    assert!(books.balance(), "{books}");
    [Signal::Traces, Signal::Logs].map(|signal| books.of(signal).next().unwrap())
}

/// A request with a record of each of these traces, and one of none.
fn of_traces(telemetry: &mut Telemetry, traces: &[u128]) -> Payload {
    let mut request = telemetry.logs(1);
    while request.resource_logs.iter().all(|resource| resource.scope_logs.is_empty()) {
        request = telemetry.logs(1);
    }
    let template = telemetry.log_record();
    let ids = traces.iter().map(|trace| trace.to_be_bytes().to_vec()).chain([Vec::new()]);
    let records = ids.map(|trace_id| {
        let mut record = template.clone();
        record.trace_id = trace_id;
        record
    });
    let mut groups = request.resource_logs.iter_mut().flat_map(|group| &mut group.scope_logs);
    groups.next().unwrap().log_records = records.collect();
    groups.for_each(|group| group.log_records.clear());
    let request = Bytes::from(Request::Logs(request).encode());
    Payload::parse(Signal::Logs, request).unwrap()
}

/// How many records there are of each trace; 0 stands for none.
fn by_trace(sink: &Sink) -> BTreeMap<u128, u64> {
    let mut traces = BTreeMap::new();
    let taken = sink.taken();
    for segment in taken.iter().flat_map(Payload::segments) {
        let scopes = tree::resources(segment).flat_map(|group| group.scopes());
        for record in scopes.flat_map(|scope| scope.items()) {
            let id = log::trace_id(record.message).try_into().unwrap_or_default();
            *traces.entry(u128::from_be_bytes(id)).or_default() += 1;
        }
    }
    traces
}

#[tokio::test(start_paused = true)]
async fn records_share_the_fate_of_their_traces() {
    for (shards, waits_for_result) in SHARDS.into_iter().flat_map(|n| [(n, false), (n, true)]) {
        let (sink, other) = (Sink::new(), Sink::new());
        let pipeline =
            start([&sink, &other], QueueConfig::default(), shards, waits_for_result).await;
        pipeline.change_sampler("traces", config(Policy::errors())).unwrap();
        let mut telemetry = Telemetry::new(4);
        let (kept, out): (Vec<u128>, Vec<u128>) = ((1..=20).collect(), (101..=120).collect());
        let all: Vec<_> = kept.iter().chain(&out).copied().collect();
        let inlet = pipeline.inlet("in").unwrap();
        let mut senders = JoinSet::new();
        // Before their spans, with them, and after the decision.
        let requests = [
            (0, of_traces(&mut telemetry, &all)),
            (100, spans(&mut telemetry, &kept, true)),
            (100, spans(&mut telemetry, &out, false)),
            (200, of_traces(&mut telemetry, &all)),
            (2000, of_traces(&mut telemetry, &all)),
            (2000, spans(&mut telemetry, &all, false)),
        ];
        for (after, payload) in requests {
            let inlet = inlet.clone();
            senders.spawn(async move {
                pass(Duration::from_millis(after)).await;
                inlet.send(payload).await
            });
        }
        pass(Duration::from_millis(500)).await;
        let alone = BTreeMap::from([(0, 2)]);
        assert_eq!(by_trace(&other), alone, "who has no trace waits for none");
        let books = pipeline.books();
        let [traces, logs] = accounts(&books);
        assert_eq!((traces.held, logs.held), (40, 80));
        pass(WAIT).await;
        let mut wanted: BTreeMap<_, _> = kept.iter().map(|trace| (*trace, 2)).collect();
        wanted.insert(0, 2);
        assert_eq!(by_trace(&other), wanted, "{shards} shards");
        for answer in senders.join_all().await {
            answer.unwrap();
        }
        let books = pipeline.shutdown(in_a_while()).await;
        wanted.values_mut().for_each(|records| *records = 3);
        assert_eq!(by_trace(&other), wanted, "late ones follow too");
        let [traces, logs] = accounts(&books);
        assert_eq!((traces.accepted, traces.delivered, traces.sampled_out), (80, 40, 40));
        assert_eq!((logs.accepted, logs.delivered, logs.sampled_out), (123, 63, 60));
        assert_eq!((traces.held, logs.held), (0, 0));
        assert_eq!(sink.items(Signal::Traces), 40);
    }
}

#[tokio::test(start_paused = true)]
async fn each_lane_has_its_own_items_in_its_own_books() {
    for (shards, waits_for_result) in SHARDS.into_iter().flat_map(|n| [(n, false), (n, true)]) {
        let (sink, other) = (Sink::new(), Sink::new());
        let pipeline =
            start([&sink, &other], QueueConfig::default(), shards, waits_for_result).await;
        let inlet = pipeline.inlet("in").unwrap();
        let mut telemetry = Telemetry::new(1);
        let (mut items, mut records) = (0, 0);
        for round in 0..20 {
            let ids: Vec<u128> = (round * 10 + 1..=round * 10 + 10).collect();
            let traces = spans(&mut telemetry, &ids, false);
            let logs = payload(Signal::Logs, &mut telemetry);
            items += traces.items();
            records += logs.items();
            inlet.send(traces).await.unwrap();
            inlet.send(logs).await.unwrap();
            accounts(&pipeline.books());
        }
        pass(WAIT * 2).await;
        let books = pipeline.shutdown(in_a_while()).await;
        let [traces, logs] = accounts(&books);
        assert_eq!((traces.accepted, traces.delivered, traces.held), (items, items, 0));
        assert_eq!((logs.accepted, logs.delivered, logs.held), (records, records, 0));
        assert_eq!(sink.items(Signal::Traces), items);
        assert_eq!(other.items(Signal::Logs), records);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_destination_of_records_holds_up_both_and_loses_nothing() {
    for shards in SHARDS {
        let (sink, other) = (Sink::new(), Sink::closed());
        let pipeline = start([&sink, &other], queue(1, OnFull::Wait), shards, false).await;
        let inlet = pipeline.inlet("in").unwrap();
        let mut telemetry = Telemetry::new(2);
        let mut senders = JoinSet::new();
        let mut sent = [0; 3];
        for round in 0..1200 {
            let payload = match round % 2 {
                0 => spans(&mut telemetry, &[round / 2 + 1], false),
                _ => payload(Signal::Logs, &mut telemetry),
            };
            sent[payload.signal().index()] += payload.items();
            let inlet = inlet.clone();
            senders.spawn(async move { inlet.send(payload).await });
        }
        pass(WAIT * 3).await;
        let books = pipeline.books();
        let [traces, logs] = accounts(&books);
        assert!(traces.held > 0 && logs.held > 0, "{books}");
        other.open();
        for answer in senders.join_all().await {
            answer.unwrap();
        }
        let books = pipeline.shutdown(in_a_while()).await;
        let [traces, logs] = accounts(&books);
        let [items, _, records] = sent;
        assert_eq!((traces.accepted, traces.delivered, traces.held), (items, items, 0));
        assert_eq!((logs.accepted, logs.delivered, logs.held), (records, records, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_either_holds_when_the_time_is_up_is_in_its_books() {
    for shards in SHARDS {
        let (sink, other) = (Sink::closed(), Sink::closed());
        let pipeline = start([&sink, &other], queue(1, OnFull::Wait), shards, false).await;
        let inlet = pipeline.inlet("in").unwrap();
        let mut telemetry = Telemetry::new(3);
        let mut sent = [0; 3];
        for round in 0..400 {
            let payload = match round % 2 {
                0 => spans(&mut telemetry, &[round / 2 + 1], false),
                _ => payload(Signal::Logs, &mut telemetry),
            };
            sent[payload.signal().index()] += payload.items();
            inlet.send(payload).await.unwrap();
        }
        settle().await;
        let books = pipeline.shutdown(Instant::now() + Duration::from_millis(10)).await;
        for (account, signal) in accounts(&books).into_iter().zip([Signal::Traces, Signal::Logs]) {
            let items = sent[signal.index()];
            assert_eq!((account.accepted, account.held), (items, 0), "{books}");
            assert_eq!(account.dropped["shutdown"], items, "{books}");
        }
        assert!(pipeline.failed_lanes().is_empty());
    }
}

#[tokio::test]
async fn who_cannot_follow_is_named() {
    let traces = || lane(config(Policy::Always), 1);
    let plain = LaneConfig { sampler: None::<Config>, ..traces() };
    let other = LaneConfig { name: "others".to_owned(), ..records() };
    let spans = LaneConfig { name: "spans".to_owned(), ..plain.clone() }.follow("traces");
    for (lanes, wanted) in [
        (vec![records()], "lane `logs` cannot follow lane `traces`: there is no such lane"),
        (vec![records(), plain], "lane `logs` cannot follow lane `traces`: that has no sampler"),
        (
            vec![traces(), records(), other],
            "lane `others` cannot follow lane `traces`: lane `logs` does already",
        ),
        (vec![traces(), spans], "lane `spans` cannot follow lane `traces`: it does not carry logs"),
    ] {
        let queue = QueueConfig::default;
        let mut builder = Pipeline::builder()
            .inlet("in")
            .exporter("sink", Sink::new(), queue())
            .exporter("records", Sink::new(), queue());
        for lane in lanes {
            builder = builder.lane(lane);
        }
        assert_eq!(builder.start().await.unwrap_err().to_string(), wanted);
    }
}
