//! Every order of steps of a few threads, by loom. Nothing of this is compiled without its flag:
//!
//! ```text
//! RUSTFLAGS="--cfg teleflow_loom" LOOM_MAX_PREEMPTIONS=2 cargo test -p teleflow-concurrency --release --test loom
//! ```
#![cfg(teleflow_loom)]

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::thread;
use teleflow_concurrency::{Breaker, BreakerConfig, BreakerState, Budget, FailureRate, Semaphore};

/// What the one permit guards. Loom fails where two accesses are not ordered.
struct Guarded {
    semaphore: Semaphore,
    value: UnsafeCell<u32>,
}

// === impl Guarded ===

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Self { semaphore: Semaphore::new("s", 1), value: UnsafeCell::new(0) })
    }

    fn add(&self) {
        self.value.with_mut(|value| {
            #[allow(unsafe_code, reason = "loom's cell checks what the permit promises")]
            // SAFETY: the only permit is held; loom panics if that does not exclude the others.
            unsafe {
                *value += 1;
            }
        });
    }
}

#[allow(unsafe_code, reason = "shared as a lock's content would be")]
// SAFETY: the value is accessed with the only permit held, and loom checks that.
unsafe impl Sync for Guarded {}
#[allow(unsafe_code, reason = "shared as a lock's content would be")]
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Guarded {}

#[test]
fn try_acquire_and_release_order_what_the_permit_guards() {
    loom::model(|| {
        let guarded = Guarded::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || {
                    if let Ok(_permit) = guarded.semaphore.try_acquire(1) {
                        guarded.add();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(guarded.semaphore.available(), 1);
    });
}

#[test]
fn two_that_wait_for_one_permit_both_get_it() {
    loom::model(|| {
        let guarded = Guarded::new();
        let other = Arc::clone(&guarded);
        let thread = thread::spawn(move || {
            let _permit = block_on(other.semaphore.acquire(1)).unwrap();
            other.add();
        });
        {
            let _permit = block_on(guarded.semaphore.acquire(1)).unwrap();
            guarded.add();
        }
        thread.join().unwrap();
        assert_eq!(guarded.semaphore.available(), 1);
        assert_eq!(guarded.semaphore.stats().waiting, 0);
    });
}

#[test]
fn three_that_wait_for_one_permit_or_for_two_all_get_it() {
    for permits in [1, 2] {
        loom::model(move || {
            let semaphore = Arc::new(Semaphore::new("s", permits));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let semaphore = Arc::clone(&semaphore);
                    thread::spawn(move || drop(block_on(semaphore.acquire(1)).unwrap()))
                })
                .collect();
            drop(block_on(semaphore.acquire(permits)).unwrap());
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!((semaphore.available(), semaphore.stats().waiting), (permits, 0));
        });
    }
}

#[test]
fn a_wait_that_is_dropped_in_a_race_with_a_release_leaks_nothing() {
    loom::model(|| {
        let semaphore = Arc::new(Semaphore::new("s", 2));
        let held = semaphore.try_acquire_owned(2).unwrap();
        let thread = thread::spawn(move || drop(held));
        {
            let mut wait = Box::pin(semaphore.acquire(1));
            let waker = std::task::Waker::noop();
            let _ = wait.as_mut().poll(&mut std::task::Context::from_waker(waker));
        }
        thread.join().unwrap();
        assert_eq!(semaphore.available(), 2);
        assert!(semaphore.try_acquire(2).is_ok());
    });
}

#[test]
fn a_child_has_its_guarantee_in_every_race_and_all_bytes_come_back() {
    loom::model(|| {
        let root = Budget::new("root", 3);
        let child = root.child("child", 1).unwrap();
        let (borrower, taker) = (child.clone(), root.clone());
        let threads = [
            thread::spawn(move || drop(borrower.try_take(2))),
            thread::spawn(move || drop(taker.try_take(2))),
        ];
        // Held or not, what one borrows is common: at most one byte of its own is out.
        if child.try_take(1).is_err() {
            assert!(child.stats().taken > 0, "its own byte was there, and not to be had");
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(child.stats().available, 3);
        drop(child);
        assert_eq!(root.stats().available, 3);
    });
}

#[test]
fn a_child_and_its_parent_that_wait_for_the_same_bytes_both_get_them() {
    loom::model(|| {
        let root = Budget::new("root", 2);
        let child = root.child("child", 1).unwrap();
        let thread = thread::spawn({
            let child = child.clone();
            move || drop(block_on(child.take(2)).unwrap())
        });
        drop(block_on(root.take(1)).unwrap());
        thread.join().unwrap();
        assert_eq!((child.stats().available, child.stats().waiting), (2, 0));
    });
}

fn breaker(failures: u32, probes: u16) -> Arc<Breaker> {
    let config = BreakerConfig {
        failures: Some(failures),
        failure_rate: None,
        probes: NonZeroU16::new(probes).unwrap(),
        ..BreakerConfig::default()
    };
    Arc::new(Breaker::new(config).unwrap())
}

#[test]
fn of_two_failures_in_different_parts_of_the_window_one_opens_it() {
    loom::model(|| {
        let (breaker, now) = (breaker(2, 1), Instant::now());
        let other = Arc::clone(&breaker);
        let thread = thread::spawn(move || {
            let later = now + Duration::from_secs(3);
            if let Ok(call) = other.check(later) {
                call.failure(later);
            }
        });
        if let Ok(call) = breaker.check(now) {
            call.failure(now);
        }
        thread.join().unwrap();
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.stats().opened, 1);
    });
}

