//! What several processes settle together, in real Redis servers.

use std::time::Duration;

use bytes::Bytes;
use teleflow_cache::{Claim, Redis, RedisConfig, SecondLevelError, Settle};

use crate::server::{Cluster, Server, free_port, missing};

const MINUTE: Duration = Duration::from_secs(60);

/// Patient: a busy machine must not fail the test.
fn config(servers: Vec<String>) -> RedisConfig {
    let patience = Duration::from_secs(10);
    RedisConfig {
        servers,
        connect_timeout: patience,
        answer_timeout: patience,
        ..RedisConfig::default()
    }
}

fn claims(value: &'static str, count: usize, replaces: bool) -> Vec<Claim> {
    let claim = |index| Claim {
        key: Bytes::from(format!("key-{index:04}")),
        value: Bytes::from_static(value.as_bytes()),
        replaces,
    };
    (0..count).map(claim).collect()
}

async fn settle(redis: &Redis, claims: &[Claim]) -> Vec<Option<Bytes>> {
    redis.settle_many(claims, MINUTE).await.unwrap()
}

#[tokio::test]
async fn the_first_decides_for_all_until_somebody_replaces_it() {
    if missing("the_first_decides_for_all_until_somebody_replaces_it") {
        return;
    }
    let server = Server::start(&[]).await;
    let two = || Redis::single(config(vec![server.url()])).unwrap();
    let (one, other) = (two(), two());
    let all = |value: &'static str| vec![Some(Bytes::from_static(value.as_bytes())); 100];
    assert_eq!(settle(&one, &claims("one", 100, false)).await, all("one"));
    let before = other.stats().round_trips;
    assert_eq!(settle(&other, &claims("other", 100, false)).await, all("one"));
    assert_eq!(other.stats().round_trips - before, 1, "one round trip for a hundred");
    assert_eq!(settle(&other, &claims("other", 100, true)).await, all("other"));
    assert_eq!(settle(&one, &claims("one", 100, false)).await, all("other"));
    assert_eq!(settle(&one, &[]).await, []);
    // Of one key: in their order.
    let mut twice = claims("a", 101, false);
    twice.drain(..100);
    twice.extend(claims("b", 101, false).pop());
    twice.extend(claims("c", 101, true).pop());
    let found = settle(&one, &twice).await;
    assert_eq!(found, ["a", "a", "c"].map(|value| Some(Bytes::from(value))));
    let left: u64 = server.ask("PTTL teleflow:key-0000");
    assert!((1..=60_000).contains(&left), "{left}");
}

#[tokio::test]
async fn in_a_cluster_too_and_what_a_server_does_not_answer_is_not_known() {
    if missing("in_a_cluster_too_and_what_a_server_does_not_answer_is_not_known") {
        return;
    }
    let mut cluster = Cluster::start().await;
    let two = || Redis::cluster(config(cluster.urls())).unwrap();
    let (one, other) = (two(), two());
    let all = vec![Some(Bytes::from_static(b"one")); 100];
    assert_eq!(settle(&one, &claims("one", 100, false)).await, all);
    assert_eq!(settle(&other, &claims("other", 100, false)).await, all);
    cluster.servers[2].kill();
    let found = settle(&one, &claims("one", 100, false)).await;
    let known = found.iter().flatten().count();
    assert!((1..100).contains(&known), "{known}");
    assert!(found.iter().flatten().all(|value| value == "one"));
}

#[tokio::test]
async fn where_nobody_is_there_is_an_error() {
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let redis = Redis::single(config(vec![nobody])).unwrap();
    let found = redis.settle_many(&claims("one", 2, false), MINUTE).await;
    assert_eq!(found, Err(SecondLevelError::Unreachable));
}
