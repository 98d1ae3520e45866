//! Rules that change while a lane runs.

use teleflow::exporter::QueueConfig;
use teleflow::sampler::{Config, Policy};
use teleflow::{ChangeError, LaneConfig, Pipeline, Signal};
use teleflow_testkit::sink::Sink;
use teleflow_testkit::telemetry::Telemetry;

use super::{SHARDS, WAIT, account, by_trace, config, lane, pass, settle, spans, start};
use crate::pipeline::in_a_while;

#[tokio::test(start_paused = true)]
async fn a_trace_is_decided_by_the_rules_in_force_then_and_late_spans_follow_it() {
    for shards in SHARDS {
        let sink = Sink::new();
        let lane = lane(config(Policy::Always), shards);
        let (pipeline, inlet) = start(&sink, QueueConfig::default(), lane, false).await;
        let mut telemetry = Telemetry::new(1);
        let traces = |first: u128| (first..first + 40).collect::<Vec<_>>();
        let (before, across, after) = (traces(100), traces(200), traces(300));
        let mut items = 0;
        let mut send = async |ids: &[u128]| {
            let payload = spans(&mut telemetry, ids, false);
            items += payload.items();
            inlet.send(payload).await.unwrap();
            settle().await;
        };
        send(&before).await;
        pass(WAIT * 2).await;
        send(&across).await;
        pass(WAIT / 2).await;
        let held = pipeline.stats().lanes[0].sampler.as_ref().unwrap().1;
        // The wait that is longer now is that of the traces that begin now.
        let other = Config { decision_wait: WAIT * 3, ..config(Policy::errors()) };
        pipeline.change_sampler("traces", other).unwrap();
        let stats = pipeline.stats();
        let now = stats.lanes[0].sampler.as_ref().unwrap().1;
        assert_eq!((now.spans, now.traces), (held.spans, 40), "what is held stays");
        send(&before).await;
        send(&after).await;
        pass(WAIT).await;
        let of_lane = |pipeline: &Pipeline| pipeline.stats().lanes[0].sampler.clone().unwrap();
        assert_eq!(of_lane(&pipeline).1.traces, 40, "those of before are decided");
        assert_eq!(of_lane(&pipeline).0.traces_sampled_out, 40);
        pass(WAIT * 3).await;
        assert_eq!(of_lane(&pipeline).0.traces_sampled_out, 80);
        // What was left out stays out when the rules are the old ones again.
        pipeline.change_sampler("traces", config(Policy::Always)).unwrap();
        send(&across).await;
        send(&after).await;
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(books.balance(), "{books}");
        let kept = by_trace(&sink.taken());
        assert_eq!(kept.keys().copied().collect::<Vec<_>>(), before);
        let account = &books.accounts[0];
        assert_eq!(account.delivered, kept.values().sum::<u64>());
        assert_eq!(account.delivered + account.sampled_out, items);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_change_is_named_and_nothing_changes() {
    for shards in [1, 3] {
        let sink = Sink::new();
        let plain = LaneConfig::new("plain", Signal::Traces).from("in").to("sink");
        let pipeline = Pipeline::builder()
            .inlet("in")
            .exporter("sink", sink.clone(), QueueConfig::default())
            .lane(lane(config(Policy::Always), shards))
            .lane(plain)
            .start()
            .await
            .unwrap();
        let message = |lane: &str, config: Config| {
            pipeline.change_sampler(lane, config).unwrap_err().to_string()
        };
        assert_eq!(message("other", config(Policy::Always)), "there is no lane `other`");
        assert_eq!(
            message("plain", config(Policy::Always)),
            "lane `plain` has no sampler, and gets one only at the next start"
        );
        let none = Config { max_traces: 0, ..config(Policy::errors()) };
        assert_eq!(message("traces", none), "the sampler of lane `traces` cannot work so");
        if shards > 1 {
            let few = Config { max_bytes: 70_000, ..config(Policy::errors()) };
            assert_eq!(
                message("traces", few),
                "lane `traces` has 3 shards: 70000 bytes are too few for all of them: \
                 give at least 196608"
            );
        }
        let mut telemetry = Telemetry::new(2);
        let ids: Vec<u128> = (1..=20).collect();
        let payload = spans(&mut telemetry, &ids, false);
        let items = payload.items();
        pipeline.inlet("in").unwrap().send(payload).await.unwrap();
        pass(WAIT * 2).await;
        assert_eq!(sink.items(Signal::Traces), 2 * items, "all is kept, as it was");
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(books.balance(), "{books}");
        assert!(books.accounts.iter().all(|account| account.delivered == items), "{books}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_gave_up_takes_no_rules() {
    for shards in SHARDS {
        let sink = Sink::closed();
        let lane = lane(config(Policy::Always), shards);
        let (pipeline, inlet) =
            start(&sink, super::queue(1, super::OnFull::Wait), lane, false).await;
        let mut telemetry = Telemetry::new(3);
        for first in [100, 200, 300] {
            let ids: Vec<u128> = (first..first + 20).collect();
            inlet.send(spans(&mut telemetry, &ids, false)).await.unwrap();
            pass(WAIT * 2).await;
        }
        let accepted = account(&pipeline).accepted;
        let books = pipeline.shutdown(tokio::time::Instant::now()).await;
        assert!(books.balance(), "{books}");
        assert_eq!(books.accounts[0].dropped["shutdown"], accepted);
        let refused = pipeline.change_sampler("traces", config(Policy::errors())).unwrap_err();
        assert!(matches!(&refused, ChangeError::Ended(lane) if lane == "traces"), "{refused}");
    }
}
