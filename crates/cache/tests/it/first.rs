//! R4: the first level.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use teleflow_cache::{ConfigError, FirstLevel, FirstLevelConfig, FirstLevelStats};

const SECOND: Duration = Duration::from_secs(1);

/// Keys and values whose weight a test can read: a value is its own number of bytes on the heap.
type Sized = FirstLevel<u32, u32>;

fn sized(config: FirstLevelConfig) -> Sized {
    Sized::new(config, |_, value| *value as usize).unwrap()
}

fn small(max_entries: usize, max_bytes: usize, shards: usize) -> FirstLevelConfig {
    FirstLevelConfig { max_entries, max_bytes, shards, ttl: 10 * SECOND }
}

/// The sentence on [`FirstLevelStats`].
#[track_caller]
fn assert_balanced(stats: FirstLevelStats) {
    let out = stats.entries + stats.replaced + stats.evictions + stats.removed;
    assert_eq!(stats.inserts, out, "{stats:?}");
}

#[test]
fn r4_the_default_time_to_live_is_a_day() {
    let cache = sized(FirstLevelConfig::default());
    let now = Instant::now();
    cache.insert_at(now, 1, 1).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(cache.get_at(now + day - Duration::from_nanos(1), &1), Some(1));
    assert_eq!(cache.get_at(now + day, &1), None);
}

#[test]
fn r4_an_expired_entry_is_counted_and_leaves() {
    let cache = sized(small(10, 10_000, 1));
    let now = Instant::now();
    cache.insert_at(now, 1, 1).unwrap();
    assert_eq!(cache.get_at(now + 10 * SECOND, &1), None);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.expired), (0, 1, 1));
    assert_eq!((stats.entries, stats.bytes, stats.removed), (0, 0, 1));
    // It is gone, also for someone whose clock is behind.
    assert_eq!(cache.get_at(now, &1), None);
    assert_eq!(cache.stats().expired, 1);
}

#[test]
fn r4_an_entry_may_have_a_time_to_live_of_its_own() {
    let cache = sized(small(10, 10_000, 1));
    let now = Instant::now();
    cache.insert_for_at(now, 1, 1, SECOND).unwrap();
    cache.insert_for_at(now, 2, 1, Duration::ZERO).unwrap();
    cache.insert_for_at(now, 3, 1, Duration::MAX).unwrap();
    assert_eq!(cache.get_at(now, &1), Some(1));
    assert_eq!(cache.get_at(now, &2), None);
    assert_eq!(cache.get_at(now + SECOND, &1), None);
    assert_eq!(cache.get_at(now + 1_000_000 * SECOND, &3), Some(1));
}

#[test]
fn r4_the_number_of_entries_is_bounded() {
    for (max_entries, shards) in [(1, 1), (2, 1), (100, 1), (1000, 8)] {
        let cache = sized(small(max_entries, 64 << 20, shards));
        let now = Instant::now();
        for key in 0..3000 {
            cache.insert_at(now, key, 1).unwrap();
            assert!(cache.len() <= max_entries, "{} of {max_entries}", cache.len());
            assert_eq!(cache.get_at(now, &key), Some(1), "the newest entry was not kept");
        }
        let stats = cache.stats();
        // Parts do not lend each other space.
        assert!(max_entries * 9 / 10 <= stats.entries as usize, "{stats:?}");
        assert_eq!(stats.evictions, 3000 - stats.entries);
        assert_balanced(stats);
    }
}

#[test]
fn r4_the_bytes_are_bounded() {
    let cache = sized(small(1_000_000, 1 << 20, 1));
    let now = Instant::now();
    for key in 0..200 {
        cache.insert_at(now, key, 50_000).unwrap();
        assert!(cache.stats().bytes <= 1 << 20);
    }
    let stats = cache.stats();
    assert_eq!(stats.entries, (1 << 20) / (50_000 + Sized::ENTRY_BYTES) as u64);
    assert_eq!(stats.bytes, stats.entries * (50_000 + Sized::ENTRY_BYTES) as u64);
    assert_balanced(stats);
}

