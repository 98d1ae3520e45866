//! Two gateways that decide together about traces whose spans come to both.

#[cfg(feature = "redis")]
mod redis;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use teleflow::cache::{Claim, SecondLevelError, Settle};
use teleflow::exporter::QueueConfig;
use teleflow::sampler::{Config, Policy, Rule, Trigger};
use teleflow::{ExchangeStats, Inlet, Pipeline, SharedDecisions, sampler};
use teleflow_testkit::sink::Sink;
use teleflow_testkit::telemetry::Telemetry;
use tokio::time::Instant;

use super::{WAIT, account, by_trace, lane, pass, settle, spans, start};
use crate::pipeline::in_a_while;

/// A store in this process.
#[derive(Clone, Default)]
struct Store(Arc<Places>);

#[derive(Default)]
struct Places {
    places: Mutex<HashMap<Bytes, Bytes>>,
    is_down: AtomicBool,
    /// Whether it takes what comes, and never answers.
    is_stuck: AtomicBool,
    calls: AtomicU64,
    claims: AtomicU64,
}

/// One of two gateways.
struct Gateway {
    pipeline: Pipeline,
    inlet: Inlet,
    sink: Sink,
}

const GRACE: Duration = Duration::from_millis(500);

// === impl Store ===

impl Settle for Store {
    async fn settle_many(
        &self,
        claims: &[Claim],
        ttl: Duration,
    ) -> Result<Vec<Option<Bytes>>, SecondLevelError> {
        assert_eq!(ttl, Duration::from_secs(300));
        let Places { places, is_down, is_stuck, calls, claims: count } = &*self.0;
        calls.fetch_add(1, Relaxed);
        count.fetch_add(claims.len() as u64, Relaxed);
        if is_stuck.load(Relaxed) {
            std::future::pending::<()>().await;
        }
        if is_down.load(Relaxed) {
            return Err(SecondLevelError::Unreachable);
        }
        let mut places = places.lock().unwrap();
        let settle = |claim: &Claim| {
            if claim.replaces {
                places.insert(claim.key.clone(), claim.value.clone());
            }
            Some(places.entry(claim.key.clone()).or_insert_with(|| claim.value.clone()).clone())
        };
        Ok(claims.iter().map(settle).collect())
    }
}

/// Keeps errors and a tenth.
fn errors_and_some() -> Config {
    let rules =
        vec![Rule::new("errors", Policy::errors()), Rule::new("some", Policy::percent(10.0, ""))];
    Config { rules: rules.into(), ..super::config(Policy::Always) }
}

// === impl Gateway ===

impl Gateway {
    async fn start(shared: Option<SharedDecisions>, shards: usize) -> Self {
        Self::start_with(errors_and_some(), shared, shards).await
    }

    async fn start_with(config: Config, shared: Option<SharedDecisions>, shards: usize) -> Self {
        let sink = Sink::new();
        let mut lane = lane(config, shards);
        lane.shared = shared.map(|mut shared| {
            shared.grace = GRACE;
            shared
        });
        let (pipeline, inlet) = start(&sink, QueueConfig::default(), lane, false).await;
        Self { pipeline, inlet, sink }
    }

    async fn send(&self, telemetry: &mut Telemetry, traces: &[u128], failed: bool) {
        self.inlet.send(spans(telemetry, traces, failed)).await.unwrap();
        account(&self.pipeline);
    }

    fn stats(&self) -> sampler::Stats {
        self.pipeline.stats().lanes[0].sampler.clone().unwrap().0
    }

    fn exchange(&self) -> ExchangeStats {
        self.pipeline.stats().lanes[0].exchange.unwrap()
    }

    /// Shuts down, and returns what arrived.
    async fn end(self) -> BTreeMap<u128, u64> {
        let books = self.pipeline.shutdown(in_a_while()).await;
        assert!(books.balance(), "{books}");
        assert_eq!((books.accounts[0].held, books.dropped()), (0, 0));
        by_trace(&self.sink.taken())
    }
}

