//! R4, R5 and R6 put together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use teleflow_cache::{
    Cache, CacheConfig, ConfigError, FirstLevelConfig, LoadError, NoCodec, NoSecondLevel, Stored,
};

use crate::fake::{Fake, Mood, Request};
use crate::source::{SECOND, Source, key, one, strings, two, two_with, value, weigh};
use crate::tasks::{Ended, Tasks};

#[tokio::test]
async fn r5_a_value_is_found_where_it_is_and_kept_in_the_levels_before() {
    let (source, fake) = (Source::default(), Fake::default());
    let cache = two(&source, &fake);
    let now = Instant::now();

    assert_eq!(value(&cache, now, "a").await.as_deref(), Some("a!"));
    assert_eq!(fake.requests(), [Request::Get(1), Request::Set(1)]);
    let day = Some(24 * 3600 * SECOND);
    assert_eq!(fake.value("a"), Some(Stored { value: "a!".into(), remaining: day }));

    assert_eq!(value(&cache, now, "a").await.as_deref(), Some("a!"));
    assert_eq!(fake.requests(), []);

    cache.first_level().clear();
    assert_eq!(value(&cache, now, "a").await.as_deref(), Some("a!"));
    assert_eq!((fake.requests(), source.loads()), (vec![Request::Get(1)], 1));

    let stats = cache.stats();
    assert_eq!((stats.first.hits, stats.first.misses), (1, 2));
    assert_eq!((stats.second.hits, stats.second.misses, stats.second.written), (1, 1, 1));
    assert_eq!((stats.loaded, stats.flight.led), (1, 2));
}

#[tokio::test]
async fn r5_the_first_level_keeps_a_value_no_longer_than_the_second() {
    let (source, fake) = (Source::default(), Fake::default());
    let cache = two(&source, &fake);
    let now = Instant::now();
    fake.put("short", "s", Some(SECOND));
    fake.put("batch", "b", Some(SECOND));
    fake.put("over", "o", Some(Duration::ZERO));
    fake.put("for-ever", "f", None);
    for (key, expected) in [("short", "s"), ("over", "o"), ("for-ever", "f")] {
        assert_eq!(value(&cache, now, key).await.as_deref(), Some(expected));
    }
    assert_eq!(
        cache.get_many_at(now, &[key("batch")]).await[0].as_ref().unwrap().as_deref(),
        Some("b")
    );
    let held = |now, name: &str| cache.first_level().peek_at(now, name).is_some();
    let names = ["short", "batch", "over", "for-ever"];
    let almost = now + SECOND - Duration::from_nanos(1);
    assert_eq!(names.map(|name| held(almost, name)), [true, true, false, true]);
    assert_eq!(names.map(|name| held(now + SECOND, name)), [false, false, false, true]);
    assert!(!held(now + 24 * 3600 * SECOND, "for-ever"));
}

#[tokio::test]
async fn r6_that_there_is_no_value_is_remembered_for_a_time_of_its_own() {
    let (source, fake) = (Source::default(), Fake::default());
    let cache = two(&source, &fake);
    let now = Instant::now();
    for _ in 0..10 {
        assert_eq!(value(&cache, now, "-").await, None);
    }
    assert_eq!((source.loads(), cache.stats().absent, cache.stats().first.hits), (1, 1, 9));
    // Not in the second level: it is this process that asked.
    assert_eq!(fake.requests(), [Request::Get(1)]);
    assert_eq!(value(&cache, now + 30 * SECOND - Duration::from_nanos(1), "-").await, None);
    assert_eq!(source.loads(), 1);
    assert_eq!(value(&cache, now + 30 * SECOND, "-").await, None);
    assert_eq!(source.loads(), 2);

    let config = CacheConfig { negative_ttl: Duration::ZERO, ..CacheConfig::default() };
    let cache = two_with(config, &source, &fake);
    for _ in 0..10 {
        assert_eq!(value(&cache, now, "-").await, None);
    }
    assert_eq!(source.loads(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_thousand_simultaneous_misses_of_one_key_make_one_load() {
    let loads = Arc::new(AtomicU64::new(0));
    let load = {
        let loads = loads.clone();
        move |key: String| {
            loads.fetch_add(1, Ordering::Relaxed);
            async move {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                Ok::<_, std::io::Error>(Some(key))
            }
        }
    };
    let cache = Arc::new(Cache::new(CacheConfig::default(), weigh, load).unwrap());
    let barrier = Arc::new(tokio::sync::Barrier::new(1000));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (cache, barrier) = (cache.clone(), barrier.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            cache.get(&key("hot")).await.unwrap()
        });
    }
    while let Some(value) = tasks.join_next().await {
        assert_eq!(value.unwrap().as_deref(), Some("hot"));
    }
    // Exactly one, also for those who come when it has just ended.
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    let stats = cache.stats();
    assert_eq!((stats.loaded, stats.flight.in_flight), (1, 0));
    assert_eq!(stats.first.hits + stats.flight.led + stats.flight.joined, 1000);
}

/// The batch misses, and asks the second level; meanwhile another loads the key. The batch, which
/// was told that the second level has nothing, must find it.
#[test]
fn r6_a_load_that_ended_between_the_miss_and_the_lead_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let (source, fake) = (Source::default(), Fake::default());
    let cache = two(&source, &fake);
    let (cache, keys) = (&cache, &[key("a")]);
    let now = Instant::now();
    let mut tasks = Tasks::new();
    fake.set_mood(Mood::Slow(3));
    tasks.add(async move { cache.get_many_at(now, keys).await.remove(0).unwrap() });
    tasks.step(0);
    fake.set_mood(Mood::Well);
    tasks.add(async move { value(cache, now, "a").await });
    tasks.step(1);
    assert!(tasks.ended(1).is_some());
    tasks.run();
    for index in 0..2 {
        assert!(matches!(tasks.ended(index), Some(Ended::Returned(Some(value))) if value == "a!"));
    }
    assert_eq!(source.loads(), 1);
    assert_eq!(fake.requests(), [Request::Get(1), Request::Get(1), Request::Set(1)]);
}

