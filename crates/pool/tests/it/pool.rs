//! P1, P2, P5: the pool, its figures, its presets.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use teleflow_pool::{
    Ceiling, List, Message, Pairs, Pool, Recycle, Stats, contexts, messages, spans,
};

fn texts(capacity: usize) -> Pool<String> {
    Pool::builder(String::new).reset(String::clear).capacity(capacity).build()
}

#[test]
fn p1_an_object_comes_back_reset_and_is_used_again() {
    let pool = texts(10);
    let mut lease = pool.acquire();
    lease.push_str("a text that needs memory");
    let place = lease.as_ptr();
    drop(lease);
    let lease = pool.acquire();
    assert_eq!((lease.as_str(), lease.as_ptr()), ("", place));
}

#[test]
fn p1_over_capacity_an_object_is_dropped_at_every_capacity() {
    for capacity in [0, 1, 2, 31, 32, 33, 100, 1000] {
        let pool = texts(capacity);
        let leases: Vec<_> = (0..capacity + 5).map(|_| pool.acquire()).collect();
        drop(leases);
        let stats = pool.stats();
        assert_eq!((stats.available, stats.dropped), (capacity, 5), "capacity {capacity}");
        // Each of those that were kept is found again.
        let leases: Vec<_> = (0..capacity).map(|_| pool.acquire()).collect();
        assert_eq!(pool.stats().created, capacity as u64 + 5);
        drop(leases);
    }
}

#[test]
fn p1_an_object_returned_by_another_thread_is_found() {
    let pool = texts(1000);
    thread::scope(|scope| {
        let leases: Vec<_> = (0..500).map(|_| pool.acquire()).collect();
        scope.spawn(move || drop(leases)).join().unwrap();
    });
    let leases: Vec<_> = (0..500).map(|_| pool.acquire()).collect();
    assert_eq!(pool.stats().created, 500);
    drop(leases);
    // And the room that the other thread drew is found by this one.
    let pool = texts(100);
    let (near, far): (Vec<_>, Vec<_>) =
        (0..100).map(|_| pool.acquire()).enumerate().partition(|(index, _)| index % 2 == 0);
    thread::scope(|scope| {
        scope.spawn(move || drop(far));
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            let held: Vec<_> = (0..50).map(|_| pool.acquire()).collect();
            drop(held);
        });
    });
    drop(near);
    assert_eq!(pool.stats().available, 100);
}

#[test]
fn p1_no_object_is_lost_or_handed_out_twice_among_threads() {
    let next = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&next);
    // Each object knows whether someone has it.
    let pool = Pool::builder(move || {
        made.fetch_add(1, Ordering::Relaxed);
        AtomicBool::new(false)
    })
    .reset(|taken| assert!(taken.swap(false, Ordering::Relaxed), "it was reset already"))
    .capacity(64)
    .build();
    thread::scope(|scope| {
        for seed in 0..4_usize {
            let pool = &pool;
            scope.spawn(move || {
                let mut held = Vec::new();
                for step in 0..2000_usize {
                    let lease = pool.acquire();
                    assert!(!lease.swap(true, Ordering::Relaxed), "someone else has it");
                    held.push(lease);
                    if (step * 7 + seed).is_multiple_of(5) {
                        held.drain(..held.len() / 2);
                    }
                    held.truncate(40);
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!(stats.created, next.load(Ordering::Relaxed) as u64);
    assert_eq!((stats.gets, stats.puts, stats.in_use()), (8000, 8000, 0));
    assert_eq!(stats.hits + stats.created, stats.gets);
    assert!(stats.available <= 64);
    assert_eq!(pool.clear() as u64, stats.created - stats.dropped);
}

#[test]
fn p1_a_panic_of_the_user_brings_the_object_back_reset() {
    let pool = texts(10);
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut lease = pool.acquire();
        lease.push_str("half done");
        panic!("in the middle of work");
    }));
    assert!(result.is_err());
    assert_eq!(pool.stats().available, 1);
    assert_eq!(*pool.acquire(), "");
}

#[test]
fn p1_an_object_whose_reset_panics_is_never_handed_out() {
    let pool = Pool::builder(String::new)
        .reset(|text: &mut String| {
            assert!(text != "poison", "it cannot be reset");
            text.clear();
        })
        .build();
    // On its own, the panic goes on to whoever dropped the lease.
    let result = panic::catch_unwind(AssertUnwindSafe(|| pool.acquire().push_str("poison")));
    assert!(result.is_err());
    // In a thread that panics already it ends there.
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut lease = pool.acquire();
        lease.push_str("poison");
        panic!("first");
    }));
    assert_eq!(*result.unwrap_err().downcast::<&str>().unwrap(), "first");
    let stats = pool.stats();
    assert_eq!((stats.available, stats.dropped, stats.puts, stats.in_use()), (0, 2, 2, 0));
    assert_eq!(*pool.acquire(), "");
}

