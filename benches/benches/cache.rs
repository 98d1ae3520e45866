//! What does a hit cost, with a time to live, bounds and statistics, against a bare map? And what
//! does a batch save against Redis?
//!
//! The work of a hit is that of the published figures: 16-byte keys, 10 000 entries of 20 000, 1000
//! of them asked for. Ours is given `now`, which is read once for each round, as a program does
//! that has many lookups to make; moka reads a clock of its own.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it finds")]

use std::convert::Infallible;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use teleflow_benches::alloc::{self, Counting};
use teleflow_benches::measure::side_by_side;
use teleflow_benches::report::{Asked, Better, Report, Rival};
use teleflow_cache::{
    Cache, CacheConfig, FirstLevel, FirstLevelConfig, Redis, RedisConfig, SecondLevel,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const QUICK_CACHE: &str = "quick_cache 0.7, bare";
const MOKA: &str = "moka 0.12 sync, TTL on";

const CAPACITY: usize = 20_000;
const RESIDENT: u64 = 10_000;
const ASKED: usize = 1000;
/// Lookups of each thread in a round.
const ROUND: usize = 100_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

type Key = [u8; 16];

fn main() -> io::Result<()> {
    let mut report = Report::new("cache");
    hits(&mut report);
    inserts(&mut report);
    redis(&mut report)?;
    report.ask("cache/hit/1t", Asked::AtMost(20.0));
    report.ask("cache/redis_batch_100/round_trips", Asked::AtMost(1.0));
    report.note("hit: 16-byte keys, u64 values, 1000 of 10 000 entries asked for, `now` given");
    report.publish().map(drop)
}

fn hits(report: &mut Report) {
    let keys: Vec<Key> = (0..RESIDENT).map(key).collect();
    let now = Instant::now();
    let ours = first_level();
    let quick = quick_cache::sync::Cache::<Key, u64>::new(CAPACITY);
    let moka = moka();
    let load = |_: Key| async { Ok::<Option<u64>, Infallible>(None) };
    let first = FirstLevelConfig { max_entries: CAPACITY, ..FirstLevelConfig::default() };
    let config = CacheConfig { first, ..CacheConfig::default() };
    let whole = Cache::new(config, |_: &Key, _| 0, load).expect("it makes sense");
    for (value, key) in keys.iter().enumerate() {
        ours.insert_at(now, *key, value as u64).expect("it fits");
        quick.insert(*key, value as u64);
        moka.insert(*key, value as u64);
        at_once(whole.insert_at(now, *key, value as u64));
    }
    moka.run_pending_tasks();
    let asked = &keys[..ASKED];

    for threads in [1, 2] {
        let all = (threads * ROUND) as f64;
        // Time for one lookup on each thread, so that perfect scaling leaves the figure as it is.
        let each = all / threads as f64;
        let time = |rival: &mut dyn FnMut()| {
            side_by_side(
                || {
                    let now = Instant::now();
                    on_threads(threads, asked, |key| ours.get_at(now, key));
                },
                rival,
            )
        };
        let (value, theirs) = time(&mut || on_threads(threads, asked, |key| quick.get(key)));
        let rival = Rival { name: QUICK_CACHE, value: theirs / each };
        report.row(format!("cache/hit/{threads}t"), "ns", Better::Lower, value / each, Some(rival));
        let (value, theirs) = time(&mut || on_threads(threads, asked, |key| moka.get(key)));
        let rival = Rival { name: MOKA, value: theirs / each };
        let metric = format!("cache/hit_against_moka/{threads}t");
        report.row(metric, "ns", Better::Lower, value / each, Some(rival));
    }
    let (value, theirs) = side_by_side(
        || {
            let now = Instant::now();
            on_threads(1, asked, |key| at_once(whole.get_at(now, key)));
        },
        || on_threads(1, asked, |key| moka.get(key)),
    );
    let rival = Rival { name: MOKA, value: theirs / ROUND as f64 };
    let value = value / ROUND as f64;
    report.row("cache/whole_hit/1t", "ns", Better::Lower, value, Some(rival));

    let per_hit = |counted: alloc::Counted| counted.allocations as f64 / ROUND as f64;
    let (_, ours) = alloc::count(|| on_threads(1, asked, |key| ours.get_at(now, key)));
    let (_, theirs) = alloc::count(|| on_threads(1, asked, |key| quick.get(key)));
    let rival = Rival { name: QUICK_CACHE, value: per_hit(theirs) };
    let metric = "cache/hit/allocations";
    report.row(metric, "allocations", Better::Lower, per_hit(ours), Some(rival));
}

/// Each one pushes another out.
fn inserts(report: &mut Report) {
    let ours = first_level();
    let quick = quick_cache::sync::Cache::<Key, u64>::new(CAPACITY);
    let moka = moka();
    let mut next = [0; 3];
    let mut round = |which: usize, insert: &dyn Fn(Key, u64)| {
        for _ in 0..ROUND {
            next[which] += 1;
            insert(key(next[which]), next[which]);
        }
    };
    let now = Instant::now();
    let ours = |key, value| ours.insert_at(now, key, value).expect("it fits");
    let quick = |key, value| quick.insert(key, value);
    let moka = |key, value| moka.insert(key, value);
    let round = std::cell::RefCell::new(&mut round);
    let time = |which: usize, rival: &dyn Fn(Key, u64)| {
        side_by_side(|| (*round.borrow_mut())(0, &ours), || (*round.borrow_mut())(which, rival))
    };
    let each = ROUND as f64;
    let (value, theirs) = time(1, &quick);
    let rival = Rival { name: QUICK_CACHE, value: theirs / each };
    let metric = "cache/insert_evicting/1t";
    report.row(metric, "ns", Better::Lower, value / each, Some(rival));
    let (value, theirs) = time(2, &moka);
    let rival = Rival { name: MOKA, value: theirs / each };
    let metric = "cache/insert_evicting_against_moka/1t";
    report.row(metric, "ns", Better::Lower, value / each, Some(rival));
}

fn redis(report: &mut Report) -> io::Result<()> {
    const SINGLE: &str = "100 single gets";
    let Some(server) = Server::start()? else {
        report.note("cache/redis_batch_100: not run, as there is no redis-server");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let second = Duration::from_secs(1);
    let redis = Redis::single(RedisConfig {
        servers: vec![format!("redis://127.0.0.1:{}", server.port)],
        connect_timeout: 10 * second,
        answer_timeout: 10 * second,
        ..RedisConfig::default()
    });
    let redis = redis.map_err(io::Error::other)?;
    let keys: Vec<Bytes> = (0..100).map(|index| Bytes::from(format!("key-{index:04}"))).collect();
    let entries: Vec<(Bytes, Bytes)> =
        keys.iter().map(|key| (key.clone(), Bytes::from(vec![b'v'; 64]))).collect();
    let written = runtime.block_on(redis.set_many(&entries, DAY)).map_err(io::Error::other)?;
    assert_eq!(written, 100);

    let batch = || {
        let found = runtime.block_on(redis.get_many(&keys)).expect("the server is there");
        assert!(found.iter().all(Option::is_some));
    };
    let single = || {
        runtime.block_on(async {
            for key in &keys {
                let found = redis.get_many(std::slice::from_ref(key)).await;
                assert!(found.is_ok_and(|found| found[0].is_some()));
            }
        });
    };
    let (ours, theirs) = side_by_side(batch, single);
    let rival = Rival { name: SINGLE, value: theirs / 100.0 };
    report.row("cache/redis_batch_100", "ns/key", Better::Lower, ours / 100.0, Some(rival));

    let mut watch = server.connect()?;
    let mut reads = reads(&mut watch)?;
    let mut counted = |work: &dyn Fn()| {
        work();
        let now = self::reads(&mut watch)?;
        // Looking is one read itself.
        let round_trips = now - reads - 1;
        reads = now;
        io::Result::Ok(round_trips as f64)
    };
    let (ours, theirs) = (counted(&batch)?, counted(&single)?);
    let rival = Rival { name: SINGLE, value: theirs };
    let metric = "cache/redis_batch_100/round_trips";
    report.row(metric, "reads of the server", Better::Lower, ours, Some(rival));
    report
        .note("redis: server and client share the machine, values of 64 bytes, GET and PTTL each");
    Ok(())
}

fn first_level() -> FirstLevel<Key, u64> {
    let config =
        FirstLevelConfig { max_entries: CAPACITY, ttl: DAY, ..FirstLevelConfig::default() };
    FirstLevel::new(config, |_, _| 0).expect("it makes sense")
}

fn moka() -> moka::sync::Cache<Key, u64> {
    moka::sync::Cache::builder().max_capacity(CAPACITY as u64).time_to_live(DAY).build()
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

/// Looks up [`ROUND`] keys on each thread, each with another first one.
fn on_threads<T>(threads: usize, keys: &[Key], get: impl Fn(&Key) -> T + Sync) {
    let round = |thread: usize| {
        let mut keys = keys.iter().cycle().skip(thread * keys.len() / threads);
        for _ in 0..ROUND {
            black_box(get(keys.next().expect("it has no end")));
        }
    };
    if threads == 1 {
        return round(0);
    }
    thread::scope(|scope| {
        for thread in 1..threads {
            let round = &round;
            scope.spawn(move || round(thread));
        }
        round(0);
    });
}

/// The value of a future that has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("it waits for nothing"),
    }
}

/// A redis-server that ends with the benchmark.
struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    /// `None` where there is no such program.
    fn start() -> io::Result<Option<Self>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = tempfile::tempdir()?;
        let started = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn();
        let child = match started {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let server = Self { child, port, _folder: folder };
        let patience = Instant::now() + Duration::from_secs(10);
        while server.connect().and_then(|mut watch| reads(&mut watch)).is_err() {
            if patience < Instant::now() {
                return Err(io::Error::other("redis-server does not start"));
            }
            thread::yield_now();
        }
        Ok(Some(server))
    }

    fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.port))
    }
}

/// How often the server has read from any connection.
fn reads(watch: &mut TcpStream) -> io::Result<u64> {
    watch.write_all(b"INFO stats\r\n")?;
    let (mut text, mut part) = (String::new(), [0; 4096]);
    // A bulk string: its length, itself, and the end of the line.
    while !text.split_once("\r\n").is_some_and(|(length, rest)| {
        let length: Option<usize> = length.strip_prefix('$').and_then(|text| text.parse().ok());
        length.is_some_and(|length| length + 2 <= rest.len())
    }) {
        match watch.read(&mut part)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => text.push_str(&String::from_utf8_lossy(&part[..read])),
        }
    }
    let number = text.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    number.and_then(|number| number.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
