//! R4, R5 and R6 put together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_cache::{
    Cache, CacheConfig, Codec, ConfigError, FirstLevelConfig, GuardConfig, LoadError, Loader,
    MissWatch, MissWatchConfig, NoCodec, NoSecondLevel, OnFailure, Raw, Removed, Stored,
    Undecodable, WarmUp,
};

use crate::fake::{Fake, Mood, Request};
use crate::tasks::{Ended, Tasks, step_aside};

const SECOND: Duration = Duration::from_secs(1);

/// Loads `KEY!`; there is nothing for keys with `-`; `?` fails and `#` panics.
#[derive(Default)]
struct Source {
    steps: usize,
    loads: AtomicU64,
    running: AtomicU64,
    most_running: AtomicU64,
}

struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Loader<String, String> for &Source {
    type Error = &'static str;

    async fn load(&self, key: &String) -> Result<Option<String>, &'static str> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_running.fetch_max(running, Ordering::Relaxed);
        let _running = Running(&self.running);
        for _ in 0..self.steps {
            step_aside().await;
        }
        match key.as_str() {
            key if key.starts_with('-') => Ok(None),
            key if key.starts_with('?') => Err("on purpose"),
            key if key.starts_with('#') => panic!("on purpose"),
            key => Ok(Some(format!("{key}!"))),
        }
    }
}

impl Source {
    fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }
}

type One<'a> = Cache<String, String, &'a Source>;
type Two<'a> = Cache<String, String, &'a Source, &'a Fake, Raw>;

fn weigh(key: &String, value: Option<&String>) -> usize {
    key.capacity() + value.map_or(0, String::capacity)
}

fn one(source: &Source) -> One<'_> {
    Cache::new(CacheConfig::default(), weigh, source).unwrap()
}

fn two<'a>(source: &'a Source, fake: &'a Fake) -> Two<'a> {
    two_with(CacheConfig::default(), source, fake)
}

fn two_with<'a>(config: CacheConfig, source: &'a Source, fake: &'a Fake) -> Two<'a> {
    Cache::with_second_level(config, weigh, source, fake, Raw).unwrap()
}

fn strings(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|key| key.to_string()).collect()
}

fn key(key: &str) -> String {
    key.to_owned()
}

/// Enough for a test that must not hang.
async fn value<S, C>(
    cache: &Cache<String, String, &Source, S, C>,
    now: Instant,
    name: &str,
) -> Option<String>
where
    S: teleflow_cache::SecondLevel,
    C: Codec<String, String>,
{
    cache.get_at(now, &key(name)).await.unwrap()
}

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

#[tokio::test]
async fn r5_a_second_level_that_fails_is_missed_and_then_left_alone() {
    let (source, fake) = (Source::default(), Fake::default());
    let cache = two(&source, &fake);
    let now = Instant::now();
    fake.set_mood(Mood::Fails);
    for index in 0..10 {
        let name = index.to_string();
        assert_eq!(value(&cache, now, &name).await, Some(format!("{name}!")));
    }
    // Each is a read and a write; the fifth failure is the read of the third.
    assert_eq!(fake.requests().len(), 5);
    let second = cache.stats().second;
    assert_eq!((second.calls, second.failures, second.skipped), (5, 5, 15));
    assert!(second.is_open);

    fake.set_mood(Mood::Well);
    assert_eq!(value(&cache, now, "open").await.as_deref(), Some("open!"));
    assert_eq!(fake.requests(), []);
    // Far enough ahead of the time that passed during the calls.
    let later = now + 60 * SECOND;
    assert_eq!(value(&cache, later, "tried").await.as_deref(), Some("tried!"));
    assert_eq!(fake.requests(), [Request::Get(1), Request::Set(1)]);
    assert!(!cache.stats().second.is_open);
}

