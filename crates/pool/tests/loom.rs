//! Every order in which two or three threads can meet, as loom finds them.
//!
//! `cargo xtask loom`. Elsewhere this file is empty.

#![cfg(teleflow_loom)]

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::thread;
use teleflow_pool::ring::spsc;
use teleflow_pool::{Bounded, Pool};

/// A pool whose objects tell loom who writes them: two at once, or one that does not see what the
/// one before wrote, is a failure.
fn pool(capacity: usize, shelves: usize) -> Arc<Pool<loom::cell::UnsafeCell<usize>>> {
    let shelves = NonZeroUsize::new(shelves).expect("it is not 0");
    let pool = Pool::builder(|| loom::cell::UnsafeCell::new(0))
        .reset(|object: &mut loom::cell::UnsafeCell<usize>| write(object))
        .capacity(capacity)
        .threads(shelves)
        .build();
    Arc::new(pool)
}

#[allow(unsafe_code, reason = "loom watches the access; the test has the only reference")]
fn write(object: &mut loom::cell::UnsafeCell<usize>) {
    // SAFETY: the reference is unique.
    object.with_mut(|value| unsafe { *value += 1 });
}

fn check_pool(threads: usize, capacity: usize, shelves: usize) {
    loom::model(move || {
        let pool = pool(capacity, shelves);
        let work = |pool: &Pool<_>| write(&mut pool.acquire());
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || work(&pool))
            })
            .collect();
        work(&pool);
        others.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        let stats = pool.stats();
        assert_eq!(stats.in_use(), 0);
        assert_eq!((stats.gets, stats.puts), (threads as u64, threads as u64));
        assert!(stats.available <= capacity);
        // All room is found again.
        assert_eq!(pool.clear() as u64, stats.created - stats.dropped);
        pool.fill(capacity);
        assert_eq!(pool.stats().available, capacity);
    });
}

#[test]
fn a_shelf_of_one_object_between_two_threads() {
    check_pool(2, 1, 1);
}

#[test]
fn a_shelf_of_two_objects_between_two_threads() {
    check_pool(2, 2, 1);
}

#[test]
fn a_shelf_each_for_two_threads_and_room_for_one() {
    check_pool(2, 1, 2);
}

#[test]
fn a_shelf_each_for_two_threads_and_room_for_two() {
    check_pool(2, 2, 2);
}

#[test]
fn a_shelf_of_one_object_between_three_threads() {
    check_pool(3, 1, 1);
}

#[test]
fn two_shelves_of_two_objects_between_three_threads() {
    check_pool(3, 2, 2);
}

#[test]
fn an_object_goes_from_a_thread_that_returns_to_one_that_takes() {
    loom::model(|| {
        let pool = pool(2, 2);
        pool.fill(1);
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.try_acquire().map(|mut lease| write(&mut lease)).is_some())
        };
        let own = pool.try_acquire().map(|mut lease| write(&mut lease)).is_some();
        let other = other.join().unwrap();
        assert!(own || other, "it was there, and neither found it");
        assert_eq!((pool.stats().created, pool.stats().available), (1, 1));
    });
}

#[test]
fn clearing_meets_use() {
    loom::model(|| {
        let pool = pool(2, 1);
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || write(&mut pool.acquire()))
        };
        let cleared = pool.clear();
        other.join().unwrap();
        assert_eq!((pool.stats().available + cleared) as u64, pool.stats().created);
    });
}

fn check_ring(capacity: usize, bytes: u8) {
    loom::model(move || {
        let (mut producer, mut consumer) = spsc::ring(capacity);
        let writer = thread::spawn(move || {
            let mut next = 0;
            // Bounded: what does not fit within a few tries is not sent.
            for _ in 0..3 {
                let (first, second) = producer.free();
                let mut count = 0;
                for byte in first.iter_mut().chain(second) {
                    if next < bytes {
                        *byte = next;
                        next += 1;
                        count += 1;
                    }
                }
                producer.commit(count);
            }
            next
        });
        let mut seen = 0;
        let mut look = || {
            let (first, second) = consumer.filled();
            for byte in first.iter().chain(second) {
                assert_eq!(*byte, seen);
                seen += 1;
            }
            let count = first.len() + second.len();
            consumer.consume(count);
            consumer.is_alone()
        };
        look();
        look();
        let sent = writer.join().expect("it does not panic");
        assert!(look(), "the producer is gone");
        assert_eq!(seen, sent);
    });
}

#[test]
fn a_ring_of_one_byte() {
    check_ring(1, 3);
}

#[test]
fn a_ring_of_two_bytes() {
    check_ring(2, 4);
}

#[test]
fn nothing_is_written_after_the_producer_is_gone() {
    loom::model(|| {
        let (mut producer, mut consumer) = spsc::ring(2);
        let writer = thread::spawn(move || assert_eq!(producer.write(b"ab"), 2));
        if consumer.is_alone() {
            assert_eq!(consumer.filled().0, b"ab");
        }
        writer.join().unwrap();
    });
}

fn bounded(size: usize) -> Bounded<u8> {
    Bounded::new(NonZeroUsize::new(size).expect("it is not 0"), 10, || 0, |_| {})
}

fn check_bounded(threads: usize, size: usize) {
    loom::model(move || {
        let pool = bounded(size);
        let work = |pool: &Bounded<u8>| drop(block_on(pool.acquire()).expect("it is not closed"));
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || work(&pool))
            })
            .collect();
        work(&pool);
        others.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        let stats = pool.stats();
        assert!(stats.created <= size as u64);
        assert_eq!((stats.gets, stats.in_use(), pool.waiting()), (threads as u64, 0, 0));
    });
}

#[test]
fn two_wait_for_one_object() {
    check_bounded(2, 1);
}

#[test]
fn two_take_two_objects() {
    check_bounded(2, 2);
}

#[test]
fn three_wait_for_one_object() {
    check_bounded(3, 1);
}

#[test]
fn three_wait_for_two_objects() {
    check_bounded(3, 2);
}

#[test]
fn a_wait_that_is_cancelled_while_it_is_granted_passes_the_object_on() {
    loom::model(|| {
        let pool = bounded(1);
        let held = pool.try_acquire().unwrap();
        let returns = thread::spawn(move || drop(held));
        {
            let mut cx = Context::from_waker(Waker::noop());
            let mut first = pin!(pool.acquire());
            if let Poll::Ready(lease) = first.as_mut().poll(&mut cx) {
                drop(lease.unwrap());
            }
        }
        drop(block_on(pool.acquire()).expect("it is not closed"));
        returns.join().unwrap();
        assert_eq!((pool.stats().available, pool.stats().in_use()), (1, 0));
    });
}