/// Sends every trace to both gateways, with an error of every tenth to one of them.
async fn tear(gateways: &[Gateway; 2], telemetry: &mut Telemetry, ids: &[u128]) {
    for (at, some) in ids.chunks(10).enumerate() {
        let [first, rest @ ..] = some else { continue };
        let (one, other) = (&gateways[at % 2], &gateways[(at + 1) % 2]);
        one.send(telemetry, &[*first], true).await;
        other.send(telemetry, &[*first], false).await;
        one.send(telemetry, rest, false).await;
        other.send(telemetry, rest, false).await;
        pass(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_gateways_keep_the_same_traces_and_without_sharing_they_do_not() {
    for shards in [1, 3] {
        for shares in [true, false] {
            let (store, mut telemetry) = (Store::default(), Telemetry::new(4));
            let shared = || shares.then(|| SharedDecisions::new(store.clone()));
            let gateways =
                [Gateway::start(shared(), shards).await, Gateway::start(shared(), shards).await];
            let ids: Vec<u128> = (0..1000).map(|_| telemetry.rng().u128(1..)).collect();
            tear(&gateways, &mut telemetry, &ids).await;
            pass(WAIT + 2 * GRACE).await;
            settle().await;
            for gateway in &gateways {
                let (stats, held) = gateway.pipeline.stats().lanes[0].sampler.clone().unwrap();
                assert_eq!((held.spans, stats.traces), (0, 1000));
                assert_eq!(stats.sharing.alone, 0);
                let learned = stats.decisions[Trigger::Learned as usize];
                assert_eq!(learned > 0, shares);
            }
            let (calls, claims) = (store.0.calls.load(Relaxed), store.0.claims.load(Relaxed));
            if shares {
                let exchange = gateways.each_ref().map(Gateway::exchange);
                assert_eq!(exchange.map(|stats| stats.answered).iter().sum::<u64>(), claims);
                assert!(claims < 3 * 2000, "{claims} claims for a thousand traces of two");
                assert!(calls < claims / 4, "{calls} calls for {claims}");
            }
            let [one, other] = gateways;
            let (one, other) = (one.end().await, other.end().await);
            assert_eq!(one == other, shares);
            if shares {
                assert!(ids.chunks(10).all(|some| one.contains_key(&some[0])), "all errors");
                assert!((180..400).contains(&one.len()), "{}", one.len());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_does_not_answer_each_goes_on_by_itself() {
    let (store, mut telemetry) = (Store::default(), Telemetry::new(5));
    for is_stuck in [false, true] {
        let shared = || Some(SharedDecisions::new(store.clone()));
        let gateways = [Gateway::start(shared(), 1).await, Gateway::start(shared(), 1).await];
        let flag = if is_stuck { &store.0.is_stuck } else { &store.0.is_down };
        flag.store(true, Relaxed);
        let mut new_ids = || (0..300).map(|_| telemetry.rng().u128(1..)).collect::<Vec<_>>();
        let (ids, later) = (new_ids(), new_ids());
        tear(&gateways, &mut telemetry, &ids).await;
        pass(WAIT + 3 * GRACE + Duration::from_secs(1)).await;
        settle().await;
        for gateway in &gateways {
            let (stats, held) = gateway.pipeline.stats().lanes[0].sampler.clone().unwrap();
            assert_eq!((held.spans, stats.sharing.alone), (0, 300));
            let exchange = gateway.exchange();
            assert!(exchange.is_down && exchange.failures > 0, "{exchange:?}");
            assert!(exchange.calls < 20, "it is left alone: {exchange:?}");
            assert_eq!(exchange.unanswered, 300, "{exchange:?}");
        }
        flag.store(false, Relaxed);
        // The longest pause.
        pass(Duration::from_secs(5)).await;
        tear(&gateways, &mut telemetry, &later).await;
        pass(WAIT + 2 * GRACE).await;
        settle().await;
        assert!(gateways.iter().all(|gateway| !gateway.exchange().is_down));
        assert!(gateways.iter().all(|gateway| gateway.stats().sharing.alone == 300));
        let [one, other] = gateways;
        let (mut one, mut other) = (one.end().await, other.end().await);
        assert_ne!(one, other);
        one.retain(|id, _| later.contains(id));
        other.retain(|id, _| later.contains(id));
        assert_eq!(one, other);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_at_the_end_is_told_to_the_others() {
    let (store, mut telemetry) = (Store::default(), Telemetry::new(6));
    let shared = || Some(SharedDecisions::new(store.clone()));
    let (first, second) = (Gateway::start(shared(), 2).await, Gateway::start(shared(), 1).await);
    let ids: Vec<u128> = (0..200).map(|_| telemetry.rng().u128(1..)).collect();
    for some in ids.chunks(10) {
        first.send(&mut telemetry, &some[..5], true).await;
        first.send(&mut telemetry, &some[5..], false).await;
        second.send(&mut telemetry, some, false).await;
    }
    settle().await;
    let one = first.end().await;
    assert!(one.len() >= 100, "nobody was waited for");
    assert_eq!(store.0.places.lock().unwrap().len(), 200);
    pass(WAIT + 2 * GRACE).await;
    settle().await;
    assert_eq!(second.stats().sharing.alone, 0);
    assert_eq!(second.end().await, one);

    // A store that hangs does not hold up the end.
    store.0.is_stuck.store(true, Relaxed);
    let gateway = Gateway::start(shared(), 1).await;
    gateway.send(&mut telemetry, &[1, 2, 3], true).await;
    let deadline = Instant::now() + SharedDecisions::new(store).timeout / 2;
    let books = gateway.pipeline.shutdown(deadline).await;
    assert_eq!(Instant::now(), deadline);
    assert!(books.balance(), "{books}");
    assert_eq!(books.accounts[0].delivered, 3);
}

#[tokio::test(start_paused = true)]
async fn rules_change_and_sharing_goes_on() {
    let (store, mut telemetry) = (Store::default(), Telemetry::new(7));
    let shared = || Some(SharedDecisions::new(store.clone()));
    let gateways = [Gateway::start(shared(), 1).await, Gateway::start(shared(), 2).await];
    let ids: Vec<u128> = (0..200).map(|_| telemetry.rng().u128(1..)).collect();
    tear(&gateways, &mut telemetry, &ids).await;
    for gateway in &gateways {
        let rules = Config { max_traces: 10_000, ..super::config(Policy::errors()) };
        gateway.pipeline.change_sampler("traces", rules).unwrap();
    }
    pass(WAIT + 2 * GRACE).await;
    settle().await;
    let [one, other] = gateways;
    let (one, other) = (one.end().await, other.end().await);
    assert_eq!((one.len(), &one), (20, &other));
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_on_its_way_to_the_store_is_decided_at_once() {
    let (store, mut telemetry) = (Store::default(), Telemetry::new(9));
    store.0.is_stuck.store(true, Relaxed);
    let mut shared = SharedDecisions::new(store);
    shared.timeout = Duration::from_secs(1000);
    let gateway = Gateway::start(Some(shared), 1).await;
    for _ in 0..3 {
        let ids: Vec<u128> = (0..12_000).map(|_| telemetry.rng().u128(1..)).collect();
        for some in ids.chunks(1000) {
            gateway.send(&mut telemetry, some, true).await;
        }
        pass(Duration::from_millis(100)).await;
    }
    pass(WAIT).await;
    settle().await;
    let (stats, held) = gateway.pipeline.stats().lanes[0].sampler.clone().unwrap();
    let refused = gateway.exchange().without_room;
    // Some are asked about, and as many as there is room for wait for that.
    assert!((1..=36_000 - 32 * 1024).contains(&refused), "{refused}");
    assert_eq!((stats.sharing.alone, stats.traces_kept), (refused, refused));
    assert_eq!(held.traces, 36_000 - refused);
    assert_eq!(account(&gateway.pipeline).delivered, refused);
    let books = gateway.pipeline.shutdown(in_a_while()).await;
    assert!(books.balance(), "{books}");
    assert_eq!(books.accounts[0].delivered, 36_000);
}
