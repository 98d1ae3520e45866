//! Dropped, cancelled and panicking, at every await point and in everything that is not ours.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use teleflow_cache::{Cache, CacheConfig, Codec, LoadError, OnFailure, Raw, Undecodable};

use crate::fake::{Fake, Mood};
use crate::source::{SECOND, Source, key, one, strings, two, two_with, value};
use crate::tasks::{Ended, Tasks, step_aside};

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

/// A value that looks at the cache when it is dropped, and a weigher that does: neither runs under a
/// lock of the cache, so neither can wait for itself.
#[tokio::test]
async fn a_value_and_a_weigher_may_use_the_cache_themselves() {
    type Look = Arc<std::sync::OnceLock<Box<dyn Fn() + Send + Sync>>>;
    #[derive(Clone)]
    struct Looks(Look);
    impl Drop for Looks {
        fn drop(&mut self) {
            if let Some(look) = self.0.get() {
                look();
            }
        }
    }
    let look = Look::default();
    let load = {
        let look = look.clone();
        move |_: u32| {
            let value = Looks(look.clone());
            async move { Ok::<_, std::io::Error>(Some(value)) }
        }
    };
    let weigh = {
        let look = look.clone();
        move |_: &u32, _: Option<&Looks>| {
            if let Some(look) = look.get() {
                look();
            }
            0
        }
    };
    let cache = Arc::new(Cache::new(CacheConfig::default(), weigh, load).unwrap());
    let (looks, weak) = (Arc::new(std::sync::atomic::AtomicU64::new(0)), Arc::downgrade(&cache));
    let counted = looks.clone();
    let look_at = move || {
        // Takes every lock there is, one after the other.
        if let Some(cache) = weak.upgrade() {
            cache.stats();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    assert!(look.set(Box::new(look_at)).is_ok());
    for _ in 0..2 {
        assert!(cache.get(&1).await.unwrap().is_some());
        cache.insert(1, Looks(look.clone())).await;
        cache.remove(&1).await;
    }
    assert!(10 < looks.load(Ordering::Relaxed));
}