#[tokio::test(start_paused = true)]
async fn r5_a_silent_second_level_costs_five_deadlines_and_no_more() {
    let (source, fake) = (Source::default(), Fake::default());
    let cache = two(&source, &fake);
    fake.set_mood(Mood::Silent);
    let start = tokio::time::Instant::now();
    for index in 0..1000 {
        let name = index.to_string();
        assert_eq!(cache.get(&name).await.unwrap(), Some(format!("{name}!")));
    }
    let spent = start.elapsed();
    let deadline = GuardConfig::default().deadline;
    assert!(spent <= 5 * deadline + Duration::from_millis(10), "{spent:?}");
    let second = cache.stats().second;
    assert_eq!((second.timeouts, second.failures, second.skipped), (5, 0, 1995));

    // A second later (rounded up to a millisecond), one caller tries, and pays.
    tokio::time::advance(SECOND + Duration::from_millis(1)).await;
    for index in 1000..1100 {
        cache.get(&index.to_string()).await.unwrap();
    }
    assert_eq!(cache.stats().second.timeouts, 6);
}

#[tokio::test]
async fn r5_bytes_that_are_no_value_are_a_miss_and_replaced() {
    struct Picky;
    impl Codec<String, String> for Picky {
        fn key(&self, key: &String, out: &mut Vec<u8>) {
            Codec::<String, String>::key(&Raw, key, out);
        }
        fn encode(&self, value: &String, out: &mut Vec<u8>) {
            Codec::<String, String>::encode(&Raw, value, out);
        }
        fn decode(&self, bytes: Bytes) -> Result<String, Undecodable> {
            let text: String = Codec::<String, String>::decode(&Raw, bytes)?;
            if text.ends_with('!') { Ok(text) } else { Err(Undecodable) }
        }
    }
    let (source, fake) = (Source::default(), Fake::default());
    let cache = CacheConfig::default();
    let cache = Cache::with_second_level(cache, weigh, &source, &fake, Picky).unwrap();
    let now = Instant::now();
    for name in ["single", "batch"] {
        fake.put(name, "from an older version", None);
        let found = if name == "single" {
            value(&cache, now, name).await
        } else {
            cache.get_many_at(now, &[key(name)]).await.remove(0).unwrap()
        };
        assert_eq!(found, Some(format!("{name}!")));
        assert_eq!(fake.value(name).unwrap().value, format!("{name}!"));
    }
    let second = cache.stats().second;
    assert_eq!((second.undecodable, second.hits, second.misses), (2, 0, 2));
    assert_eq!(second.failures, 0);
}

#[tokio::test]
async fn r5_an_answer_of_the_wrong_length_is_a_failure() {
    let (source, fake) = (Source::default(), Fake::default());
    let cache = two(&source, &fake);
    fake.set_mood(Mood::Short);
    let now = Instant::now();
    for (index, key) in strings(0..3).iter().enumerate() {
        fake.put(key, "wrong", None);
        assert_eq!(value(&cache, now, key).await, Some(format!("{key}!")));
        assert_eq!(cache.stats().second.failures, index as u64 + 1);
    }
}

#[test]
fn what_is_removed_while_it_is_loaded_does_not_come_back() {
    for batch in [false, true] {
        let source = Source { steps: 3, ..Source::default() };
        let fake = Fake::default();
        fake.set_mood(Mood::Slow(2));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        // In the second level as well, for the batch: it is read, removed, and then put down.
        if batch {
            fake.put("a", "old", None);
        }
        let cache = two(&source, &fake);
        let now = Instant::now();
        let mut tasks = Tasks::new();
        let (keys, cache) = ([key("a")], &cache);
        tasks.add(async move {
            if batch {
                drop(cache.get_many_at(now, &keys).await)
            } else {
                value(cache, now, "a").await;
            }
        });
        // Two steps into reading the second level.
        tasks.step(0);
        tasks.step(0);
        fake.set_mood(Mood::Well);
        tasks.add(async move {
            assert_eq!(cache.remove_at(now, &key("a")).await, Removed::Everywhere);
        });
        tasks.step(1);
        assert!(tasks.ended(1).is_some());
        tasks.run();
        assert!(matches!(tasks.ended(0), Some(Ended::Returned(()))));
        assert!(cache.first_level().is_empty(), "{batch}");
        assert_eq!(fake.len(), 0, "{batch}");
        assert_eq!(cache.stats().flight.in_flight, 0);
    }
}