#[test]
fn p1_bytes_are_bounded_as_well_as_objects() {
    let pool = Pool::builder(|| Vec::<u8>::with_capacity(100))
        .reset(Vec::clear)
        .capacity(1000)
        .max_bytes(1050, Vec::capacity)
        .build();
    drop((0..50).map(|_| pool.acquire()).collect::<Vec<_>>());
    assert_eq!(pool.stats().available, 10);
    // Fewer, larger ones.
    let mut grown: Vec<_> = (0..10).map(|_| pool.acquire()).collect();
    grown.iter_mut().for_each(|buffer| buffer.reserve_exact(500));
    drop(grown);
    assert_eq!(pool.stats().available, 2);
    assert_eq!(pool.clear(), 2);
    drop((0..50).map(|_| pool.acquire()).collect::<Vec<_>>());
    assert_eq!(pool.stats().available, 10);
}

#[test]
fn p1_pools_share_a_ceiling_and_give_it_back() {
    let ceiling = Ceiling::new(1000);
    let make = || {
        Pool::builder(|| Vec::<u8>::with_capacity(100))
            .ceiling(ceiling.clone(), Vec::capacity)
            .build()
    };
    let (one, two) = (make(), make());
    drop((0..8).map(|_| one.acquire()).collect::<Vec<_>>());
    drop((0..8).map(|_| two.acquire()).collect::<Vec<_>>());
    assert!(one.stats().available + two.stats().available <= 10);
    assert!(ceiling.used() <= 1000);
    drop(one);
    drop((0..10).map(|_| two.acquire()).collect::<Vec<_>>());
    assert_eq!(two.stats().available, 10);
    drop(two);
    assert_eq!(ceiling.used(), 0);
}

#[test]
fn p1_what_is_not_needed_for_a_period_is_given_back() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let pool = Pool::builder(String::new).capacity(1000).idle_period(60 * second).build();
    assert_eq!(pool.maintain(start), 0);
    drop((0..500).map(|_| pool.acquire()).collect::<Vec<_>>());
    // A busy period: at its start the store was empty.
    assert_eq!(pool.maintain(start + 59 * second), 0);
    assert_eq!(pool.maintain(start + 60 * second), 0);
    assert_eq!(pool.stats().available, 500);
    // One in which at most 100 were needed.
    drop((0..100).map(|_| pool.acquire()).collect::<Vec<_>>());
    let dropped = pool.maintain(start + 120 * second);
    assert!((300..=400).contains(&dropped), "{dropped} of the 400 that no one needed");
    assert!(100 <= pool.stats().available);
    // A quiet one.
    pool.maintain(start + 180 * second);
    pool.maintain(start + 240 * second);
    assert_eq!(pool.stats().available, 0);
    assert_eq!(pool.stats().dropped, 500);
    // The room is there again.
    drop((0..1000).map(|_| pool.acquire()).collect::<Vec<_>>());
    assert_eq!(pool.stats().available, 1000);
}

#[test]
fn p1_leases_are_owned_detached_and_tried() {
    let pool = Arc::new(texts(10));
    assert!(pool.try_acquire().is_none());
    let mut lease = pool.acquire_owned();
    lease.push_str("moved");
    let moved = thread::spawn(move || lease.as_str().to_owned()).join().unwrap();
    assert_eq!(moved, "moved");
    let mut lease = pool.try_acquire().unwrap();
    lease.push_str("kept");
    assert_eq!(lease.detach(), "kept");
    let stats = pool.stats();
    assert_eq!((stats.created, stats.dropped, stats.available, stats.in_use()), (1, 1, 0, 0));
    pool.fill(20);
    assert_eq!(pool.stats().available, 10);
}

