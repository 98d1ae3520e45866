//! Larger scenes under a scheduler that picks at random. Nothing of this is compiled without its
//! flag:
//!
//! ```text
//! RUSTFLAGS="--cfg teleflow_shuttle" cargo test -p teleflow-concurrency --release --test shuttle
//! ```
#![cfg(teleflow_shuttle)]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use shuttle::thread;
use teleflow_concurrency::{AdaptiveBuffer, AdaptiveBufferConfig};
use tokio::time::Instant;

/// Items of each sender.
const EACH: u32 = 20;

fn check(scene: impl Fn() + Send + Sync + 'static) {
    let iterations = env::var("TELEFLOW_SHUTTLE_ITERATIONS").ok();
    let iterations = iterations.and_then(|count| count.parse().ok()).unwrap_or(500);
    shuttle::check_random(scene, iterations);
}

#[test]
fn c12_a_buffer_that_is_resized_all_the_time_loses_and_reorders_nothing() {
    check(|| {
        let look_every = Duration::from_secs(3600);
        let config = AdaptiveBufferConfig { min: 1, max: 8, look_every };
        let buffer = Arc::new(AdaptiveBuffer::new(config).unwrap());
        let mut threads = Vec::new();
        for sender in 0..2_usize {
            let buffer = Arc::clone(&buffer);
            threads.push(thread::spawn(move || {
                for n in 0..EACH {
                    while buffer.try_send((sender, n)).is_err() {
                        thread::yield_now();
                    }
                }
            }));
        }
        let resizer = Arc::clone(&buffer);
        threads.push(thread::spawn(move || {
            let start = Instant::now();
            for n in 0..30 {
                resizer.look(start + look_every * n);
                thread::yield_now();
            }
        }));
        let received = Arc::new(AtomicU32::new(0));
        let receivers: Vec<_> = (0..2)
            .map(|_| {
                let (buffer, received) = (Arc::clone(&buffer), Arc::clone(&received));
                thread::spawn(move || receive(&buffer, &received))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mut all = [Vec::new(), Vec::new()];
        for receiver in receivers {
            for (all, part) in all.iter_mut().zip(receiver.join().unwrap()) {
                // Each saw what it got of a sender in the order in which that was sent.
                assert!(part.is_sorted());
                all.extend(part);
            }
        }
        for mut all in all {
            all.sort_unstable();
            assert!(all.into_iter().eq(0..EACH));
        }
        let stats = buffer.stats();
        assert_eq!((stats.len, stats.sent), (0, 2 * u64::from(EACH)));
    });
}

/// What one receiver got, by sender.
fn receive(buffer: &AdaptiveBuffer<(usize, u32)>, received: &AtomicU32) -> [Vec<u32>; 2] {
    let mut got = [Vec::new(), Vec::new()];
    while received.load(Ordering::SeqCst) < 2 * EACH {
        match buffer.try_recv() {
            Some((sender, n)) => {
                received.fetch_add(1, Ordering::SeqCst);
                got[sender].push(n);
            }
            None => thread::yield_now(),
        }
    }
    got
}