#[test]
fn what_is_inserted_while_it_is_loaded_is_not_overwritten() {
    let source = Source { steps: 3, ..Source::default() };
    let cache = one(&source);
    let now = Instant::now();
    let mut tasks = Tasks::new();
    let cache = &cache;
    tasks.add(async move { value(cache, now, "a").await });
    tasks.step(0);
    tasks.add(async move {
        cache.insert_at(now, key("a"), key("newer")).await;
        value(cache, now, "a").await
    });
    tasks.run();
    // Who asked before gets what was loaded for it.
    assert!(matches!(tasks.ended(0), Some(Ended::Returned(Some(old))) if old == "a!"));
    assert!(matches!(tasks.ended(1), Some(Ended::Returned(Some(new))) if new == "newer"));
    assert_eq!(cache.first_level().peek_at(now, "a"), Some(Some(key("newer"))));
}

#[tokio::test]
async fn a_removal_that_did_not_reach_the_second_level_says_so() {
    let (source, fake) = (Source::default(), Fake::default());
    let cache = two(&source, &fake);
    let now = Instant::now();
    cache.insert_at(now, key("a"), key("A")).await;
    assert_eq!(fake.value("a").unwrap().value, "A");
    fake.set_mood(Mood::Fails);
    assert_eq!(cache.remove_at(now, &key("a")).await, Removed::FirstLevelOnly);
    fake.set_mood(Mood::Well);
    assert_eq!(cache.remove_at(now, &key("a")).await, Removed::Everywhere);
    assert_eq!(fake.len(), 0);
    assert_eq!(one(&source).remove(&key("a")).await, Removed::Everywhere);
}

#[tokio::test]
async fn r6_warm_up_takes_what_it_can_from_the_second_level_and_loads_the_rest() {
    let source = Source { steps: 2, ..Source::default() };
    let fake = Fake::default();
    let cache = two(&source, &fake);
    let now = Instant::now();
    value(&cache, now, "0").await;
    for second in 1..100 {
        fake.put(&second.to_string(), "s", None);
    }
    fake.requests();
    let keys = strings(0..247).into_iter().chain([key("-"), key("?1"), key("?2")]);
    let warm = cache.warm_at(now, keys).await;
    let expected = WarmUp { held: 1, from_second: 99, loaded: 148, absent: 1, failed: 2 };
    assert_eq!(warm, expected);
    let requests = [
        Request::Get(99),
        Request::Get(100),
        Request::Set(100),
        Request::Get(50),
        Request::Set(47),
    ];
    assert_eq!(fake.requests(), requests);
    assert_eq!(source.most_running.load(Ordering::Relaxed), 16);
    let stats = cache.stats();
    // Those who warm up are not among those who miss.
    assert_eq!((stats.first.hits, stats.first.misses), (0, 1));
    let loads = source.loads();
    for found in cache.get_many_at(now, &strings(0..247)).await {
        assert!(found.unwrap().is_some());
    }
    assert_eq!(source.loads(), loads);
    assert_eq!(cache.stats().first.hits, 247);
}

#[tokio::test(start_paused = true)]
async fn r6_past_a_miss_threshold_the_cache_warms_itself_up() {
    let source = Source::default();
    let cache = one(&source);
    let warmed = std::cell::RefCell::new(Vec::new());
    let config = MissWatchConfig { min_lookups: 10, ..MissWatchConfig::default() };
    let watch = MissWatch::new(config);
    let asked = AtomicU64::new(0);
    let keys = async || {
        asked.fetch_add(1, Ordering::Relaxed);
        strings(0..20)
    };
    let keep_warm = cache.keep_warm(watch, keys, |warm| warmed.borrow_mut().push(warm));
    let script = async {
        cache.warm(strings(0..20)).await;
        for _ in 0..3 {
            tokio::time::sleep(10 * SECOND).await;
            for found in cache.get_many(&strings(0..20)).await {
                assert!(found.is_ok());
            }
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0, "everything was a hit");

        // It is emptied, and the next look, at 40 s, sees ten misses.
        cache.first_level().clear();
        for found in cache.get_many(&strings(0..10)).await {
            assert!(found.is_ok());
        }
        tokio::time::sleep(10 * SECOND).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let expected = WarmUp { held: 10, loaded: 10, ..WarmUp::default() };
        assert_eq!(*warmed.borrow(), [expected]);
        let loads = source.loads();
        for found in cache.get_many(&strings(0..20)).await {
            assert!(found.is_ok());
        }
        assert_eq!(source.loads(), loads);
    };
    tokio::select! {
        // The watch looks first where both are due.
        biased;
        () = keep_warm => unreachable!(),
        () = script => {}
    }
}

