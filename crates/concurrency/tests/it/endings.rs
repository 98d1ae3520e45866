//! Done-when 6: every async function, dropped at every await point, with a panic in every piece of
//! code that is not ours; afterwards nothing is left, and the next caller is served.
//!
//! [`ROWS`] is the list. An async function of `src` that is not in it fails a test.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::num::{NonZeroU32, NonZeroUsize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Context;
use std::time::Duration;

use futures_util::FutureExt as _;
use teleflow_concurrency::{
    AdaptiveBuffer, AdaptiveBufferConfig, Breaker, BreakerConfig, Budget, FanOut, KeyedRateLimiter,
    OnManyKeys, Order, Overflow, Rate, RateLimiter, Semaphore, Shutdown, StageConfig, Stages,
    TaskMonitor, Unfinished, WorkerPool, WorkerPoolConfig,
};
use tokio::time::{Instant, advance, timeout};
use tokio_util::sync::CancellationToken;

use crate::alive::settle;
use crate::faults::{FAULTS, User, arm, called, spare_wakers, waker};

/// File, function, and how to set the scene for a call of it.
type Row = (&'static str, &'static str, fn(&Count) -> Scene);

const ROWS: &[Row] = &[
    ("semaphore.rs", "acquire", |_| semaphore(async |s| drop(s.acquire(1).await))),
    ("semaphore.rs", "acquire_owned", |_| semaphore(async |s| drop(s.acquire_owned(2).await))),
    ("semaphore.rs", "acquire_until", |_| {
        semaphore(async |s| drop(s.acquire_until(2, soon()).await))
    }),
    ("semaphore.rs", "acquire_owned_until", |_| {
        semaphore(async |s| drop(s.acquire_owned_until(1, soon()).await))
    }),
    ("semaphore.rs", "with_permits", |alive| {
        let user = User::new(alive);
        semaphore(async |s| drop(s.with_permits(1, user).await))
    }),
    ("budget.rs", "take", |_| budget(async |root, _| drop(root.take(6).await))),
    ("budget.rs", "take", |_| budget(async |_, child| drop(child.take(10).await))),
    ("budget.rs", "take_until", |_| {
        budget(async |_, child| drop(child.take_until(5, soon()).await))
    }),
    ("adaptive_buffer.rs", "send", |alive| adaptive(alive, true)),
    ("adaptive_buffer.rs", "recv", |alive| adaptive(alive, false)),
    ("rate_limiter.rs", "wait", |_| limiter(async |l| l.wait().await)),
    ("rate_limiter.rs", "wait_until", |_| limiter(async |l| _ = l.wait_until(soon()).await)),
    ("rate_limiter/keyed.rs", "wait", |_| keyed(async |l| _ = l.wait(&'k').await)),
    ("rate_limiter/keyed.rs", "wait_until", |_| {
        keyed(async |l| _ = l.wait_until(&'k', soon()).await)
    }),
    ("breaker.rs", "call", breaker),
    ("worker_pool.rs", "submit", |alive| submit(alive, Overflow::Block)),
    ("worker_pool.rs", "submit", |alive| submit(alive, Overflow::Reject)),
    ("worker_pool.rs", "submit", |alive| submit(alive, Overflow::RunInCaller)),
    ("worker_pool.rs", "submit", |alive| submit(alive, Overflow::SpawnBeside(NonZeroUsize::MIN))),
    ("worker_pool.rs", "submit_within", |alive| {
        let user = User::new(alive);
        pool(Overflow::Block, async |pool| drop(pool.submit_within(SECOND, user).await))
    }),
    ("worker_pool.rs", "shut_down", |alive| {
        let user = User::new(alive);
        pool(Overflow::SpawnBeside(NonZeroUsize::MIN), async |pool| {
            drop(pool.submit(user).await);
            pool.shut_down().await;
        })
    }),
    ("worker_pool/task.rs", "next", |alive| {
        let tasks = users(alive);
        pool(Overflow::Block, async |pool| {
            let mut results = pool.run_all(tasks);
            while let Some(result) = results.next().await {
                drop(result);
            }
        })
    }),
    ("fan_out.rs", "run", |alive| fan_out(alive, async |f, jobs| drop(f.run(jobs).await))),
    ("fan_out.rs", "run_into", |alive| {
        fan_out(alive, async |f, jobs| f.run_into(jobs, &mut Vec::new()).await)
    }),
    ("fan_out.rs", "try_run", |alive| {
        fan_out(alive, async |f, jobs| drop(f.try_run(jobs.map(|job| job.map(Err::<(), _>))).await))
    }),
    ("fan_out.rs", "run_all", |alive| {
        fan_out(alive, async |f, jobs| drop(f.run_all(jobs.map(|job| job.map(Ok::<_, ()>))).await))
    }),
    ("stages.rs", "join", stages),
    ("shutdown.rs", "run", |alive| {
        let user = User::new(alive);
        shutdown(async |s| drop(s.run("task", user).await))
    }),
    ("shutdown.rs", "shut_down", |alive| {
        let user = User::new(alive);
        shutdown(async |s| {
            drop(tokio::spawn(s.run("task", user)));
            s.shut_down(SECOND, SECOND).await;
        })
    }),
    ("leaks.rs", "watch", |alive| {
        let user = User::new(alive);
        monitor(async |monitor, _| drop(monitor.watch("task", user).await))
    }),
    ("leaks.rs", "run", |_| {
        monitor(async |monitor, stop| {
            let leaked = monitor.track("leak");
            monitor.run(stop, |_| called()).await;
            drop(leaked);
        })
    }),
];

