//! P3, P4, P7, P8: buffers, sizes, rings, copy on write.

use std::borrow::Cow;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use teleflow_pool::ring::{ByteRing, spsc};
use teleflow_pool::{Buffers, Oversized, SizedPool, Text, buffers, cow};

#[test]
fn p3_a_buffer_has_4_kib_and_1000_are_kept() {
    let pool = buffers(Buffers::default()).build();
    drop((0..1001).map(|_| pool.acquire()).collect::<Vec<_>>());
    assert_eq!((pool.stats().available, pool.stats().dropped), (1000, 1));
    assert_eq!(pool.acquire().capacity(), 4096);
}

#[test]
fn p3_an_oversized_buffer_is_shrunk_or_dropped() {
    for oversized in [Oversized::Shrink, Oversized::Drop] {
        let pool = buffers(Buffers { oversized, ..Buffers::default() }).build();
        pool.acquire().resize(64 * 1024, 1);
        assert_eq!(pool.acquire().capacity(), 64 * 1024, "up to the limit it stays");
        pool.acquire().resize(64 * 1024 + 1, 1);
        assert_eq!(pool.acquire().capacity(), 4096);
        let dropped = u64::from(oversized == Oversized::Drop);
        assert_eq!(pool.stats().dropped, dropped);
        // One whose memory went elsewhere is not kept as a buffer.
        let taken = std::mem::take(&mut *pool.acquire());
        assert_eq!((taken.capacity(), pool.stats().dropped), (4096, dropped + 1));
    }
}

#[test]
fn p4_get_never_gives_less_and_larger_is_direct() {
    let pool = SizedPool::new(64 << 20);
    for size in [0, 1, 63, 64, 65, 1000, 8192, 8193, 1 << 20] {
        let buffer = pool.get(size);
        assert!(buffer.is_empty() && size <= buffer.capacity());
        assert_eq!(buffer.capacity(), size.next_power_of_two().max(64));
    }
    assert_eq!(pool.available(), 6);
    let large = pool.get((1 << 20) + 1);
    assert!((1 << 20) < large.capacity());
    drop(large);
    let stats = pool.stats();
    assert_eq!((stats.direct, stats.unfit, pool.available()), (1, 1, 6));
}

#[test]
fn p4_a_buffer_that_grew_goes_where_it_fits() {
    let pool = SizedPool::new(64 << 20);
    let mut buffer = pool.get(64);
    buffer.reserve_exact(300);
    drop(buffer);
    let available = |size: usize| {
        pool.stats().classes.iter().find(|class| class.0 == size).unwrap().1.available
    };
    assert_eq!((available(64), available(256), available(512)), (0, 1, 0));
    assert!(256 <= pool.get(200).capacity());
    let taken = std::mem::take(&mut *pool.get(200));
    assert_eq!((taken.capacity(), pool.stats().unfit), (300, 1));
}

#[test]
fn p4_frozen_bytes_are_not_copied_and_come_back_from_another_thread() {
    let pool = SizedPool::new(64 << 20);
    let mut buffer = pool.get(100);
    buffer.extend_from_slice(b"some bytes");
    let place = buffer.as_ptr();
    let bytes = buffer.freeze();
    assert_eq!((bytes.as_ptr(), &bytes[..]), (place, &b"some bytes"[..]));
    let slice = bytes.slice(5..);
    drop(bytes);
    assert_eq!(pool.available(), 0);
    thread::spawn(move || assert_eq!(slice, "bytes")).join().unwrap();
    assert_eq!(pool.available(), 1);
    let again = pool.get(100);
    assert_eq!((again.as_ptr(), again.len()), (place, 0));
}

#[test]
fn p4_idle_bytes_of_all_classes_are_bounded() {
    let pool = SizedPool::new(10_000);
    for size in [64, 1024, 4096] {
        drop((0..50).map(|_| pool.get(size)).collect::<Vec<_>>());
        let idle: usize = pool.stats().classes.iter().map(|(size, s)| size * s.available).sum();
        assert!(idle <= 10_000 && pool.stats().idle_bytes <= 10_000);
    }
    pool.maintain(Instant::now());
    assert!(0 < pool.clear());
    assert_eq!((pool.available(), pool.stats().idle_bytes), (0, 0));
}

