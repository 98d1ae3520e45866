//! The same with a real Redis server between them, which goes away and comes back.

use std::time::{Duration, Instant};

use teleflow::SharedDecisions;
use teleflow::cache::{Redis, RedisConfig};
use teleflow::sampler::Config;
use teleflow_testkit::redis::RedisServer;
use teleflow_testkit::telemetry::Telemetry;

use super::{Gateway, errors_and_some, tear};

/// How long something may take that happens in another process.
const PATIENCE: Duration = Duration::from_secs(20);

fn shared(server: &RedisServer) -> SharedDecisions {
    let redis = Redis::single(RedisConfig {
        servers: vec![server.url()],
        connect_timeout: PATIENCE,
        answer_timeout: PATIENCE,
        ..RedisConfig::default()
    });
    let mut shared = SharedDecisions::new(redis.unwrap());
    // A busy machine must not fail the test.
    shared.timeout = PATIENCE;
    shared
}

/// Waits until so many traces are decided in both.
async fn decided(gateways: &[Gateway; 2], traces: u64) {
    let until = Instant::now() + PATIENCE;
    let is_done = |gateway: &Gateway| {
        let stats = gateway.stats();
        stats.traces_kept + stats.traces_sampled_out == traces
    };
    while !gateways.iter().all(is_done) {
        assert!(Instant::now() < until, "it is not decided");
        // bounded wait: the sampler's own time, and another process.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn two_gateways_agree_through_redis_and_go_on_without_it() {
    if RedisServer::is_missing("two_gateways_agree_through_redis_and_go_on_without_it") {
        return;
    }
    let mut server = RedisServer::start().await;
    let config = || Config { decision_wait: Duration::from_millis(300), ..errors_and_some() };
    let gateways = [
        Gateway::start_with(config(), Some(shared(&server)), 2).await,
        Gateway::start_with(config(), Some(shared(&server)), 1).await,
    ];
    let mut telemetry = Telemetry::new(8);
    let mut new_ids = || (0..300).map(|_| telemetry.rng().u128(1..)).collect::<Vec<_>>();
    let (ids, alone, again) = (new_ids(), new_ids(), new_ids());
    tear(&gateways, &mut telemetry, &ids).await;
    decided(&gateways, 300).await;
    assert!(gateways.iter().all(|gateway| gateway.stats().sharing.alone == 0));
    assert!(gateways.iter().all(|gateway| gateway.exchange().failures == 0));

    server.kill();
    tear(&gateways, &mut telemetry, &alone).await;
    decided(&gateways, 600).await;
    assert!(gateways.iter().all(|gateway| gateway.stats().sharing.alone == 300));
    assert!(gateways.iter().all(|gateway| gateway.exchange().is_down));

    server.restart().await;
    let until = Instant::now() + PATIENCE;
    while gateways.iter().any(|gateway| gateway.exchange().is_down) {
        assert!(Instant::now() < until, "it is not tried again");
        // Something has to be asked.
        for gateway in &gateways {
            let id = telemetry.rng().u128(1..);
            gateway.send(&mut telemetry, &[id], true).await;
        }
        // bounded wait: it is left alone for up to 5 s.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tear(&gateways, &mut telemetry, &again).await;
    let traces = gateways[0].stats().traces;
    decided(&gateways, traces).await;

    let [one, other] = gateways;
    let (one, other) = (one.end().await, other.end().await);
    let of = |kept: &std::collections::BTreeMap<u128, u64>, ids: &[u128]| {
        ids.iter().filter(|id| kept.contains_key(id)).copied().collect::<Vec<_>>()
    };
    for (ids, agree) in [(&ids, true), (&alone, false), (&again, true)] {
        let (one, other) = (of(&one, ids), of(&other, ids));
        assert_eq!(one == other, agree);
        assert!(one.len() >= 15, "{}", one.len());
    }
}
