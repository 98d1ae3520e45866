//! Dropping, cancelling and panicking at every place where user code runs or a future waits: every
//! object is dropped in the end, and every place is free again.

use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use teleflow_pool::{Bounded, Pool};

/// Where the user's code panics, the nth time it comes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Create,
    Reset,
    Keep,
    Weigh,
    InGuard,
}

const PLACES: [Place; 6] =
    [Place::Nowhere, Place::Create, Place::Reset, Place::Keep, Place::Weigh, Place::InGuard];

/// Panics at one place, and counts what is alive.
#[derive(Debug)]
struct Trap {
    place: Place,
    at: u32,
    seen: AtomicU32,
    alive: AtomicI64,
}

#[derive(Debug)]
struct Object(Arc<Trap>);

impl Trap {
    fn new(place: Place, at: u32) -> Arc<Self> {
        Arc::new(Self { place, at, seen: AtomicU32::new(0), alive: AtomicI64::new(0) })
    }

    fn pass(&self, place: Place) {
        if place == self.place && self.seen.fetch_add(1, Ordering::Relaxed) == self.at {
            panic!("at {place:?}");
        }
    }

    fn disarm(&self) {
        self.seen.store(1000, Ordering::Relaxed);
    }

    fn create(self: &Arc<Self>) -> Object {
        self.pass(Place::Create);
        self.alive.fetch_add(1, Ordering::Relaxed);
        Object(Arc::clone(self))
    }

    #[track_caller]
    fn expect_alive(&self, expected: u64) {
        assert_eq!(self.alive.load(Ordering::Relaxed), expected as i64, "{self:?}");
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

fn quietly(work: impl FnOnce()) {
    let _ = panic::catch_unwind(AssertUnwindSafe(work));
}

#[test]
fn p1_a_panic_in_every_closure_loses_no_object_of_a_pool() {
    for place in PLACES {
        for at in 0..4 {
            let trap = Trap::new(place, at);
            let create = Arc::clone(&trap);
            let pool = Pool::builder(move || create.create())
                .reset(|object: &mut Object| object.0.pass(Place::Reset))
                .keep_if(|object| {
                    object.0.pass(Place::Keep);
                    true
                })
                .max_bytes(100, |object| {
                    object.0.pass(Place::Weigh);
                    10
                })
                .capacity(3)
                .build();
            for _ in 0..6 {
                quietly(|| {
                    let first = pool.acquire();
                    let second = pool.acquire();
                    first.0.pass(Place::InGuard);
                    drop(first);
                    second.0.pass(Place::InGuard);
                });
            }
            let stats = pool.stats();
            assert_eq!(stats.in_use(), 0, "{trap:?} {stats:?}");
            assert_eq!(stats.gets, stats.puts);
            trap.expect_alive(stats.available as u64);
            // The room of what was lost is free.
            trap.disarm();
            drop((0..5).map(|_| pool.acquire()).collect::<Vec<_>>());
            assert_eq!(pool.stats().available, 3, "{trap:?}");
            drop(pool);
            trap.expect_alive(0);
        }
    }
}

fn bounded(trap: &Arc<Trap>, size: usize) -> Bounded<Object> {
    let create = Arc::clone(trap);
    Bounded::new(
        NonZeroUsize::new(size).expect("it is not 0"),
        10,
        move || create.create(),
        |object: &mut Object| object.0.pass(Place::Reset),
    )
}

#[test]
fn p6_a_panic_in_every_closure_loses_no_place_of_a_bounded_pool() {
    for place in [Place::Nowhere, Place::Create, Place::Reset, Place::InGuard] {
        for at in 0..4 {
            let trap = Trap::new(place, at);
            let pool = bounded(&trap, 2);
            for _ in 0..6 {
                quietly(|| {
                    let first = pool.try_acquire().unwrap();
                    let second = pool.try_acquire().unwrap();
                    first.0.pass(Place::InGuard);
                    drop(first);
                    second.0.pass(Place::InGuard);
                });
            }
            let stats = pool.stats();
            assert_eq!(stats.in_use(), 0, "{trap:?} {stats:?}");
            trap.expect_alive(stats.available as u64);
            // Both places are there: with none lost and none too many.
            trap.disarm();
            let both = (pool.try_acquire().unwrap(), pool.try_acquire().unwrap());
            assert!(pool.try_acquire().is_err());
            drop((both, pool));
            trap.expect_alive(0);
        }
    }
}

#[test]
fn p6_a_wait_that_is_cancelled_at_any_moment_loses_no_place() {
    // Two wait for one object. The first is dropped before its first poll, while it waits, after it
    // was granted the object, or after it took it; the second must get it in each case.
    for moment in 0..4 {
        for timed in [false, true] {
            let trap = Trap::new(Place::Nowhere, 0);
            let pool = bounded(&trap, 1);
            let mut held = Some(pool.try_acquire().unwrap());
            let mut cx = Context::from_waker(Waker::noop());
            let mut second = pin!(pool.acquire());
            {
                let forever = std::future::pending();
                let mut plain = pin!(pool.acquire());
                let mut with_deadline = pin!(pool.acquire_before(forever));
                let mut poll = |cx: &mut Context<'_>| match timed {
                    true => with_deadline.as_mut().poll(cx),
                    false => plain.as_mut().poll(cx),
                };
                if 0 < moment {
                    assert!(poll(&mut cx).is_pending());
                }
                assert!(second.as_mut().poll(&mut cx).is_pending());
                if 1 < moment {
                    drop(held.take());
                    if 2 < moment {
                        let Poll::Ready(Ok(lease)) = poll(&mut cx) else { panic!("granted") };
                        assert!(second.as_mut().poll(&mut cx).is_pending());
                        drop(lease);
                    }
                }
            }
            // Where it was not granted to the first, it comes back now.
            drop(held);
            let Poll::Ready(Ok(lease)) = second.as_mut().poll(&mut cx) else {
                panic!("the second does not get it: moment {moment}, timed {timed}")
            };
            drop(lease);
            assert_eq!(pool.waiting(), 0);
            assert_eq!((pool.stats().available, pool.stats().in_use()), (1, 0));
        }
    }
}

#[test]
fn p6_a_factory_that_panics_passes_its_turn_on() {
    let trap = Trap::new(Place::Create, 1);
    let pool = bounded(&trap, 1);
    let mut cx = Context::from_waker(Waker::noop());
    let first = pool.try_acquire().unwrap();
    let mut second = pin!(pool.acquire());
    let mut third = pin!(pool.acquire());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    assert!(third.as_mut().poll(&mut cx).is_pending());
    // The object is gone for good, so the second has to make one, and fails.
    pool.clear();
    let reset_fails = Trap::new(Place::Reset, 0);
    let unlucky = bounded(&reset_fails, 1);
    quietly(|| drop(unlucky.try_acquire()));
    assert!(unlucky.try_acquire().is_ok());
    drop(first);
    let Poll::Ready(Ok(lease)) = second.as_mut().poll(&mut cx) else { panic!("its turn") };
    drop(lease);
    assert!(third.as_mut().poll(&mut cx).is_ready());
    pool.clear();
    quietly(|| drop(pool.try_acquire()));
    assert!(pool.try_acquire().is_ok(), "the place of the factory that panicked");
}
