//! What admits or refuses: semaphore, breaker, limiter, buffer.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use teleflow_benches::alloc;
use teleflow_benches::report::{Better, Report, Rival};
use teleflow_concurrency::{
    Breaker, BreakerConfig, BreakerTime, Budget, Rate, RateLimiter, Semaphore,
};

/// Calls of a thread in one sample.
const CALLS: u32 = 500_000;
/// Samples of each side.
const SAMPLES: usize = 15;

const MUTEX: &str = "the same behind a mutex";

pub(crate) fn run(report: &mut Report) {
    semaphore(report);
    breaker(report);
    rate_limiter(report);
    allocations(report);
}

/// Try-acquire and release of one permit, of plenty: what admission costs when there is room.
fn semaphore(report: &mut Report) {
    let ours = Semaphore::new("bench", 1 << 20);
    let theirs = tokio::sync::Semaphore::new(1 << 20);
    for threads in [1, 2] {
        let (ours, theirs) = side_by_side(
            threads,
            || drop(black_box(ours.try_acquire(1)).expect("there are plenty")),
            || drop(black_box(theirs.try_acquire()).expect("there are plenty")),
        );
        let rival = Rival { name: "tokio 1.54, no statistics", value: theirs };
        let metric = format!("concurrency/semaphore/{threads}t");
        report.row(metric, "ns/op", Better::Lower, ours, Some(rival));
    }
}

/// Check and success while closed, `now` given: what every guarded call costs while all is well.
fn breaker(report: &mut Report) {
    let now = Duration::from_secs(100);
    let ours = Breaker::new(BreakerConfig::default()).expect("the defaults make sense");
    let theirs = Locked::new();
    for threads in [1, 2] {
        let (ours, theirs) = side_by_side(
            threads,
            || {
                if let Ok(call) = ours.check(*black_box(&now)) {
                    call.success(*black_box(&now));
                }
            },
            || {
                if theirs.check(*black_box(&now)) {
                    theirs.success(*black_box(&now));
                }
            },
        );
        let rival = Rival { name: MUTEX, value: theirs };
        let metric = format!("concurrency/breaker/{threads}t");
        report.row(metric, "ns/op", Better::Lower, ours, Some(rival));
    }
    for threads in [1, 2] {
        let (ours, theirs) = breaker_in_time(threads, |since| since);
        let rival = Rival { name: MUTEX, value: theirs };
        let metric = format!("concurrency/breaker_time_passes/{threads}t");
        report.row(metric, "ns/op", Better::Lower, ours, Some(rival));
        let start = Instant::now();
        let (ours, theirs) = breaker_in_time(threads, |since| start + since);
        let rival = Rival { name: MUTEX, value: theirs };
        let metric = format!("concurrency/breaker_instant/{threads}t");
        report.row(metric, "ns/op", Better::Lower, ours, Some(rival));
    }
}

/// The same while time passes: 20 s in each sample, read from memory, so that the parts of the
/// window follow one another.
fn breaker_in_time<T: Time>(threads: usize, at: impl Fn(Duration) -> T) -> (f64, f64) {
    let ours = Breaker::new(BreakerConfig::default()).expect("the defaults make sense");
    let theirs = Locked::new();
    let first = at(Duration::ZERO);
    let mut samples = (Vec::new(), Vec::new());
    for number in 0..SAMPLES as u32 {
        let begin = Duration::from_secs(100) + number * Duration::from_secs(20);
        let step = Duration::from_secs(20) / CALLS;
        let times: Vec<T> = (0..CALLS).map(|call| at(begin + call * step)).collect();
        samples.0.push(sample(threads, &|call| {
            let now = times[call as usize];
            if let Ok(call) = ours.check(now) {
                call.success(now);
            }
        }));
        samples.1.push(sample(threads, &|call| {
            let now = times[call as usize].since_first(first);
            if theirs.check(now) {
                theirs.success(now);
            }
        }));
    }
    (median(samples.0), median(samples.1))
}

/// What a breaker is told time as.
trait Time: BreakerTime + Sync {
    /// For the rival, which knows only durations.
    fn since_first(self, first: Self) -> Duration;
}

impl Time for Duration {
    fn since_first(self, _: Self) -> Duration {
        self
    }
}

impl Time for Instant {
    fn since_first(self, first: Self) -> Duration {
        self - first
    }
}