/// The caller who loads is dropped after each number of polls there is; another waits for it, and a
/// third comes later.
#[test]
fn r6_dropped_at_any_await_point_nothing_is_left_and_the_others_get_their_value() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    for batch in [false, true] {
        for on_failure in [OnFailure::Share, OnFailure::TakeOver] {
            let mut finished = 0;
            for polls in 0..20 {
                let source = Source { steps: 2, ..Source::default() };
                let fake = Fake::default();
                fake.set_mood(Mood::Slow(2));
                let config = CacheConfig { on_failure, ..CacheConfig::default() };
                let cache = two_with(config, &source, &fake);
                let now = Instant::now();
                let keys = [key("a"), key("b")];
                let (keys, cache) = (&keys, &cache);
                let mut tasks = Tasks::new();
                tasks.add(async move {
                    if batch {
                        drop(cache.get_many_at(now, keys).await);
                    } else {
                        value(cache, now, "a").await;
                    }
                });
                tasks.add(async move {
                    assert_eq!(value(cache, now, "a").await.as_deref(), Some("a!"));
                });
                (0..polls).for_each(|_| {
                    tasks.step(0);
                });
                tasks.step(1);
                finished += usize::from(!tasks.cancel(0));
                tasks.run();
                assert!(matches!(tasks.ended(1), Some(Ended::Returned(()))), "{polls}");
                tasks.add(async move {
                    assert_eq!(value(cache, now, "a").await.as_deref(), Some("a!"));
                });
                tasks.run();
                assert!(matches!(tasks.ended(2), Some(Ended::Returned(()))), "{polls}");
                let stats = cache.stats();
                assert_eq!(stats.flight.in_flight, 0, "{polls}");
                assert!(!stats.second.is_open);
                assert_eq!(source.running.load(Ordering::Relaxed), 0);
                assert!(stats.loaded <= 3, "{polls}: {stats:?}");
            }
            assert!(2 < finished && finished < 18, "{finished}: the places were not all met");
        }
    }
}

/// Dropped while the breaker lets it try: the next one tries.
#[test]
fn r5_a_trial_that_is_dropped_does_not_keep_the_breaker_open() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let (source, fake) = (Source::default(), Fake::default());
    let cache = two(&source, &fake);
    let cache = &cache;
    let now = Instant::now();
    fake.set_mood(Mood::Fails);
    let mut tasks = Tasks::new();
    tasks.add(async move {
        for key in strings(0..5) {
            value(cache, now, &key).await;
        }
    });
    tasks.run();
    assert!(cache.stats().second.is_open);
    fake.set_mood(Mood::Slow(5));
    let later = now + 60 * SECOND;
    tasks.add(async move {
        value(cache, later, "dropped").await;
    });
    tasks.step(1);
    assert!(tasks.cancel(1));
    tasks.add(async move {
        value(cache, later, "next").await;
    });
    tasks.run();
    assert!(!cache.stats().second.is_open);
}

