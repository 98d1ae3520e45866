//! A sampler that is full.

use std::time::Duration;

use teleflow::exporter::QueueConfig;
use teleflow::sampler::{Config, Policy, Trigger};
use teleflow_testkit::sink::Sink;
use teleflow_testkit::telemetry::Telemetry;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{SHARDS, WAIT, account, config, lane, pass, settle, spans, start};
use crate::pipeline::in_a_while;

/// Takes so many traces, and no more until some are decided.
fn blocking(max_traces: usize) -> Config {
    Config { max_traces, blocks_when_full: true, ..config(Policy::Always) }
}

#[tokio::test(start_paused = true)]
async fn a_full_sampler_decides_early_or_has_senders_wait() {
    for (shards, blocks_when_full) in SHARDS.into_iter().flat_map(|n| [(n, false), (n, true)]) {
        let sink = Sink::new();
        let few = Config { blocks_when_full, ..blocking(40) };
        let (pipeline, inlet) =
            start(&sink, QueueConfig::default(), lane(few, shards), false).await;
        let mut telemetry = Telemetry::new(1);
        let mut items = 0;
        for round in 0..1000 {
            let payload = spans(&mut telemetry, &[round + 1], false);
            items += payload.items();
            inlet.send(payload).await.unwrap();
        }
        settle().await;
        let sampler = || pipeline.stats().lanes[0].sampler.clone().unwrap();
        let (stats, held) = sampler();
        if blocks_when_full {
            // As long as there is more than enough for every shard.
            for waits in 0..15 {
                let (stats, held) = sampler();
                assert_eq!((stats.traces_kept, held.traces), (waits * 40, 40), "{shards} shards");
                assert_eq!(stats.decisions[Trigger::Count as usize], 0, "nothing is decided early");
                assert_eq!(account(&pipeline).accepted, items);
                pass(WAIT + Duration::from_millis(30)).await;
            }
        } else {
            assert!(
                held.traces <= 40 && stats.decisions[Trigger::Count as usize] == 1000 - held.traces,
                "{stats:?}"
            );
        }
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(books.balance(), "{books}");
        let account = &books.accounts[0];
        assert_eq!((account.accepted, account.delivered, account.held), (items, items, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_a_full_sampler_takes_what_waits_and_decides() {
    for shards in [1, 2] {
        // More than there is room for at the door.
        let senders_in_all = shards * 1024 + 300;
        let sink = Sink::new();
        let wait = Duration::from_secs(3600);
        let few = Config { decision_wait: wait, ..blocking(shards * 2) };
        let (pipeline, inlet) =
            start(&sink, QueueConfig::default(), lane(few, shards), false).await;
        let mut telemetry = Telemetry::new(2);
        let mut senders = JoinSet::new();
        let mut items = 0;
        for round in 0..senders_in_all {
            let payload = spans(&mut telemetry, &[round as u128 + 1], false);
            items += payload.items();
            let inlet = inlet.clone();
            senders.spawn(async move { inlet.send(payload).await });
        }
        pass(WAIT).await;
        assert!(account(&pipeline).accepted < items, "some wait at the door");
        let before = Instant::now();
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(before.elapsed() < WAIT, "nobody waits for decisions");
        assert!(books.balance(), "{books}");
        let account = &books.accounts[0];
        let taken = senders.join_all().await.into_iter().filter(Result::is_ok).count();
        assert_eq!(taken, senders_in_all, "who waited at the door is let in");
        assert_eq!((account.accepted, account.delivered, account.held), (items, items, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn more_room_by_other_rules_is_used_at_once() {
    for shards in SHARDS {
        let sink = Sink::new();
        let wait = Duration::from_secs(3600);
        let of = |max_traces| Config { decision_wait: wait, ..blocking(max_traces) };
        let lane = lane(of(shards), shards);
        let (pipeline, inlet) = start(&sink, QueueConfig::default(), lane, false).await;
        let mut telemetry = Telemetry::new(3);
        let mut items = 0;
        for round in 0..200 {
            let payload = spans(&mut telemetry, &[round + 1], false);
            items += payload.items();
            inlet.send(payload).await.unwrap();
        }
        let held = || pipeline.stats().lanes[0].sampler.as_ref().unwrap().1.traces;
        settle().await;
        assert_eq!(held(), shards as u64);
        pipeline.change_sampler("traces", of(1000 * shards)).unwrap();
        settle().await;
        assert_eq!(held(), 200, "no time had to pass");
        assert_eq!(account(&pipeline).held, items);
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(books.balance(), "{books}");
        assert_eq!(books.accounts[0].delivered, items);
    }
}
