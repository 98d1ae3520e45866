//! The queue under shuttle: threads that submit, and workers that come and go, in random orders.
//!
//! `cargo xtask shuttle` runs these with the unit tests of the crate. Shuttle itself fails a scene
//! in which somebody waits for ever.

use std::env;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use super::*;

const CAPACITY: usize = 5;
const LIMITS: ScaleLimits = ScaleLimits { min: 1, max: 3, idle_after: Duration::ZERO };

fn check(scene: impl Fn() + Send + Sync + 'static) {
    let iterations = env::var("TELEFLOW_SHUTTLE_ITERATIONS").ok();
    let iterations = iterations.and_then(|count| count.parse().ok()).unwrap_or(100);
    shuttle::check_random(scene, iterations);
}

/// A queue of numbers, its workers, and what they did.
struct Pool {
    queue: Queue<usize>,
    now: Instant,
    done: Vec<AtomicUsize>,
    next_worker: AtomicUsize,
    /// Workers that have not ended, counted apart from the queue's book.
    workers: AtomicUsize,
    most_workers: AtomicUsize,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

/// How a worker finds the queue.
enum Popped {
    Job(usize),
    Nothing,
    Closed,
}

impl Pool {
    fn new(jobs: usize) -> Arc<Self> {
        Arc::new(Self {
            queue: Queue::new(CAPACITY, LIMITS),
            now: Instant::now(),
            done: (0..jobs).map(|_| AtomicUsize::new(0)).collect(),
            next_worker: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
            most_workers: AtomicUsize::new(0),
            threads: std::sync::Mutex::default(),
        })
    }

    fn start(self: &Arc<Self>, workers: usize, patient: bool) {
        for _ in 0..workers {
            let here = self.workers.fetch_add(1, SeqCst) + 1;
            self.most_workers.fetch_max(here, SeqCst);
            let pool = Arc::clone(self);
            let thread = thread::spawn(move || pool.work(patient));
            self.threads.lock().unwrap().push(thread);
        }
    }

    /// A worker's life, as the pool's own workers lead it. One that is not patient asks to go each
    /// time it finds nothing, and breaks off its wait where it may stay, as a timer would.
    fn work(self: Arc<Self>, patient: bool) {
        let worker = self.next_worker.fetch_add(1, SeqCst) as u64;
        let mut active = false;
        loop {
            let mut looks = 0;
            let popped = block_on(poll_fn(|cx| {
                looks += 1;
                match self.queue.poll_pop(worker, &mut active, cx) {
                    Poll::Ready(Some(job)) => Poll::Ready(Popped::Job(job)),
                    Poll::Ready(None) => Poll::Ready(Popped::Closed),
                    Poll::Pending if patient || looks > 1 => Poll::Pending,
                    Poll::Pending => Poll::Ready(Popped::Nothing),
                }
            }));
            match popped {
                Popped::Job(job) => drop(self.done[job].fetch_add(1, SeqCst)),
                Popped::Closed => break,
                Popped::Nothing => {
                    // Out of the real count first: the book may start another in its place.
                    self.workers.fetch_sub(1, SeqCst);
                    if self.queue.retire(worker, self.now, self.now) {
                        return;
                    }
                    self.workers.fetch_add(1, SeqCst);
                    thread::yield_now();
                    // Asked in vain, it waits like the others.
                    match self.wait(worker, &mut active) {
                        Some(job) => drop(self.done[job].fetch_add(1, SeqCst)),
                        None => break,
                    }
                }
            }
        }
        self.workers.fetch_sub(1, SeqCst);
        self.queue.leave(worker, active);
    }

    fn wait(&self, worker: u64, active: &mut bool) -> Option<usize> {
        block_on(poll_fn(|cx| self.queue.poll_pop(worker, active, cx)))
    }

    /// Waits for a place and fills it.
    fn submit(self: &Arc<Self>, job: usize, patient: bool) -> bool {
        let mut key = None;
        if block_on(poll_fn(|cx| self.queue.poll_reserve(&mut key, cx))).is_err() {
            return false;
        }
        match self.queue.push(self.now, job) {
            Ok(start) => {
                self.start(usize::from(start), patient);
                true
            }
            Err(back) => {
                assert_eq!(back, job);
                false
            }
        }
    }

    /// Waits for a place once, and gives up where there is none.
    fn give_up(&self) {
        let mut key = None;
        let polled = {
            let mut wait = pin!(poll_fn(|cx| self.queue.poll_reserve(&mut key, cx)));
            let waker = Waker::noop();
            wait.as_mut().poll(&mut Context::from_waker(waker))
        };
        thread::yield_now();
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.queue.unreserve();
        }
        self.queue.forget(&mut key);
    }

    /// Waits for every worker, those too that are started meanwhile.
    fn join(&self) {
        loop {
            let Some(thread) = self.threads.lock().unwrap().pop() else { return };
            thread.join().unwrap();
        }
    }

    fn expect_empty(&self) {
        let book = self.queue.book();
        assert_eq!((book.workers, book.active), (0, 0), "{book:?}");
        assert_eq!((book.queued, book.waiting), (0, 0), "{book:?}");
        assert_eq!(self.workers.load(SeqCst), 0);
        assert!(self.most_workers.load(SeqCst) <= LIMITS.max);
    }

