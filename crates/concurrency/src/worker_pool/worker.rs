//! One worker: a tokio task that does one job after the other.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt as _;
use tokio::task::coop;
use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::task::{Job, Run};

/// A worker's place in the book, given back however the worker ends.
pub(super) struct Worker {
    pool: Arc<Inner>,
    id: u64,
    is_active: bool,
    has_left: bool,
}

// === impl Worker ===

impl Worker {
    /// It is in the queue's book already.
    pub(super) const fn new(pool: Arc<Inner>, id: u64) -> Self {
        Self { pool, id, is_active: false, has_left: false }
    }

    /// Does one task after the other.
    pub(super) async fn work(mut self) {
        let core = Arc::clone(&self.pool.core);
        let mut now = Instant::now();
        while let Some((job, begins)) = self.next(now).await {
            now = Run::new(&*core, job, Some(self.id), begins).await;
            // Tasks that never wait would keep their thread from everyone else.
            let goes_on = coop::has_budget_remaining();
            coop::consume_budget().await;
            if !goes_on {
                now = Instant::now();
            }
        }
    }

    /// The next job and when it was taken; `None` when this worker is to go.
    async fn next(&mut self, idle_since: Instant) -> Option<(Job, Instant)> {
        let Inner { queue, limits, .. } = &*self.pool;
        let (worker, is_active) = (self.id, &mut self.is_active);
        let mut pop = poll_fn(|cx| queue.poll_pop(worker, is_active, cx));
        // Where there is something to do no timer is needed.
        if let Poll::Ready(popped) = poll_fn(|cx| Poll::Ready(pop.poll_unpin(cx))).await {
            return popped.map(|job| (job, idle_since));
        }
        let mut look = idle_since;
        loop {
            // A time that the clock cannot name never comes.
            let popped = match look.checked_add(limits.idle_after) {
                Some(deadline) => timeout_at(deadline, &mut pop).await,
                None => Ok((&mut pop).await),
            };
            look = Instant::now();
            match popped {
                Ok(popped) => return popped.map(|job| (job, look)),
                Err(_) if queue.retire(worker, look, idle_since) => {
                    self.has_left = true;
                    return None;
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.has_left {
            self.pool.queue.leave(self.id, self.is_active);
        }
    }
}