const SECOND: Duration = Duration::from_secs(1);

type Count = Arc<AtomicUsize>;
type Users = Box<dyn Iterator<Item = User> + Send>;
type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// A call that has to wait.
struct Scene {
    call: Boxed,
    /// Gives it what it waits for.
    go_on: Box<dyn FnMut()>,
    /// That everything is back, and that the next caller is served.
    check: Boxed,
}

impl Scene {
    fn new(
        call: impl Future<Output = ()> + 'static,
        go_on: impl FnMut() + 'static,
        check: impl Future<Output = ()> + 'static,
    ) -> Self {
        Self { call: Box::pin(call), go_on: Box::new(go_on), check: Box::pin(check) }
    }
}

fn soon() -> Instant {
    Instant::now() + 10 * SECOND
}

fn users(alive: &Count) -> impl Iterator<Item = User> + use<> {
    let alive = Arc::clone(alive);
    (0..3).map(move |_| {
        called();
        User::new(&alive)
    })
}

fn semaphore(call: impl AsyncFnOnce(Arc<Semaphore>) + 'static) -> Scene {
    let semaphore = Arc::new(Semaphore::new("s", 2));
    let mut held = Some(semaphore.try_acquire_owned(2).unwrap());
    let other = Arc::clone(&semaphore);
    let check = async move {
        let stats = semaphore.stats();
        assert_eq!((stats.available, stats.waiting), (2, 0));
        drop(semaphore.acquire(2).await.unwrap());
    };
    Scene::new(async move { call(other).await }, move || drop(held.take()), check)
}

fn budget(call: impl AsyncFnOnce(Budget, Budget) + 'static) -> Scene {
    let root = Budget::new("root", 10);
    let child = root.child("child", 4).unwrap();
    let mut held = Some((root.try_take(6).unwrap(), child.try_take(4).unwrap()));
    let handles = (root.clone(), child.clone());
    let check = async move {
        for budget in [&root, &child] {
            let stats = budget.stats();
            assert_eq!((stats.held, stats.waiting), (0, 0));
        }
        drop(child.take(10).await.unwrap());
        drop(child);
        assert_eq!(root.stats().available, 10);
    };
    Scene::new(async move { call(handles.0, handles.1).await }, move || drop(held.take()), check)
}

fn adaptive(alive: &Count, sends: bool) -> Scene {
    let config = AdaptiveBufferConfig { min: 1, max: 2, ..Default::default() };
    let buffer = Arc::new(AdaptiveBuffer::new(config).unwrap());
    if sends {
        assert!(buffer.try_send(User::new(alive)).is_ok());
    }
    let (item, last, caller) = (User::new(alive), User::new(alive), Arc::clone(&buffer));
    let call = async move {
        if sends { drop(caller.send(item).await) } else { drop(caller.recv().await) }
    };
    let (other, mut spare) = (Arc::clone(&buffer), Some(User::new(alive)));
    let go_on = move || {
        if sends {
            drop(other.try_recv());
        } else if let Some(item) = spare.take() {
            drop(other.try_send(item));
        }
    };
    let check = async move {
        while buffer.try_recv().is_some() {}
        let stats = buffer.stats();
        assert_eq!((stats.len, stats.senders_waiting, stats.receivers_waiting), (0, 0, 0));
        assert_eq!(stats.sent, stats.received);
        assert!(buffer.send(last).await.is_ok());
        assert!(buffer.recv().await.is_some());
    };
    Scene::new(call, go_on, check)
}

