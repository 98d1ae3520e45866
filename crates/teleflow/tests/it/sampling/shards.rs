//! One lane in several tasks.

use std::num::NonZeroUsize;
use std::time::Duration;

use teleflow::exporter::{OnFull, QueueConfig};
use teleflow::sampler::{Config, Policy};
use teleflow::{LaneConfig, Pipeline, Signal, batcher};
use teleflow_testkit::sink::{Cue, Sink};
use teleflow_testkit::telemetry::Telemetry;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{SHARDS, WAIT, account, by_trace, config, lane, pass, queue, settle, spans, start};
use crate::pipeline::in_a_while;

#[tokio::test(start_paused = true)]
async fn a_trace_is_decided_as_a_whole_whatever_requests_it_comes_in() {
    for shards in SHARDS {
        let sink = Sink::new();
        let lane = lane(config(Policy::errors()), shards);
        let (pipeline, inlet) = start(&sink, QueueConfig::default(), lane, false).await;
        let mut telemetry = Telemetry::new(1);
        let traces: Vec<u128> = (1..=100).collect();
        let mut sent = Vec::new();
        for round in 0..4 {
            for some in traces.chunks(5) {
                // Every other chunk fails, in the last request of all that it is in.
                let failed = round == 3 && some[0] % 10 == 1;
                let payload = spans(&mut telemetry, some, failed);
                sent.push(payload.clone());
                inlet.send(payload).await.unwrap();
                account(&pipeline);
            }
        }
        let items = sent.iter().map(|payload| payload.items()).sum();
        settle().await;
        let held = pipeline.stats().lanes[0].sampler.as_ref().unwrap().1;
        assert_eq!((held.spans, held.traces), (items, 100), "of all shards together");
        pass(WAIT * 2).await;
        let (stats, held) = pipeline.stats().lanes[0].sampler.clone().unwrap();
        assert_eq!((stats.traces_kept, stats.traces_sampled_out), (50, 50));
        assert_eq!((stats.rules[0].traces_seen, stats.rules[0].traces_kept), (100, 50));
        assert_eq!((held.spans, held.traces), (0, 0));

        let routed = pipeline.routed("traces");
        assert_eq!(routed.map(|stats| stats.whole + stats.parted), (shards > 1).then_some(80));
        assert_eq!(routed.unwrap_or_default().torn, 0);

        let mut wanted = by_trace(&sent);
        wanted.retain(|trace, _| (trace - 1) / 5 % 2 == 0);
        assert_eq!(by_trace(&sink.taken()), wanted, "{shards} shards");
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(books.balance(), "{books}");
        let account = &books.accounts[0];
        assert_eq!((account.accepted, account.held), (items, 0));
        assert_eq!(account.delivered + account.sampled_out, items);
        assert_eq!(account.delivered, wanted.values().sum::<u64>());
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_answered_when_the_last_shard_has_decided_and_all_has_arrived() {
    for shards in SHARDS {
        let sink = Sink::closed();
        let lane = lane(config(Policy::percent(50.0, "")), shards);
        let (pipeline, inlet) = start(&sink, QueueConfig::default(), lane, true).await;
        let mut telemetry = Telemetry::new(2);
        let ids: Vec<u128> = (0..20).map(|_| telemetry.rng().u128(1..)).collect();
        let payload = spans(&mut telemetry, &ids, false);
        let items = payload.items();
        let sent = tokio::spawn(async move { inlet.send(payload).await });
        pass(WAIT * 3).await;
        assert!(!sent.is_finished(), "it is decided, and has not arrived");
        assert!(account(&pipeline).held > 0);
        sink.open();
        assert_eq!(sent.await.unwrap().unwrap().rejected, 0);
        let account = account(&pipeline);
        assert_eq!((account.accepted, account.held), (items, 0));
        assert!(account.delivered > 0 && account.sampled_out > 0, "{account:?}");
        assert!(pipeline.shutdown(in_a_while()).await.balance());
    }
}

#[tokio::test(start_paused = true)]
async fn the_worst_answer_of_any_shard_is_the_one_that_counts() {
    for shards in SHARDS {
        let sink = Sink::new();
        let lane = lane(config(Policy::Always), shards);
        let (pipeline, inlet) = start(&sink, queue(100, OnFull::Wait), lane, true).await;
        let mut telemetry = Telemetry::new(3);
        let ids: Vec<u128> = (1..=60).collect();
        let payload = spans(&mut telemetry, &ids, false);
        let items = payload.items();
        // The last request of any shard is lost, then refused for good; then all is well.
        let cues = |last: Cue| {
            let first = std::iter::repeat_n(Cue::Take, shards - 1);
            first.chain([last]).collect::<Vec<_>>()
        };
        let mut again = (1000u128..).step_by(100);
        // New traces each time: those that were decided need not wait.
        let mut send = async |cue: Option<Cue>| {
            let first = again.next().unwrap();
            let ids: Vec<u128> = (first..first + 60).collect();
            let payload = spans(&mut telemetry, &ids, false);
            let before = sink.attempts();
            sink.cue(cue.map(cues).into_iter().flatten());
            let items = payload.items();
            let answer = inlet.send(payload).await;
            assert_eq!(sink.attempts() - before, shards as u64, "each shard has kept some");
            (items, answer)
        };
        let (lost, answer) = send(Some(Cue::Transient)).await;
        assert!(answer.is_err(), "a part was lost");
        let (refused, answer) = send(Some(Cue::Permanent)).await;
        let rejected = answer.unwrap().rejected;
        assert!(rejected > 0 && (shards == 1) == (rejected == refused), "{rejected}");
        let (well, answer) = send(None).await;
        assert_eq!(answer.unwrap().rejected, 0);
        inlet.send(payload).await.unwrap();
        let account = account(&pipeline);
        assert_eq!((account.accepted, account.held), (items + lost + refused + well, 0));
        assert_eq!(account.rejected, rejected);
        assert!(account.dropped["transient"] > 0);
        assert!(pipeline.shutdown(in_a_while()).await.balance());
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_all_shards_hand_on_what_they_hold() {
    for (shards, waits_for_result) in SHARDS.into_iter().flat_map(|n| [(n, false), (n, true)]) {
        let sink = Sink::new();
        let wait = Duration::from_secs(3600);
        let lane = lane(Config { decision_wait: wait, ..config(Policy::errors()) }, shards)
            .batch(batcher::Config { timeout: Duration::MAX, ..batcher::Config::default() });
        let (pipeline, inlet) = start(&sink, QueueConfig::default(), lane, waits_for_result).await;
        let mut telemetry = Telemetry::new(4);
        let mut senders = JoinSet::new();
        let (mut items, mut failed) = (0, 0);
        for round in 0..20 {
            let ids: Vec<u128> = (round * 10 + 1..=round * 10 + 10).collect();
            let payload = spans(&mut telemetry, &ids, round % 2 == 0);
            items += payload.items();
            failed += if round % 2 == 0 { payload.items() } else { 0 };
            let inlet = inlet.clone();
            senders.spawn(async move { inlet.send(payload).await });
        }
        settle().await;
        assert_eq!(account(&pipeline).held, items);
        let before = Instant::now();
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(before.elapsed() < WAIT, "nobody waits for decisions");
        assert!(books.balance(), "{books}");
        let account = &books.accounts[0];
        assert_eq!((account.accepted, account.delivered), (items, failed), "{books}");
        assert_eq!((account.sampled_out, account.held), (items - failed, 0), "{books}");
        for answer in senders.join_all().await {
            answer.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_destination_holds_up_all_shards_and_nothing_is_lost() {
    for (shards, on_full) in
        [1, 5].into_iter().flat_map(|n| [(n, OnFull::Wait), (n, OnFull::Reject)])
    {
        let sink = Sink::closed();
        let small = Config { payload_bytes: 2000, ..config(Policy::Always) };
        let (pipeline, inlet) = start(&sink, queue(2, on_full), lane(small, shards), false).await;
        let mut telemetry = Telemetry::new(5);
        let (mut taken, mut refused) = (0, 0);
        let mut waiting = JoinSet::new();
        for round in 0..1500 {
            let ids: Vec<u128> = (round * 8 + 1..=round * 8 + 8).collect();
            let payload = spans(&mut telemetry, &ids, false);
            let items = payload.items();
            let inlet = inlet.clone();
            waiting.spawn(async move { inlet.send(payload).await.map(|_| items) });
            if round % 50 == 0 {
                pass(WAIT).await;
                account(&pipeline);
                while let Some(sent) = waiting.try_join_next() {
                    match sent.unwrap() {
                        Ok(items) => taken += items,
                        Err(_) => refused += 1,
                    }
                }
            }
        }
        match on_full {
            OnFull::Wait => assert!(refused == 0 && !waiting.is_empty(), "{}", waiting.len()),
            OnFull::Reject => assert!(refused > 100, "{refused}"),
        }
        sink.open();
        for sent in waiting.join_all().await {
            taken += sent.unwrap_or_default();
        }
        let books = pipeline.shutdown(in_a_while()).await;
        assert!(books.balance(), "{books}");
        let account = &books.accounts[0];
        assert_eq!((account.accepted, account.delivered, account.held), (taken, taken, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_shards_hold_when_the_time_is_up_is_in_the_books() {
    for (shards, waits_for_result) in SHARDS.into_iter().flat_map(|n| [(n, false), (n, true)]) {
        let sink = Sink::closed();
        let small = Config { payload_bytes: 2000, ..config(Policy::Always) };
        let lane = lane(small, shards);
        let (pipeline, inlet) = start(&sink, queue(2, OnFull::Wait), lane, waits_for_result).await;
        let mut telemetry = Telemetry::new(6);
        let mut senders = JoinSet::new();
        for round in 0..500 {
            let ids: Vec<u128> = (round * 8 + 1..=round * 8 + 8).collect();
            let payload = spans(&mut telemetry, &ids, false);
            let inlet = inlet.clone();
            senders.spawn(async move { inlet.send(payload).await });
            if round % 100 == 0 {
                pass(WAIT * 2).await;
            }
        }
        settle().await;
        let items = account(&pipeline).accepted;
        let books = pipeline.shutdown(Instant::now() + WAIT).await;
        assert!(books.balance(), "{books}");
        let account = &books.accounts[0];
        assert_eq!((account.accepted, account.delivered, account.held), (items, 0, 0));
        assert_eq!(account.dropped["shutdown"], items, "{books}");
        for answer in senders.join_all().await {
            assert_eq!(answer.is_err(), waits_for_result, "they are told to send it again");
        }
        assert!(pipeline.failed_lanes().is_empty());
    }
}

#[tokio::test]
async fn shards_that_cannot_be_are_refused_by_the_lanes_name() {
    let message = async |lane: LaneConfig| {
        let sink = QueueConfig::default();
        let builder = Pipeline::builder().inlet("in").exporter("sink", Sink::new(), sink);
        builder.lane(lane).start().await.unwrap_err().to_string()
    };
    let plain = LaneConfig::new("traces", Signal::Traces).from("in").to("sink");
    let few = Config { max_bytes: 100_000, ..config(Policy::Always) };
    for (lane, wanted) in [
        (
            lane(config(Policy::Always), 257),
            "lane `traces` cannot have 257 shards: at most 256 are possible",
        ),
        (
            plain.sample_in(NonZeroUsize::new(2).unwrap()),
            "lane `traces` cannot have 2 shards: it has no sampler",
        ),
        (
            lane(few, 4),
            "lane `traces` cannot have 4 shards: 100000 bytes are too few for all of them: \
             give at least 262144",
        ),
        (
            lane(Config { max_traces: 0, ..config(Policy::Always) }, 4),
            "the sampler of lane `traces` cannot work",
        ),
    ] {
        assert_eq!(message(lane).await, wanted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn shards_on_several_threads_lose_nothing_whenever_it_ends() {
    for patience in [Duration::ZERO, Duration::from_secs(30)] {
        let sink = Sink::new();
        let soon = Config { decision_wait: Duration::ZERO, ..config(Policy::percent(50.0, "")) };
        let lane = lane(Config { payload_bytes: 2000, ..soon }, 5);
        let (pipeline, inlet) = start(&sink, queue(2, OnFull::Wait), lane, false).await;
        let mut senders = JoinSet::new();
        for seed in 0..8 {
            let inlet = inlet.clone();
            senders.spawn(async move {
                let mut telemetry = Telemetry::new(seed);
                let mut taken = 0;
                for _ in 0..100 {
                    let ids: Vec<u128> = (0..8).map(|_| telemetry.rng().u128(1..)).collect();
                    taken += match inlet.send(spans(&mut telemetry, &ids, false)).await {
                        Ok(_) => 8,
                        Err(_) => return taken,
                    };
                }
                taken
            });
        }
        while account(&pipeline).accepted < 3000 {
            settle().await;
        }
        let books = pipeline.shutdown(Instant::now() + patience).await;
        let taken: u64 = senders.join_all().await.into_iter().sum();
        assert!(books.balance(), "{books}");
        let account = &books.accounts[0];
        assert_eq!((account.accepted, account.held), (taken, 0), "{books}");
        assert_eq!(account.delivered, sink.items(Signal::Traces));
        if !patience.is_zero() {
            assert_eq!(account.delivered + account.sampled_out, taken, "{books}");
        }
    }
}