#[test]
fn r4_what_is_too_large_comes_back_and_the_older_value_is_gone() {
    let cache = sized(small(10, 1000, 1));
    let now = Instant::now();
    cache.insert_at(now, 1, 1).unwrap();
    let refused = cache.insert_at(now, 1, 1000).unwrap_err();
    assert_eq!((refused.key, refused.value), (1, 1000));
    assert_eq!(refused.bytes, 1000 + Sized::ENTRY_BYTES);
    assert!(refused.max_bytes <= 1000);
    assert_eq!(cache.get_at(now, &1), None);
    let stats = cache.stats();
    assert_eq!((stats.too_large, stats.inserts, stats.bytes), (1, 1, 0));
    assert_balanced(stats);
}

#[test]
fn r4_what_is_read_often_survives_a_scan() {
    let cache = sized(small(100, 64 << 20, 1));
    let now = Instant::now();
    for key in 0..50 {
        cache.insert_at(now, key, 1).unwrap();
    }
    for key in 1000..11_000 {
        for hot in 0..50 {
            cache.get_at(now, &hot);
        }
        cache.insert_at(now, key, 1).unwrap();
    }
    let kept = (0..50).filter(|hot| cache.peek_at(now, hot).is_some()).count();
    assert_eq!(kept, 50, "an LRU cache would have kept none");
}

#[test]
fn r4_expired_entries_can_be_purged() {
    let cache = sized(small(1000, 64 << 20, 8));
    let now = Instant::now();
    for key in 0..100 {
        cache.insert_for_at(now, key, 1, SECOND * (1 + key % 2)).unwrap();
    }
    assert_eq!(cache.purge_expired(now + SECOND), 50);
    assert_eq!((cache.len(), cache.stats().removed), (50, 50));
    cache.clear();
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.bytes, stats.removed), (0, 0, 100));
    assert_balanced(stats);
}

#[test]
fn r4_a_cache_that_can_hold_nothing_is_refused() {
    let none = |config| FirstLevel::<u32, u32>::new(config, |_, _| 0).unwrap_err();
    assert_eq!(none(small(0, 1, 1)), ConfigError::NoSpace);
    assert_eq!(none(small(1, 0, 1)), ConfigError::NoSpace);
    let timeless = FirstLevelConfig { ttl: Duration::ZERO, ..FirstLevelConfig::default() };
    assert_eq!(none(timeless), ConfigError::NoTime);
}

#[test]
fn r4_threads_share_it_and_every_value_is_dropped_once() {
    let cache = FirstLevel::<u32, Arc<()>>::new(small(500, 64 << 20, 4), |_, _| 0).unwrap();
    let now = Instant::now();
    let value = Arc::new(());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, value) = (&cache, &value);
            scope.spawn(move || {
                for step in 0..2000_u32 {
                    let key = (step * 7 + thread * 13) % 1500;
                    match step % 5 {
                        0 => drop(cache.remove(&key)),
                        1 => drop(cache.get_at(now + 11 * SECOND, &key)),
                        2 => drop(cache.get_at(now, &key)),
                        _ => cache.insert_at(now, key, value.clone()).unwrap(),
                    }
                }
            });
        }
    });
    let stats = cache.stats();
    assert_balanced(stats);
    assert_eq!(stats.hits + stats.misses, 4 * 2000 / 5 * 2);
    assert_eq!(Arc::strong_count(&value) as u64, 1 + stats.entries);
    drop(cache);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn r4_a_value_that_panics_while_it_is_cloned_or_dropped_leaves_the_books_right() {
    #[derive(Debug)]
    struct Fragile(Arc<std::sync::atomic::AtomicBool>);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert!(!self.0.load(std::sync::atomic::Ordering::Relaxed), "on purpose");
            Self(self.0.clone())
        }
    }
    impl Drop for Fragile {
        fn drop(&mut self) {
            let due = self.0.swap(false, std::sync::atomic::Ordering::Relaxed);
            assert!(!due || std::thread::panicking(), "on purpose");
        }
    }
    let cache = FirstLevel::<u32, Fragile>::new(small(1, 10_000, 1), |_, _| 0).unwrap();
    let now = Instant::now();
    let armed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    cache.insert_at(now, 1, Fragile(armed.clone())).unwrap();

    armed.store(true, std::sync::atomic::Ordering::Relaxed);
    let get = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.get_at(now, &1)));
    assert!(get.is_err());

    // The one that is pushed out panics while it is dropped: the newer one is in all the same.
    let insert = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cache.insert_at(now, 2, Fragile(Arc::default()))
    }));
    assert!(insert.is_err());
    assert!(cache.get_at(now, &2).is_some());
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.evictions, stats.inserts), (1, 1, 2));
    assert_balanced(stats);
}

