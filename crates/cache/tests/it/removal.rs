//! What is removed or replaced, while others load, read and write it.

use std::time::Instant;

use teleflow_cache::{CacheConfig, Removed};

use crate::fake::{Fake, Mood, Request};
use crate::source::{Source, key, one, two, two_with, value};
use crate::tasks::{Ended, Tasks};

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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// The value is loaded and in the first level, and its write is on its way, when it is removed: at
/// each step there is.
#[test]
fn what_was_loaded_before_a_removal_is_not_written_after_it() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let mut overtaken = 0;
    for batch in [false, true] {
        for steps in 0..8 {
            let source = Source::default();
            let fake = Fake::default();
            let cache = two(&source, &fake);
            let (cache, keys, now) = (&cache, &[key("a"), key("b")], Instant::now());
            fake.set_mood(Mood::Late(2));
            let mut tasks = Tasks::new();
            tasks.add(async move {
                if batch {
                    drop(cache.get_many_at(now, keys).await);
                } else {
                    value(cache, now, "a").await;
                }
            });
            (0..steps).for_each(|_| {
                tasks.step(0);
            });
            // Before the load begins there is nothing that could be overtaken.
            let loading = if batch { source.loads() != 0 } else { steps != 0 };
            overtaken += usize::from(loading);
            // The removal itself is faster than what it overtakes.
            fake.set_mood(Mood::Well);
            tasks.add(async move {
                assert_eq!(cache.remove_at(now, &keys[0]).await, Removed::Everywhere);
            });
            tasks.step(1);
            tasks.run();
            let case = format!("{batch} {steps}");
            assert!(matches!(tasks.ended(1), Some(Ended::Returned(()))), "{case}");
            if loading {
                assert_eq!(fake.value("a"), None, "{case}");
                assert_eq!(cache.first_level().peek_at(now, "a"), None, "{case}");
            }
            if batch {
                // The other key of the batch is not affected.
                assert_eq!(fake.value("b").unwrap().value, "b!", "{case}");
            }
        }
    }
    assert!(8 < overtaken, "{overtaken}");
}

/// Someone reads the second level between the two halves of a removal.
#[test]
fn what_is_read_during_a_removal_is_not_kept() {
    let runtime = runtime();
    let _guard = runtime.enter();
    for batch in [false, true] {
        let source = Source::default();
        let fake = Fake::default();
        fake.put("a", "old", None);
        let cache = two(&source, &fake);
        let (cache, keys, now) = (&cache, &[key("a")], Instant::now());
        let mut tasks = Tasks::new();
        fake.set_mood(Mood::Late(3));
        tasks.add(async move {
            assert_eq!(cache.remove_at(now, &keys[0]).await, Removed::Everywhere);
            None
        });
        tasks.step(0);
        fake.set_mood(Mood::Well);
        tasks.add(async move {
            if batch {
                cache.get_many_at(now, keys).await.remove(0).unwrap()
            } else {
                value(cache, now, "a").await
            }
        });
        tasks.step(1);
        // It came before the removal ended, so it may see what was there.
        assert!(matches!(tasks.ended(1), Some(Ended::Returned(Some(old))) if old == "old"));
        tasks.run();
        assert!(tasks.ended(0).is_some());
        tasks.add(async move { value(cache, now, "a").await });
        tasks.run();
        let ended = tasks.ended(2);
        assert!(matches!(ended, Some(Ended::Returned(Some(new))) if new == "a!"), "{ended:?}");
    }
}

#[test]
fn what_was_loaded_before_an_insertion_is_not_written_after_it() {
    let runtime = runtime();
    let _guard = runtime.enter();
    for steps in 1..8 {
        let source = Source::default();
        let fake = Fake::default();
        let cache = two(&source, &fake);
        let (cache, now) = (&cache, Instant::now());
        fake.set_mood(Mood::Late(2));
        let mut tasks = Tasks::new();
        tasks.add(async move {
            value(cache, now, "a").await;
        });
        (0..steps).for_each(|_| {
            tasks.step(0);
        });
        fake.set_mood(Mood::Well);
        tasks.add(async move { cache.insert_at(now, key("a"), key("newer")).await });
        tasks.step(1);
        tasks.run();
        assert_eq!(tasks.stuck(), 0);
        assert_eq!(fake.value("a").unwrap().value, "newer", "{steps}");
        assert_eq!(cache.first_level().peek_at(now, "a"), Some(Some(key("newer"))), "{steps}");
    }
}