#[tokio::test]
async fn r6_a_failed_load_is_not_kept() {
    let source = Source::default();
    let cache = one(&source);
    let now = Instant::now();
    for loads in 1..4 {
        let error = cache.get_at(now, &key("?")).await.unwrap_err();
        assert!(matches!(&error, LoadError::Failed(error) if **error == "on purpose"));
        assert_eq!(source.loads(), loads);
    }
    assert!(cache.first_level().is_empty());
}

#[tokio::test]
async fn r5_a_batch_asks_each_level_once_and_keeps_the_order() {
    let source = Source { steps: 2, ..Source::default() };
    let fake = Fake::default();
    let cache = two(&source, &fake);
    let now = Instant::now();
    for held in 0..50 {
        value(&cache, now, &held.to_string()).await;
    }
    for second in 50..150 {
        fake.put(&second.to_string(), &format!("{second}!"), None);
    }
    fake.requests();
    let mut keys = strings(0..280);
    keys.rotate_left(77);
    keys.extend([key("279"), key("-"), key("?")]);

    let found = cache.get_many_at(now, &keys).await;
    assert_eq!(found.len(), keys.len());
    for (key, found) in keys.iter().zip(found) {
        match key.as_str() {
            "-" => assert_eq!(found.unwrap(), None),
            "?" => assert!(found.is_err()),
            key => assert_eq!(found.unwrap(), Some(format!("{key}!"))),
        }
    }
    // 50 were held; of the other 233, with one twice, 100 were in the second level.
    let reads = [Request::Get(100), Request::Get(100), Request::Get(33)];
    let writes = [Request::Set(100), Request::Set(30)];
    assert_eq!(fake.requests(), [&reads[..], &writes].concat());
    assert_eq!(source.loads(), 50 + 130 + 2);
    assert_eq!(source.most_running.load(Ordering::Relaxed), 16);
    assert_eq!(cache.get_many_at(now, &[]).await.len(), 0);
}

#[tokio::test]
async fn r5_what_a_batch_and_a_single_get_want_at_the_same_time_is_loaded_once() {
    let source = Source { steps: 3, ..Source::default() };
    let cache = one(&source);
    let now = Instant::now();
    let keys = strings(0..10);
    let (batch, single, other) = tokio::join!(
        cache.get_many_at(now, &keys),
        cache.get_at(now, &keys[3]),
        cache.get_many_at(now, &keys[5..])
    );
    assert!(batch.iter().chain(&other).all(Result::is_ok));
    assert_eq!(single.unwrap().as_deref(), Some("3!"));
    assert_eq!(source.loads(), 10);
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let source = Source::default();
    let error = |config| {
        let made = Cache::with_second_level(config, weigh, &source, NoSecondLevel, NoCodec);
        made.map(|_: Cache<String, String, _, _, _>| ()).unwrap_err()
    };
    let fine = CacheConfig::default();
    assert_eq!(error(CacheConfig { batch: 0, ..fine }), ConfigError::NoConcurrency);
    assert_eq!(error(CacheConfig { load_concurrency: 0, ..fine }), ConfigError::NoConcurrency);
    assert_eq!(error(CacheConfig { second_ttl: Duration::ZERO, ..fine }), ConfigError::NoTime);
    let first = FirstLevelConfig { max_bytes: 0, ..fine.first };
    assert_eq!(error(CacheConfig { first, ..fine }), ConfigError::NoSpace);
}

#[tokio::test]
async fn no_key_and_no_value_is_printed() {
    let source = Source::default();
    let fake = Fake::default();
    let cache = two(&source, &fake);
    cache.insert(key("hush"), key("hush")).await;
    let stored = fake.value("hush").unwrap();
    let mut seen: HashMap<&str, String> = HashMap::new();
    seen.insert("cache", format!("{cache:?}"));
    seen.insert("stored", format!("{stored:?}"));
    seen.insert("stats", format!("{:?}", cache.stats()));
    for (what, text) in seen {
        assert!(!text.contains("hush"), "{what}: {text}");
    }
}