const RATE: Rate = Rate { count: NonZeroU32::MIN, per: SECOND, burst: NonZeroU32::MIN };

fn limiter(call: impl AsyncFnOnce(Arc<RateLimiter>) + 'static) -> Scene {
    let limiter = Arc::new(RateLimiter::new("l", RATE).unwrap());
    limiter.check().unwrap();
    let other = Arc::clone(&limiter);
    let check = async move { limiter.wait_until(Instant::now() + SECOND).await.unwrap() };
    Scene::new(async move { call(other).await }, || {}, check)
}

fn keyed(call: impl AsyncFnOnce(Arc<KeyedRateLimiter<char>>) + 'static) -> Scene {
    let one = NonZeroUsize::MIN;
    let limiter = KeyedRateLimiter::new("l", RATE, one, OnManyKeys::Refuse).unwrap();
    let limiter = Arc::new(limiter);
    limiter.check(&'k').unwrap();
    let other = Arc::clone(&limiter);
    let check = async move { limiter.wait_until(&'k', Instant::now() + SECOND).await.unwrap() };
    Scene::new(async move { call(other).await }, || {}, check)
}

fn breaker(alive: &Count) -> Scene {
    let unfinished = Unfinished::Ignore;
    let open_for = Duration::ZERO;
    let config = BreakerConfig { failures: Some(1), open_for, unfinished, ..Default::default() };
    let breaker = Arc::new(Breaker::new(config).unwrap());
    let now = Instant::now().into_std();
    breaker.check(now).unwrap().failure(now);
    let (other, user) = (Arc::clone(&breaker), User::new(alive));
    let call = async move { drop(other.call(user.map(Ok::<_, ()>)).await) };
    // The one probe is not out.
    let check = async move { assert!(breaker.call(async { Ok::<_, ()>(()) }).await.is_ok()) };
    Scene::new(call, || {}, check)
}

fn submit(alive: &Count, overflow: Overflow) -> Scene {
    let user = User::new(alive);
    pool(overflow, async |pool| {
        if let Ok(handle) = pool.submit(user).await {
            drop(handle.await);
        }
    })
}

/// A pool of one worker, with a queue that is full of a task that has to be let go on.
fn pool(overflow: Overflow, call: impl AsyncFnOnce(WorkerPool) + 'static) -> Scene {
    let config =
        WorkerPoolConfig { workers: 1, queue: Some(1), overflow, ..WorkerPoolConfig::default() };
    let pool = WorkerPool::with_panic_handler(config, |_| called()).unwrap();
    let gate = CancellationToken::new();
    let held = gate.clone().cancelled_owned();
    drop(pool.submit(held).now_or_never().expect("there is a place").unwrap());
    let other = pool.clone();
    let check = async move {
        // Closed by the call, it takes nothing. Full, it may refuse, or run it elsewhere.
        if let Ok(handle) = pool.submit_within(100 * SECOND, async { 1 }).await {
            assert_eq!(handle.await, Ok(1));
        }
        pool.shut_down().await;
        let stats = pool.stats();
        let left = (stats.workers, stats.active, stats.queued, stats.waiting, stats.beside);
        assert_eq!(left, (0, 0, 0, 0, 0), "{stats:?}");
        let ended = stats.completed + stats.panicked + stats.timed_out + stats.cancelled;
        assert_eq!(stats.submitted, ended, "{stats:?}");
    };
    Scene::new(async move { call(other).await }, move || gate.cancel(), check)
}

fn fan_out(alive: &Count, call: impl AsyncFnOnce(FanOut, Users) + 'static) -> Scene {
    let jobs: Users = Box::new(users(alive));
    let fan_out = FanOut::new(NonZeroUsize::MIN.saturating_add(1), Order::Input);
    let call = async move { call(fan_out, jobs).await };
    Scene::new(call, || {}, async {})
}

fn stages(alive: &Count) -> Scene {
    let count = Arc::clone(alive);
    let two = NonZeroUsize::MIN.saturating_add(1);
    let line = Stages::<(), ()>::new()
        .stage(StageConfig::new("users", two), move |()| {
            called();
            let user = User::new(&count);
            async {
                drop(user.await);
                None::<()>
            }
        })
        .start(CancellationToken::new());
    (0..3).for_each(|_| line.input.try_send(()).unwrap());
    drop(line.input);
    let mut output = line.output;
    let running = line.running;
    // All senders are gone once the stages have ended.
    let check = async move { assert_eq!(output.recv().await, None) };
    Scene::new(async move { drop(running.join().await) }, || {}, check)
}

