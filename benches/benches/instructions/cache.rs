//! The first level of the cache.

use std::hint::black_box;
use std::time::{Duration, Instant};

use gungraun::{library_benchmark, library_benchmark_group};
use teleflow_cache::{FirstLevel, FirstLevelConfig};

use crate::CALLS;

type Key = [u8; 16];

library_benchmark_group!(name = cache_group, benchmarks = [hit, miss, insert_evicting]);

const CAPACITY: u64 = 2000;

/// Where an entry lies depends on a seed that differs with each cache: several even that out.
const CACHES: usize = 32;

struct Filled {
    caches: Vec<FirstLevel<Key, u64>>,
    now: Instant,
    resident: Vec<Key>,
    absent: Vec<Key>,
    /// Sixteen times as many, and absent too.
    fresh: Vec<Key>,
}

fn filled() -> Filled {
    let now = Instant::now();
    let calls = CALLS as u64;
    let resident: Vec<Key> = (0..calls).map(key).collect();
    let absent = (CAPACITY..CAPACITY + calls).map(key).collect();
    let fresh = (20 * CAPACITY..20 * CAPACITY + 16 * calls).map(key).collect();
    let cache = |_| {
        let (max_entries, ttl) = (CAPACITY as usize, Duration::from_secs(24 * 3600));
        let config = FirstLevelConfig { max_entries, ttl, ..FirstLevelConfig::default() };
        let cache = FirstLevel::new(config, |_, _| 0).expect("it makes sense");
        for number in (10 * CAPACITY..12 * CAPACITY).chain(0..calls) {
            cache.insert_at(now, key(number), number).expect("it fits");
        }
        cache
    };
    Filled { caches: (0..CACHES).map(cache).collect(), now, resident, absent, fresh }
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

#[library_benchmark]
#[bench::calls_32000(filled())]
fn hit(filled: Filled) -> Filled {
    for cache in &filled.caches {
        for key in &filled.resident {
            black_box(cache.get_at(filled.now, black_box(key)));
        }
    }
    filled
}

#[library_benchmark]
#[bench::calls_32000(filled())]
fn miss(filled: Filled) -> Filled {
    for cache in &filled.caches {
        for key in &filled.absent {
            black_box(cache.get_at(filled.now, black_box(key)));
        }
    }
    filled
}

// Each one pushes another out. So many of them, as now and then a table is written anew.
#[library_benchmark]
#[bench::calls_512000(filled())]
fn insert_evicting(filled: Filled) -> Filled {
    for cache in &filled.caches {
        for key in &filled.fresh {
            _ = black_box(cache.insert_at(filled.now, *black_box(key), 1));
        }
    }
    filled
}
