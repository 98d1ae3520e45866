//! Done-when 6: each `pub async fn` of the crate, dropped after every number of polls, and panicking
//! in each piece of code that is not ours. The list is compared with the source.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use teleflow_cache::{
    Cache, CacheConfig, Codec, Flight, Loader, MissWatch, MissWatchConfig, OnFailure, Raw,
    Undecodable,
};

use crate::fake::{Fake, Mood};
use crate::source::{SECOND, key};
use crate::tasks::step_aside;

/// `file: function` of all there are.
const EVERY: [&str; 12] = [
    "cache.rs: get_at",
    "cache.rs: get",
    "cache.rs: get_many_at",
    "cache.rs: get_many",
    "cache.rs: insert_at",
    "cache.rs: insert",
    "cache.rs: remove_at",
    "cache.rs: remove",
    "cache/warm_up.rs: warm_at",
    "cache/warm_up.rs: warm",
    "cache/warm_up.rs: keep_warm",
    "flight.rs: run",
];

/// Code that is not ours.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Place {
    Weigh,
    Key,
    Encode,
    Decode,
    Load,
    Second,
    Keys,
    KeysLater,
    Warmed,
}

const PLACES: [Place; 9] = [
    Place::Weigh,
    Place::Key,
    Place::Encode,
    Place::Decode,
    Place::Load,
    Place::Second,
    Place::Keys,
    Place::KeysLater,
    Place::Warmed,
];

/// Panics once, at its place.
#[derive(Default)]
struct Fuse(Mutex<Option<Place>>);

impl Fuse {
    fn pass(&self, place: Place) {
        let due = self.0.lock().unwrap().take_if(|due| *due == place).is_some();
        assert!(!due, "on purpose");
    }
}

struct Source<'a> {
    fuse: &'a Fuse,
    running: AtomicU64,
}

struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Loader<String, String> for &Source<'_> {
    type Error = ();

    async fn load(&self, key: &String) -> Result<Option<String>, ()> {
        self.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.running);
        step_aside().await;
        self.fuse.pass(Place::Load);
        Ok(Some(format!("{key}!")))
    }
}

struct Fused<'a>(&'a Fuse);

impl Codec<String, String> for Fused<'_> {
    fn key(&self, key: &String, out: &mut Vec<u8>) {
        self.0.pass(Place::Key);
        out.extend_from_slice(key.as_bytes());
    }

    fn encode(&self, value: &String, out: &mut Vec<u8>) {
        self.0.pass(Place::Encode);
        out.extend_from_slice(value.as_bytes());
    }

    fn decode(&self, bytes: Bytes) -> Result<String, Undecodable> {
        self.0.pass(Place::Decode);
        Codec::<String, String>::decode(&Raw, bytes)
    }
}

type Tested<'a> = Cache<String, String, &'a Source<'a>, &'a Fake, Fused<'a>>;

/// Calls one of them; three keys, of which the second level has one.
async fn call(name: &str, cache: &Tested<'_>, flight: &Flight<String, u32, ()>, fuse: &Fuse) {
    let now = Instant::now();
    let keys = [key("a"), key("b"), key("held")];
    match name {
        "cache.rs: get_at" => drop(cache.get_at(now, &keys[0]).await),
        "cache.rs: get" => drop(cache.get(&keys[2]).await),
        "cache.rs: get_many_at" => drop(cache.get_many_at(now, &keys).await),
        "cache.rs: get_many" => drop(cache.get_many(&keys).await),
        "cache.rs: insert_at" => cache.insert_at(now, key("a"), key("A")).await,
        "cache.rs: insert" => cache.insert(key("a"), key("A")).await,
        "cache.rs: remove_at" => drop(cache.remove_at(now, &keys[0]).await),
        "cache.rs: remove" => drop(cache.remove(&keys[0]).await),
        "cache/warm_up.rs: warm_at" => drop(cache.warm_at(now, keys).await),
        "cache/warm_up.rs: warm" => drop(cache.warm(keys).await),
        "cache/warm_up.rs: keep_warm" => {
            let config =
                MissWatchConfig { interval: SECOND, min_lookups: 1, threshold: 0.1, rest: SECOND };
            let keep_warm = cache.keep_warm(
                MissWatch::new(config),
                async || {
                    fuse.pass(Place::Keys);
                    step_aside().await;
                    fuse.pass(Place::KeysLater);
                    keys.clone()
                },
                |_| fuse.pass(Place::Warmed),
            );
            // One that misses, and all the time that it takes.
            let script = async {
                tokio::time::sleep(SECOND / 2).await;
                cache.first_level().get("nobody");
                tokio::time::sleep(3 * SECOND).await;
            };
            tokio::select! { () = keep_warm => unreachable!(), () = script => {} }
        }
        "flight.rs: run" => {
            let load = || async {
                step_aside().await;
                fuse.pass(Place::Load);
                Ok(1)
            };
            drop(flight.run(&keys[0], load).await);
        }
        name => panic!("{name} is not called"),
    }
}