fn shutdown(call: impl AsyncFnOnce(Shutdown) + 'static) -> Scene {
    let shutdown = Shutdown::new();
    let other = shutdown.clone();
    let check = async move {
        let report = shutdown.shut_down(SECOND, SECOND).await;
        assert!(report.stuck.is_empty() && shutdown.live().is_empty(), "{report:?}");
    };
    Scene::new(async move { call(other).await }, || {}, check)
}

fn monitor(call: impl AsyncFnOnce(TaskMonitor, CancellationToken) + 'static) -> Scene {
    let monitor = TaskMonitor::new(SECOND, 0);
    let (stop, other) = (CancellationToken::new(), monitor.clone());
    let told = stop.clone();
    let call = async move { call(other, told).await };
    let check = async move {
        assert_eq!(monitor.stats().live.values().sum::<u64>(), 0);
        drop(monitor.track("next"));
    };
    Scene::new(call, move || stop.cancel(), check)
}

#[tokio::test(start_paused = true)]
async fn dropped_or_panicking_at_every_point_nothing_is_left_and_the_next_is_served() {
    let mut ends = 0;
    for (file, function, set) in ROWS {
        for fault in FAULTS {
            for goes_on in [true, false] {
                for points in 0.. {
                    let place = format!("{file} {function}: {fault:?} {goes_on} {points}");
                    let alive = Count::default();
                    let Scene { call, mut go_on, check } = set(&alive);
                    advance(SECOND / 100).await;
                    arm(fault);
                    let is_over = drop_after(points, call, goes_on.then_some(&mut go_on)).await;
                    arm(None);
                    go_on();
                    settle().await;
                    // Also of what it does by itself, a bounded simulated time later.
                    let checked = timeout(1000 * SECOND, AssertUnwindSafe(check).catch_unwind());
                    assert!(matches!(checked.await, Ok(Ok(()))), "{place}");
                    drop(go_on);
                    settle().await;
                    assert_eq!(alive.load(SeqCst), 0, "{place}");
                    ends += 1;
                    if is_over || !goes_on && points > 8 {
                        break;
                    }
                    assert!(points < 40, "it never ends: {place}");
                }
            }
        }
    }
    assert!(ends > 1000, "only {ends} ends");
}

/// Polls, lets go on, polls and so on, so many times; then drops. Tells whether it came to its end.
async fn drop_after(points: u32, call: Boxed, mut go_on: Option<&mut Box<dyn FnMut()>>) -> bool {
    let mut call = AssertUnwindSafe(call);
    let mut is_over = false;
    for point in 0..points {
        if point % 2 == 0 {
            let waker = AssertUnwindSafe(waker_unarmed_drop());
            let polled = catch_unwind(AssertUnwindSafe(|| {
                call.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
            }));
            is_over = polled.unwrap_or(true);
            if is_over {
                break;
            }
        } else {
            if let Some(go_on) = &mut go_on {
                // What it drops or wakes may be the one that panics.
                let _ = catch_unwind(AssertUnwindSafe(go_on));
            }
            // tokio's timers do not bear a waker that panics: it would be the runtime's end.
            let armed = spare_wakers();
            settle().await;
            advance(if go_on.is_some() { SECOND } else { 4 * SECOND }).await;
            settle().await;
            armed.restore();
        }
    }
    let _ = catch_unwind(AssertUnwindSafe(|| drop(call)));
    is_over
}

/// The test's own waker, which stays.
fn waker_unarmed_drop() -> std::mem::ManuallyDrop<std::task::Waker> {
    std::mem::ManuallyDrop::new(waker())
}

#[test]
fn every_async_function_has_its_row() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.clone()];
    let mut found = BTreeSet::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let mut function = "";
        for line in text.lines().map(str::trim_start) {
            if let Some(rest) =
                ["pub fn ", "pub async fn "].iter().find_map(|head| line.strip_prefix(head))
            {
                function = rest.split(['(', '<']).next().unwrap();
            }
            // A form of its own, in which a result that is a future stands.
            if line.starts_with("pub async fn") || line.contains("-> impl Future<") {
                found.insert((name.clone(), function.to_owned()));
            }
        }
    }
    let rows = ROWS.iter().map(|(file, function, _)| (file.to_string(), function.to_string()));
    assert_eq!(rows.collect::<BTreeSet<_>>(), found);
}
