//! The queue beside a naive one, in random sequences of all its operations, with every waker
//! counted: nobody who can go on is left asleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Wake;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMITS: ScaleLimits = ScaleLimits { min: 3, max: 5, idle_after: Duration::ZERO };

#[derive(Clone, Debug)]
enum Step {
    Reserve,
    Unreserve,
    Push,
    /// A new caller waits for a place.
    Wait,
    /// One of those who wait looks again.
    Look(usize),
    GiveUp(usize),
    StartAhead,
    Pop(usize),
    Retire(usize),
    /// A worker ends in whatever it does.
    Leave(usize),
    Close,
    Abort,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Reserve),
        1 => Just(Step::Unreserve),
        8 => Just(Step::Push),
        4 => Just(Step::Wait),
        4 => any::<usize>().prop_map(Step::Look),
        2 => any::<usize>().prop_map(Step::GiveUp),
        1 => Just(Step::StartAhead),
        8 => any::<usize>().prop_map(Step::Pop),
        2 => any::<usize>().prop_map(Step::Retire),
        1 => any::<usize>().prop_map(Step::Leave),
    ];
    let end = prop_oneof![Just(Step::Close), Just(Step::Abort)];
    (vec(step.clone(), 1..60), end, vec(step, 0..12))
        .prop_map(|(before, end, after)| [before, vec![end], after].concat())
}

