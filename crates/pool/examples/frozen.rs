//! Buffers that become `Bytes`, go to another thread and come back by themselves.
//!
//! `cargo run -p teleflow-pool --example frozen`

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::mpsc;
use std::thread;

use teleflow_pool::SizedPool;

fn main() {
    let pool = SizedPool::new(1 << 20);
    // At most four on their way at a time.
    let (sender, receiver) = mpsc::sync_channel::<bytes::Bytes>(4);
    let reader = thread::spawn(move || receiver.iter().map(|bytes| bytes.len()).sum::<usize>());

    for number in 0..1000 {
        let mut buffer = pool.get(200);
        buffer.extend_from_slice(format!("message {number}").as_bytes());
        if sender.send(buffer.freeze()).is_err() {
            break;
        }
    }
    drop(sender);

    let bytes = reader.join().unwrap_or_default();
    let created: u64 = pool.stats().classes.iter().map(|(_, stats)| stats.created).sum();
    println!("{bytes} bytes in 1000 messages, from {created} buffers");
}