#[test]
fn p2_the_figures_add_up() {
    let pool = Pool::builder(String::new).capacity(2).name("texts").build();
    pool.fill(1);
    let (a, b, c) = (pool.acquire(), pool.acquire(), pool.acquire());
    assert_eq!(pool.stats().in_use(), 3);
    drop((a, b, c));
    let expected =
        Stats { name: "texts", gets: 3, hits: 1, puts: 3, created: 3, dropped: 1, available: 2 };
    let stats = pool.stats();
    assert_eq!(stats, expected);
    assert!((stats.hit_rate() - 1.0 / 3.0).abs() < 1e-9);
    let metrics = stats.metrics();
    assert_eq!(metrics[3], ("pool_created_total", 3.0));
    assert_eq!(Stats::default().hit_rate(), 0.0);
}

/// A span as an instrumented program fills it: 8 attributes, 2 events.
#[derive(Debug, Default)]
struct Span {
    name: String,
    attributes: Pairs,
    events: List<String>,
}

impl Recycle for Span {
    fn recycle(&mut self) {
        self.name.clear();
        self.attributes.recycle();
        self.events.recycle();
    }
}

fn span_pool() -> Pool<Span> {
    spans(|room| Span {
        name: String::new(),
        attributes: Pairs::with_capacity(room.attributes),
        events: List::with_capacity(room.events),
    })
    .build()
}

#[test]
fn p2_100_000_spans_with_2_000_alive_make_2_000_objects() {
    let pool = span_pool();
    let mut alive = std::collections::VecDeque::new();
    for number in 0..100_000 {
        if alive.len() == 2000 {
            alive.pop_front();
        }
        let mut span = pool.acquire();
        assert!(span.attributes.is_empty() && span.events.is_empty() && span.name.is_empty());
        span.name.push_str("GET /");
        span.attributes.insert("number", if number % 2 == 0 { "even" } else { "odd" });
        span.events.push().push_str("sent");
        alive.push_back(span);
    }
    drop(alive);
    let stats = pool.stats();
    assert_eq!((stats.created, stats.gets, stats.puts), (2000, 100_000, 100_000));
    assert!((stats.hit_rate() - 0.98).abs() < 1e-9);
    assert_eq!((stats.available, stats.dropped), (2000, 0));
}

#[test]
fn p5_a_span_keeps_its_room_and_its_texts_over_a_reset() {
    let pool = span_pool();
    assert_eq!(pool.capacity(), 10_000);
    let mut span = pool.acquire();
    assert!(8 <= span.events.capacity());
    span.events.push().push_str("an event with a rather long name");
    (0..16).for_each(|n| span.attributes.insert(&format!("key {n}"), "a value of some length"));
    let place = span.events[0].as_ptr();
    drop(span);
    let mut span = pool.acquire();
    assert!(span.events.is_empty() && 8 <= span.events.capacity());
    let event = span.events.push();
    assert_eq!((event.as_str(), event.as_ptr()), ("", place));
    assert_eq!(span.attributes.get("key 1"), None);
}

#[test]
fn p5_messages_and_contexts_come_back_empty_with_their_memory() {
    let pool = messages().build();
    let mut message = pool.acquire();
    assert!(Message::BODY <= message.body.capacity());
    message.headers.insert("content-type", "text/plain");
    message.headers.insert("content-type", "application/json");
    assert_eq!(message.headers.get("content-type"), Some("application/json"));
    assert_eq!(message.headers.len(), 1);
    message.body.resize(1 << 20, 1);
    drop(message);
    let message = pool.acquire();
    assert!(message.headers.is_empty() && message.body.is_empty());
    assert_eq!(message.body.capacity(), Message::BODY);

    let pool = contexts().build();
    assert_eq!(pool.capacity(), 10_000);
    pool.acquire().insert("tenant", "a");
    assert_eq!(pool.acquire().iter().count(), 0);
}

#[test]
fn p5_a_list_gives_back_what_it_does_not_need() {
    let mut list: List<String> = List::default();
    (0..100).for_each(|_| list.push().push('x'));
    list.recycle();
    list.push().push('y');
    list.shrink_to(16);
    assert_eq!(list.as_ref(), ["y"]);
    assert!(list.capacity() < 100);
}
