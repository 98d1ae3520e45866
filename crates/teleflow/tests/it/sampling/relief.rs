//! Stress relief in a lane.

use std::time::Duration;

use teleflow::exporter::QueueConfig;
use teleflow::sampler::{Config, Policy, Randomness, Relief, Threshold, Trigger};
use teleflow_testkit::sink::Sink;
use teleflow_testkit::telemetry::Telemetry;

use super::{SHARDS, WAIT, account, by_trace, config, lane, pass, settle, spans, start};
use crate::pipeline::in_a_while;

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_decided_at_once_and_traces_stay_whole() {
    let half = Threshold::from_probability(0.5).unwrap();
    let relief = Relief { threshold: half, activation: 80, deactivation: 50, at_least: WAIT };
    for (shards, blocks_when_full) in SHARDS.into_iter().flat_map(|n| [(n, false), (n, true)]) {
        let sink = Sink::new();
        let few = Config {
            max_traces: 100,
            relief: Some(relief),
            blocks_when_full,
            ..config(Policy::Always)
        };
        let (pipeline, inlet) =
            start(&sink, QueueConfig::default(), lane(few, shards), false).await;
        let mut telemetry = Telemetry::new(1);
        let ids: Vec<_> = (0..500).map(|n| fastrand::Rng::with_seed(n).u128(1..)).collect();
        let mut items = 0;
        // Each trace comes in two parts, the second when a part of what is held is decided.
        for _ in 0..2 {
            for (n, id) in ids.iter().enumerate() {
                let payload = spans(&mut telemetry, &[*id], false);
                items += payload.items();
                inlet.send(payload).await.unwrap();
                if n % 10 == 0 {
                    settle().await;
                }
            }
            pass(WAIT + Duration::from_millis(30)).await;
        }
        let (stats, held) = pipeline.stats().lanes[0].sampler.clone().unwrap();
        assert_eq!((stats.traces, held.traces), (500, 0), "{stats:?}");
        let at_once = stats.decisions[Trigger::Relief as usize];
        assert_eq!(at_once, stats.relief.traces_kept + stats.relief.traces_sampled_out);
        assert!((380..=420).contains(&at_once), "{stats:?}");
        assert_eq!(stats.decisions[Trigger::Count as usize], 0, "none is decided early");
        assert_eq!(account(&pipeline).accepted, items);
        // The level was low while the second parts came.
        pass(WAIT).await;
        let relief = pipeline.stats().lanes[0].sampler.clone().unwrap().0.relief;
        assert_eq!((relief.active, relief.level), (0, 0), "{relief:?}");
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(books.balance(), "{books}");
        let account = &books.accounts[0];
        let kept = by_trace(&sink.taken());
        assert_eq!(account.delivered, kept.values().sum::<u64>());
        assert_eq!(account.delivered + account.sampled_out, items);
        assert_eq!(kept.len() as u64, stats.traces_kept);
        // The first ones were held, and are all kept; of the others those that chance keeps.
        for id in ids {
            let is_lucky = half.keeps(Randomness::from_trace_id(id.to_be_bytes()));
            match kept.get(&id) {
                Some(spans) => assert_eq!(*spans, 2, "{shards} shards: a part of it is missing"),
                None => assert!(!is_lucky, "{shards} shards"),
            }
        }
    }
}