#[test]
fn p7_a_ring_wraps_with_two_slices() {
    let mut ring = ByteRing::new(4);
    assert_eq!(ring.write(b"abc"), 3);
    ring.consume(2);
    assert_eq!(ring.write(b"defg"), 3);
    assert_eq!(ring.filled(), (&b"cd"[..], &b"ef"[..]));
    assert_eq!((ring.free().0.len(), ring.len()), (0, 4));
    let mut out = [0; 3];
    assert_eq!((ring.read(&mut out), &out), (3, b"cde"));
    let mut none = ByteRing::new(0);
    assert_eq!((none.write(b"x"), none.read(&mut out)), (0, 0));
}

#[test]
#[should_panic(expected = "committed more than is free")]
fn p7_no_more_is_committed_than_is_free() {
    let (mut producer, _consumer) = spsc::ring(4);
    producer.free();
    producer.commit(5);
}

#[test]
#[should_panic(expected = "consumed more than is filled")]
fn p7_no_more_is_consumed_than_is_filled() {
    let (mut producer, mut consumer) = spsc::ring(4);
    producer.write(b"abc");
    consumer.consume(1);
}

#[test]
fn p7_lock_free_two_threads_pass_every_byte_in_order() {
    for capacity in [1, 2, 3, 64, 1000] {
        let (mut producer, mut consumer) = spsc::ring(capacity);
        let total = 20_000_usize;
        let writer = thread::spawn(move || {
            let mut next = 0_usize;
            while next < total {
                let (first, second) = producer.free();
                let count = (first.len() + second.len()).min(total - next);
                for byte in first.iter_mut().chain(second).take(count) {
                    *byte = (next % 251) as u8;
                    next += 1;
                }
                producer.commit(count);
                if count == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut next = 0_usize;
        while next < total {
            let (first, second) = consumer.filled();
            for byte in first.iter().chain(second) {
                assert_eq!(*byte, (next % 251) as u8);
                next += 1;
            }
            let count = first.len() + second.len();
            consumer.consume(count);
            if count == 0 {
                thread::yield_now();
            }
        }
        writer.join().unwrap();
        assert!(consumer.is_alone() && consumer.filled().0.is_empty());
    }
}

#[test]
fn p8_what_does_not_change_is_not_copied() {
    let bytes = Bytes::from(b"some clean bytes".to_vec());
    let same = cow::edit(&bytes, |bytes| cow::replace(bytes, b"secret", b"***"));
    assert_eq!(same.as_ptr(), bytes.as_ptr());
    let changed = cow::edit(&bytes, |bytes| cow::replace(bytes, b"clean", b""));
    assert_eq!(changed, "some  bytes");
    let other = cow::edit(&bytes, |_| Cow::Borrowed(b"elsewhere"));
    assert_eq!(other, "elsewhere");
    assert_eq!(cow::replace(b"aaa", b"a", b"aa"), &b"aaaaaa"[..]);
    assert_eq!(cow::replace(b"aaa", b"aa", b""), &b"a"[..]);
    assert!(matches!(cow::replace(b"abc", b"", b"x"), Cow::Borrowed(_)));
    assert!(matches!(cow::map(&[1, 2], |_| None), Cow::Borrowed([1, 2])));
}

#[test]
fn p8_text_is_checked_once_and_not_copied() {
    let owned = String::from("a text of its own");
    let place = owned.as_ptr();
    let text = Text::from(owned);
    assert_eq!((text.as_str().as_ptr(), text.len()), (place, 17));
    let part = text.slice(2..6);
    assert_eq!((part.as_str(), part.as_str().as_ptr()), ("text", text[2..].as_ptr()));
    drop(part);
    let owned = text.into_string();
    assert_eq!(owned.as_ptr(), place);

    let wrong = Text::from_bytes(Bytes::from_static(b"ab\xff")).unwrap_err();
    assert_eq!((wrong.bytes, wrong.source.valid_up_to()), (Bytes::from_static(b"ab\xff"), 2));
    let cut = std::panic::catch_unwind(|| Text::from_static("ü").slice(0..1));
    assert!(cut.is_err(), "a slice that cuts a character");
}
