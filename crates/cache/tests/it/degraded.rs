//! R5: a second level that is not well.

use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_cache::{Cache, CacheConfig, Codec, GuardConfig, Raw, Undecodable};

use crate::fake::{Fake, Mood, Request};
use crate::source::{SECOND, Source, key, strings, two, value, weigh};

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