/// One that opens by the share of failures alone: all of `calls`.
fn breaker_by_rate(calls: u32) -> Arc<Breaker> {
    let config = BreakerConfig {
        failures: None,
        failure_rate: Some(FailureRate { share: 1.0, min_calls: calls }),
        ..BreakerConfig::default()
    };
    Arc::new(Breaker::new(config).unwrap())
}

fn check_rate(threads: u32, seconds_apart: u64) {
    loom::model(move || {
        let (breaker, now) = (breaker_by_rate(threads), Instant::now());
        let fail = move |breaker: &Breaker, number: u32| {
            let now = now + Duration::from_secs(seconds_apart) * number;
            if let Ok(call) = breaker.check(now) {
                call.failure(now);
            }
        };
        let others: Vec<_> = (1..threads)
            .map(|number| {
                let breaker = Arc::clone(&breaker);
                thread::spawn(move || fail(&breaker, number))
            })
            .collect();
        fail(&breaker, 0);
        others.into_iter().for_each(|thread| thread.join().unwrap());
        // The one that was counted last saw the others, and nobody opened it twice.
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!((breaker.stats().failures, breaker.stats().opened), (u64::from(threads), 1));
    });
}

#[test]
fn of_two_failures_that_make_the_rate_one_opens_it() {
    check_rate(2, 0);
}

#[test]
fn of_two_failures_in_different_parts_that_make_the_rate_one_opens_it() {
    check_rate(2, 3);
}

#[test]
fn of_three_failures_that_make_the_rate_one_opens_it() {
    check_rate(3, 0);
}

#[test]
fn a_success_beside_a_failure_counts_for_the_rate_or_comes_after_it() {
    loom::model(|| {
        let config = BreakerConfig {
            failures: None,
            failure_rate: Some(FailureRate { share: 0.5, min_calls: 2 }),
            ..BreakerConfig::default()
        };
        let (breaker, now) = (Arc::new(Breaker::new(config).unwrap()), Instant::now());
        let other = Arc::clone(&breaker);
        let thread = thread::spawn(move || other.check(now).unwrap().success(now));
        breaker.check(now).unwrap().failure(now);
        thread.join().unwrap();
        // One of two is half; a failure alone is no two calls.
        let stats = breaker.stats();
        assert_eq!((stats.successes, stats.failures), (1, 1));
        assert_eq!(stats.opened, u64::from(stats.state == BreakerState::Open));
        if stats.state == BreakerState::Closed {
            breaker.check(now).unwrap().failure(now);
            assert_eq!(breaker.state(), BreakerState::Open);
        }
    });
}

#[test]
fn exactly_the_allowed_number_of_probes_is_out_in_every_race() {
    for probes in [1, 2] {
        loom::model(move || {
            let (breaker, start) = (breaker(1, probes), Instant::now());
            breaker.check(start).unwrap().failure(start);
            let now = start + Duration::from_secs(31);
            let admitted = Arc::new(AtomicU64::new(0));
            let race = {
                let admitted = Arc::clone(&admitted);
                move |breaker: &Breaker| {
                    if let Ok(call) = breaker.check(now) {
                        admitted.fetch_add(1, Ordering::Relaxed);
                        // Its outcome is never told: it stays out.
                        std::mem::forget(call);
                    }
                }
            };
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (breaker, race) = (Arc::clone(&breaker), race.clone());
                    thread::spawn(move || race(&breaker))
                })
                .collect();
            race(&breaker);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(admitted.load(Ordering::Relaxed), u64::from(probes));
            assert_eq!(breaker.stats().probes, u64::from(probes));
        });
    }
}

#[test]
fn a_probe_that_fails_and_one_that_succeeds_leave_one_outcome() {
    loom::model(|| {
        let (breaker, start) = (breaker(1, 2), Instant::now());
        breaker.check(start).unwrap().failure(start);
        let now = start + Duration::from_secs(31);
        let threads = [true, false].map(|well| {
            let breaker = Arc::clone(&breaker);
            thread::spawn(move || match breaker.check(now) {
                Ok(call) if well => call.success(now),
                Ok(call) => call.failure(now),
                Err(_) => {}
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let stats = breaker.stats();
        match breaker.state() {
            BreakerState::Closed => assert!(stats.closed == 1),
            BreakerState::Open => assert!(stats.opened >= 2),
            BreakerState::HalfOpen => panic!("both are back"),
        }
    });
}