/// Every closure and trait that is not ours panics once; the call panics with it, and the same call
/// works afterwards.
#[test]
fn r6_a_panic_in_what_is_not_ours_leaves_everything_usable() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Place {
        Weigh,
        Key,
        Encode,
        Decode,
        Load,
        Second,
    }
    struct Fuse(std::sync::Mutex<Option<Place>>);
    impl Fuse {
        fn pass(&self, place: Place) {
            let due = self.0.lock().unwrap().take_if(|due| *due == place).is_some();
            assert!(!due, "on purpose");
        }
    }
    struct Panics(Arc<Fuse>);
    impl Codec<String, String> for Panics {
        fn key(&self, key: &String, out: &mut Vec<u8>) {
            self.0.pass(Key);
            out.extend_from_slice(key.as_bytes());
        }
        fn encode(&self, value: &String, out: &mut Vec<u8>) {
            self.0.pass(Encode);
            out.extend_from_slice(value.as_bytes());
        }
        fn decode(&self, bytes: Bytes) -> Result<String, Undecodable> {
            self.0.pass(Decode);
            Codec::<String, String>::decode(&Raw, bytes)
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    use Place::{Decode, Encode, Key, Load, Second, Weigh};
    for place in [Weigh, Key, Encode, Decode, Load, Second] {
        for on_failure in [OnFailure::Share, OnFailure::TakeOver] {
            for batch in [false, true] {
                let fake = Fake::default();
                fake.set_mood(if place == Second { Mood::Panics } else { Mood::Slow(1) });
                if place == Decode {
                    fake.put("a", "a", None);
                }
                let fuse = Arc::new(Fuse(std::sync::Mutex::new(Some(place))));
                let load = {
                    let fuse = fuse.clone();
                    move |key: String| {
                        let fuse = fuse.clone();
                        async move {
                            step_aside().await;
                            fuse.pass(Load);
                            Ok::<_, ()>(Some(key))
                        }
                    }
                };
                let weigh = {
                    let fuse = fuse.clone();
                    move |_: &String, _: Option<&String>| {
                        fuse.pass(Weigh);
                        1
                    }
                };
                let config = CacheConfig { on_failure, ..CacheConfig::default() };
                let codec = Panics(fuse.clone());
                let cache = Cache::with_second_level(config, weigh, load, &fake, codec).unwrap();
                let (cache, fake) = (&cache, &fake);
                let now = Instant::now();
                let get = |batch| async move {
                    if batch {
                        cache.get_many_at(now, &[key("a")]).await.remove(0)
                    } else {
                        cache.get_at(now, &key("a")).await
                    }
                };
                let mut tasks = Tasks::new();
                tasks.add(get(batch));
                tasks.add(get(false));
                tasks.step(0);
                tasks.step(1);
                if place == Second {
                    fake.set_mood(Mood::Well);
                }
                tasks.run();
                let case = format!("{place:?} {on_failure:?} {batch}");
                assert_eq!(tasks.stuck(), 0, "{case}");
                let panicked = |index| matches!(tasks.ended(index), Some(Ended::Panicked));
                assert!(panicked(0) || panicked(1), "{case}");
                for index in 0..2 {
                    match tasks.ended(index) {
                        Some(Ended::Panicked) => {}
                        Some(Ended::Returned(Ok(Some(value)))) => assert_eq!(value, "a"),
                        Some(Ended::Returned(Err(LoadError::Panicked))) => {
                            assert_eq!(on_failure, OnFailure::Share, "{case}");
                        }
                        ended => panic!("{case}: {ended:?}"),
                    }
                }
                let last = tasks.add(get(batch));
                tasks.run();
                let ended = tasks.ended(last);
                let fine = matches!(ended, Some(Ended::Returned(Ok(Some(value)))) if value == "a");
                assert!(fine, "{case}: {ended:?}");
                assert_eq!(cache.stats().flight.in_flight, 0, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn r6_a_key_that_panics_spoils_no_other_key_of_a_batch() {
    let source = Source::default();
    let cache = Arc::new(one(Box::leak(Box::new(source))));
    let keys = [key("a"), key("#"), key("b")];
    let task = {
        let (cache, keys) = (cache.clone(), keys.clone());
        tokio::spawn(async move { cache.get_many(&keys).await.len() })
    };
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(cache.get(&key("a")).await.unwrap().as_deref(), Some("a!"));
    assert_eq!(cache.get(&key("b")).await.unwrap().as_deref(), Some("b!"));
    assert_eq!(cache.stats().flight.in_flight, 0);
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
