//! Larger scenes under a scheduler that picks at random. Nothing of this is compiled without its
//! flag:
//!
//! ```text
//! RUSTFLAGS="--cfg teleflow_shuttle" cargo test -p teleflow-concurrency --release --test shuttle
//! ```
#![cfg(teleflow_shuttle)]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;
use teleflow_concurrency::{AdaptiveBuffer, AdaptiveBufferConfig};
use tokio::time::Instant;

#[test]
fn c12_a_buffer_that_is_resized_all_the_time_loses_and_reorders_nothing() {
    const EACH: u32 = 20;
    shuttle::check_random(
        || {
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
            let mut next = [0_u32; 2];
            while next != [EACH; 2] {
                match buffer.try_recv() {
                    Some((sender, n)) => {
                        assert_eq!(n, next[sender]);
                        next[sender] += 1;
                    }
                    None => thread::yield_now(),
                }
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(buffer.stats().len, 0);
        },
        500,
    );
}
