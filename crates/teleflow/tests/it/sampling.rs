//! Lanes with a tail sampler, in one task and in shards.

mod bounds;
mod changes;
mod follows;
mod head;
mod relief;
mod shards;
mod shared;
#[cfg(feature = "mapped")]
mod storage;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use teleflow::exporter::{OnFull, QueueConfig};
use teleflow::otlp::span::Span;
use teleflow::otlp::tree;
use teleflow::sampler::{self, Policy, Rule};
use teleflow::{Account, Inlet, LaneConfig, Payload, Pipeline, Signal};
use teleflow_testkit::reference::Request;
use teleflow_testkit::sink::Sink;
use teleflow_testkit::telemetry::Telemetry;

/// How many shards a lane has in the tests that try several.
const SHARDS: [usize; 3] = [1, 2, 5];

const WAIT: Duration = Duration::from_secs(1);

fn config(policy: Policy) -> sampler::Config {
    sampler::Config {
        rules: vec![Rule::new("rule", policy)].into(),
        decision_wait: WAIT,
        hash_seed: 7,
        ..sampler::Config::default()
    }
}

fn lane(config: sampler::Config, shards: usize) -> LaneConfig {
    let lane = LaneConfig::new("traces", Signal::Traces).from("in").to("sink").sample(config);
    lane.sample_in(NonZeroUsize::new(shards).unwrap())
}

/// A queue of so many requests, sent one after the other.
fn queue(requests: usize, on_full: OnFull) -> QueueConfig {
    QueueConfig {
        max_requests: NonZeroUsize::new(requests).unwrap(),
        num_consumers: NonZeroUsize::MIN,
        on_full,
        ..QueueConfig::default()
    }
}

/// A pipeline from an inlet to `sink`.
async fn start(
    sink: &Sink,
    queue: QueueConfig,
    lane: LaneConfig,
    waits_for_result: bool,
) -> (Pipeline, Inlet) {
    let mut builder = Pipeline::builder().inlet("in").exporter("sink", sink.clone(), queue);
    if waits_for_result {
        builder = builder.wait_for_result("in");
    }
    let pipeline = builder.lane(lane).start().await.unwrap();
    let inlet = pipeline.inlet("in").unwrap();
    (pipeline, inlet)
}

/// A request with a span of each of these traces, which failed or not.
fn spans(telemetry: &mut Telemetry, traces: &[u128], failed: bool) -> Payload {
    let mut request = telemetry.traces(1);
    while request.resource_spans.iter().all(|resource| resource.scope_spans.is_empty()) {
        request = telemetry.traces(1);
    }
    let template = telemetry.span();
    let mut groups = request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans);
    let spans = traces.iter().map(|trace| {
        let mut span = template.clone();
        span.trace_id = trace.to_be_bytes().to_vec();
        span.status.get_or_insert_default().code = if failed { 2 } else { 1 };
        span
    });
    groups.next().unwrap().spans = spans.collect();
    groups.for_each(|group| group.spans.clear());
    let request = Bytes::from(Request::Traces(request).encode());
    Payload::parse(Signal::Traces, request).unwrap()
}

/// How many spans of each trace there are.
fn by_trace(payloads: &[Payload]) -> BTreeMap<u128, u64> {
    let mut traces = BTreeMap::new();
    for segment in payloads.iter().flat_map(Payload::segments) {
        let scopes = tree::resources(segment).flat_map(|group| group.scopes());
        for span in scopes.flat_map(|scope| scope.items()) {
            let id = Span::read(span.message).trace_id.try_into().unwrap();
            *traces.entry(u128::from_be_bytes(id)).or_default() += 1;
        }
    }
    traces
}

/// The account of the only lane, whose books balance.
#[track_caller]
fn account(pipeline: &Pipeline) -> Account {
    let books = pipeline.books();
    assert!(books.balance(), "{books}");
    let [account] = &books.accounts[..] else { panic!("there is one lane") };
    account.clone()
}

async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Lets time pass, which nobody waits for: it is paused.
async fn pass(time: Duration) {
    // bounded wait: time is paused.
    tokio::time::sleep(time).await;
}
