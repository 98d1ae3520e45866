//! Samplers that decide at once, before anything else.

use teleflow::exporter::QueueConfig;
use teleflow::sampler::head::{HeadConfig, Ratio};
use teleflow::sampler::{Policy, Randomness, Threshold};
use teleflow::{LaneConfig, Pipeline, Signal};
use teleflow_testkit::sink::Sink;
use teleflow_testkit::telemetry::Telemetry;

use super::{SHARDS, WAIT, account, by_trace, config, lane, pass, settle, spans, start};
use crate::pipeline::in_a_while;

fn half() -> HeadConfig {
    HeadConfig::new(Ratio::new(0.5).unwrap())
}

fn is_high(trace: u128) -> bool {
    let half: Threshold = "8".parse().unwrap();
    half.keeps(Randomness::from_trace_id(trace.to_be_bytes()))
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_at_once_is_sampled_as_a_whole_behind_it() {
    for shards in SHARDS {
        let sink = Sink::new();
        let lane = lane(config(Policy::errors()), shards).sample_at_once(half());
        let (pipeline, inlet) = start(&sink, QueueConfig::default(), lane, false).await;
        let mut telemetry = Telemetry::new(3);
        // Half of the traces are high, and half failed.
        let traces: Vec<u128> =
            (1..=200).map(|n| n << 64 | (n % 2) << 55 | (n % 4 / 2) << 8 | n).collect();
        for chunk in traces.chunks(20) {
            let (failed, fine): (Vec<u128>, Vec<u128>) =
                chunk.iter().partition(|trace| *trace >> 8 & 1 == 1);
            inlet.send(spans(&mut telemetry, &failed, true)).await.unwrap();
            inlet.send(spans(&mut telemetry, &fine, false)).await.unwrap();
        }
        settle().await;
        let stats = pipeline.stats().lanes[0].head.unwrap();
        assert_eq!((stats.kept, stats.sampled_out), (100, 100), "{shards} shards");
        assert_eq!(account(&pipeline).held, 100);
        pass(2 * WAIT).await;
        let account = account(&pipeline);
        assert_eq!((account.accepted, account.delivered, account.sampled_out), (200, 50, 150));
        let expected = traces.iter().filter(|trace| is_high(**trace) && *trace >> 8 & 1 == 1);
        assert!(by_trace(&sink.taken()).keys().eq(expected));
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(books.balance(), "{books}");
    }
}

#[tokio::test(start_paused = true)]
async fn records_are_sampled_too_and_who_waits_is_answered() {
    let sink = Sink::new();
    let lane = LaneConfig::new("logs", Signal::Logs).from("in").to("sink").sample_at_once(half());
    let (pipeline, inlet) = start(&sink, QueueConfig::default(), lane, true).await;
    let mut telemetry = Telemetry::new(5);
    for _ in 0..20 {
        let request = telemetry.request(Signal::Logs, 50);
        let payload = teleflow::Payload::parse(Signal::Logs, request.into()).unwrap();
        assert_eq!(inlet.send(payload).await.unwrap().rejected, 0);
    }
    let account = account(&pipeline);
    assert_eq!(account.accepted, account.delivered + account.sampled_out);
    assert!(account.delivered > 300 && account.sampled_out > 300, "{account:?}");
    let books = pipeline.shutdown(in_a_while()).await;
    assert!(books.balance(), "{books}");
}

#[tokio::test]
async fn records_that_follow_are_not_sampled_by_themselves() {
    let follower = LaneConfig::new("logs", Signal::Logs).from("in").to("sink").follow("traces");
    let builder = Pipeline::builder()
        .inlet("in")
        .exporter("sink", Sink::new(), QueueConfig::default())
        .lane(lane(config(Policy::Always), 1))
        .lane(follower.sample_at_once(half()));
    let error = builder.check().unwrap_err();
    assert!(error.to_string().ends_with("it has a head sampler"), "{error}");
}
