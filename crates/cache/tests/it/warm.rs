//! R6: warm-up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use teleflow_cache::{MissWatch, MissWatchConfig, WarmUp};

use crate::fake::{Fake, Request};
use crate::source::{SECOND, Source, key, one, strings, two, value};

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
