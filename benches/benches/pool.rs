//! What does it cost to use an object again, against the pools that Rust has and against no pool?
//!
//! `get_return` takes a 4 KiB buffer, writes a byte and gives it back, on one thread and on two
//! that share one pool; each rival does the same, reset included.
//!
//! `spans_100k` creates and drops 100 000 spans with 8 attributes and 2 events, 2 000 alive at any
//! time: from a cold pool of capacity 10 000, and without one.
//!
//! `fan_out` hands 1 000 requests of 1 KiB to 8 workers each, which build an answer and send it
//! back: with messages and answers from a pool, and without one.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it finds")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use teleflow_benches::alloc::{self, Counting};
use teleflow_benches::measure::side_by_side;
use teleflow_benches::process::{self, Cores};
use teleflow_benches::report::{Better, Report, Rival};
use teleflow_pool::{Pairs, Pool, Recycle, SizedPool};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds in which every pool has its turn; the best of each counts.
const ROUNDS: usize = 101;

/// Gets and returns a thread does in a round.
const CALLS: usize = 100_000;

/// Buffers in each pool at the start.
const FILLED: usize = 64;

/// A way to take a buffer and give it back.
struct Contender<'a> {
    name: &'static str,
    /// Does that so many times.
    run: Box<dyn Fn(usize) + Sync + 'a>,
}

fn main() -> io::Result<()> {
    let mut report = Report::new("pool");
    let cores = Cores::take()?;
    get_return(&mut report, [cores.ours, cores.theirs]);
    spans(&mut report);
    fan_out(&mut report);
    report.note(
        "spans_100k: without a pool a span owns a String for each name, key and value; the pooled one \
         keeps them in one text each for attributes and events, whose memory it keeps",
    );
    report.publish().map(drop)
}

fn buffer() -> Vec<u8> {
    Vec::with_capacity(4096)
}

fn touch(buffer: &mut Vec<u8>) {
    buffer.push(1);
    black_box(buffer);
}

fn get_return(report: &mut Report, cores: [usize; 2]) {
    let ours = Pool::builder(buffer).reset(Vec::clear).capacity(1024).build();
    ours.fill(FILLED);
    let object_pool = object_pool::Pool::new(FILLED, buffer);
    let opool = opool::Pool::new_prefilled(FILLED, Clear);
    let lockfree = lockfree_object_pool::LinearObjectPool::new(buffer, Vec::clear);
    let deadpool =
        deadpool::unmanaged::Pool::from((0..FILLED).map(|_| buffer()).collect::<Vec<_>>());

    let contenders = [
        Contender {
            name: "teleflow",
            run: Box::new(|calls| (0..calls).for_each(|_| touch(&mut ours.acquire()))),
        },
        Contender {
            name: "object-pool 0.6",
            run: Box::new(|calls| {
                for _ in 0..calls {
                    let mut lease = object_pool.pull(buffer);
                    lease.clear();
                    touch(&mut lease);
                }
            }),
        },
        Contender {
            name: "opool 0.2",
            run: Box::new(|calls| (0..calls).for_each(|_| touch(&mut opool.get()))),
        },
        Contender {
            name: "lockfree-object-pool 0.1",
            run: Box::new(|calls| (0..calls).for_each(|_| touch(&mut lockfree.pull()))),
        },
        Contender {
            name: "deadpool 0.13 (unmanaged)",
            run: Box::new(|calls| {
                for _ in 0..calls {
                    let mut lease = deadpool.try_get().expect("there are 64");
                    lease.clear();
                    touch(&mut lease);
                }
            }),
        },
    ];
    let one = rounds(&contenders, &cores[..1]);
    let two = rounds(&contenders, &cores);
    for (index, contender) in contenders.iter().enumerate() {
        println!(
            "{:26} {:6.1} ns on one thread, {:6.1} on two",
            contender.name, one[index], two[index]
        );
    }
    let best = (1..contenders.len()).min_by(|a, b| two[*a].total_cmp(&two[*b])).unwrap_or(1);
    let rival = |index: usize, figures: &[f64]| Rival {
        name: contenders[index].name,
        value: figures[index],
    };
    report.row("pool/get_return/1t", "ns", Better::Lower, one[0], Some(rival(1, &one)));
    report.row("pool/get_return/2t", "ns", Better::Lower, two[0], Some(rival(best, &two)));
}