/// Both levels agree, whichever write is slow.
#[test]
fn of_two_insertions_the_later_one_stays_in_both_levels() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let source = Source::default();
    let fake = Fake::default();
    let cache = two(&source, &fake);
    let (cache, now) = (&cache, Instant::now());
    let mut tasks = Tasks::new();
    fake.set_mood(Mood::Late(5));
    tasks.add(async move { cache.insert_at(now, key("a"), key("first")).await });
    tasks.step(0);
    fake.set_mood(Mood::Well);
    for newer in ["second", "third"] {
        let index = tasks.add(async move { cache.insert_at(now, key("a"), key(newer)).await });
        tasks.step(index);
    }
    tasks.run();
    assert_eq!(tasks.stuck(), 0);
    assert_eq!(fake.value("a").unwrap().value, "third");
    assert_eq!(cache.first_level().peek_at(now, "a"), Some(Some(key("third"))));
    // The second one had been replaced before its turn came.
    assert_eq!(fake.requests(), [Request::Set(1), Request::Set(1)]);
}

/// The second request of a batch reads a key that has been put in since the batch looked for it in
/// the first level, while the second level could not be written.
#[test]
fn a_batch_does_not_replace_what_was_put_in_since_it_looked() {
    let runtime = runtime();
    let _guard = runtime.enter();
    let source = Source::default();
    let fake = Fake::default();
    fake.put("x", "x", None);
    fake.put("a", "old", None);
    let config = CacheConfig { batch: 1, ..CacheConfig::default() };
    let cache = two_with(config, &source, &fake);
    let (cache, keys, now) = (&cache, &[key("x"), key("a")], Instant::now());
    let mut tasks = Tasks::new();
    fake.set_mood(Mood::Slow(1));
    tasks.add(async move { drop(cache.get_many_at(now, keys).await) });
    tasks.step(0);
    fake.set_mood(Mood::Fails);
    tasks.add(async move { cache.insert_at(now, key("a"), key("new")).await });
    tasks.step(1);
    assert!(tasks.ended(1).is_some());
    fake.set_mood(Mood::Well);
    tasks.run();
    assert_eq!(tasks.stuck(), 0);
    assert_eq!(cache.first_level().peek_at(now, "a"), Some(Some(key("new"))));
    assert_eq!(cache.first_level().peek_at(now, "x"), Some(Some(key("x"))));
}

/// A write or a removal that is dropped at any step keeps nobody else from the key.
#[test]
fn a_dropped_change_lets_the_next_one_write() {
    let runtime = runtime();
    let _guard = runtime.enter();
    for remove in [false, true] {
        for steps in 1..5 {
            let source = Source::default();
            let fake = Fake::default();
            let cache = two(&source, &fake);
            let (cache, name, now) = (&cache, &key("a"), Instant::now());
            fake.set_mood(Mood::Late(2));
            let mut tasks = Tasks::new();
            tasks.add(async move {
                if remove {
                    cache.remove_at(now, name).await;
                } else {
                    cache.insert_at(now, key("a"), key("dropped")).await;
                }
            });
            (0..steps).for_each(|_| {
                tasks.step(0);
            });
            tasks.add(async move { cache.insert_at(now, key("a"), key("next")).await });
            tasks.step(1);
            tasks.cancel(0);
            tasks.run();
            assert_eq!(tasks.stuck(), 0, "{remove} {steps}");
            assert_eq!(fake.value("a").unwrap().value, "next", "{remove} {steps}");
        }
    }
}
