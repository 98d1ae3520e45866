//! Held spans on disk.

use std::sync::Arc;

use teleflow::Pipeline;
use teleflow::exporter::QueueConfig;
use teleflow::pool::mapped::Arena;
use teleflow::sampler::{Config, Policy};
use teleflow_testkit::sink::Sink;
use teleflow_testkit::telemetry::Telemetry;

use super::{SHARDS, WAIT, by_trace, config, lane, pass, settle, spans, start};
use crate::pipeline::in_a_while;

#[tokio::test(start_paused = true)]
async fn shards_share_a_storage_and_new_rules_do_not_change_it() {
    for shards in SHARDS {
        let folder = tempfile::tempdir().unwrap();
        let arena = Arc::new(Arena::open(folder.path(), 64 << 20).unwrap());
        let stores = Config { storage: Some(arena.clone()), ..config(Policy::Always) };
        let sink = Sink::new();
        let (pipeline, inlet) =
            start(&sink, QueueConfig::default(), lane(stores, shards), false).await;
        let mut telemetry = Telemetry::new(1);
        let (mut items, mut stored) = (0, 0);
        let of_lane = |pipeline: &Pipeline| pipeline.stats().lanes[0].sampler.clone().unwrap();
        for round in 0..2 {
            for of_round in 0..40 {
                let first = 1 + (round * 40 + of_round) * 50;
                let traces: Vec<u128> = (first..first + 50).collect();
                let payload = spans(&mut telemetry, &traces, round == 0);
                items += payload.items();
                inlet.send(payload).await.unwrap();
            }
            settle().await;
            let (stats, held) = of_lane(&pipeline);
            assert!(held.stored_bytes > stored, "{held:?}");
            stored = held.stored_bytes;
            assert_eq!(held.storage_bytes, arena.used_bytes(), "each byte is of one shard");
            assert_eq!((stats.storage.bytes, stats.storage.full), (stored, 0));
            assert_eq!(held.spans, items);
            // These say nothing of a storage.
            pipeline.change_sampler("traces", config(Policy::errors())).unwrap();
        }
        pass(WAIT * 2).await;
        assert_eq!(of_lane(&pipeline).1.stored_bytes, 0);
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(books.balance(), "{books}");
        let kept = by_trace(&sink.taken());
        assert!(kept.keys().copied().eq(1..=2000), "those of the first round failed");
        assert_eq!(books.accounts[0].delivered, kept.values().sum::<u64>());
        assert_eq!(books.accounts[0].delivered + books.accounts[0].sampled_out, items);
        drop(pipeline);
        assert_eq!(arena.used_bytes(), 0, "the disk is given back");
    }
}