struct Clear;

impl opool::PoolAllocator<Vec<u8>> for Clear {
    fn allocate(&self) -> Vec<u8> {
        buffer()
    }

    fn reset(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
    }
}

/// The median nanoseconds a call of each contender, with a thread on each core at the same pool.
fn rounds(contenders: &[Contender<'_>], cores: &[usize]) -> Vec<f64> {
    let mut figures = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for (figures, contender) in figures.iter_mut().zip(contenders) {
            figures.push(time(contender, cores));
        }
    }
    figures
        .into_iter()
        .map(|mut figures| {
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        })
        .collect()
}

/// Nanoseconds a call, as the slowest thread sees it.
fn time(contender: &Contender<'_>, cores: &[usize]) -> f64 {
    // Spun on: whoever sleeps at the start comes when the other is half done.
    let ready = AtomicUsize::new(0);
    thread::scope(|scope| {
        let started: Vec<_> = cores
            .iter()
            .map(|&core| {
                let ready = &ready;
                scope.spawn(move || {
                    process::pin(core).expect("the process may use it");
                    (contender.run)(1000);
                    ready.fetch_add(1, Ordering::SeqCst);
                    while ready.load(Ordering::SeqCst) < cores.len() {
                        std::hint::spin_loop();
                    }
                    let start = Instant::now();
                    (contender.run)(CALLS);
                    start.elapsed().as_nanos() as f64 / CALLS as f64
                })
            })
            .collect();
        started
            .into_iter()
            .map(|thread| thread.join().expect("it does not panic"))
            .fold(0.0, f64::max)
    })
}

/// Spans in a run of `spans_100k`, and how many of them are alive at a time.
const SPANS: usize = 100_000;
const ALIVE: usize = 2000;

const ATTRIBUTES: [(&str, &str); 8] = [
    ("http.request.method", "GET"),
    ("url.path", "/api/v1/customers/42/orders"),
    ("http.response.status_code", "200"),
    ("server.address", "orders.internal.example"),
    ("network.protocol.version", "1.1"),
    ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
    ("db.statement", "SELECT * FROM orders WHERE customer = ?"),
    ("thread.name", "worker-7"),
];

const EVENTS: [&str; 2] = ["connection acquired", "rows fetched"];

/// What a tracer fills, with a pool: its texts lie one behind the other, and keep their memory.
#[derive(Default)]
struct PooledSpan {
    name: String,
    ids: [u64; 3],
    attributes: Pairs,
    event_times: Vec<u64>,
    event_names: Pairs,
}

struct Attribute {
    key: String,
    value: String,
}

struct Event {
    time: u64,
    name: String,
}

/// The same span as it is written without a pool.
struct PlainSpan {
    name: String,
    ids: [u64; 3],
    attributes: Vec<Attribute>,
    events: Vec<Event>,
}

impl Recycle for PooledSpan {
    fn recycle(&mut self) {
        self.name.clear();
        self.attributes.recycle();
        self.event_times.clear();
        self.event_names.recycle();
    }
}