/// Someone who waits: a caller for a place, or a worker for a job.
#[derive(Default)]
struct Sleeper {
    key: Option<u64>,
    worker: u64,
    is_active: bool,
    is_asleep: bool,
    woken: Arc<Count>,
    /// What `woken` was when it last fell asleep.
    before: usize,
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Sleeper {
    fn is_left_asleep(&self) -> bool {
        self.is_asleep && self.woken.0.load(SeqCst) == self.before
    }

    fn look<T>(&mut self, poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.before = self.woken.0.load(SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        let polled = poll(self, &mut Context::from_waker(&waker));
        self.is_asleep = polled.is_pending();
        polled
    }
}

/// What the queue should be.
struct Model {
    queue: Queue<usize>,
    capacity: usize,
    now: Instant,
    jobs: VecDeque<usize>,
    next_job: usize,
    /// Places that someone holds.
    held: usize,
    /// In the order in which they came.
    callers: Vec<Sleeper>,
    /// Those too that were started and have not come yet.
    workers: Vec<Sleeper>,
    next_worker: u64,
    is_closed: bool,
}

impl Model {
    fn new(capacity: usize) -> Self {
        Self {
            queue: Queue::new(capacity, LIMITS),
            capacity,
            now: Instant::now(),
            jobs: VecDeque::new(),
            next_job: 0,
            held: 0,
            callers: Vec::new(),
            workers: Vec::new(),
            next_worker: 0,
            is_closed: false,
        }
    }

    fn free(&self) -> usize {
        self.capacity - self.jobs.len() - self.held
    }

    fn start(&mut self, workers: usize) {
        for _ in 0..workers {
            self.workers.push(Sleeper { worker: self.next_worker, ..Sleeper::default() });
            self.next_worker += 1;
        }
    }

    fn look(&mut self, index: usize) {
        let turn = index < self.free();
        let queue = &self.queue;
        let polled = self.callers[index].look(|caller, cx| queue.poll_reserve(&mut caller.key, cx));
        let expected = match () {
            () if self.is_closed => Poll::Ready(Err(Closed)),
            () if turn => Poll::Ready(Ok(())),
            () => Poll::Pending,
        };
        assert_eq!(polled, expected);
        if polled.is_ready() {
            assert_eq!(self.callers.remove(index).key, None);
            self.held += usize::from(polled == Poll::Ready(Ok(())));
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Reserve => {
                let free = self.free();
                let expected = match () {
                    () if self.is_closed => Err(NoPlace::Closed),
                    // Those who came earlier have the first places.
                    () if free <= self.callers.len() => Err(NoPlace::Full),
                    () => Ok(()),
                };
                assert_eq!(self.queue.try_reserve(), expected);
                self.held += usize::from(expected.is_ok());
            }
            Step::Unreserve if self.held > 0 => {
                self.queue.unreserve();
                self.held -= 1;
            }
            Step::Push if self.held > 0 => self.push(),
            Step::Wait => {
                self.callers.push(Sleeper::default());
                self.look(self.callers.len() - 1);
            }
            Step::Look(pick) if !self.callers.is_empty() => self.look(pick % self.callers.len()),
            Step::GiveUp(pick) if !self.callers.is_empty() => {
                let mut caller = self.callers.remove(pick % self.callers.len());
                self.queue.forget(&mut caller.key);
                assert_eq!(caller.key, None);
            }
            Step::StartAhead => {
                let missing = LIMITS.min.saturating_sub(self.workers.len());
                assert_eq!(self.queue.start_ahead(), missing);
                self.start(missing);
            }
            Step::Pop(pick) if !self.workers.is_empty() => self.pop(pick % self.workers.len()),
            Step::Retire(pick) if !self.workers.is_empty() => {
                let index = pick % self.workers.len();
                let worker = &self.workers[index];
                if !worker.is_asleep {
                    return;
                }
                let may_go = self.workers.len() > LIMITS.min && self.jobs.is_empty();
                if self.queue.retire(worker.worker, self.now, self.now) {
                    assert!(may_go);
                    self.workers.remove(index);
                } else {
                    assert!(!may_go || !worker.is_left_asleep(), "it may go");
                }
            }
            Step::Leave(pick) if !self.workers.is_empty() => {
                let worker = self.workers.remove(pick % self.workers.len());
                self.queue.leave(worker.worker, worker.is_active);
            }
            Step::Close => {
                self.queue.close();
                self.is_closed = true;
            }
            Step::Abort => {
                assert_eq!(self.queue.abort(), std::mem::take(&mut self.jobs));
                self.is_closed = true;
            }
            // There is nobody who could.
            _ => {}
        }
    }

    fn push(&mut self) {
        let job = self.next_job;
        self.next_job += 1;
        self.held -= 1;
        match self.queue.push(self.now, job) {
            Ok(start) => {
                assert!(!self.is_closed);
                self.jobs.push_back(job);
                self.start(usize::from(start));
                assert!(self.workers.len() <= LIMITS.max);
                assert!(!self.workers.is_empty(), "nobody will do it");
            }
            Err(back) => {
                assert!(self.is_closed);
                assert_eq!(back, job);
            }
        }
    }

    fn pop(&mut self, index: usize) {
        let queue = &self.queue;
        let popped = self.workers[index]
            .look(|worker, cx| queue.poll_pop(worker.worker, &mut worker.is_active, cx));
        let expected = match self.jobs.pop_front() {
            Some(job) => Poll::Ready(Some(job)),
            None if self.is_closed => Poll::Ready(None),
            None => Poll::Pending,
        };
        assert_eq!(popped, expected);
        assert_eq!(self.workers[index].is_active, matches!(popped, Poll::Ready(Some(_))));
        if popped == Poll::Ready(None) {
            let worker = self.workers.remove(index);
            self.queue.leave(worker.worker, worker.is_active);
        }
    }

    fn check(&self) {
        let book = self.queue.book();
        assert_eq!((book.queued, book.workers), (self.jobs.len(), self.workers.len()));
        assert_eq!(book.active, self.workers.iter().filter(|worker| worker.is_active).count());
        if self.is_closed {
            let all = self.callers.iter().chain(&self.workers);
            assert!(!all.into_iter().any(Sleeper::is_left_asleep), "not told of the end");
            return;
        }
        assert_eq!(book.waiting, self.callers.len());
        let asleep = self.callers.iter().take(self.free()).any(Sleeper::is_left_asleep);
        assert!(!asleep, "there is a place, and its caller sleeps");
        // One on its way is enough, as it wakes the next; one at work may take long.
        let sleeps = self.workers.iter().any(Sleeper::is_left_asleep);
        let comes = self.workers.iter().any(|one| !one.is_active && !one.is_left_asleep());
        assert!(self.jobs.is_empty() || !sleeps || comes, "a job waits, and its worker sleeps");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn c4_the_queue_agrees_with_a_naive_one_and_forgets_nobody(
        capacity in 1..8_usize,
        steps in steps(),
    ) {
        let mut model = Model::new(capacity);
        for step in steps {
            model.step(step);
            model.check();
        }
        // What is left is done, and everything is back.
        model.step(Step::Close);
        while !model.jobs.is_empty() {
            if model.workers.is_empty() {
                model.step(Step::StartAhead);
            }
            model.step(Step::Pop(0));
            model.check();
        }
    }
}