/// A breaker with the same window, behind a lock.
struct Locked(Mutex<Window>);

struct Window {
    open_until: Option<Duration>,
    parts: [(u64, u64, u64); 8],
}

impl Locked {
    fn new() -> Self {
        Self(Mutex::new(Window { open_until: None, parts: [(0, 0, 0); 8] }))
    }

    fn check(&self, now: Duration) -> bool {
        let window = self.0.lock().expect("nothing panics");
        window.open_until.is_none_or(|until| now >= until)
    }

    fn success(&self, now: Duration) {
        let mut window = self.0.lock().expect("nothing panics");
        let second = now.as_secs();
        let part = &mut window.parts[second as usize % 8];
        if part.0 != second {
            *part = (second, 0, 0);
        }
        part.1 += 1;
    }
}

/// A check that passes.
fn rate_limiter(report: &mut Report) {
    let count = NonZeroU32::new(1_000_000_000).expect("it is not zero");
    let rate = Rate { count, per: Duration::from_secs(1), burst: count };
    let ours = RateLimiter::new("bench", rate).expect("it is a rate");
    let theirs = governor::RateLimiter::direct(governor::Quota::per_second(count));
    let (ours, theirs) =
        side_by_side(1, || _ = black_box(ours.check()), || _ = black_box(theirs.check()));
    let rival = Rival { name: "governor 0.10 bare, its default clock", value: theirs };
    report.row("concurrency/rate_limiter/1t", "ns/op", Better::Lower, ours, Some(rival));
}

/// What admission allocates once it runs.
fn allocations(report: &mut Report) {
    const TURNS: u32 = 10_000;
    let semaphore = Semaphore::new("bench", 1 << 20);
    let budget = Budget::new("bench", 1 << 30);
    let breaker = Breaker::new(BreakerConfig::default()).expect("the defaults make sense");
    let now = Duration::from_secs(100);
    let mut row = |metric: &str, call: &dyn Fn()| {
        call();
        let (_, counted) = alloc::count(|| (0..TURNS).for_each(|_| call()));
        let each = counted.allocations as f64 / f64::from(TURNS);
        report.row(metric, "allocations/op", Better::Lower, each, None);
    };
    row("concurrency/semaphore/allocations", &|| drop(black_box(semaphore.try_acquire(1))));
    row("concurrency/budget/allocations", &|| drop(black_box(budget.try_take(512))));
    row("concurrency/breaker/allocations", &|| {
        if let Ok(call) = breaker.check(now) {
            call.success(now);
        }
    });
}

/// Nanoseconds a call of `ours` and of `theirs` with so many threads calling: the medians of all
/// samples. The two take turns, so that whatever else the machine does slows both.
fn side_by_side(threads: usize, ours: impl Fn() + Sync, theirs: impl Fn() + Sync) -> (f64, f64) {
    let mut samples = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        samples.0.push(sample(threads, &|_| ours()));
        samples.1.push(sample(threads, &|_| theirs()));
    }
    (median(samples.0), median(samples.1))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Nanoseconds of wall time a call, which gets its number, each thread on its own core, from the first start to the last
/// end. Threads that ran one after the other would each look as fast as one that is alone.
fn sample(threads: usize, call: &(impl Fn(u32) + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    let times: Vec<_> = thread::scope(|scope| {
        let (barrier, call) = (&barrier, &call);
        let work = move |core: usize| {
            pin(core);
            (0..1000).for_each(call);
            barrier.wait();
            let start = Instant::now();
            (0..CALLS).for_each(call);
            (start, Instant::now())
        };
        let spawned: Vec<_> = (0..threads).map(|core| scope.spawn(move || work(core))).collect();
        spawned.into_iter().map(|thread| thread.join().expect("no call panics")).collect()
    });
    let start = times.iter().map(|(start, _)| *start).min();
    let end = times.iter().map(|(_, end)| *end).max();
    let wall = start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start);
    wall.as_nanos() as f64 / f64::from(CALLS)
}

/// Moves this thread to the core of that number among those it may use, if there are so many.
fn pin(core: usize) {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let mut set = CpuSet::new();
    if let Some(core) = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).nth(core) {
        set.set(core);
        // Not pinned, it measures as well, only less steadily.
        let _ = sched_setaffinity(None, &set);
    }
}