fn spans(report: &mut Report) {
    let pooled = || {
        let pool = teleflow_pool::spans(|room| PooledSpan {
            attributes: Pairs::with_capacity(room.attributes),
            event_times: Vec::with_capacity(room.events),
            event_names: Pairs::with_capacity(room.events),
            ..PooledSpan::default()
        })
        .build();
        let mut alive = VecDeque::with_capacity(ALIVE);
        for number in 0..SPANS as u64 {
            if alive.len() == ALIVE {
                alive.pop_front();
            }
            let mut span = pool.acquire();
            span.name.push_str("GET /orders");
            span.ids = [number, number, number];
            for (key, value) in ATTRIBUTES {
                span.attributes.push(key, value);
            }
            for name in EVENTS {
                span.event_times.push(number);
                span.event_names.push(name, "");
            }
            alive.push_back(span);
        }
        black_box(&alive);
        drop(alive);
        pool.stats()
    };
    let plain = || {
        let mut alive = VecDeque::with_capacity(ALIVE);
        for number in 0..SPANS as u64 {
            if alive.len() == ALIVE {
                alive.pop_front();
            }
            let mut span = PlainSpan {
                name: "GET /orders".to_owned(),
                ids: [number, number, number],
                attributes: Vec::with_capacity(16),
                events: Vec::with_capacity(8),
            };
            for (key, value) in ATTRIBUTES {
                let (key, value) = (key.to_owned(), value.to_owned());
                span.attributes.push(Attribute { key, value });
            }
            for name in EVENTS {
                span.events.push(Event { time: number, name: name.to_owned() });
            }
            alive.push_back(span);
        }
        black_box(&alive);
        let last = alive.back().map(|span: &PlainSpan| {
            let attributes = span.attributes.iter().map(|one| one.key.len() + one.value.len());
            let events = span.events.iter().map(|event| event.time + event.name.len() as u64);
            (span.name.len(), span.ids, attributes.sum::<usize>(), events.sum::<u64>())
        });
        black_box(last);
    };

    let (stats, ours) = alloc::count(pooled);
    let ((), theirs) = alloc::count(plain);
    println!("spans: {} created, hit rate {:.1} %", stats.created, 100.0 * stats.hit_rate());
    let rival = |value| Some(Rival { name: "no pool", value });
    let each = |value: u64| value as f64 / SPANS as f64;
    report.row(
        "pool/spans_100k/allocations",
        "allocations/span",
        Better::Lower,
        each(ours.allocations),
        rival(each(theirs.allocations)),
    );
    let (ours, theirs) = side_by_side(|| _ = black_box(pooled()), plain);
    let each = |nanoseconds: f64| nanoseconds / SPANS as f64;
    report.row("pool/spans_100k/time", "ns/span", Better::Lower, each(ours), rival(each(theirs)));
    report.row("pool/spans_100k/created", "spans", Better::Lower, stats.created as f64, None);
    report.row("pool/spans_100k/hit_rate", "share", Better::Higher, stats.hit_rate(), None);
}

/// Requests in the fan-out scene, and to how many workers each goes.
const REQUESTS: usize = 1000;
const WORKERS: usize = 8;

fn fan_out(report: &mut Report) {
    let pool = SizedPool::new(16 << 20);
    let pooled = || {
        let mut sum = 0;
        for number in 0..REQUESTS {
            let mut request = pool.get(1024);
            request.resize(1024, number as u8);
            let request = request.freeze();
            for worker in 0..WORKERS {
                let request = request.clone();
                let mut answer = pool.get(256);
                answer.extend_from_slice(&request[worker..worker + 200]);
                sum += answer.len();
            }
        }
        black_box(sum);
    };
    let plain = || {
        let mut sum = 0;
        for number in 0..REQUESTS {
            let mut request = Vec::with_capacity(1024);
            request.resize(1024, number as u8);
            for worker in 0..WORKERS {
                let request = request.clone();
                let mut answer = Vec::with_capacity(256);
                answer.extend_from_slice(&request[worker..worker + 200]);
                sum += black_box(answer).len();
            }
        }
        black_box(sum);
    };
    pooled();
    let ((), ours) = alloc::count(pooled);
    let ((), theirs) = alloc::count(plain);
    let each = |value: u64| value as f64 / (REQUESTS * WORKERS) as f64;
    report.row(
        "pool/fan_out/allocations",
        "allocations/operation",
        Better::Lower,
        each(ours.allocations),
        Some(Rival { name: "no pool", value: each(theirs.allocations) }),
    );
}
