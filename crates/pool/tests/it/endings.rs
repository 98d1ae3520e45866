//! Done-when 6: every async function, dropped at every await point, with a waker that panics where
//! it is cloned, woken or dropped; and the list of all closures, with the test that panics in each.
//!
//! An async function or a closure of `src` that is not listed fails a test.

#![allow(unsafe_code, reason = "only a raw waker can panic where it is cloned")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;

use teleflow_pool::{AcquireError, Bounded, BoundedLease};

type Call<'a> = Pin<Box<dyn Future<Output = Result<BoundedLease<u8>, AcquireError>> + 'a>>;

/// File, function and a call of it.
type Row = (&'static str, &'static str, fn(&Bounded<u8>) -> Call<'_>);

const ROWS: &[Row] = &[
    ("bounded.rs", "acquire", |pool| Box::pin(pool.acquire())),
    ("bounded.rs", "acquire_before", |pool| Box::pin(pool.acquire_before(std::future::pending()))),
    ("bounded.rs", "acquire_before", |pool| {
        // Passes at the second look.
        let mut looks = 0;
        let deadline = std::future::poll_fn(move |_| {
            looks += 1;
            if looks > 1 { Poll::Ready(()) } else { Poll::Pending }
        });
        Box::pin(pool.acquire_before(deadline))
    }),
];

/// File, function and the test that panics in its closure, or why there is none.
const CLOSURES: &[(&str, &str, &str)] = &[
    ("pool.rs", "builder", "p1_a_panic_in_every_closure_loses_no_object_of_a_pool"),
    ("pool.rs", "reset", "p1_a_panic_in_every_closure_loses_no_object_of_a_pool"),
    ("pool.rs", "keep_if", "p1_a_panic_in_every_closure_loses_no_object_of_a_pool"),
    ("pool.rs", "max_bytes", "p1_a_panic_in_every_closure_loses_no_object_of_a_pool"),
    ("pool.rs", "ceiling", "p1_a_panic_in_every_closure_loses_no_object_of_a_pool"),
    ("bounded.rs", "new", "p6_a_panic_in_every_closure_loses_no_place_of_a_bounded_pool"),
    ("objects.rs", "spans", "none: it hands its closure to `Pool::builder`"),
    ("cow.rs", "edit", "none: it holds nothing while it calls"),
    ("cow.rs", "map", "none: it holds nothing but a copy of its own"),
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Cloned,
    Woken,
    Dropped,
}

thread_local!(static ARMED: Cell<Option<Fault>> = const { Cell::new(None) });

fn pass(fault: Fault) {
    if ARMED.get() == Some(fault) && !thread::panicking() {
        ARMED.set(None);
        panic!("{fault:?}, on purpose");
    }
}

/// A waker that wakes nobody, and panics once where that is armed. The one here is never dropped;
/// its clones are.
fn waker() -> ManuallyDrop<Waker> {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |_| {
            pass(Fault::Cloned);
            RAW
        },
        |_| pass(Fault::Woken),
        |_| pass(Fault::Woken),
        |_| pass(Fault::Dropped),
    );
    const RAW: RawWaker = RawWaker::new(ptr::null(), &VTABLE);
    // SAFETY: there is no data, and the functions use none; each may be called from any thread.
    ManuallyDrop::new(unsafe { Waker::from_raw(RAW) })
}

fn poll(call: &mut Call<'_>, waker: &Waker) -> bool {
    let poll = || call.as_mut().poll(&mut Context::from_waker(waker)).is_ready();
    catch_unwind(AssertUnwindSafe(poll)).unwrap_or(true)
}

