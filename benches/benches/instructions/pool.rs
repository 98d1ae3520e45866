//! The pools and the rings.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group};
use teleflow_pool::ring::ByteRing;
use teleflow_pool::ring::spsc::{Consumer, Producer, ring};
use teleflow_pool::{Buffers, Message, Pool, SizedPool, buffers, messages};

use crate::CALLS;

/// What is written to a ring and read from it at a time.
const CHUNK: [u8; 64] = [7; 64];

library_benchmark_group!(
    name = pool_group,
    benchmarks = [get_return, get_return_buffer, get_return_message, sized, byte_ring, spsc]
);

fn vectors() -> Pool<Vec<u8>> {
    warm(Pool::builder(|| Vec::with_capacity(4096)).reset(Vec::clear).capacity(1024).build())
}

fn byte_buffers() -> Pool<Vec<u8>> {
    warm(buffers(Buffers::default()).build())
}

/// The first call of a thread finds its place among the shelves.
fn warm<T>(pool: Pool<T>) -> Pool<T> {
    pool.fill(64);
    drop(black_box(pool.acquire()));
    pool
}

#[library_benchmark]
#[bench::calls_1000(vectors())]
fn get_return(pool: Pool<Vec<u8>>) -> Pool<Vec<u8>> {
    for _ in 0..CALLS {
        black_box(&mut *pool.acquire()).push(1);
    }
    pool
}

#[library_benchmark]
#[bench::calls_1000(byte_buffers())]
fn get_return_buffer(pool: Pool<Vec<u8>>) -> Pool<Vec<u8>> {
    for _ in 0..CALLS {
        black_box(&mut *pool.acquire()).push(1);
    }
    pool
}

#[library_benchmark]
#[bench::calls_1000(warm(messages().build()))]
fn get_return_message(pool: Pool<Message>) -> Pool<Message> {
    for _ in 0..CALLS {
        black_box(&mut *pool.acquire());
    }
    pool
}

fn slices() -> SizedPool {
    let pool = SizedPool::new(16 << 20);
    drop(black_box(pool.get(1024).freeze()));
    pool
}

// Taken, filled, made `Bytes` and given back by the last of them.
#[library_benchmark]
#[bench::calls_1000(slices())]
fn sized(pool: SizedPool) -> SizedPool {
    for _ in 0..CALLS {
        let mut slice = pool.get(1024);
        slice.extend_from_slice(black_box(&CHUNK));
        drop(black_box(slice.freeze()));
    }
    pool
}

// A write and a read.
#[library_benchmark]
#[bench::calls_1000(ByteRing::new(4096))]
fn byte_ring(mut ring: ByteRing) -> ByteRing {
    let mut out = CHUNK;
    for _ in 0..CALLS {
        ring.write(black_box(&CHUNK));
        ring.read(black_box(&mut out));
    }
    ring
}

// A write and a read.
#[library_benchmark]
#[bench::calls_1000(ring(4096))]
fn spsc((mut producer, mut consumer): (Producer, Consumer)) -> (Producer, Consumer) {
    let mut out = CHUNK;
    for _ in 0..CALLS {
        producer.write(black_box(&CHUNK));
        consumer.read(black_box(&mut out));
    }
    (producer, consumer)
}
