//! R5: the second level, in real Redis servers.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_cache::{
    Cache, CacheConfig, GuardConfig, Loader, MissWatch, MissWatchConfig, Raw, Redis, RedisConfig,
    RedisConfigError, SecondLevel, SecondLevelError,
};

use crate::server::{Cluster, Server, free_port, missing};

const MINUTE: Duration = Duration::from_secs(60);
const OPEN: Duration = Duration::from_secs(1);

/// Patient: a busy machine must not fail the test.
fn config(servers: Vec<String>) -> RedisConfig {
    let second = Duration::from_secs(1);
    RedisConfig {
        servers,
        connect_timeout: 10 * second,
        answer_timeout: 10 * second,
        ..RedisConfig::default()
    }
}

fn single(server: &Server) -> Redis {
    Redis::single(config(vec![server.url()])).unwrap()
}

fn keys(count: usize) -> Vec<Bytes> {
    (0..count).map(|index| Bytes::from(format!("key-{index:04}"))).collect()
}

fn entries(keys: &[Bytes]) -> Vec<(Bytes, Bytes)> {
    let value = |key: &Bytes| Bytes::from([b"value of ", &key[..]].concat());
    keys.iter().map(|key| (key.clone(), value(key))).collect()
}

async fn values(redis: &Redis, keys: &[Bytes]) -> Vec<Option<Bytes>> {
    let found = redis.get_many(keys).await.unwrap();
    found.into_iter().map(|stored| stored.map(|stored| stored.value)).collect()
}

fn expected(entries: &[(Bytes, Bytes)]) -> Vec<Option<Bytes>> {
    entries.iter().map(|(_, value)| Some(value.clone())).collect()
}

/// Loads `KEY!`, and counts.
fn loader(loads: Arc<AtomicU64>) -> impl Loader<String, String, Error = io::Error> {
    move |key: String| {
        loads.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, io::Error>(Some(format!("{key}!"))) }
    }
}

fn weigh(key: &String, value: Option<&String>) -> usize {
    key.capacity() + value.map_or(0, String::capacity)
}

/// Everything can run in a task of its own.
#[test]
fn its_futures_can_be_spawned() {
    fn spawns<T: Send + 'static>(_: impl FnOnce() -> T) {}
    let redis = Redis::single(config(vec!["redis://127.0.0.1:1".to_owned()])).unwrap();
    let load = loader(Arc::default());
    let cache = Cache::with_second_level(CacheConfig::default(), weigh, load, redis, Raw).unwrap();
    let cache = Arc::new(cache);
    let shared = || cache.clone();
    spawns(|| {
        let cache = shared();
        async move {
            let key = "key".to_owned();
            drop(cache.get(&key).await);
            drop(cache.get_many(std::slice::from_ref(&key)).await);
            cache.insert(key.clone(), key.clone()).await;
            cache.remove(&key).await;
            cache.warm([key]).await;
        }
    });
    spawns(|| {
        let cache = shared();
        let watch = MissWatch::new(MissWatchConfig::default());
        async move { cache.keep_warm(watch, async || vec!["key".to_owned()], |_| ()).await }
    });
}

#[tokio::test]
async fn r5_a_batch_of_100_is_one_round_trip() {
    if missing("r5_a_batch_of_100_is_one_round_trip") {
        return;
    }
    let server = Server::start(&[]).await;
    let redis = single(&server);
    let keys = keys(100);
    let entries = entries(&keys);
    // Connects, so that only the batches are counted below.
    assert_eq!(values(&redis, &keys).await, vec![None; 100]);

    let mut watch = server.watch();
    let before = watch.seen();
    assert_eq!(redis.set_many(&entries, MINUTE).await, Ok(100));
    let between = watch.seen();
    assert_eq!(values(&redis, &keys).await, expected(&entries));
    let after = watch.seen();

    // Each look is itself one read and one command.
    assert_eq!(between.reads - before.reads, 1 + 1, "writing 100 entries");
    assert_eq!(between.commands - before.commands, 100 + 1);
    assert_eq!(after.reads - between.reads, 1 + 1, "reading 100 entries");
    assert_eq!(after.commands - between.commands, 200 + 1, "GET and PTTL of each");
    assert_eq!((redis.stats().round_trips, redis.stats().connects), (3, 1));

    // What it would be without: the server does count reads.
    for (key, value) in &entries {
        let found = redis.get_many(std::slice::from_ref(key)).await.unwrap();
        assert_eq!(found[0].as_ref().map(|stored| &stored.value), Some(value));
    }
    assert_eq!(watch.seen().reads - after.reads, 100 + 1);
}

