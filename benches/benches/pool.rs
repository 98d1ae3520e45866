//! What does it cost to use an object again, against the pools that Rust has and against no pool?
//!
//! `get_return` takes a 4 KiB buffer, writes a byte and gives it back, on one thread and on two
//! that share one pool; each rival does the same, reset included.
//!
//! `spans_100k` creates and drops 100 000 spans with 8 attributes and 2 events, 2 000 alive at any
//! time: from a cold pool of capacity 10 000, and without one. `spans_100k_texts` and
//! `spans_100k_strings` do that with one and the same span on both sides: the pool's part alone.
//!
//! `fan_out` hands 1 000 requests of 1 KiB to 8 workers each, which build an answer and send it
//! back: with messages and answers from a pool, and without one.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it finds")]

use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use teleflow_benches::alloc::{self, Counting};
use teleflow_benches::process::{self, Cores};
use teleflow_benches::report::{Asked, Better, Report, Rival};
use teleflow_pool::{Pool, SizedPool};

#[path = "pool/spans.rs"]
mod spans;

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
    spans::run(&mut report);
    fan_out(&mut report);
    report.ask("pool/get_return/1t", Asked::AtMost(8.0));
    report.ask("pool/get_return/1t", Asked::Ratio(1.2));
    report.ask("pool/get_return/2t", Asked::AtMost(9.0));
    report.ask("pool/get_return/2t", Asked::Ratio(4.0));
    report.ask("pool/spans_100k/created", Asked::AtMost(2000.0));
    report.ask("pool/spans_100k/hit_rate", Asked::AtLeast(0.98));
    report.ask("pool/spans_100k/time", Asked::Ratio(5.0));
    report.ask("pool/fan_out/allocations", Asked::Ratio(4.0));
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
