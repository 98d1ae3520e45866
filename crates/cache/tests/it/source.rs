//! A source that a test counts, and caches in front of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use teleflow_cache::{Cache, CacheConfig, Codec, Loader, Raw};

use crate::fake::Fake;
use crate::tasks::step_aside;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Loads `KEY!`; there is nothing for keys with `-`; `?` fails and `#` panics.
#[derive(Default)]
pub(crate) struct Source {
    pub(crate) steps: usize,
    pub(crate) loads: AtomicU64,
    pub(crate) running: AtomicU64,
    pub(crate) most_running: AtomicU64,
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
    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }
}

pub(crate) type One<'a> = Cache<String, String, &'a Source>;
pub(crate) type Two<'a> = Cache<String, String, &'a Source, &'a Fake, Raw>;

pub(crate) fn weigh(key: &String, value: Option<&String>) -> usize {
    key.capacity() + value.map_or(0, String::capacity)
}

pub(crate) fn one(source: &Source) -> One<'_> {
    Cache::new(CacheConfig::default(), weigh, source).unwrap()
}

pub(crate) fn two<'a>(source: &'a Source, fake: &'a Fake) -> Two<'a> {
    two_with(CacheConfig::default(), source, fake)
}

pub(crate) fn two_with<'a>(config: CacheConfig, source: &'a Source, fake: &'a Fake) -> Two<'a> {
    Cache::with_second_level(config, weigh, source, fake, Raw).unwrap()
}

pub(crate) fn strings(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|key| key.to_string()).collect()
}

pub(crate) fn key(key: &str) -> String {
    key.to_owned()
}

/// Enough for a test that must not hang.
pub(crate) async fn value<S, C>(
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