#[tokio::test]
async fn r5_the_server_says_how_long_a_value_will_be_there() {
    if missing("r5_the_server_says_how_long_a_value_will_be_there") {
        return;
    }
    let server = Server::start(&[]).await;
    let redis = single(&server);
    let keys = keys(2);
    assert_eq!(redis.set_many(&entries(&keys)[..1], MINUTE).await, Ok(1));
    let () = server.ask("SET teleflow:key-0001 for-ever");
    let found = redis.get_many(&keys).await.unwrap();
    let remaining = found[0].as_ref().unwrap().remaining.unwrap();
    // Of the right unit, however long this test has been held up.
    assert!(MINUTE / 2 < remaining && remaining <= MINUTE, "{remaining:?}");
    assert_eq!(found[1].as_ref().unwrap().remaining, None);

    assert_eq!(redis.remove_many(&keys[..1]).await, Ok(1));
    assert_eq!(redis.remove_many(&keys[..1]).await, Ok(1), "gone is gone");
    assert_eq!(values(&redis, &keys).await, [None, Some("for-ever".into())]);
    assert_eq!(redis.get_many(&[]).await, Ok(Vec::new()));
}

#[tokio::test]
async fn r5_two_caches_share_what_one_has_loaded() {
    if missing("r5_two_caches_share_what_one_has_loaded") {
        return;
    }
    let server = Server::start(&[]).await;
    let loads = Arc::new(AtomicU64::new(0));
    let cache = || {
        let (load, redis) = (loader(loads.clone()), single(&server));
        let guard = GuardConfig { deadline: MINUTE, ..GuardConfig::default() };
        let config = CacheConfig { guard, ..CacheConfig::default() };
        Cache::with_second_level(config, weigh, load, redis, Raw).unwrap()
    };
    let (one, other) = (cache(), cache());
    let now = Instant::now();
    let keys: Vec<String> = (0..250).map(|key| key.to_string()).collect();
    for cache in [&one, &other] {
        let found = cache.get_many_at(now, &keys).await;
        for (key, value) in keys.iter().zip(found) {
            assert_eq!(value.unwrap(), Some(format!("{key}!")));
        }
    }
    assert_eq!(loads.load(Ordering::Relaxed), 250);
    assert_eq!((one.stats().loaded, other.stats().loaded), (250, 0));
    assert_eq!((one.stats().second.written, other.stats().second.hits), (250, 250));
    // Batches of 100: three each way.
    assert_eq!((one.stats().second.calls, other.stats().second.calls), (6, 3));
}

#[tokio::test]
async fn r5_a_server_that_dies_and_comes_back_is_only_missed() {
    if missing("r5_a_server_that_dies_and_comes_back_is_only_missed") {
        return;
    }
    let mut server = Server::start(&[]).await;
    let loads = Arc::new(AtomicU64::new(0));
    let guard = GuardConfig { deadline: MINUTE, failures: 5, open: OPEN };
    let config = CacheConfig { guard, ..CacheConfig::default() };
    let load = loader(loads.clone());
    let cache = Cache::with_second_level(config, weigh, load, single(&server), Raw).unwrap();
    // The breaker goes by what is passed in, and by the time that passes during a call: the clock
    // starts late enough to be ahead of it at each step.
    let mut now = Instant::now();
    let get = async |now: Instant, key: &str| {
        let value = cache.get_at(now, &key.to_owned()).await.unwrap();
        assert_eq!(value, Some(format!("{key}!")));
    };
    get(now, "before").await;
    assert_eq!(cache.stats().second.written, 1);

    server.kill();
    get(now, "before").await;
    assert_eq!(cache.stats().first.hits, 1);
    for index in 0..20 {
        get(now, &format!("dead-{index}")).await;
    }
    let stats = cache.stats();
    assert_eq!(loads.load(Ordering::Relaxed), 21);
    assert_eq!((stats.second.failures, stats.second.timeouts), (5, 0));
    assert!(stats.second.is_open);
    // Each get would have read and written.
    assert_eq!(stats.second.skipped, 40 - 5);

    // One call tries; the server is still dead.
    now += OPEN + MINUTE;
    get(now, "still-dead").await;
    assert_eq!(cache.stats().second.failures, 6);
    assert!(cache.stats().second.is_open);

    server.restart().await;
    now += OPEN + MINUTE;
    get(now, "back").await;
    let stats = cache.stats();
    assert!(!stats.second.is_open);
    assert_eq!((stats.second.failures, stats.second.written), (6, 2));
    assert_eq!(server.ask::<String>("GET teleflow:back"), "back!");
}