#[test]
fn p6_dropped_at_every_point_beside_wakers_that_panic_the_next_is_served() {
    let mut ends = 0;
    for (file, function, start) in ROWS {
        for fault in [None, Some(Fault::Cloned), Some(Fault::Woken), Some(Fault::Dropped)] {
            // Whether and after how many polls the object comes back, and when the call is dropped.
            for back in [None, Some(0), Some(1), Some(2)] {
                for polls in 0..5 {
                    let place = format!("{file} {function}: {fault:?} {back:?} {polls}");
                    let pool = Bounded::new(NonZeroUsize::MIN, 10, || 0_u8, |_| {});
                    let mut held = Some(pool.try_acquire().unwrap());
                    let waker = waker();
                    let mut call = start(&pool);
                    let mut behind: Call<'_> = Box::pin(pool.acquire());
                    ARMED.set(fault);
                    let mut is_over = false;
                    for done in 0..polls {
                        if back == Some(done) {
                            let _ = catch_unwind(AssertUnwindSafe(|| drop(held.take())));
                        }
                        is_over = is_over || poll(&mut call, &waker);
                        if done == 0 {
                            // Behind it, with a waker that does not panic.
                            let _ = poll(&mut behind, Waker::noop());
                        }
                    }
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(call)));
                    ARMED.set(None);
                    drop(held);
                    drop(behind);
                    let stats = pool.stats();
                    assert_eq!((pool.waiting(), stats.in_use()), (0, 0), "{place}: {stats:?}");
                    assert!(pool.try_acquire().is_ok(), "{place}");
                    ends += 1;
                }
            }
        }
    }
    assert_eq!(ends, ROWS.len() * 4 * 4 * 5);
}

#[test]
fn p6_closed_with_a_waker_and_an_object_that_panic_everyone_is_told() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("on purpose");
            }
        }
    }

    let size = NonZeroUsize::MIN;
    let pool = Bounded::new(size, 10, || Bomb, |_| {});
    let held = pool.try_acquire().unwrap();
    let (first_waker, noop) = (waker(), Waker::noop());
    let mut first = Box::pin(pool.acquire());
    let mut second = Box::pin(pool.acquire());
    assert!(first.as_mut().poll(&mut Context::from_waker(&first_waker)).is_pending());
    assert!(second.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
    ARMED.set(Some(Fault::Woken));
    pool.close();
    assert_eq!(ARMED.get(), None, "it was woken, and its panic went no further");
    for call in [&mut first, &mut second] {
        let polled = call.as_mut().poll(&mut Context::from_waker(noop));
        assert!(matches!(polled, Poll::Ready(Err(AcquireError::Closed))));
    }
    // It comes back to a pool that is closed, and is dropped there.
    assert!(catch_unwind(AssertUnwindSafe(|| drop(held))).is_err());
    assert_eq!((pool.stats().in_use(), pool.waiting()), (0, 0));
}

#[test]
fn p6_every_async_function_and_closure_is_listed() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.clone()];
    let (mut calls, mut closures) = (BTreeSet::new(), BTreeSet::new());
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let mut function = None;
        for line in text.lines().map(str::trim_start) {
            let head = ["pub fn ", "pub async fn "].iter().find_map(|head| line.strip_prefix(head));
            if let Some(rest) = head {
                function = rest.split(['(', '<']).next();
            } else if line.starts_with("fn ") || line.starts_with("pub(") {
                function = None;
            }
            let Some(function) = function else { continue };
            if line.starts_with("pub async fn") || line.contains("-> impl Future<") {
                calls.insert((name.clone(), function.to_owned()));
            }
            if line.contains(": impl Fn") {
                closures.insert((name.clone(), function.to_owned()));
            }
        }
    }
    let listed = ROWS.iter().map(|row| (row.0.to_owned(), row.1.to_owned()));
    assert_eq!(listed.collect::<BTreeSet<_>>(), calls);
    let listed = CLOSURES.iter().map(|row| (row.0.to_owned(), row.1.to_owned()));
    assert_eq!(listed.collect::<BTreeSet<_>>(), closures);
    let leaks = fs::read_to_string(source.join("../tests/it/leaks.rs")).unwrap();
    let missing = CLOSURES.iter().filter(|row| !row.2.starts_with("none: "));
    let missing: Vec<_> = missing.filter(|row| !leaks.contains(row.2)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
}