/// Runs `test` with everything new, and then looks whether all is as if nothing had been.
fn with(
    mood: Mood,
    on_failure: OnFailure,
    case: &str,
    test: impl FnOnce(&tokio::runtime::Runtime, &Tested<'_>, &Flight<String, u32, ()>, &Fuse, &Fake),
) {
    let shared = Arc::new(Fuse::default());
    let fuse: &Fuse = &shared;
    let source = Source { fuse, running: AtomicU64::new(0) };
    let fake = Fake::default();
    fake.put("held", "from before", None);
    fake.set_mood(mood);
    let config = CacheConfig { on_failure, ..CacheConfig::default() };
    let weigh = {
        let fuse = shared.clone();
        move |_: &String, _: Option<&String>| {
            fuse.pass(Place::Weigh);
            1
        }
    };
    let cache = Cache::with_second_level(config, weigh, &source, &fake, Fused(fuse)).unwrap();
    let flight = Flight::new(on_failure);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();

    test(&runtime, &cache, &flight, fuse, &fake);

    *fuse.0.lock().unwrap() = None;
    fake.set_mood(Mood::Well);
    assert_eq!(source.running.load(Ordering::Relaxed), 0, "{case}: a load runs");
    assert_eq!(cache.stats().flight.in_flight, 0, "{case}");
    assert_eq!(flight.stats().in_flight, 0, "{case}");
    assert!(!cache.stats().second.is_open, "{case}");
    runtime.block_on(async {
        // No turn is kept: what is put in now arrives in both levels, and leaves both.
        for name in ["a", "b", "held"] {
            cache.insert(key(name), key("last")).await;
            assert_eq!(fake.value(name).unwrap().value, "last", "{case}");
            assert_eq!(cache.get(&key(name)).await.unwrap().as_deref(), Some("last"), "{case}");
            cache.remove(&key(name)).await;
            assert_eq!(fake.value(name), None, "{case}");
        }
        for name in EVERY {
            call(name, &cache, &flight, fuse).await;
        }
    });
}

#[test]
fn the_list_is_what_the_source_has() {
    fn look(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, root, found);
                continue;
            }
            let file = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                if let Some(rest) = line.trim_start().strip_prefix("pub async fn ") {
                    let name: String =
                        rest.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
                    found.insert(format!("{file}: {name}"));
                }
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    look(&root, &root, &mut found);
    assert_eq!(found, EVERY.map(str::to_owned).into());
}

#[test]
fn dropped_at_any_await_point_nothing_is_left() {
    for name in EVERY {
        for mood in [Mood::Slow(2), Mood::Late(2)] {
            let mut places = 0;
            let ended = Cell::new(false);
            while !ended.get() {
                assert!(places < 200, "{name} does not end");
                let case = format!("{name}, {mood:?}, after {places} polls");
                with(mood, OnFailure::Share, &case, |runtime, cache, flight, fuse, _| {
                    runtime.block_on(async {
                        let mut future = pin!(call(name, cache, flight, fuse));
                        let mut polls = 0;
                        ended.set(
                            poll_fn(|context| {
                                if polls == places {
                                    return Poll::Ready(false);
                                }
                                polls += 1;
                                future.as_mut().poll(context).map(|()| true)
                            })
                            .await,
                        );
                    });
                });
                places += 1;
            }
            assert!(2 <= places, "{name} has no await point that was met");
        }
    }
}

#[test]
fn a_panic_in_what_is_not_ours_leaves_nothing() {
    let mut met = BTreeSet::new();
    for name in EVERY {
        for place in PLACES {
            for on_failure in [OnFailure::Share, OnFailure::TakeOver] {
                let case = format!("{name}, {place:?}, {on_failure:?}");
                with(Mood::Slow(1), on_failure, &case, |runtime, cache, flight, fuse, fake| {
                    if place == Place::Second {
                        fake.set_mood(Mood::Panics);
                    }
                    *fuse.0.lock().unwrap() = Some(place);
                    let ended = catch_unwind(AssertUnwindSafe(|| {
                        runtime.block_on(call(name, cache, flight, fuse));
                    }));
                    if ended.is_err() {
                        met.insert((name, place));
                    }
                });
            }
        }
    }
    // Each place, and by each function at least one.
    let places: BTreeSet<Place> = met.iter().map(|&(_, place)| place).collect();
    assert_eq!(places, PLACES.into());
    let names: BTreeSet<&str> = met.iter().map(|&(name, _)| name).collect();
    assert_eq!(names, EVERY.into());
}