#[tokio::test]
async fn r5_where_nobody_listens_the_loader_answers() {
    let nobody = config(vec![format!("redis://127.0.0.1:{}", free_port())]);
    for redis in [Redis::single(nobody.clone()).unwrap(), Redis::cluster(nobody.clone()).unwrap()] {
        assert_eq!(redis.get_many(&keys(3)).await, Err(SecondLevelError::Unreachable));
        let loads = Arc::new(AtomicU64::new(0));
        let load = loader(loads.clone());
        let cache = CacheConfig::default();
        let cache = Cache::with_second_level(cache, weigh, load, redis, Raw).unwrap();
        for key in 0..10 {
            let value = cache.get(&key.to_string()).await.unwrap();
            assert_eq!(value, Some(format!("{key}!")));
        }
        let second = cache.stats().second;
        assert_eq!(loads.load(Ordering::Relaxed), 10);
        assert_eq!(second.calls + second.skipped, 20);
        assert_eq!(second.failures + second.timeouts, second.calls);
    }
}

/// Takes connections and never says a word. Time is paused, and jumps to the deadline.
#[tokio::test(start_paused = true)]
async fn r5_a_server_that_does_not_answer_costs_a_few_deadlines_in_all() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("redis://{}", silent.local_addr().unwrap());
    let servers = RedisConfig { servers: vec![address], ..RedisConfig::default() };
    for redis in [Redis::single(servers.clone()).unwrap(), Redis::cluster(servers.clone()).unwrap()]
    {
        let load = loader(Arc::default());
        let config = CacheConfig::default();
        let cache = Cache::with_second_level(config, weigh, load, redis, Raw).unwrap();
        let start = tokio::time::Instant::now();
        for key in 0..1000 {
            let value = cache.get(&key.to_string()).await.unwrap();
            assert_eq!(value, Some(format!("{key}!")));
        }
        let second = cache.stats().second;
        assert_eq!(second.timeouts, 5);
        assert_eq!(second.skipped, 1995);
        assert!(start.elapsed() <= 5 * GuardConfig::default().deadline, "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn r5_a_server_that_refuses_says_so_without_repeating_the_password() {
    if missing("r5_a_server_that_refuses_says_so_without_repeating_the_password") {
        return;
    }
    let server = Server::start(&["--requirepass", "open-sesame"]).await;
    let with = |user: &str| {
        let address = format!("redis://{user}127.0.0.1:{}", server.port());
        Redis::single(config(vec![address])).unwrap()
    };
    for wrong in ["", ":hush@"] {
        let error = with(wrong).get_many(&keys(1)).await.unwrap_err();
        assert_eq!(error, SecondLevelError::Refused);
        assert!(!format!("{error:?} {error}").contains("hush"));
    }
    assert_eq!(with(":open-sesame@").get_many(&keys(1)).await, Ok(vec![None]));
}

#[test]
fn r5_addresses_are_checked_before_they_are_used() {
    let with = |servers: &[&str]| config(servers.iter().map(|&server| server.into()).collect());
    let one = "redis://127.0.0.1:6379";
    let error = |made: Result<Redis, RedisConfigError>| made.unwrap_err();
    assert_eq!(error(Redis::single(with(&[]))), RedisConfigError::Count);
    assert_eq!(error(Redis::single(with(&[one, one]))), RedisConfigError::Count);
    assert_eq!(error(Redis::cluster(with(&[]))), RedisConfigError::Count);
    assert_eq!(error(Redis::cluster(with(&[one, "http://x"]))), RedisConfigError::Address(1));
}

#[tokio::test]
async fn r5_in_a_cluster_each_master_gets_its_part_in_one_round_trip() {
    if missing("r5_in_a_cluster_each_master_gets_its_part_in_one_round_trip") {
        return;
    }
    let cluster = Cluster::start().await;
    // One that is known is enough to find the others.
    let redis = Redis::cluster(config(cluster.urls()[..1].to_vec())).unwrap();
    let keys = keys(100);
    let entries = entries(&keys);
    assert_eq!(values(&redis, &keys).await, vec![None; 100]);
    assert_eq!((redis.stats().round_trips, redis.stats().layouts), (1 + 3, 1));

    let mut watches: Vec<_> = cluster.servers.iter().map(Server::watch).collect();
    let before: Vec<_> = watches.iter_mut().map(|watch| watch.seen()).collect();
    assert_eq!(redis.set_many(&entries, MINUTE).await, Ok(100));
    let between: Vec<_> = watches.iter_mut().map(|watch| watch.seen()).collect();
    assert_eq!(values(&redis, &keys).await, expected(&entries));
    let after: Vec<_> = watches.iter_mut().map(|watch| watch.seen()).collect();
    let mut total = 0;
    for index in 0..3 {
        // The servers also talk to each other, over connections that are not counted here.
        assert_eq!(between[index].reads - before[index].reads, 1 + 1);
        assert_eq!(after[index].reads - between[index].reads, 1 + 1);
        total += between[index].commands - before[index].commands - 1;
    }
    assert_eq!(total, 100);

    // The slots are computed as the servers do: nothing was sent to the wrong one.
    let many: Vec<Bytes> = (0..2000).map(|key| Bytes::from(format!("{key}{{{key}x}}"))).collect();
    assert_eq!(redis.get_many(&many).await.unwrap(), vec![None; 2000]);
    assert_eq!((redis.stats().moved, redis.stats().layouts), (0, 1));
}

#[tokio::test]
async fn r5_in_a_cluster_a_slot_that_moved_is_found_again() {
    if missing("r5_in_a_cluster_a_slot_that_moved_is_found_again") {
        return;
    }
    let cluster = Cluster::start().await;
    let redis = Redis::cluster(config(cluster.urls())).unwrap();
    let keys = keys(30);
    assert_eq!(values(&redis, &keys).await, vec![None; 30]);

    let slot: u16 = cluster.servers[0].ask("CLUSTER KEYSLOT teleflow:key-0000");
    let owner = usize::from(slot > 5460) + usize::from(slot > 10_922);
    let other = (owner + 1) % 3;
    let id: String = cluster.servers[other].ask("CLUSTER MYID");
    // The new owner first: it claims the slot with a newer epoch.
    for server in [other, owner] {
        let () = cluster.servers[server].ask(&format!("CLUSTER SETSLOT {slot} NODE {id}"));
    }

    let entries = entries(&keys);
    assert_eq!(redis.set_many(&entries, MINUTE).await, Ok(30));
    assert_eq!(values(&redis, &keys).await, expected(&entries));
    let stats = redis.stats();
    assert!(1 <= stats.moved && stats.moved <= 2, "{stats:?}");
    assert_eq!(stats.connects, 4, "one for the first layout: {stats:?}");
    let there: i64 = cluster.servers[other].ask("EXISTS teleflow:key-0000");
    assert_eq!(there, 1);
}

/// A slot half-way between two servers: one key has been moved, one has not, and one is new.
#[tokio::test]
async fn r5_in_a_cluster_a_key_on_its_way_is_found_and_written_where_it_goes() {
    if missing("r5_in_a_cluster_a_key_on_its_way_is_found_and_written_where_it_goes") {
        return;
    }
    let cluster = Cluster::start().await;
    let redis = Redis::cluster(config(cluster.urls())).unwrap();
    // The same slot for all, and 30 keys of others.
    let moving: Vec<Bytes> = (0..3).map(|key| Bytes::from(format!("{{tag}}{key}"))).collect();
    let keys: Vec<Bytes> = moving.iter().cloned().chain(keys(30)).collect();
    let entries = entries(&keys);
    assert_eq!(redis.set_many(&entries[..2], MINUTE).await, Ok(2));
    assert_eq!(redis.set_many(&entries[3..], MINUTE).await, Ok(30));

    let slot: u16 = cluster.servers[0].ask("CLUSTER KEYSLOT {tag}");
    let from = usize::from(slot > 5460) + usize::from(slot > 10_922);
    let to = (from + 1) % 3;
    let id = |server: usize| cluster.servers[server].ask::<String>("CLUSTER MYID");
    let set = |server: usize, what: &str, other: &str| {
        let () = cluster.servers[server].ask(&format!("CLUSTER SETSLOT {slot} {what} {other}"));
    };
    set(to, "IMPORTING", &id(from));
    set(from, "MIGRATING", &id(to));
    let port = cluster.servers[to].port();
    let () =
        cluster.servers[from].ask(&format!("MIGRATE 127.0.0.1 {port} teleflow:{{tag}}1 0 10000"));

    let before = redis.stats();
    let mut there = expected(&entries);
    there[2] = None;
    assert_eq!(values(&redis, &keys).await, there);
    // The moved one, and the one that is nowhere, in one more round trip; the layout stays.
    let stats = redis.stats();
    assert_eq!((stats.asked - before.asked, stats.round_trips - before.round_trips), (2, 3 + 1));
    assert_eq!((stats.moved, stats.layouts, stats.failures), (0, 1, 0));

    // A new one is written where the slot goes to, and so is one that is there; the one that has not
    // moved stays.
    assert_eq!(redis.set_many(&entries, MINUTE).await, Ok(33));
    assert_eq!(values(&redis, &keys).await, expected(&entries));
    let at = |server: usize| {
        cluster.servers[server].ask::<u64>(&format!("CLUSTER COUNTKEYSINSLOT {slot}"))
    };
    assert_eq!((at(from), at(to)), (1, 2));
    assert_eq!(redis.remove_many(&keys[1..3]).await, Ok(2));
    assert_eq!((at(from), at(to)), (1, 0));

    // It ends.
    let () =
        cluster.servers[from].ask(&format!("MIGRATE 127.0.0.1 {port} teleflow:{{tag}}0 0 10000"));
    let owner = id(to);
    set(to, "NODE", &owner);
    set(from, "NODE", &owner);
    assert_eq!(values(&redis, &keys[..1]).await, expected(&entries[..1]));
    assert_eq!((redis.stats().moved, redis.stats().layouts), (1, 2));
}

#[tokio::test]
async fn r5_in_a_cluster_a_master_that_dies_takes_only_its_keys_along() {
    if missing("r5_in_a_cluster_a_master_that_dies_takes_only_its_keys_along") {
        return;
    }
    let mut cluster = Cluster::start().await;
    let redis = Redis::cluster(RedisConfig {
        node_failures: 2,
        node_open: MINUTE,
        ..config(cluster.urls())
    });
    let redis = redis.unwrap();
    let keys = keys(90);
    let entries = entries(&keys);
    assert_eq!(redis.set_many(&entries, MINUTE).await, Ok(90));
    let lost: i64 = cluster.servers[1].ask("DBSIZE");
    cluster.servers[1].kill();

    for _ in 0..5 {
        let found = values(&redis, &keys).await;
        let misses = found.iter().filter(|value| value.is_none()).count();
        assert_eq!(misses as i64, lost);
        for (found, (_, value)) in found.iter().zip(&entries) {
            assert!(found.as_ref().is_none_or(|found| found == value));
        }
    }
    assert_eq!(redis.set_many(&entries, MINUTE).await, Ok(90 - lost as usize));
    assert_eq!(redis.remove_many(&keys).await, Ok(90 - lost as usize));
    let stats = redis.stats();
    assert!(2 <= stats.failures && stats.skipped >= 4, "{stats:?}");
    // Once at first, and once after each failure: a replica might have taken over.
    assert_eq!(stats.layouts, 1 + 2, "{stats:?}");

    // All of them dead is another matter.
    cluster.servers.clear();
    for _ in 0..3 {
        assert!(redis.get_many(&keys).await.is_err());
    }
}
