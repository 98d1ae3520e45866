//! Random orders of more threads and steps than loom can try.
//!
//! `cargo xtask shuttle`. Elsewhere this file is empty.

#![cfg(teleflow_shuttle)]

use std::env;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shuttle::thread;
use teleflow_pool::{Bounded, Pool};

fn check(model: impl Fn() + Send + Sync + 'static) {
    let iterations = env::var("TELEFLOW_SHUTTLE_ITERATIONS").ok();
    let iterations = iterations.and_then(|count| count.parse().ok()).unwrap_or(100);
    shuttle::check_random(model, iterations);
}

#[test]
fn four_threads_on_two_shelves_lose_nothing_and_share_nothing() {
    check(|| {
        // Each object knows whether someone has it.
        let pool = Pool::builder(|| AtomicBool::new(false))
            .reset(|taken: &mut AtomicBool| assert!(taken.swap(false, Ordering::SeqCst)))
            .capacity(40)
            .max_bytes(380, |_| 10)
            .threads(NonZeroUsize::new(2).expect("it is not 0"))
            .build();
        let pool = Arc::new(pool);
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    // Enough to go over a shelf, so that batches go to the store and back.
                    for round in 0..2 {
                        let held: Vec<_> = (0..10 * number + 5).map(|_| pool.acquire()).collect();
                        for lease in &held {
                            assert!(!lease.swap(true, Ordering::SeqCst), "someone else has it");
                        }
                        drop(held);
                        if number == 3 && round == 0 {
                            pool.clear();
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        let stats = pool.stats();
        assert_eq!((stats.gets, stats.puts, stats.in_use()), (160, 160, 0));
        assert!(stats.available <= 38);
        assert_eq!(pool.clear(), stats.available);
        // All room is found again, up to the bytes.
        pool.fill(40);
        assert_eq!(pool.stats().available, 38);
    });
}

#[test]
fn five_wait_for_two_objects_and_each_gets_one() {
    check(|| {
        let size = NonZeroUsize::new(2).expect("it is not 0");
        let pool = Bounded::new(size, 10, || 0_u32, |_| {});
        let threads: Vec<_> = (0..5)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || {
                    for _ in 0..3 {
                        let lease = shuttle::future::block_on(pool.acquire());
                        let mut lease = lease.expect("it is not closed");
                        *lease += 1;
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        let stats = pool.stats();
        assert!(stats.created <= 2);
        assert_eq!((stats.gets, stats.in_use(), pool.waiting()), (15, 0, 0));
    });
}