    fn done(&self) -> usize {
        self.done.iter().map(|done| done.load(SeqCst)).sum()
    }
}

/// Submits the jobs of three threads, each its own.
fn producers(pool: &Arc<Pool>, each: usize, patient: bool) -> Vec<JoinHandle<usize>> {
    let producer = |number: usize| {
        let pool = Arc::clone(pool);
        thread::spawn(move || {
            let jobs = number * each..(number + 1) * each;
            jobs.filter(|job| pool.submit(*job, patient)).count()
        })
    };
    (0..3).map(producer).collect()
}

fn scale(patient: bool) {
    const EACH: usize = 6;
    let pool = Pool::new(3 * EACH);
    let quitter = {
        let pool = Arc::clone(&pool);
        thread::spawn(move || (0..4).for_each(|_| pool.give_up()))
    };
    let producers = producers(&pool, EACH, patient);
    let taken: usize = producers.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(taken, 3 * EACH);
    quitter.join().unwrap();
    // Nothing is lost to workers that stay: who sleeps while a job waits is a deadlock here.
    while pool.done() < 3 * EACH {
        thread::yield_now();
    }
    let book = pool.queue.book();
    assert!((1..=LIMITS.max).contains(&book.workers), "{book:?}");
    assert_eq!((book.queued, book.waiting), (0, 0));
    // Every place is back.
    assert!((0..CAPACITY).all(|_| pool.queue.try_reserve() == Ok(())));
    assert_eq!(pool.queue.try_reserve(), Err(NoPlace::Full));
    (0..CAPACITY).for_each(|_| pool.queue.unreserve());
    pool.queue.close();
    pool.join();
    assert!(pool.done.iter().all(|done| done.load(SeqCst) == 1), "a job was done twice");
    pool.expect_empty();
}

#[test]
fn c4_workers_that_stay_do_every_job_once() {
    check(|| scale(true));
}

#[test]
fn c4_workers_that_come_and_go_do_every_job_once() {
    check(|| scale(false));
}

#[test]
fn c4_no_job_waits_for_workers_that_all_sleep() {
    check(|| {
        let pool = Pool::new(12);
        let quick = producers(&pool, 4, true);
        for producer in quick {
            assert_eq!(producer.join().unwrap(), 4);
        }
        // Without a close, which would wake all: only the pushes did.
        while pool.done() < 12 {
            assert!(pool.queue.book().workers > 0);
            thread::yield_now();
        }
        pool.queue.close();
        pool.join();
        pool.expect_empty();
    });
}

/// Ends the queue at any moment while jobs come in; tells what was taken and what was handed back.
fn end(pool: &Arc<Pool>, aborts: bool) -> (usize, usize) {
    let producers = producers(pool, 4, false);
    let quitter = {
        let pool = Arc::clone(pool);
        thread::spawn(move || (0..3).for_each(|_| pool.give_up()))
    };
    let ender = {
        let pool = Arc::clone(pool);
        thread::spawn(move || {
            if aborts {
                pool.queue.abort().len()
            } else {
                pool.queue.close();
                0
            }
        })
    };
    let back = ender.join().unwrap();
    let taken = producers.into_iter().map(|thread| thread.join().unwrap()).sum();
    quitter.join().unwrap();
    pool.join();
    (taken, back)
}

#[test]
fn c3_closed_at_any_moment_what_was_taken_is_done() {
    check(|| {
        let pool = Pool::new(12);
        let (taken, _) = end(&pool, false);
        assert_eq!(pool.done(), taken);
        pool.expect_empty();
        assert_eq!(pool.queue.try_reserve(), Err(NoPlace::Closed));
    });
}

#[test]
fn c3_aborted_at_any_moment_what_was_taken_is_done_or_handed_back() {
    check(|| {
        let pool = Pool::new(12);
        let (taken, back) = end(&pool, true);
        assert_eq!(pool.done() + back, taken);
        assert!(pool.done.iter().all(|done| done.load(SeqCst) <= 1));
        pool.expect_empty();
    });
}

#[test]
fn c3_a_worker_that_ends_by_a_panic_leaves_its_job_to_another() {
    check(|| {
        let pool = Pool::new(4);
        // Woken or not, it is gone before it takes anything.
        let gone = Arc::new(AtomicBool::new(false));
        let leaver = {
            let (pool, gone) = (Arc::clone(&pool), Arc::clone(&gone));
            pool.queue.start_ahead();
            thread::spawn(move || {
                let mut active = false;
                let waker = Waker::noop();
                let mut cx = Context::from_waker(waker);
                let popped = pool.queue.poll_pop(u64::MAX, &mut active, &mut cx);
                if let Poll::Ready(Some(job)) = popped {
                    pool.done[job].fetch_add(1, SeqCst);
                }
                thread::yield_now();
                pool.queue.leave(u64::MAX, active);
                gone.store(true, SeqCst);
            })
        };
        assert!(pool.submit(0, true));
        leaver.join().unwrap();
        assert!(gone.load(SeqCst));
        // The next push starts one in its place.
        for job in 1..4 {
            assert!(pool.submit(job, true));
        }
        while pool.done() < 4 {
            thread::yield_now();
        }
        pool.queue.close();
        pool.join();
        pool.expect_empty();
    });
}