#[test]
fn neither_keys_nor_values_are_printed() {
    let cache = FirstLevel::<String, String>::new(small(10, 200, 1), |k, v| k.len() + v.len());
    let cache = cache.unwrap();
    let now = Instant::now();
    cache.insert_at(now, "hush".into(), "hush".into()).unwrap();
    let refused = cache.insert_at(now, "hush".into(), "hush".repeat(100)).unwrap_err();
    for text in [format!("{cache:?}"), format!("{refused:?}"), refused.to_string()] {
        assert!(!text.contains("hush"), "{text}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Get(u32),
    Insert(u32, u32, u32),
    Remove(u32),
    Purge,
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..40_u32;
    prop_oneof![
        4 => key.clone().prop_map(Step::Get),
        4 => (key.clone(), 0..600_u32, 0..20_u32).prop_map(|(k, v, t)| Step::Insert(k, v, t)),
        1 => key.prop_map(Step::Remove),
        1 => Just(Step::Purge),
        1 => (0..8_u32).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Beside a plain map with everything that was ever put in: what is found is what was put in
    /// last and has not expired; nothing is lost but by eviction; both bounds hold at each step; the
    /// books balance.
    #[test]
    fn r4_it_forgets_only_what_it_may(
        max_entries in 1..30_usize,
        max_bytes in 300..4000_usize,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let cache = sized(FirstLevelConfig { max_entries, max_bytes, shards: 4, ttl: SECOND });
        let mut model: HashMap<u32, (u32, Instant)> = HashMap::new();
        let mut now = Instant::now();
        let (mut hits, mut lookups) = (0, 0);
        for step in steps {
            let evictions = cache.stats().evictions;
            match step {
                Step::Get(key) => {
                    lookups += 1;
                    let found = cache.get_at(now, &key);
                    hits += u64::from(found.is_some());
                    let expected = model.get(&key).filter(|(_, expires)| now < *expires);
                    if let Some(found) = found {
                        prop_assert_eq!(Some(found), expected.map(|(value, _)| *value));
                    } else {
                        model.remove(&key);
                    }
                }
                Step::Insert(key, value, ttl) => {
                    let kept = cache.insert_for_at(now, key, value, ttl * SECOND);
                    model.remove(&key);
                    if kept.is_ok() {
                        model.insert(key, (value, now + ttl * SECOND));
                        let found = cache.peek_at(now, &key);
                        // In a full cache, a new entry may be the one that has to go.
                        let pushed_out = evictions < cache.stats().evictions;
                        let expected = (ttl != 0).then_some(value);
                        prop_assert!(found == expected || found.is_none() && pushed_out);
                    }
                }
                Step::Remove(key) => {
                    let removed = cache.remove(&key);
                    let expected = model.remove(&key).map(|(value, _)| value);
                    if let (Some(removed), Some(expected)) = (removed, expected) {
                        prop_assert_eq!(removed, expected);
                    }
                    prop_assert_eq!(cache.peek_at(now, &key), None);
                }
                Step::Purge => {
                    cache.purge_expired(now);
                }
                Step::Wait(seconds) => now += seconds * SECOND,
            }
            model.retain(|_, (_, expires)| now < *expires);
            let stats = cache.stats();
            let missing = model.keys().filter(|key| cache.peek_at(now, *key).is_none()).count();
            prop_assert!(missing as u64 <= stats.evictions);
            prop_assert!(stats.entries as usize <= max_entries);
            prop_assert!(stats.bytes as usize <= max_bytes);
            prop_assert_eq!((stats.hits, stats.misses), (hits, lookups - hits));
            assert_balanced(stats);
        }
    }
}
