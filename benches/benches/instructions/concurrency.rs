//! What admits, refuses, holds and runs.

use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

use gungraun::{library_benchmark, library_benchmark_group};
use teleflow_concurrency::{
    AdaptiveBuffer, AdaptiveBufferConfig, Breaker, BreakerConfig, Budget, FanOut, KeyedRateLimiter,
    Latency, OnManyKeys, Order, Rate, RateLimiter, Semaphore,
};
use tokio::runtime::{Builder, Runtime};

use crate::CALLS;

library_benchmark_group!(
    name = concurrency_group,
    benchmarks = [
        semaphore,
        budget,
        budget_split_merge,
        rate_limiter,
        rate_limiter_keyed,
        breaker_closed,
        breaker_closed_instant,
        adaptive_buffer,
        fan_out,
        latency
    ]
);

fn permits() -> Semaphore {
    let semaphore = Semaphore::new("count", 1 << 20);
    drop(semaphore.try_acquire(1));
    semaphore
}

// One permit of plenty, taken and given back.
#[library_benchmark]
#[bench::calls_1000(permits())]
fn semaphore(semaphore: Semaphore) -> Semaphore {
    for _ in 0..CALLS {
        drop(black_box(semaphore.try_acquire(1)));
    }
    semaphore
}

fn bytes() -> Budget {
    let budget = Budget::new("count", 1 << 30);
    drop(budget.try_take(1));
    budget
}

#[library_benchmark]
#[bench::calls_1000(bytes())]
fn budget(budget: Budget) -> Budget {
    for _ in 0..CALLS {
        drop(black_box(budget.try_take(black_box(512))));
    }
    budget
}

// A permit parted in two and made one again.
#[library_benchmark]
#[bench::calls_1000(bytes())]
fn budget_split_merge(budget: Budget) -> Budget {
    let mut whole = budget.try_take(1 << 20).expect("there is room");
    for _ in 0..CALLS {
        let part = whole.split(black_box(512)).expect("it has so many");
        whole.merge(black_box(part)).expect("it is of the same budget");
    }
    drop(whole);
    budget
}

fn plenty() -> Rate {
    let count = NonZeroU32::new(1_000_000_000).expect("it is not zero");
    Rate { count, per: Duration::from_secs(1), burst: count }
}

fn limiter() -> RateLimiter {
    let limiter = RateLimiter::new("count", plenty()).expect("it is a rate");
    assert!(limiter.check().is_ok());
    limiter
}

// A check that passes, its look at the clock included.
#[library_benchmark]
#[bench::calls_1000(limiter())]
fn rate_limiter(limiter: RateLimiter) -> RateLimiter {
    for _ in 0..CALLS {
        _ = black_box(limiter.check());
    }
    limiter
}

fn keyed_limiter() -> KeyedRateLimiter<u64> {
    let hundred = NonZeroUsize::new(100).expect("it is not zero");
    let limiter = KeyedRateLimiter::new("count", plenty(), hundred, OnManyKeys::default());
    let limiter = limiter.expect("it is a rate");
    assert!(limiter.check(&7).is_ok());
    limiter
}

#[library_benchmark]
#[bench::calls_1000(keyed_limiter())]
fn rate_limiter_keyed(limiter: KeyedRateLimiter<u64>) -> KeyedRateLimiter<u64> {
    for _ in 0..CALLS {
        _ = black_box(limiter.check(black_box(&7)));
    }
    limiter
}

fn closed() -> Breaker {
    Breaker::new(BreakerConfig::default()).expect("the defaults make sense")
}

// Check and success, a millisecond between the calls.
#[library_benchmark]
#[bench::calls_1000(closed())]
fn breaker_closed(breaker: Breaker) -> Breaker {
    for millis in 0..CALLS as u64 {
        let now = black_box(Duration::from_millis(100_000 + millis));
        if let Ok(call) = breaker.check(now) {
            call.success(now);
        }
    }
    breaker
}

// The same with instants, which are read before.
#[library_benchmark]
#[bench::calls_1000((closed(), instants()))]
fn breaker_closed_instant((breaker, times): (Breaker, Vec<Instant>)) -> (Breaker, Vec<Instant>) {
    for now in &times {
        if let Ok(call) = breaker.check(*black_box(now)) {
            call.success(*black_box(now));
        }
    }
    (breaker, times)
}

fn instants() -> Vec<Instant> {
    let start = Instant::now();
    (0..CALLS as u64).map(|millis| start + Duration::from_millis(millis)).collect()
}

fn buffer() -> AdaptiveBuffer<u64> {
    let buffer = AdaptiveBuffer::new(AdaptiveBufferConfig::default()).expect("it makes sense");
    buffer.try_send(0).expect("there is room");
    buffer
}

// An item in and one out.
#[library_benchmark]
#[bench::calls_1000(buffer())]
fn adaptive_buffer(buffer: AdaptiveBuffer<u64>) -> AdaptiveBuffer<u64> {
    for item in 0..CALLS as u64 {
        _ = black_box(buffer.try_send(item));
        black_box(buffer.try_recv());
    }
    buffer
}

fn runtime() -> (Runtime, Vec<u64>) {
    let runtime = Builder::new_current_thread().build().expect("a runtime starts");
    (runtime, Vec::with_capacity(CALLS))
}

// So many jobs that are ready at once, ten at a time, into a vector that has room.
#[library_benchmark]
#[bench::calls_1000(runtime())]
fn fan_out((runtime, mut results): (Runtime, Vec<u64>)) -> (Runtime, Vec<u64>) {
    let fan_out = FanOut::new(NonZeroUsize::new(10).expect("ten is not zero"), Order::Input);
    let jobs = (0..CALLS as u64).map(|n| async move { black_box(n) });
    runtime.block_on(fan_out.run_into(jobs, &mut results));
    (runtime, results)
}

#[library_benchmark]
#[bench::calls_1000(Latency::new())]
fn latency(latency: Latency) -> Latency {
    for micros in 0..CALLS as u64 {
        latency.record(black_box(Duration::from_micros(micros)));
    }
    latency
}
