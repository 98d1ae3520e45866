//! A cache in front of something slow, shared through Redis: `cargo run --example two_levels
//! --features redis -- redis://127.0.0.1:6379`.
//!
//! Run it twice: the second time Redis has everything. Run it without Redis: it works as well.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::io;
use std::time::{Duration, Instant};

use teleflow_cache::{Cache, CacheConfig, Raw, Redis, RedisConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let redis = Redis::single(RedisConfig { servers: vec![server], ..RedisConfig::default() })?;

    let load = |key: String| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, io::Error>(Some(key.to_uppercase()))
    };
    let weigh = |key: &String, value: Option<&String>| key.len() + value.map_or(0, String::len);
    let cache = Cache::with_second_level(CacheConfig::default(), weigh, load, redis, Raw)?;

    let keys: Vec<String> = (0..200).map(|number| format!("user-{number}")).collect();
    for round in ["from Redis or the source", "from this process"] {
        let start = Instant::now();
        let found = cache.get_many(&keys).await;
        let values = found.iter().filter(|found| matches!(found, Ok(Some(_)))).count();
        println!("{values} values {round} in {:?}", start.elapsed());
    }
    println!("{:#?}", cache.stats());
    Ok(())
}
