//! Futures that a test polls one step at a time, and only when they were woken: a wake-up that gets
//! lost shows as a future that never ends.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// What became of a future.
#[derive(Debug)]
pub(crate) enum Ended<T> {
    Returned(T),
    Panicked,
}

pub(crate) struct Tasks<'a, T> {
    tasks: Vec<Task<'a, T>>,
}

struct Task<'a, T> {
    future: Option<Pin<Box<dyn Future<Output = T> + 'a>>>,
    woken: Arc<Flag>,
    ended: Option<Ended<T>>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

// === impl Tasks ===

impl<'a, T> Tasks<'a, T> {
    pub(crate) fn new() -> Self {
        Self { tasks: Vec::new() }
    }

    pub(crate) fn add(&mut self, future: impl Future<Output = T> + 'a) -> usize {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        self.tasks.push(Task { future: Some(Box::pin(future)), woken, ended: None });
        self.tasks.len() - 1
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Polls a future once, if it was woken; returns whether it was.
    pub(crate) fn step(&mut self, index: usize) -> bool {
        let task = &mut self.tasks[index];
        let Some(future) = &mut task.future else { return false };
        if !task.woken.0.swap(false, Ordering::SeqCst) {
            return false;
        }
        let waker = Waker::from(task.woken.clone());
        let mut context = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        task.ended = match polled {
            Ok(Poll::Pending) => return true,
            Ok(Poll::Ready(value)) => Some(Ended::Returned(value)),
            Err(_) => Some(Ended::Panicked),
        };
        task.future = None;
        true
    }

    /// Drops a future; returns whether it was still there.
    pub(crate) fn cancel(&mut self, index: usize) -> bool {
        self.tasks[index].future.take().is_some()
    }

    /// Polls whatever is woken until nothing is.
    pub(crate) fn run(&mut self) {
        while (0..self.len()).filter(|&index| self.step(index)).count() != 0 {}
    }

    pub(crate) fn ended(&self, index: usize) -> Option<&Ended<T>> {
        self.tasks[index].ended.as_ref()
    }

    /// Those that were neither cancelled nor ended.
    pub(crate) fn stuck(&self) -> usize {
        self.tasks.iter().filter(|task| task.future.is_some()).count()
    }
}

/// Lets the others go first, once.
pub(crate) async fn step_aside() {
    let mut first = true;
    std::future::poll_fn(|context| {
        if std::mem::take(&mut first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}
